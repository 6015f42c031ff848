//! Certificate signing requests: who asks, who decides, who signs.

use serde_json::{Value, json};

use skiff_fixture::Api;

const REQUESTS: &str = "/apis/certificates.k8s.io/v1/certificatesigningrequests";

/// A request for the name jane, signed with a key that was thrown away.
const PEM: &str = concat!(
    "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURSBSRVFVRVNULS0tLS0KTUlISU1IRUNBUUF3RHpFTk1Bc0dBMVVFQXd3RWFtRnVaVEJa",
    "TUJNR0J5cUdTTTQ5QWdFR0NDcUdTTTQ5QXdFSApBMElBQklwT0xiVzlhaFNjNThxNHBHMCtyQlNLVWRTUmFjbmFUaHVzbERv",
    "bC9JUXVuQU5wZGJxZzNoNWN2eWRCCnJQQmhmVStYSnUwbjJGL3MzNUsxQ0wveitneWdBREFLQmdncWhrak9QUVFEQWdOSEFE",
    "QkVBaUIxR3djd2lUN1EKMVZpZzJxb25CL1F6dmdEZE85NW1rN3N0Tm1Kd043bE0rZ0lnRWplbkt2OTlLcm1TeGRTWWVWd1Bq",
    "M2VISlRIdAorbDk4UmtOOFlWQndDTmM9Ci0tLS0tRU5EIENFUlRJRklDQVRFIFJFUVVFU1QtLS0tLQo=",
);

async fn request(api: &Api) -> Value {
    let spec = json!({
        "request": PEM, "signerName": "example.com/signer", "usages": ["client auth"],
        "username": "system:admin", "groups": ["system:masters"], "uid": "1", "extra": {"a": ["b"]}
    });
    let object = json!({"metadata": {"name": "jane"}, "spec": spec, "status": {"certificate": "YQ=="}});
    api.post(REQUESTS, object).await.expect(201).json()
}

fn condition(kind: &str) -> Value {
    json!({"status": {"conditions": [{"type": kind, "status": "True", "reason": "Because"}]}})
}

#[tokio::test]
async fn nobody_asks_for_another() {
    let api = Api::open().await;
    let made = request(&api).await;
    assert_eq!(made["spec"]["username"], "admin");
    assert_eq!(made["spec"]["groups"], json!(["system:masters", "system:authenticated"]));
    assert_eq!((&made["spec"]["uid"], made["spec"].get("extra")), (&json!("admin"), None));
    assert_eq!(made["status"], json!({}));
}

#[tokio::test]
async fn approvers_decide_and_signers_sign() {
    let api = Api::open().await;
    request(&api).await;
    let (status, approval) = (format!("{REQUESTS}/jane/status"), format!("{REQUESTS}/jane/approval"));
    let refused = api.patch(&status, "merge-patch+json", condition("Approved")).await.expect(422).json();
    let message = refused["message"].as_str().expect("message");
    assert!(message.contains("updates may not add a condition of type \"Approved\""), "{message}");
    let approved = api.patch(&approval, "merge-patch+json", condition("Approved")).await.expect(200).json();
    assert!(approved["status"]["conditions"][0]["lastUpdateTime"].is_string());
    assert!(approved["status"]["conditions"][0]["lastTransitionTime"].is_string());
    api.patch(&approval, "merge-patch+json", condition("Denied")).await.expect(422);
    let certificate = |text: &str| json!({"status": {"certificate": text}});
    api.patch(&approval, "merge-patch+json", certificate("YQ==")).await.expect(200);
    assert!(api.get(&format!("{REQUESTS}/jane")).await.json()["status"].get("certificate").is_none());
    let refused = api.patch(&status, "merge-patch+json", certificate("YQ==")).await.expect(422).json();
    let message = refused["message"].as_str().expect("message");
    assert!(message.contains("must contain at least one CERTIFICATE PEM block"), "{message}");
    let signed = |name: &str| {
        use base64::Engine;
        let made = rcgen::generate_simple_self_signed([name.to_owned()]).expect("a certificate");
        base64::engine::general_purpose::STANDARD.encode(made.cert.pem())
    };
    api.patch(&status, "merge-patch+json", certificate(&signed("a"))).await.expect(200);
    let refused = api.patch(&status, "merge-patch+json", certificate(&signed("b"))).await.expect(422).json();
    assert!(refused["message"].as_str().expect("message").contains("updates may not modify existing certificate"));
}
