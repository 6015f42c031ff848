//! A token's life, with a clock of the test's own.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use parking_lot::Mutex;
use skiff_apimachinery::value;
use skiff_apimachinery::value::Value;

use super::*;
use crate::authentication::Clock;
use crate::objects::testing::FakeReader;

const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";

struct Fixture {
    keys: Arc<TokenKeys>,
    reader: Arc<FakeReader>,
    now: Arc<Mutex<Timestamp>>,
    issuer: TokenIssuer,
    tokens: ServiceAccountTokens,
}

fn key() -> String {
    rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).expect("a key").serialize_pem()
}

impl Fixture {
    fn new() -> Self {
        let keys = Arc::new(TokenKeys::new(&key(), &[]).expect("keys"));
        let reader = Arc::new(FakeReader::default());
        reader.put("", "serviceaccounts", &value!({"metadata": {"namespace": "demo", "name": "web", "uid": "sa-uid"}}));
        reader.put(
            "",
            "pods",
            &value!({
                "metadata": {"namespace": "demo", "name": "web-1", "uid": "pod-uid"},
                "spec": {"serviceAccountName": "web", "nodeName": "n1"}
            }),
        );
        reader.put("", "secrets", &value!({"metadata": {"namespace": "demo", "name": "s", "uid": "secret-uid"}}));
        reader.put("", "nodes", &value!({"metadata": {"name": "n1", "uid": "node-uid"}}));
        let now = Arc::new(Mutex::new("2026-11-21T00:00:00Z".parse::<Timestamp>().expect("a time")));
        let clock: Clock = {
            let now = now.clone();
            Arc::new(move || *now.lock())
        };
        let config = TokenIssuerConfig {
            issuer: ISSUER.into(),
            api_audiences: vec![ISSUER.into()],
            max_expiration: None,
            extend_expiration: true,
        };
        let issuer = TokenIssuer::new(keys.clone(), config, reader.objects(), clock);
        let tokens = ServiceAccountTokens::new(keys.clone(), ISSUER.into(), vec![ISSUER.into()], reader.objects());
        Self { keys, reader, now, issuer, tokens }
    }

    async fn request(&self, spec: Value) -> Result<Value, (u16, String)> {
        let request = value!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec});
        let mut warnings = Vec::new();
        self.issuer.issue("demo", "web", &request, &mut warnings).await.map_err(|s| (s.code, s.message))
    }

    async fn token(&self, spec: Value) -> String {
        let answer = self.request(spec).await.expect("a token");
        answer.str_at(&["status", "token"]).expect("a token").to_owned()
    }

    async fn check(&self, token: &str) -> Result<Option<TokenUser>, String> {
        let now = *self.now.lock();
        Ok(self.tokens.authenticate(token, now).await?.map(|found| found.as_ref().clone()))
    }

    fn pass(&self, seconds: i64) {
        let mut now = self.now.lock();
        *now += jiff::SignedDuration::from_secs(seconds);
    }
}

fn bound(kind: &str, name: &str) -> Value {
    value!({"boundObjectRef": {"apiVersion": "v1", "kind": kind, "name": name}})
}

fn claims(token: &str) -> serde_json::Value {
    let payload = token.split('.').nth(1).expect("a payload");
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).expect("base64")).expect("JSON")
}

#[tokio::test]
async fn tokens_say_what_upstreams_say() {
    let fixture = Fixture::new();
    let answer = fixture.request(bound("Pod", "web-1")).await.expect("a token");
    assert_eq!(answer.i64_at(&["spec", "expirationSeconds"]), Some(3600));
    assert_eq!(answer.str_at(&["status", "expirationTimestamp"]), Some("2026-11-21T01:00:00Z"));
    assert_eq!(answer.str_at(&["metadata", "name"]), Some("web"));
    assert_eq!(answer.str_at(&["metadata", "creationTimestamp"]), Some("2026-11-21T00:00:00Z"));
    let mut claims = claims(answer.str_at(&["status", "token"]).expect("a token"));
    let jti = claims.as_object_mut().expect("an object").remove("jti").expect("an id");
    assert_eq!(jti.as_str().map(str::len), Some(36));
    let start = 1_795_219_200;
    assert_eq!(
        claims,
        serde_json::json!({
            "aud": [ISSUER], "iss": ISSUER, "sub": "system:serviceaccount:demo:web",
            "exp": start + 3600, "iat": start, "nbf": start,
            "kubernetes.io": {
                "namespace": "demo",
                "serviceaccount": {"name": "web", "uid": "sa-uid"},
                "pod": {"name": "web-1", "uid": "pod-uid"},
                "node": {"name": "n1", "uid": "node-uid"}
            }
        })
    );
}

#[tokio::test]
async fn users_are_known_by_their_tokens() {
    let fixture = Fixture::new();
    let token = fixture.token(bound("Pod", "web-1")).await;
    let found = fixture.check(&token).await.expect("it holds").expect("ours");
    assert_eq!(found.user.name, "system:serviceaccount:demo:web");
    assert_eq!(found.user.uid, "sa-uid");
    assert_eq!(found.user.groups, ["system:serviceaccounts", "system:serviceaccounts:demo"]);
    let extra = |key: &str| found.user.extra.get(&format!("authentication.kubernetes.io/{key}")).map(|v| v[0].as_str());
    assert_eq!([extra("pod-name"), extra("pod-uid")], [Some("web-1"), Some("pod-uid")]);
    assert_eq!([extra("node-name"), extra("node-uid")], [Some("n1"), Some("node-uid")]);
    let jti = claims(&token)["jti"].as_str().map(|jti| format!("JTI={jti}"));
    assert_eq!(extra("credential-id"), jti.as_deref());
    assert_eq!(found.audiences, [ISSUER]);
    assert_eq!(fixture.check(&token).await.expect("remembered"), Some(found));
}

#[tokio::test]
async fn tokens_end_with_their_time() {
    let fixture = Fixture::new();
    let token = fixture.token(value!({"expirationSeconds": 600})).await;
    fixture.pass(600 + 60);
    assert!(fixture.check(&token).await.is_ok());
    fixture.pass(1);
    assert_eq!(fixture.check(&token).await, Err("service account token has expired".into()));
    fixture.pass(-661 - 61);
    assert_eq!(fixture.check(&token).await, Err("service account token is not valid yet".into()));
}

#[tokio::test]
async fn tokens_end_with_what_they_are_bound_to() {
    const INVALIDATED: &str = "service account token has been invalidated";
    for (kind, resource, namespace, name) in
        [("Pod", "pods", "demo", "web-1"), ("Secret", "secrets", "demo", "s"), ("Node", "nodes", "", "n1")]
    {
        let fixture = Fixture::new();
        let token = fixture.token(bound(kind, name)).await;
        assert!(fixture.check(&token).await.is_ok());
        // Deleted, and at once: nothing is remembered about objects that have changed.
        fixture.reader.remove("", resource, namespace, name);
        assert_eq!(fixture.check(&token).await, Err(INVALIDATED.into()), "{kind}");
        // Another object of the same name is another object.
        fixture.reader.put("", resource, &value!({"metadata": {"namespace": namespace, "name": name, "uid": "other"}}));
        let lower = kind.to_ascii_lowercase();
        let uid = format!("{lower}-uid");
        assert_eq!(
            fixture.check(&token).await,
            Err(format!("{lower} UID (other) does not match service account {lower} ref claim ({uid})"))
        );
    }
}

#[tokio::test]
async fn tokens_survive_their_pods_shutdown() {
    let fixture = Fixture::new();
    let token = fixture.token(bound("Pod", "web-1")).await;
    fixture.reader.put(
        "",
        "pods",
        &value!({"metadata": {
            "namespace": "demo", "name": "web-1", "uid": "pod-uid", "deletionTimestamp": "2026-11-21T00:00:10Z"
        }}),
    );
    fixture.pass(70);
    assert!(fixture.check(&token).await.is_ok());
    fixture.pass(1);
    // Remembered for at most 10 s more.
    fixture.pass(10);
    assert_eq!(fixture.check(&token).await, Err("service account token has been invalidated".into()));
}

#[tokio::test]
async fn tokens_end_with_their_account() {
    let fixture = Fixture::new();
    let token = fixture.token(value!({})).await;
    assert!(fixture.check(&token).await.is_ok());
    fixture.reader.put(
        "",
        "serviceaccounts",
        &value!({"metadata": {"namespace": "demo", "name": "web", "uid": "new"}}),
    );
    assert_eq!(fixture.check(&token).await, Err("service account UID (new) does not match claim (sa-uid)".into()));
    fixture.reader.remove("", "serviceaccounts", "demo", "web");
    assert_eq!(fixture.check(&token).await, Err("serviceaccounts \"web\" not found".into()));
}

#[tokio::test]
async fn automounted_tokens_are_extended() {
    let fixture = Fixture::new();
    let mut spec = bound("Pod", "web-1");
    spec.set_at(&["expirationSeconds"], 3607);
    let answer = fixture.request(spec.clone()).await.expect("a token");
    assert_eq!(answer.str_at(&["status", "expirationTimestamp"]), Some("2026-11-21T01:00:07Z"));
    let long = claims(answer.str_at(&["status", "token"]).expect("a token"));
    let iat = long["iat"].as_i64().expect("a time");
    assert_eq!(long["exp"], iat + 365 * 24 * 3600);
    assert_eq!(long["kubernetes.io"]["warnafter"], iat + 3607);
    spec.set_at(&["audiences"], value!(["vault"]));
    let other = claims(&fixture.token(spec).await);
    assert_eq!(other["exp"], iat + 3607);
    let unbound = claims(&fixture.token(value!({"expirationSeconds": 3607})).await);
    assert_eq!(unbound["exp"], iat + 3607);
}

#[tokio::test]
async fn audiences_are_kept_apart() {
    let fixture = Fixture::new();
    let token = fixture.token(value!({"audiences": ["vault", "db"]})).await;
    let refused = format!("token audiences [\"vault\" \"db\"] is invalid for the target audiences [\"{ISSUER}\"]");
    assert_eq!(fixture.check(&token).await, Err(refused));
    let now = *fixture.now.lock();
    let reviewed = fixture.tokens.review(&token, &["db".into(), "x".into()], now).await.expect("it holds");
    assert_eq!(reviewed.expect("ours").audiences, ["db"]);
}

#[tokio::test]
async fn bad_requests_are_refused() {
    let fixture = Fixture::new();
    let cases = [
        (
            value!({"expirationSeconds": 599}),
            422,
            "TokenRequest.authentication.k8s.io \"\" is invalid: spec.expirationSeconds: Invalid value: 599: may not \
             specify a duration less than 10 minutes",
        ),
        (
            value!({"expirationSeconds": 4294967297i64}),
            422,
            "TokenRequest.authentication.k8s.io \"\" is invalid: spec.expirationSeconds: Invalid value: 4294967297: may \
             not specify a duration larger than 2^32 seconds",
        ),
        (bound("Pod", "none"), 404, "pods \"none\" not found"),
        (bound("Service", "x"), 400, "cannot bind token to object of type /v1, Kind=Service"),
        (
            value!({"boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": "web-1", "uid": "old"}}),
            409,
            "Operation cannot be fulfilled on Pod \"web-1\": the UID in the bound object reference (old) does not match \
             the UID in record. The object might have been deleted and then recreated",
        ),
    ];
    for (spec, code, message) in cases {
        assert_eq!(fixture.request(spec).await, Err((code, message.into())));
    }
    let request = value!({"spec": (bound("Pod", "web-1"))});
    fixture.reader.put("", "serviceaccounts", &value!({"metadata": {"namespace": "demo", "name": "db", "uid": "u"}}));
    let refused =
        fixture.issuer.issue("demo", "db", &request, &mut Vec::new()).await.expect_err("another account's pod");
    assert_eq!(refused.code, 400);
    let refused = fixture.issuer.issue("demo", "none", &request, &mut Vec::new()).await.expect_err("no account");
    assert_eq!((refused.code, refused.message.as_str()), (404, "serviceaccounts \"none\" not found"));
}

#[tokio::test]
async fn forgeries_do_not_hold() {
    let fixture = Fixture::new();
    let token = fixture.token(value!({})).await;
    let [header, payload, signature] = token.split('.').collect::<Vec<_>>()[..] else { panic!("three parts") };
    // Not ours to judge.
    for foreign in ["", "x", "a.b", "a.b.c", "{\"a\":1}", &"x".repeat(100_000)] {
        assert_eq!(fixture.check(foreign).await, Ok(None));
    }
    let encode = |json: serde_json::Value| URL_SAFE_NO_PAD.encode(json.to_string());
    let mut other = claims(&token);
    other["iss"] = "https://example.com".into();
    assert_eq!(fixture.check(&format!("{header}.{}.{signature}", encode(other))).await, Ok(None));
    // Ours, and not signed by us.
    let mut changed = claims(&token);
    changed["sub"] = "system:serviceaccount:kube-system:admin".into();
    let kid = serde_json::from_slice::<serde_json::Value>(&URL_SAFE_NO_PAD.decode(header).expect("base64"))
        .expect("JSON")["kid"]
        .clone();
    for forged in [
        format!("{header}.{}.{signature}", encode(changed)),
        format!("{header}.{payload}."),
        format!("{header}.{payload}.{}", URL_SAFE_NO_PAD.encode([0u8; 64])),
        format!("{}.{payload}.", encode(serde_json::json!({"alg": "none", "kid": kid}))),
        format!("{}.{payload}.{signature}", encode(serde_json::json!({"alg": "HS256", "kid": kid}))),
        format!("{}.{payload}.{signature}", encode(serde_json::json!({"alg": "ES256", "kid": "other"}))),
    ] {
        assert!(fixture.check(&forged).await.is_err(), "{forged}");
    }
}

#[test]
fn keys_of_all_kinds_are_published() {
    let rsa = "-----BEGIN PUBLIC KEY-----\n\
        MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAu1SU1LfVLPHCozMxH2Mo\n\
        4lgOEePzNm0tRgeLezV6ffAt0gunVTLw7onLRnrq0/IzW7yWR7QkrmBL7jTKEn5u\n\
        +qKhbwKfBstIs+bMY2Zkp18gnTxKLxoS2tFczGkPLPgizskuemMghRniWaoLcyeh\n\
        kd3qqGElvW/VDL5AaWTg0nLVkjRo9z+40RQzuVaE8AkAFmxZzow3x+VJYKdjykkJ\n\
        0iT9wCS0DRTXu269V264Vf/3jvredZiKRkgwlL9xNAwxXFg0x/XFw005UWVRIkdg\n\
        cKWTjpBP2dPwVZ4WWC+9aGVd+Gyn1o0CLelf4rEjGoXbAAEgAqeGUxrcIlbjXfbc\n\
        mwIDAQAB\n-----END PUBLIC KEY-----\n";
    let keys = TokenKeys::new(&key(), &[rsa]).expect("keys");
    let documents = OidcDocuments::new(ISSUER, "https://192.0.2.7:6443/openid/v1/jwks", &keys);
    let configuration: serde_json::Value = serde_json::from_slice(&documents.configuration).expect("JSON");
    assert_eq!(
        configuration,
        serde_json::json!({
            "issuer": ISSUER,
            "jwks_uri": "https://192.0.2.7:6443/openid/v1/jwks",
            "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["ES256", "RS256"]
        })
    );
    let jwks: serde_json::Value = serde_json::from_slice(&documents.jwks).expect("JSON");
    let published = jwks["keys"].as_array().expect("keys");
    assert_eq!(published.len(), 2);
    assert_eq!((published[0]["kty"].as_str(), published[0]["crv"].as_str()), (Some("EC"), Some("P-256")));
    assert_eq!((published[1]["kty"].as_str(), published[1]["e"].as_str()), (Some("RSA"), Some("AQAB")));
    assert!(published.iter().all(|key| key["use"] == "sig" && key["kid"].as_str().is_some_and(|kid| kid.len() == 43)));
}

#[tokio::test]
async fn a_token_of_a_secret_holds_as_long_as_the_secret_has_it() {
    let fixture = Fixture::new();
    let token = |uid: &str, secret: &str| fixture.keys.legacy_token("demo", "web", uid, secret).expect("a token");
    let secret = |name: &str, token: &str, labels: Value| {
        let data = base64::engine::general_purpose::STANDARD.encode(token);
        let metadata = value!({"namespace": "demo", "name": name, "labels": labels});
        fixture.reader.put("", "secrets", &value!({"metadata": metadata, "data": {"token": data}}));
    };
    let good = token("sa-uid", "kept");
    assert_eq!(fixture.check(&good).await, Err("service account token has been invalidated".into()));
    secret("kept", &good, value!({}));
    let found = fixture.check(&good).await.expect("it holds").expect("it is ours");
    assert_eq!(
        (found.user.name.as_str(), found.audiences),
        ("system:serviceaccount:demo:web", vec![ISSUER.to_owned()])
    );
    secret("kept", &good, value!({"kubernetes.io/legacy-token-invalid-since": "2024-01-01"}));
    assert!(fixture.check(&good).await.is_err_and(|error| error.contains("has been marked invalid")));
    secret("kept", "another", value!({}));
    assert_eq!(fixture.check(&good).await, Err("service account token does not match server's copy".into()));
    let before = token("earlier", "old");
    secret("old", &before, value!({}));
    let expected = "service account UID (sa-uid) does not match claim (earlier)";
    assert_eq!(fixture.check(&before).await, Err(expected.into()));
}
