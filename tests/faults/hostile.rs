//! Clients that mean ill, or are broken: while they do their worst, others are answered, and memory stays bounded.

use std::sync::Arc;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::{ListParams, ObjectMeta, PostParams};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use skiff_tests::{Cluster, processes, with_control_plane};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Where the API server listens in the test's namespace.
const SERVER: &str = "127.0.0.1:6443";

/// How long another client may have to wait for its answer meanwhile.
const ANSWERED_WITHIN: Duration = Duration::from_secs(2);

/// Memory that the server may take, in bytes.
const MEMORY: u64 = 1 << 30;

/// Connections that are opened, used once and left alone.
const IDLE: usize = 10_000;

/// Connections made at once.
const AT_ONCE: usize = 64;

/// Clients that send a body a byte at a time, or do not read their answer.
const SLOW: usize = 200;

#[test]
fn ten_thousand_idle_connections_leave_room_for_others() {
    with_control_plane("idle", async |cluster| {
        let connector = connector();
        let mut kept = Vec::new();
        while kept.len() < IDLE {
            let opened =
                (0..AT_ONCE.min(IDLE - kept.len())).map(|_| request(connector.clone(), "GET /livez HTTP/1.1\r\n"));
            kept.extend(opened.collect::<JoinSet<_>>().join_all().await);
        }
        for stream in &mut kept[..AT_ONCE] {
            let mut head = [0; 12];
            stream.read_exact(&mut head).await.expect("an answer");
            assert_eq!(&head, b"HTTP/1.1 200");
        }
        others_are_answered(cluster).await;
        drop(kept);
        others_are_answered(cluster).await;
    });
}

#[test]
fn bodies_that_never_end_hold_up_nobody() {
    with_control_plane("bodies", async |cluster| {
        let connector = connector();
        let token = token(cluster).await;
        let head = format!(
            "POST /api/v1/namespaces/default/configmaps HTTP/1.1\r\nauthorization: Bearer {token}\r\n\
             content-type: application/json\r\ncontent-length: 3000000\r\n"
        );
        let slow = (0..SLOW).map(|_| request(connector.clone(), &head));
        let mut slow = slow.collect::<JoinSet<_>>().join_all().await;
        for _ in 0..20 {
            for stream in &mut slow {
                stream.write_all(b"[").await.expect("still taken");
                stream.flush().await.expect("still taken");
            }
            others_are_answered(cluster).await;
        }
    });
}

#[test]
fn answers_that_nobody_reads_are_not_kept_in_memory() {
    with_control_plane("unread", async |cluster| {
        let maps: Api<ConfigMap> = Api::namespaced(cluster.client(), "default");
        for number in 0..20 {
            let data = [("large".to_owned(), "x".repeat(1 << 20))].into();
            let metadata = ObjectMeta { name: Some(format!("large-{number}")), ..ObjectMeta::default() };
            let map = ConfigMap { metadata, data: Some(data), ..ConfigMap::default() };
            maps.create(&PostParams::default(), &map).await.expect("created");
        }
        let (connector, token) = (connector(), token(cluster).await);
        let head = format!("GET /api/v1/configmaps HTTP/1.1\r\nauthorization: Bearer {token}\r\n");
        let mut unread = (0..SLOW).map(|_| request(connector.clone(), &head)).collect::<JoinSet<_>>().join_all().await;
        for stream in &mut unread {
            let mut head = [0; 12];
            stream.read_exact(&mut head).await.expect("an answer begins");
            assert_eq!(&head, b"HTTP/1.1 200");
        }
        others_are_answered(cluster).await;
    });
}

#[test]
fn deep_nesting_by_many_at_once_is_refused_at_once() {
    with_control_plane("deep", async |cluster| {
        let half = 1 << 20;
        let bodies = [
            ("application/json", ["[".repeat(half), "]".repeat(half)].concat()),
            ("application/json", ["{\"a\":".repeat(half / 4), "1".into(), "}".repeat(half / 4)].concat()),
            ("application/yaml", "- ".repeat(half)),
            ("application/yaml", "[".repeat(half)),
            ("application/yaml", "{a: ".repeat(half / 4)),
            ("application/vnd.kubernetes.protobuf", format!("k8s\0{}", "\u{12}\u{7f}".repeat(half / 2))),
        ];
        let path = "/api/v1/namespaces/default/configmaps";
        let mut posts = JoinSet::new();
        for (kind, body) in bodies.iter().cycle().take(AT_ONCE) {
            let request = http::Request::post(path).header("content-type", *kind).body(body.clone().into_bytes());
            let client = cluster.client();
            posts.spawn(async move { client.request_text(request.expect("a request")).await });
        }
        others_are_answered(cluster).await;
        for answer in posts.join_all().await {
            let refused = matches!(&answer, Err(kube::Error::Api(status)) if status.code == 400);
            assert!(refused, "{answer:?}");
        }
        others_are_answered(cluster).await;
    });
}

/// A request of somebody else, and the server's memory.
async fn others_are_answered(cluster: &Cluster) {
    let maps: Api<ConfigMap> = Api::namespaced(cluster.client(), "kube-system");
    let begun = Instant::now();
    let list = tokio::time::timeout(ANSWERED_WITHIN, maps.list(&ListParams::default())).await;
    list.unwrap_or_else(|_| panic!("no answer within {ANSWERED_WITHIN:?}")).expect("an answer");
    let memory = processes::memory(cluster.pid());
    assert!(memory <= MEMORY, "the server takes {} MB", memory >> 20);
    eprintln!("answered after {:?}, {} MB", begun.elapsed(), memory >> 20);
}

/// A token of the administrator's making.
async fn token(cluster: &Cluster) -> String {
    let body = serde_json::json!({"kind": "TokenRequest", "apiVersion": "authentication.k8s.io/v1", "spec": {}});
    let client = cluster.client();
    let rights = serde_json::json!({
        "metadata": {"name": "hostile"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [{"kind": "ServiceAccount", "name": "default", "namespace": "default"}],
    });
    let post = async |path: &str, body: &serde_json::Value| {
        let request = http::Request::post(path).header("content-type", "application/json");
        let request = request.body(body.to_string().into_bytes()).expect("a request");
        client.request::<serde_json::Value>(request).await
    };
    post("/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", &rights).await.expect("rights");
    let path = "/api/v1/namespaces/default/serviceaccounts/default/token";
    let answer =
        skiff_tests::eventually("a token", async || post(path, &body).await.map_err(|error| error.to_string()));
    answer.await["status"]["token"].as_str().expect("a token").to_owned()
}

/// Opens a connection and sends the head of a request.
fn request(connector: TlsConnector, head: &str) -> impl Future<Output = TlsStream<TcpStream>> + Send + 'static {
    let head = format!("{head}host: {SERVER}\r\n\r\n");
    async move {
        let stream = TcpStream::connect(SERVER).await.expect("connected");
        let name = ServerName::try_from("127.0.0.1").expect("a name");
        let mut stream = connector.connect(name, stream).await.expect("TLS");
        stream.write_all(head.as_bytes()).await.expect("sent");
        stream.flush().await.expect("sent");
        stream
    }
}

fn connector() -> TlsConnector {
    let config = ClientConfig::builder().dangerous().with_custom_certificate_verifier(Arc::new(Anybody));
    TlsConnector::from(Arc::new(config.with_no_client_auth()))
}

/// Who serves is not what is tested here.
#[derive(Debug)]
struct Anybody;

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        rustls::crypto::aws_lc_rs::default_provider().signature_verification_algorithms.supported_schemes()
    }
}
