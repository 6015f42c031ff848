//! What sig-auth asks: certificates, accounts, tokens, reviews.

use serde_json::{Value, json};
use skiff_tests::eventually;
use skiff_tests::rest::{MERGE, Rest};

use crate::life::{Kind, lead, no_status};
use crate::scene::Scene;

const REQUESTS: &str = "/apis/certificates.k8s.io/v1/certificatesigningrequests";

/// A request for the common name `e2e-user`, in PEM and base64.
const REQUEST: &str = include_str!("certificate-request.b64");

const CERTIFICATE_REQUEST: Kind = Kind {
    group: "certificates.k8s.io",
    version: "v1",
    plural: "certificatesigningrequests",
    kind: "CertificateSigningRequest",
    namespaced: false,
    object: |_, _| {
        json!({"spec": {"request": REQUEST.trim(), "signerName": "example.com/e2e", "expirationSeconds": 3600,
            "usages": ["digital signature", "key encipherment", "server auth"]}})
    },
    status: no_status,
};

pub(crate) async fn certificate_requests(scene: Scene) {
    let one = CERTIFICATE_REQUEST.make(&scene, 9);
    let name = one["metadata"]["name"].as_str().expect("a name").to_owned();
    scene.rest.create(REQUESTS, &one).await;
    let path = format!("{REQUESTS}/{name}");
    let approval = json!({"status": {"conditions": [{"type": "Approved", "status": "True", "reason": "E2E",
        "message": "Set from an e2e test"}]}});
    let approved = scene.rest.patch(&format!("{path}/approval"), MERGE, &approval).await;
    assert_eq!(approved["status"]["conditions"][0]["type"], "Approved");
    scene.stage.done("approved");
    let status = json!({"status": {"conditions": [
        approved["status"]["conditions"][0], {"type": "StatusUpdate", "status": "True", "reason": "E2E"}]}});
    let patched = scene.rest.patch(&format!("{path}/status"), MERGE, &status).await;
    assert_eq!(patched["status"]["conditions"][1]["type"], "StatusUpdate");
    assert_eq!(scene.rest.get(&format!("{path}/approval")).await["metadata"]["name"], name.as_str());
    scene.stage.done("status written");
    scene.rest.delete(&path).await;
    lead(scene, CERTIFICATE_REQUEST).await;
}

fn pod(name: &str, account: &str, automount: Option<bool>) -> Value {
    let mut spec = json!({"serviceAccountName": account, "containers": [{"name": "c", "image": "example/image"}]});
    if let Some(automount) = automount {
        spec["automountServiceAccountToken"] = automount.into();
    }
    json!({"metadata": {"name": name}, "spec": spec})
}

/// Who wants a token: the account says so, and the pod may say otherwise.
pub(crate) async fn token_opt_out(scene: Scene) {
    let (accounts, pods) = (scene.core("serviceaccounts"), scene.core("pods"));
    for (account, says) in [("default-says", None), ("yes", Some(true)), ("no", Some(false))] {
        let mut object = json!({"metadata": {"name": account}});
        if let Some(says) = says {
            object["automountServiceAccountToken"] = says.into();
        }
        scene.rest.create(&accounts, &object).await;
        for asks in [None, Some(true), Some(false)] {
            let name = format!("{account}-{}", asks.map_or("none".to_owned(), |asks| asks.to_string()));
            let made = scene.rest.create(&pods, &pod(&name, account, asks)).await;
            let mounts = made["spec"]["containers"][0]["volumeMounts"].as_array().cloned().unwrap_or_default();
            let mounted =
                mounts.iter().any(|mount| mount["mountPath"] == "/var/run/secrets/kubernetes.io/serviceaccount");
            assert_eq!(mounted, asks.or(says).unwrap_or(true), "{name}");
            scene.stage.done("mounted or not");
        }
    }
}

/// A token by TokenRequest is one that TokenReview knows.
pub(crate) async fn token_review(scene: Scene) {
    let accounts = scene.core("serviceaccounts");
    let account = scene.rest.create(&accounts, &json!({"metadata": {"name": "asked"}})).await;
    let request = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}});
    let answer = scene.rest.create(&format!("{accounts}/asked/token"), &request).await;
    let token = answer["status"]["token"].as_str().expect("a token");
    scene.stage.done("a token");
    let review = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": token}});
    let review = scene.rest.create("/apis/authentication.k8s.io/v1/tokenreviews", &review).await;
    let user = &review["status"]["user"];
    assert_eq!(review["status"]["authenticated"], true);
    assert_eq!(user["username"], format!("system:serviceaccount:{}:asked", scene.namespace).as_str());
    assert_eq!(user["uid"], account["metadata"]["uid"]);
    assert!(user["extra"]["authentication.kubernetes.io/credential-id"].is_array());
    scene.stage.done("known");
    let client = scene.stage.client_with_token(token);
    let myself = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"});
    let whoami = Rest::new(client).create("/apis/authentication.k8s.io/v1/selfsubjectreviews", &myself).await;
    assert_eq!(whoami["status"]["userInfo"]["username"], user["username"]);
    scene.stage.done("used");
}

pub(crate) async fn account_update(scene: Scene) {
    let accounts = scene.core("serviceaccounts");
    scene.rest.create(&accounts, &json!({"metadata": {"name": "updated"}})).await;
    let mut account = scene.rest.get(&format!("{accounts}/updated")).await;
    account["automountServiceAccountToken"] = true.into();
    let updated = scene.rest.replace(&format!("{accounts}/updated"), &account).await;
    assert_eq!(updated["automountServiceAccountToken"], true);
    scene.stage.done("updated");
}

/// Whether somebody may do something is what really happens when somebody tries.
pub(crate) async fn reviews(scene: Scene) {
    let accounts = scene.core("serviceaccounts");
    scene.rest.create(&accounts, &json!({"metadata": {"name": "reviewed"}})).await;
    let user = format!("system:serviceaccount:{}:reviewed", scene.namespace);
    let attributes = json!({"namespace": scene.namespace, "verb": "list", "group": "", "resource": "configmaps"});
    let headers = [("impersonate-user", user.as_str())];
    let path = scene.core("configmaps");
    let spec = json!({"user": user, "resourceAttributes": attributes});
    let local = scene.of("authorization.k8s.io/v1", "localsubjectaccessreviews");
    let reviews = [
        ("SubjectAccessReview", "/apis/authorization.k8s.io/v1/subjectaccessreviews".to_owned()),
        ("LocalSubjectAccessReview", local),
    ];
    for allowed in [false, true] {
        if allowed {
            let role = json!({"metadata": {"name": "lister"},
                "rules": [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["list"]}]});
            scene.rest.create(&scene.of("rbac.authorization.k8s.io/v1", "roles"), &role).await;
            let binding = json!({"metadata": {"name": "lister"},
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "lister"},
                "subjects": [{"kind": "ServiceAccount", "name": "reviewed", "namespace": scene.namespace}]});
            scene.rest.create(&scene.of("rbac.authorization.k8s.io/v1", "rolebindings"), &binding).await;
        }
        for (kind, path) in &reviews {
            let review = json!({"apiVersion": "authorization.k8s.io/v1", "kind": kind,
                "metadata": if *kind == "LocalSubjectAccessReview" { json!({"namespace": scene.namespace}) } else { json!({}) },
                "spec": spec});
            eventually("the review", async || {
                let answer = scene.rest.create(path, &review).await;
                if answer["status"]["allowed"] == allowed { Ok(()) } else { Err(answer) }
            })
            .await;
        }
        let code = scene.rest.ask(http::Method::GET, &path, &headers, None).await.code;
        assert_eq!(code, if allowed { 200 } else { 403 });
        scene.stage.done("as reviewed");
    }
}

/// Every namespace has the authority's certificate, also after somebody took it or changed it.
pub(crate) async fn root_certificate(scene: Scene) {
    let path = format!("{}/kube-root-ca.crt", scene.core("configmaps"));
    let original = scene.rest.get(&path).await["data"].clone();
    scene.rest.delete(&path).await;
    eventually("the certificate made again", async || {
        let answer = scene.rest.try_get(&path).await;
        if answer.body["data"] == original { Ok(()) } else { Err(answer) }
    })
    .await;
    scene.stage.done("made again");
    scene.rest.patch(&path, MERGE, &json!({"data": {"ca.crt": ""}})).await;
    eventually("the certificate put right", async || {
        let answer = scene.rest.try_get(&path).await;
        if answer.body["data"] == original { Ok(()) } else { Err(answer) }
    })
    .await;
    scene.stage.done("put right");
}
