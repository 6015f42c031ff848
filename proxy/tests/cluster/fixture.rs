//! A node in a namespace of the test's own: API server on a memory store, proxy, DNS, and two pods with servers.

use std::convert::Infallible;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use axum::body::Body;
use http::Request;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::{Value, json};
use skiff_apiserver::authentication::{Authenticator, InProcessIdentity, UserInfo};
use skiff_apiserver::authorization::{Attributes, Authorizer, Decision, RulesReview};
use skiff_apiserver::{ApiServer, Security};
use skiff_netlink::link::Links;
use skiff_netlink::netns;
use skiff_netlink::pod_network::{self, PodNetwork};
use skiff_storage::HistoryLimits;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

/// Name of the node.
pub(crate) const NODE: &str = "n1";
/// Address of the node, on its loopback.
pub(crate) const NODE_ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 10);
/// Longest that anything may take.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// Runs a test inside a new namespace, on a runtime whose threads are all in it.
pub(crate) fn in_node<F: Future<Output = ()>>(name: &'static str, test: impl FnOnce(Node) -> F + Send + 'static) {
    let dir = tempfile::tempdir().expect("temporary directory");
    let namespace = Namespace::new(dir.path().join("node"));
    let (path, home) = (namespace.path.clone(), dir.path().to_owned());
    let outcome = std::thread::spawn(move || {
        netns::enter(&path).expect("enter the node");
        // Threads made from here on are in the namespace, too.
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("runtime");
        runtime.block_on(async {
            let node = Node::new(name, &home).await;
            test(node).await;
        });
    })
    .join();
    drop(namespace);
    if let Err(panic) = outcome {
        std::panic::resume_unwind(panic);
    }
}

/// A namespace that goes with this value, also when a test fails.
struct Namespace {
    path: PathBuf,
}

impl Namespace {
    fn new(path: PathBuf) -> Self {
        netns::create(&path).expect("a namespace");
        Self { path }
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = netns::delete(&self.path);
    }
}

/// The node.
pub(crate) struct Node {
    pub(crate) cluster: &'static str,
    pub(crate) client: Client,
    pub(crate) pods: Vec<Pod>,
    shutdown: CancellationToken,
    _api: Arc<ApiServer>,
}

/// A pod with an echo server on TCP and UDP port 8080, which answers its name.
pub(crate) struct Pod {
    pub(crate) namespace: PathBuf,
    pub(crate) ip: Ipv4Addr,
    stop: Arc<AtomicBool>,
    _pin: Namespace,
}

impl Node {
    async fn new(cluster: &'static str, dir: &Path) -> Self {
        let links = Links::open().expect("netlink");
        links.add_address("lo", NODE_ADDRESS, 32).await.expect("node address");
        // A way out, which leads nowhere.
        links.add_veth("up0", "up1", 1500, "test").await.expect("a link");
        links.add_address("up0", Ipv4Addr::new(198, 51, 100, 2), 24).await.expect("its address");
        for link in ["up0", "up1"] {
            links.set_up(link).await.expect("up");
        }
        let gateway = Some(Ipv4Addr::new(198, 51, 100, 1));
        links.add_route("up0", Ipv4Addr::UNSPECIFIED, 0, gateway).await.expect("default route");
        let network = PodNetwork::new(pod_network::Config {
            cluster: cluster.into(),
            state_dir: dir.join("network"),
            mtu: 0,
            cluster_range: "10.244.0.0/16".parse().expect("range"),
        })
        .await
        .expect("pod network");
        network.set_pod_cidr("10.244.7.0/24".parse().expect("range"));
        let mut pods = Vec::new();
        for name in ["a", "b"] {
            let namespace = Namespace::new(dir.join(name));
            let ip = network.attach(name, &namespace.path, &[]).await.expect("attach").ip;
            pods.push(Pod::start(name, namespace, ip));
        }
        let shutdown = CancellationToken::new();
        let api = api_server(shutdown.clone()).await;
        let client = client(&api);
        Self { cluster, client, pods, shutdown, _api: api }
    }

    /// Starts a proxy, which runs until the token is cancelled.
    pub(crate) fn start_proxy(&self) -> (CancellationToken, tokio::task::JoinHandle<anyhow::Result<()>>) {
        let config = skiff_proxy::Config {
            cluster: self.cluster.into(),
            node_name: NODE.into(),
            check_period: Duration::from_millis(200),
            ..skiff_proxy::Config::default()
        };
        let stop = self.shutdown.child_token();
        (stop.clone(), tokio::spawn(skiff_proxy::run(config, self.client.clone(), stop)))
    }

    /// Starts the cluster's DNS.
    pub(crate) fn start_dns(&self) -> (CancellationToken, tokio::task::JoinHandle<anyhow::Result<()>>) {
        let config = skiff_dns::Config {
            node_name: NODE.into(),
            node_address: NODE_ADDRESS,
            upstream: skiff_dns::Upstream::Servers(vec![]),
            ..skiff_dns::Config::default()
        };
        let stop = self.shutdown.child_token();
        (stop.clone(), tokio::spawn(skiff_dns::run(config, self.client.clone(), stop)))
    }

    /// Makes a Service in namespace `default` and returns it with what the server filled in.
    pub(crate) async fn create_service(&self, name: &str, spec: Value) -> Service {
        let service = serde_json::from_value(json!({"metadata": {"name": name}, "spec": spec})).expect("a Service");
        let services: Api<Service> = Api::namespaced(self.client.clone(), "default");
        services.create(&PostParams::default(), &service).await.expect("create the Service")
    }

    /// Makes the slice of a Service say that these pods are its endpoints on port 8080.
    pub(crate) async fn set_endpoints(&self, service: &str, pods: &[&Pod]) {
        let endpoints: Vec<Value> = pods.iter().map(|pod| json!({"addresses": [pod.ip], "nodeName": NODE})).collect();
        self.set_slice(service, json!(endpoints)).await;
    }

    /// Writes the slice of a Service.
    pub(crate) async fn set_slice(&self, service: &str, endpoints: Value) {
        let slices: Api<EndpointSlice> = Api::namespaced(self.client.clone(), "default");
        let slice = json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": {"name": service, "labels": {"kubernetes.io/service-name": service}},
            "addressType": "IPv4", "endpoints": endpoints,
            "ports": [{"name": "tcp", "port": 8080, "protocol": "TCP"}, {"name": "udp", "port": 8080, "protocol": "UDP"}],
        });
        let parameters = PatchParams::apply("test").force();
        slices.patch(service, &parameters, &Patch::Apply(&slice)).await.expect("write the slice");
    }

    /// Ends what runs on the node.
    pub(crate) async fn end(self) {
        self.shutdown.cancel();
    }
}

impl Pod {
    fn start(name: &'static str, pin: Namespace, ip: Ipv4Addr) -> Self {
        let namespace = pin.path.clone();
        let stop = Arc::new(AtomicBool::new(false));
        let (tcp, udp) = netns::run_in(&namespace, || {
            (TcpListener::bind((ip, 8080)).expect("listen"), UdpSocket::bind((ip, 8080)).expect("bind"))
        })
        .expect("enter the pod");
        // Sockets belong to the namespace that they were made in, whatever thread uses them.
        let stopped = stop.clone();
        std::thread::spawn(move || {
            for stream in tcp.incoming() {
                if stopped.load(Ordering::SeqCst) {
                    return;
                }
                if let Ok(mut stream) = stream {
                    let _ = stream.write_all(name.as_bytes());
                }
            }
        });
        udp.set_read_timeout(Some(Duration::from_millis(100))).expect("timeout");
        let stopped = stop.clone();
        std::thread::spawn(move || {
            let mut buffer = [0; 64];
            while !stopped.load(Ordering::SeqCst) {
                if let Ok((_, from)) = udp.recv_from(&mut buffer) {
                    let _ = udp.send_to(name.as_bytes(), from);
                }
            }
        });
        Self { namespace, ip, stop, _pin: pin }
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        // The server notices at its next connection.
        let _ = netns::run_in(&self.namespace, || ask((self.ip, 8080).into()));
    }
}

/// Connects, from the calling thread's namespace, and reads everything.
pub(crate) fn ask(address: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(3))?;
    stream.set_read_timeout(Some(Duration::from_secs(3)))?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}

/// Connects from a namespace.
pub(crate) fn ask_in(namespace: &Path, address: SocketAddr) -> std::io::Result<String> {
    netns::run_in(namespace, || ask(address)).expect("enter the namespace")
}

/// Looks again until what is found is as wanted.
pub(crate) async fn until<T: std::fmt::Debug>(what: &str, look: impl FnMut() -> T, wanted: impl Fn(&T) -> bool) {
    drop(found(what, look, wanted).await);
}

/// Looks again until what is found is as wanted, and returns it.
pub(crate) async fn found<T: std::fmt::Debug>(
    what: &str,
    mut look: impl FnMut() -> T,
    wanted: impl Fn(&T) -> bool,
) -> T {
    let deadline = Instant::now() + DEADLINE;
    loop {
        let found = tokio::task::block_in_place(&mut look);
        if wanted(&found) {
            return found;
        }
        assert!(Instant::now() < deadline, "{what}: {found:?}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

struct Nobody;

#[async_trait::async_trait]
impl Authenticator for Nobody {
    async fn authenticate(
        &self,
        _request: &http::request::Parts,
    ) -> Result<Option<UserInfo>, skiff_apimachinery::status::Status> {
        Ok(None)
    }
}

struct Everything;

impl Authorizer for Everything {
    fn authorize(&self, _attributes: &Attributes) -> Decision {
        Decision::Allow(String::new())
    }

    fn rules_for(&self, _user: &UserInfo, _namespace: &str) -> RulesReview {
        RulesReview::default()
    }
}

async fn api_server(shutdown: CancellationToken) -> Arc<ApiServer> {
    let config = skiff_apiserver::Config {
        advertise_address: NODE_ADDRESS.into(),
        advertise_port: 6443,
        service_cidr: "10.96.0.0/12".parse().expect("range"),
        node_ports: 30000..=32767,
        runtime_config: Vec::new(),
        services: None,
        history: HistoryLimits::default(),
        audit: None,
        security: Box::new(|_reader| {
            Ok(Security {
                authenticator: Arc::new(Nobody),
                authorizer: Arc::new(Everything),
                admission: Vec::new(),
                token_review: None,
                token_issuer: None,
                oidc: None,
                proxy_tls: None,
                published: Vec::new(),
            })
        }),
        shutdown,
    };
    let storage = Arc::new(skiff_storage::memory::open(HistoryLimits::default()).expect("memory store"));
    let server = ApiServer::build(config, storage).await.expect("server");
    server.ready().await;
    server.bootstrap().await.expect("what exists from the start");
    server
}

fn client(api: &Arc<ApiServer>) -> Client {
    let service = api.service();
    let user = Arc::new(UserInfo {
        name: "admin".into(),
        groups: vec!["system:masters".into(), "system:authenticated".into()],
        ..UserInfo::default()
    });
    let in_memory = tower::service_fn(move |request: Request<kube::client::Body>| {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(InProcessIdentity(user.clone()));
        let service = service.clone();
        async move { Ok::<_, Infallible>(service.oneshot(request).await.expect("infallible")) }
    });
    Client::new(in_memory, "default")
}
