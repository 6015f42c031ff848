//! The server on a real socket: TLS, who gets in, long requests, upgrades, and kubelets behind it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use axum::body::Body;
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use serde_json::{Value, json};
use skiff_apiserver::pki::{Credential, Identity, Pki, PkiConfig};
use skiff_apiserver::server::Listener;
use skiff_apiserver::{ApiServer, Config, Security};
use skiff_storage::HistoryLimits;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

const DEADLINE: Duration = Duration::from_secs(10);

struct Cluster {
    address: SocketAddr,
    pki: Pki,
    shutdown: CancellationToken,
    serving: tokio::task::JoinHandle<anyhow::Result<()>>,
    _dir: tempfile::TempDir,
}

impl Cluster {
    async fn start() -> Self {
        let dir = tempfile::tempdir().expect("dir");
        let pki = Pki::open(
            &PkiConfig {
                dir: dir.path().join("pki"),
                node_name: "n1".into(),
                cluster_domain: "cluster.local".into(),
                service_ip: [10, 96, 0, 1].into(),
                node_ips: vec![[192, 0, 2, 1].into()],
                extra_sans: Vec::new(),
            },
            Timestamp::now(),
        )
        .expect("pki");
        let storage: Arc<dyn skiff_storage::Storage> =
            Arc::new(skiff_storage::memory::open(HistoryLimits::default()).expect("store"));
        let shutdown = CancellationToken::new();
        let config = Config {
            advertise_address: [192, 0, 2, 1].into(),
            advertise_port: 6443,
            service_cidr: "10.96.0.0/16".parse().expect("cidr"),
            node_ports: 30000..=32767,
            runtime_config: Vec::new(),
            services: None,
            history: HistoryLimits::default(),
            audit: None,
            security: Security::from_pki(&pki, storage.clone(), "https://127.0.0.1").expect("security"),
            shutdown: shutdown.clone(),
        };
        let server = ApiServer::build(config, storage).await.expect("server");
        server.ready().await;
        server.bootstrap().await.expect("bootstrap");
        let tcp = TcpListener::bind("127.0.0.1:0").await.expect("port");
        let address = tcp.local_addr().expect("address");
        let tls = Arc::new(ArcSwap::from_pointee(pki.server_config().expect("tls")));
        let serving = tokio::spawn(server.run(vec![Listener { tcp, tls }]));
        Self { address, pki, shutdown, serving, _dir: dir }
    }

    fn admin(&self) -> Arc<Credential> {
        self.pki.client(&Identity::Admin, Timestamp::now()).expect("admin")
    }

    async fn connect(&self, credential: Option<&Credential>) -> tokio_rustls::client::TlsStream<TcpStream> {
        let mut roots = rustls::RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(self.pki.ca().certificate_pem().as_bytes()) {
            roots.add(certificate.expect("certificate")).expect("root");
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots);
        let config = match credential {
            None => builder.with_no_client_auth(),
            Some(credential) => {
                let chain = CertificateDer::pem_slice_iter(credential.certificate_pem.as_bytes());
                let key = PrivateKeyDer::from_pem_slice(credential.key_pem.as_bytes()).expect("key");
                let chain = chain.collect::<Result<Vec<_>, _>>().expect("chain");
                builder.with_client_auth_cert(chain, key).expect("client certificate")
            }
        };
        let stream = TcpStream::connect(self.address).await.expect("connect");
        let name = ServerName::try_from("127.0.0.1").expect("name");
        tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, stream).await.expect("handshake")
    }

    async fn send(&self, credential: Option<&Credential>, request: Request<Body>) -> Response<Incoming> {
        let stream = TokioIo::new(self.connect(credential).await);
        let (mut sender, connection) = hyper::client::conn::http1::handshake(stream).await.expect("http");
        tokio::spawn(connection.with_upgrades());
        let sent = tokio::time::timeout(DEADLINE, sender.send_request(request)).await;
        sent.expect("an answer within the deadline").expect("answer")
    }

    async fn post(&self, path: &str, body: Value) -> Value {
        let request = Request::post(path).header("content-type", "application/json").body(Body::from(body.to_string()));
        json_of(self.send(Some(&self.admin()), request.expect("request")).await).await
    }
}

async fn json_of(response: Response<Incoming>) -> Value {
    let bytes = response.into_body().collect().await.expect("body").to_bytes();
    serde_json::from_slice(&bytes).unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&bytes)))
}

fn get(path: &str) -> Request<Body> {
    Request::get(path).header("host", "test").body(Body::empty()).expect("request")
}

#[tokio::test]
async fn certificates_decide_who_gets_in() {
    let cluster = Cluster::start().await;
    assert_eq!(cluster.send(None, get("/livez")).await.status(), StatusCode::OK);
    let anonymous = cluster.send(None, get("/api/v1/secrets")).await;
    assert_eq!(anonymous.status(), StatusCode::FORBIDDEN);
    let refused = json_of(anonymous).await;
    assert_eq!(
        refused["message"],
        "secrets is forbidden: User \"system:anonymous\" cannot list resource \"secrets\" in API group \"\" at the cluster scope"
    );
    let admin = cluster.admin();
    assert_eq!(cluster.send(Some(&admin), get("/api/v1/secrets")).await.status(), StatusCode::OK);
    let scheduler = cluster.pki.client(&Identity::Scheduler, Timestamp::now()).expect("scheduler");
    assert_eq!(cluster.send(Some(&scheduler), get("/api/v1/pods")).await.status(), StatusCode::OK);
    assert_eq!(cluster.send(Some(&scheduler), get("/api/v1/secrets")).await.status(), StatusCode::FORBIDDEN);
    let bad =
        Request::get("/api/v1/pods").header("authorization", "Bearer nonsense").body(Body::empty()).expect("request");
    assert_eq!(cluster.send(None, bad).await.status(), StatusCode::UNAUTHORIZED);
    let mut acting = get("/api/v1/pods");
    acting.headers_mut().insert("impersonate-user", "jane".parse().expect("value"));
    assert_eq!(cluster.send(Some(&admin), acting).await.status(), StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn what_must_exist_exists_twice_over() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let service =
        json_of(cluster.send(Some(&admin), get("/api/v1/namespaces/default/services/kubernetes")).await).await;
    assert_eq!(service["spec"]["clusterIP"], "10.96.0.1");
    let slice = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/kubernetes";
    let slice = json_of(cluster.send(Some(&admin), get(slice)).await).await;
    assert_eq!(slice["endpoints"][0]["addresses"], json!(["192.0.2.1"]));
    let role = "/apis/rbac.authorization.k8s.io/v1/clusterroles/cluster-admin";
    assert_eq!(cluster.send(Some(&admin), get(role)).await.status(), StatusCode::OK);
}

#[tokio::test]
async fn shutdown_ends_watches_and_returns() {
    let cluster = Cluster::start().await;
    let watch = cluster.send(Some(&cluster.admin()), get("/api/v1/configmaps?watch=1")).await;
    assert_eq!(watch.status(), StatusCode::OK);
    cluster.shutdown.cancel();
    let ended = tokio::time::timeout(DEADLINE, watch.into_body().collect()).await;
    ended.expect("the watch ends within the deadline").expect("cleanly");
    let served = tokio::time::timeout(DEADLINE, cluster.serving).await;
    served.expect("the server returns within the deadline").expect("task").expect("result");
}

#[tokio::test]
async fn a_watch_over_websocket_sends_one_event_per_message() {
    let cluster = Cluster::start().await;
    let mut request = get("/api/v1/namespaces/default/configmaps?watch=1&resourceVersion=0");
    for (name, value) in [
        ("connection", "Upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ] {
        request.headers_mut().insert(name, value.parse().expect("value"));
    }
    let response = cluster.send(Some(&cluster.admin()), request).await;
    assert_eq!(response.status(), StatusCode::SWITCHING_PROTOCOLS);
    let upgraded = hyper::upgrade::on(response).await.expect("upgrade");
    cluster.post("/api/v1/namespaces/default/configmaps", json!({"metadata": {"name": "a"}})).await;
    let mut stream = TokioIo::new(upgraded);
    let mut head = [0; 4];
    tokio::time::timeout(DEADLINE, stream.read_exact(&mut head)).await.expect("in time").expect("frame");
    assert_eq!(head[..2], [0x81, 126]);
    let mut payload = vec![0; usize::from(u16::from_be_bytes([head[2], head[3]]))];
    stream.read_exact(&mut payload).await.expect("payload");
    let event: Value = serde_json::from_slice(&payload).expect("event");
    assert_eq!((&event["type"], &event["object"]["metadata"]["name"]), (&json!("ADDED"), &json!("a")));
}

/// A kubelet that answers logs, refuses some, and echoes what comes over an upgraded exec.
async fn kubelet(cluster: &Cluster) -> SocketAddr {
    let credential =
        cluster.pki.kubelet_serving("n1", &[[127, 0, 0, 1].into()], Timestamp::now()).expect("kubelet certificate");
    let authorities = [cluster.pki.ca().certificate_pem()];
    let config = skiff_apiserver::pki::tls::server_config(&credential, &authorities).expect("tls");
    let mut config = config;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("port");
    let address = listener.local_addr().expect("address");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let stream = acceptor.accept(stream).await.expect("handshake");
                let shown = stream.get_ref().1.peer_certificates().is_some();
                let service = service_fn(move |request| answer(request, shown));
                let connection = hyper::server::conn::http1::Builder::new();
                let _ = connection.serve_connection(TokioIo::new(stream), service).with_upgrades().await;
            });
        }
    });
    address
}

async fn answer(mut request: Request<Incoming>, certificate: bool) -> Result<Response<Body>, std::convert::Infallible> {
    assert!(certificate, "the API server shows its client certificate");
    assert!(!request.headers().contains_key("authorization"), "the client's credentials stay behind");
    let asked = request.uri().to_string();
    if asked.starts_with("/exec/") {
        let upgrade = hyper::upgrade::on(&mut request);
        tokio::spawn(async move {
            let mut stream = TokioIo::new(upgrade.await.expect("upgrade"));
            stream.write_all(asked.as_bytes()).await.expect("write");
            stream.write_all(b"\n").await.expect("write");
            let (mut reader, mut writer) = tokio::io::split(stream);
            let _ = tokio::io::copy(&mut reader, &mut writer).await;
        });
        let response = Response::builder().status(101).header("connection", "Upgrade").header("upgrade", "SPDY/3.1");
        return Ok(response.body(Body::empty()).expect("response"));
    }
    let (code, text) = if asked.contains("previous=true") {
        (400, "previous terminated container \"main\" in pod \"p\" not found".to_owned())
    } else {
        (200, format!("log of {asked}"))
    };
    Ok(Response::builder().status(code).body(Body::from(text)).expect("response"))
}

async fn pod_on_a_node(cluster: &Cluster) {
    let address = kubelet(cluster).await;
    let node = json!({
        "metadata": {"name": "n1"},
        "status": {
            "addresses": [{"type": "InternalIP", "address": address.ip().to_string()}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": address.port()}}
        }
    });
    cluster.post("/api/v1/nodes", node).await;
    cluster.post("/api/v1/namespaces/default/serviceaccounts", json!({"metadata": {"name": "default"}})).await;
    let pod = json!({
        "metadata": {"name": "p"},
        "spec": {"nodeName": "n1", "containers": [{"name": "main", "image": "a:1"}]}
    });
    let created = cluster.post("/api/v1/namespaces/default/pods", pod).await;
    assert_eq!(created["spec"]["nodeName"], "n1", "{created}");
}

#[tokio::test]
async fn logs_come_from_the_kubelet() {
    let cluster = Cluster::start().await;
    pod_on_a_node(&cluster).await;
    let admin = cluster.admin();
    let log = cluster.send(Some(&admin), get("/api/v1/namespaces/default/pods/p/log?follow=true&tailLines=5")).await;
    assert_eq!(log.status(), StatusCode::OK);
    let text = log.into_body().collect().await.expect("body").to_bytes();
    assert_eq!(&text[..], b"log of /containerLogs/default/p/main?follow=true&tailLines=5");
    let refused = cluster.send(Some(&admin), get("/api/v1/namespaces/default/pods/p/log?previous=true")).await;
    assert_eq!(refused.status(), StatusCode::BAD_REQUEST);
    let refused = json_of(refused).await;
    assert_eq!(refused["message"], "previous terminated container \"main\" in pod \"p\" not found");
    let other = cluster.send(Some(&admin), get("/api/v1/namespaces/default/pods/p/log?container=x")).await;
    assert_eq!(json_of(other).await["message"], "container x is not valid for pod p");
}

#[tokio::test]
async fn exec_is_copied_both_ways() {
    let cluster = Cluster::start().await;
    pod_on_a_node(&cluster).await;
    let path = "/api/v1/namespaces/default/pods/p/exec?command=cat&stdin=true&stdout=true";
    let request = Request::post(path)
        .header("host", "test")
        .header("connection", "Upgrade")
        .header("upgrade", "SPDY/3.1")
        .body(Body::empty())
        .expect("request");
    let response = cluster.send(Some(&cluster.admin()), request).await;
    assert_eq!(response.status(), StatusCode::SWITCHING_PROTOCOLS);
    let mut stream = TokioIo::new(hyper::upgrade::on(response).await.expect("upgrade"));
    stream.write_all(b"hello").await.expect("write");
    stream.shutdown().await.expect("half close");
    let mut all = String::new();
    tokio::time::timeout(DEADLINE, stream.read_to_string(&mut all)).await.expect("in time").expect("read");
    assert_eq!(all, "/exec/default/p/main?input=1&output=1&command=cat\nhello");
}

#[tokio::test]
async fn proxies_reach_nodes() {
    let cluster = Cluster::start().await;
    pod_on_a_node(&cluster).await;
    let admin = cluster.admin();
    let answer = cluster.send(Some(&admin), get("/api/v1/nodes/n1/proxy/stats/summary?a=b")).await;
    let text = answer.into_body().collect().await.expect("body").to_bytes();
    assert_eq!(&text[..], b"log of /stats/summary?a=b");
    let slash = cluster.send(Some(&admin), get("/api/v1/nodes/n1/proxy")).await;
    assert_eq!(slash.status(), StatusCode::MOVED_PERMANENTLY);
    assert_eq!(slash.headers()["location"], "/api/v1/nodes/n1/proxy/");
    let none = cluster.send(Some(&admin), get("/api/v1/namespaces/default/services/kubernetes:x/proxy/")).await;
    assert_eq!(none.status(), StatusCode::SERVICE_UNAVAILABLE);
}
