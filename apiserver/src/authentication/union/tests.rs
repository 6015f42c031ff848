//! Who a request is from, whatever it carries.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use skiff_apimachinery::value;

use super::*;
use crate::authentication::service_account::{TokenIssuer, TokenIssuerConfig};
use crate::objects::testing::FakeReader;
use crate::pki::{Credential, Identity, Pki, PkiConfig};

const ISSUER: &str = "https://issuer.test";

struct Fixture {
    _dir: tempfile::TempDir,
    pki: Pki,
    foreign: Pki,
    authentication: Authentication,
    issuer: TokenIssuer,
    reader: Arc<FakeReader>,
}

fn pki(dir: std::path::PathBuf, now: Timestamp) -> Pki {
    let config = PkiConfig {
        dir,
        node_name: "n1".into(),
        cluster_domain: "cluster.local".into(),
        service_ip: [10, 96, 0, 1].into(),
        node_ips: Vec::new(),
        extra_sans: Vec::new(),
    };
    Pki::open(&config, now).expect("a PKI")
}

fn start() -> Timestamp {
    "2026-11-21T00:00:00Z".parse().expect("a time")
}

fn fixture_at(now: Timestamp, anonymous: bool) -> Fixture {
    let dir = tempfile::tempdir().expect("a directory");
    let own = pki(dir.path().join("own"), start());
    let foreign = pki(dir.path().join("foreign"), start());
    let keys = Arc::new(TokenKeys::new(own.service_account_key_pem(), &[]).expect("keys"));
    let reader = Arc::new(FakeReader::default());
    reader.put("", "serviceaccounts", &value!({"metadata": {"namespace": "demo", "name": "web", "uid": "u"}}));
    let config = AuthenticationConfig {
        client_ca_pem: Some(own.ca().certificate_pem().to_owned()),
        front_proxy: Some(FrontProxyConfig::new(own.front_proxy_ca().certificate_pem())),
        service_account_keys: keys.clone(),
        service_account_issuer: ISSUER.into(),
        api_audiences: vec![ISSUER.into()],
        bootstrap_tokens: true,
        anonymous,
    };
    let clock: Clock = Arc::new(move || now);
    let authentication = Authentication::build(config, reader.objects(), clock.clone()).expect("authentication");
    let config = TokenIssuerConfig {
        issuer: ISSUER.into(),
        api_audiences: vec![ISSUER.into()],
        max_expiration: None,
        extend_expiration: true,
    };
    let issuer = TokenIssuer::new(keys, config, reader.objects(), clock);
    Fixture { _dir: dir, pki: own, foreign, authentication, issuer, reader }
}

fn fixture() -> Fixture {
    fixture_at(start(), true)
}

fn request(credential: Option<&Credential>, headers: &[(&str, &str)]) -> Parts {
    let mut builder = http::Request::builder().uri("/api");
    for (name, text) in headers {
        builder = builder.header(*name, *text);
    }
    let (mut parts, ()) = builder.body(()).expect("a request").into_parts();
    let chain = credential.map(|credential| {
        let der = CertificateDer::from_pem_slice(credential.certificate_pem.as_bytes()).expect("a certificate");
        der.to_vec()
    });
    parts.extensions.insert(PeerCertificates(Arc::new(chain.into_iter().collect())));
    parts
}

impl Fixture {
    async fn user(&self, credential: Option<&Credential>, headers: &[(&str, &str)]) -> Option<(String, Vec<String>)> {
        match self.authentication.authenticate(&request(credential, headers)).await {
            Ok(user) => user.map(|user| (user.name, user.groups)),
            Err(status) => {
                assert_eq!(
                    (status.code, status.reason, status.message.as_str()),
                    (401, "Unauthorized", "Unauthorized")
                );
                None
            }
        }
    }

    async fn token(&self) -> String {
        let answer = self.issuer.issue("demo", "web", &value!({}), &mut Vec::new()).await.expect("a token");
        format!("Bearer {}", answer.str_at(&["status", "token"]).expect("a token"))
    }
}

fn named(name: &str, groups: &[&str]) -> Option<(String, Vec<String>)> {
    Some((name.into(), groups.iter().map(|group| group.to_string()).collect()))
}

#[tokio::test]
async fn certificates_name_users_and_groups() {
    let fixture = fixture();
    let node = fixture.pki.client(&Identity::Node("n1".into()), start()).expect("a certificate");
    for _ in 0..2 {
        let expected = named("system:node:n1", &["system:nodes", "system:authenticated"]);
        assert_eq!(fixture.user(Some(&node), &[]).await, expected);
    }
    let scheduler = fixture.pki.client(&Identity::Scheduler, start()).expect("a certificate");
    assert_eq!(fixture.user(Some(&scheduler), &[]).await, named("system:kube-scheduler", &["system:authenticated"]));
    let user = fixture.authentication.authenticate(&request(Some(&node), &[])).await.expect("ok").expect("a user");
    assert!(user.extra["authentication.kubernetes.io/credential-id"][0].starts_with("X509SHA256="));
}

#[tokio::test]
async fn certificates_that_do_not_hold_are_refused() {
    let fixture = fixture();
    let foreign = fixture.foreign.client(&Identity::Admin, start()).expect("a certificate");
    let foreign_named = fixture.foreign.client(&Identity::KubeletClient, start()).expect("a certificate");
    assert_eq!(fixture.user(Some(&foreign), &[]).await, None);
    assert_eq!(fixture.user(Some(&foreign_named), &[]).await, None);
    // For servers, and for proxies: not for clients.
    assert_eq!(fixture.user(Some(&fixture.pki.serving()), &[]).await, None);
    assert_eq!(fixture.user(Some(&fixture.pki.front_proxy_client()), &[]).await, None);
    // A certificate in the way of a good token does no harm.
    let token = fixture.token().await;
    let user = fixture.user(Some(&foreign), &[("authorization", &token)]).await;
    assert_eq!(user.map(|user| user.0).as_deref(), Some("system:serviceaccount:demo:web"));
}

#[tokio::test]
async fn certificates_end_with_their_time() {
    let life = crate::pki::LEAF_LIFE;
    for (age, holds) in [(life, true), (life + jiff::SignedDuration::from_secs(1), false)] {
        let fixture = fixture_at(start() + age, true);
        let admin = fixture.pki.client(&Identity::Admin, start()).expect("a certificate");
        assert_eq!(fixture.user(Some(&admin), &[]).await.is_some(), holds);
    }
}

#[tokio::test]
async fn no_credentials_are_anonymous_and_wrong_ones_are_refused() {
    let fixture = fixture();
    let anonymous = named("system:anonymous", &["system:unauthenticated"]);
    assert_eq!(fixture.user(None, &[]).await, anonymous);
    assert_eq!(fixture.user(None, &[("authorization", "Basic eDp5")]).await, anonymous);
    assert_eq!(fixture.user(None, &[("authorization", "Bearer ")]).await, anonymous);
    assert_eq!(fixture.user(None, &[("x-remote-user", "root"), ("x-remote-group", "system:masters")]).await, anonymous);
    assert_eq!(fixture.user(None, &[("authorization", "Bearer nonsense")]).await, None);
    assert_eq!(fixture_at(start(), false).user(None, &[]).await, None);
}

#[tokio::test]
async fn tokens_come_in_headers_and_web_sockets() {
    let fixture = fixture();
    let token = fixture.token().await;
    let expected = named(
        "system:serviceaccount:demo:web",
        &["system:serviceaccounts", "system:serviceaccounts:demo", "system:authenticated"],
    );
    assert_eq!(fixture.user(None, &[("authorization", &token)]).await, expected);
    let encoded = URL_SAFE_NO_PAD.encode(token.trim_start_matches("Bearer "));
    let protocol = format!("base64url.bearer.authorization.k8s.io.{encoded}");
    let both = format!("{protocol}, v5.channel.k8s.io");
    let socket = |protocols: &str| {
        vec![
            ("upgrade".to_owned(), "websocket".to_owned()),
            ("sec-websocket-protocol".to_owned(), protocols.to_owned()),
        ]
    };
    for (protocols, holds) in [(both.as_str(), true), (protocol.as_str(), false)] {
        let headers = socket(protocols);
        let headers = headers.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect::<Vec<_>>();
        assert_eq!(fixture.user(None, &headers).await, if holds { expected.clone() } else { None });
    }
}

#[tokio::test]
async fn front_proxies_are_believed_by_their_certificate() {
    let fixture = fixture();
    let proxy = fixture.pki.front_proxy_client();
    let headers = [
        ("x-remote-user", "jane"),
        ("x-remote-uid", "42"),
        ("x-remote-group", "devs"),
        ("x-remote-group", "ops"),
        ("x-remote-extra-example.com%2fscope", "a"),
        ("x-remote-extra-example.com%2fscope", "b"),
    ];
    let user =
        fixture.authentication.authenticate(&request(Some(&proxy), &headers)).await.expect("ok").expect("a user");
    assert_eq!((user.name.as_str(), user.uid.as_str()), ("jane", "42"));
    assert_eq!(user.groups, ["devs", "ops", "system:authenticated"]);
    assert_eq!(user.extra["example.com/scope"], ["a", "b"]);
    // The same headers from a client are only headers.
    let scheduler = fixture.pki.client(&Identity::Scheduler, start()).expect("a certificate");
    let user = fixture.user(Some(&scheduler), &headers).await;
    assert_eq!(user.map(|user| user.0).as_deref(), Some("system:kube-scheduler"));
}

#[test]
fn extension_servers_are_told_whom_to_believe() {
    let map = crate::authentication::extension_apiserver_authentication("CA", &FrontProxyConfig::new("PROXY-CA"));
    let expected = value!({
        "client-ca-file": "CA",
        "requestheader-allowed-names": "[\"front-proxy-client\"]",
        "requestheader-client-ca-file": "PROXY-CA",
        "requestheader-extra-headers-prefix": "[\"X-Remote-Extra-\"]",
        "requestheader-group-headers": "[\"X-Remote-Group\"]",
        "requestheader-uid-headers": "[\"X-Remote-Uid\"]",
        "requestheader-username-headers": "[\"X-Remote-User\"]"
    });
    assert_eq!(map.get("data"), Some(&expected));
}

#[tokio::test]
async fn bootstrap_tokens_introduce_machines() {
    let fixture = fixture();
    let put = |changes: &[(&str, &str)]| {
        let mut data = std::collections::BTreeMap::from([
            ("token-id", "abcdef"),
            ("token-secret", "0123456789abcdef"),
            ("usage-bootstrap-authentication", "true"),
            ("auth-extra-groups", "system:bootstrappers:kubeadm:default-node-token"),
            ("expiration", "2026-11-21T01:00:00Z"),
        ]);
        data.extend(changes.iter().copied());
        let mut secret = value!({
            "metadata": {"namespace": "kube-system", "name": "bootstrap-token-abcdef"},
            "type": "bootstrap.kubernetes.io/token"
        });
        for (key, text) in data {
            secret.set_at(&["data", key], STANDARD.encode(text));
        }
        fixture.reader.put("", "secrets", &secret);
    };
    let bearer = [("authorization", "Bearer abcdef.0123456789abcdef")];
    assert_eq!(fixture.user(None, &bearer).await, None);
    put(&[]);
    let groups = ["system:bootstrappers", "system:bootstrappers:kubeadm:default-node-token", "system:authenticated"];
    assert_eq!(fixture.user(None, &bearer).await, named("system:bootstrap:abcdef", &groups));
    assert_eq!(fixture.user(None, &[("authorization", "Bearer abcdef.0123456789abcdeg")]).await, None);
    for change in [
        ("expiration", "2026-11-21T00:00:00Z"),
        ("expiration", "soon"),
        ("usage-bootstrap-authentication", "false"),
        ("token-id", "abcdeg"),
        ("auth-extra-groups", "system:masters"),
    ] {
        put(&[change]);
        assert_eq!(fixture.user(None, &bearer).await, None, "{change:?}");
    }
}

#[tokio::test]
async fn components_of_this_process_are_who_they_are() {
    let fixture = fixture();
    let mut parts = request(None, &[]);
    let identity = UserInfo { name: "system:kube-scheduler".into(), ..UserInfo::default() };
    parts.extensions.insert(InProcessIdentity(Arc::new(identity.clone())));
    assert_eq!(fixture.authentication.authenticate(&parts).await, Ok(Some(identity)));
}

#[tokio::test]
async fn token_reviews() {
    let fixture = fixture();
    let token = fixture.token().await;
    let token = token.trim_start_matches("Bearer ");
    let review = |spec: skiff_apimachinery::value::Value| {
        let review = value!({"kind": "TokenReview", "spec": spec});
        let authentication = &fixture.authentication;
        async move { authentication.review(&review).await }
    };
    let answer = review(value!({"token": token})).await.expect("an answer");
    assert_eq!(answer.bool_at(&["status", "authenticated"]), Some(true));
    assert_eq!(answer.at(&["status", "audiences"]), Some(&value!([ISSUER])));
    assert_eq!(answer.str_at(&["status", "user", "username"]), Some("system:serviceaccount:demo:web"));
    assert_eq!(answer.array_at(&["status", "user", "groups"]).len(), 3);
    let answer = review(value!({"token": token, "audiences": ["other"]})).await.expect("an answer");
    assert_eq!(answer.bool_at(&["status", "authenticated"]), None);
    assert!(answer.str_at(&["status", "error"]).is_some_and(|e| e.contains("invalid for the target audiences")));
    let answer = review(value!({"token": "x"})).await.expect("an answer");
    assert_eq!(answer.str_at(&["status", "error"]), Some("invalid bearer token"));
    let refused = review(value!({"token": ""})).await.expect_err("no token");
    assert_eq!(refused.message, "token is required for TokenReview in authentication");
}
