//! A cluster of an API server and a scheduler, without kubelets: nodes are what a test says they are.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use http::{Request, Response};
use kube::Client;
use serde_json::{Value, json};
use skiff_apimachinery::status::Status;
use skiff_apiserver::authentication::{Authenticator, InProcessIdentity, UserInfo};
use skiff_apiserver::authorization::{Attributes, Authorizer, Decision, RulesReview};
use skiff_apiserver::server::Service;
use skiff_apiserver::{ApiServer, Config, Security};
use skiff_client::objects::{DeleteOptions, Objects, PatchKind};
use skiff_client::types::{Node, Pod};
use skiff_client::{Kind, ResourceType};
use skiff_storage::HistoryLimits;
use tokio_util::sync::{CancellationToken, DropGuard};

/// How long anything may take before a test fails.
const DEADLINE: Duration = Duration::from_secs(20);
/// How often a state is looked at while it is waited for.
const LOOK: Duration = Duration::from_millis(5);

/// Who the scheduler is to the server.
const SCHEDULER: &str = "system:kube-scheduler";

const EVENTS: ResourceType = ResourceType::new("", "v1", "events", "Event", true);

/// The cluster; it ends with the test.
pub(crate) struct Cluster {
    pub(crate) client: Client,
    server: Arc<ApiServer>,
    shutdown: CancellationToken,
    _ended: DropGuard,
}

impl Cluster {
    /// Starts server and scheduler.
    pub(crate) async fn start() -> Self {
        let cluster = Self::start_server().await;
        cluster.start_scheduler(skiff_scheduler::Config::default());
        cluster
    }

    /// Starts a server alone.
    pub(crate) async fn start_server() -> Self {
        let shutdown = CancellationToken::new();
        let config = Config {
            advertise_address: [127, 0, 0, 1].into(),
            advertise_port: 6443,
            service_cidr: "10.96.0.0/16".parse().expect("a range"),
            node_ports: 30000..=32767,
            runtime_config: Vec::new(),
            services: None,
            history: HistoryLimits::default(),
            audit: None,
            security: Box::new(|_| Ok(security())),
            shutdown: shutdown.clone(),
        };
        let storage = Arc::new(skiff_storage::memory::open(HistoryLimits::default()).expect("a memory store"));
        let server = ApiServer::build(config, storage).await.expect("a server");
        server.ready().await;
        let client = client_as("admin", server.service());
        Self { client, server, shutdown: shutdown.clone(), _ended: shutdown.drop_guard() }
    }

    /// Starts one more scheduler, and returns what stops it.
    pub(crate) fn start_scheduler(&self, config: skiff_scheduler::Config) -> CancellationToken {
        let stop = self.shutdown.child_token();
        let scheduler = skiff_scheduler::run(config, client_as(SCHEDULER, self.server.service()), stop.clone());
        tokio::spawn(async move { scheduler.await.expect("the scheduler runs until it is stopped") });
        stop
    }

    pub(crate) fn pods(&self) -> Objects<Pod> {
        Objects::namespaced(&self.client, "default")
    }

    /// Makes any object.
    pub(crate) async fn create<K: Kind>(&self, namespace: &str, object: Value) {
        let created = Objects::<Value>::of(&self.client, K::RESOURCE, namespace).create(&object).await;
        created.unwrap_or_else(|error| panic!("{object}: {error}"));
    }

    /// A node with room for this much CPU.
    pub(crate) async fn add_node(&self, name: &str, cpu: &str) {
        self.add_node_with(json!({"metadata": {"name": name}}), cpu).await;
    }

    /// A node from its JSON, with room for this much CPU.
    pub(crate) async fn add_node_with(&self, mut node: Value, cpu: &str) {
        let room = json!({"cpu": cpu, "memory": "8Gi", "pods": "110"});
        node["status"] = json!({"capacity": room, "allocatable": room});
        self.create::<Node>("", node).await;
    }

    /// Waits until the scheduler knows this node: nodes and pods come to it by different ways, each in its own time.
    pub(crate) async fn knows_node(&self, name: &str) {
        let pod = format!("finds-{name}");
        let fields = json!([{"key": "metadata.name", "operator": "In", "values": [name]}]);
        let terms = json!({"nodeSelectorTerms": [{"matchFields": fields}]});
        let affinity = json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": terms}});
        self.add_pod_with(&pod, "0", json!({"affinity": affinity, "tolerations": [{"operator": "Exists"}]})).await;
        self.node_of(&pod).await;
        self.delete_pod(&pod).await;
    }

    /// A pod that asks for this much CPU.
    pub(crate) async fn add_pod(&self, name: &str, cpu: &str) {
        self.add_pod_with(name, cpu, json!({})).await;
    }

    /// The same with more in its spec.
    pub(crate) async fn add_pod_with(&self, name: &str, cpu: &str, mut spec: Value) {
        spec["containers"] = json!([{"name": "c", "image": "image", "resources": {"requests": {"cpu": cpu}}}]);
        // No kubelet is there to end a pod, so it must end at once.
        spec["terminationGracePeriodSeconds"] = json!(0);
        let object = json!({"metadata": {"name": name, "labels": {"app": "test"}}, "spec": spec});
        self.create::<Pod>("default", object).await;
    }

    pub(crate) async fn delete_pod(&self, name: &str) {
        self.pods().delete(name, &DeleteOptions::default()).await.expect("deleted");
    }

    pub(crate) async fn patch_node(&self, name: &str, patch: Value) {
        let nodes = Objects::<Node>::cluster(&self.client);
        nodes.patch(name, "", PatchKind::Strategic, &patch).await.expect("patched");
    }

    pub(crate) async fn pod(&self, name: &str) -> Pod {
        self.pods().get(name).await.unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// Waits until the pod has a node, and returns its name.
    pub(crate) async fn node_of(&self, name: &str) -> String {
        let pod = self.wait_for_pod(name, "has a node", |pod| !pod.spec.node_name.is_empty()).await;
        pod.spec.node_name
    }

    /// Waits until something holds of a pod.
    pub(crate) async fn wait_for_pod(&self, name: &str, what: &str, holds: impl Fn(&Pod) -> bool) -> Pod {
        let wait = async {
            loop {
                let pod = self.pod(name).await;
                if holds(&pod) {
                    return pod;
                }
                tokio::time::sleep(LOOK).await;
            }
        };
        match tokio::time::timeout(DEADLINE, wait).await {
            Ok(pod) => pod,
            Err(_) => panic!("{name} is not in the state {what:?}: {:#?}", self.pod(name).await),
        }
    }

    /// Waits until the pod's condition PodScheduled is False with a message of which this is a part. Tries before the
    /// scheduler knew of everything may have had other messages.
    pub(crate) async fn refused(&self, name: &str, part: &str) {
        let refused = |pod: &Pod| {
            let condition = skiff_client::types::condition(&pod.status.conditions, "PodScheduled");
            condition.is_some_and(|condition| condition.status == "False" && condition.message.contains(part))
        };
        self.wait_for_pod(name, part, refused).await;
    }

    /// Waits for an event about a pod, and returns it.
    pub(crate) async fn event(&self, pod: &str, reason: &str) -> Value {
        let events = Objects::<Value>::of(&self.client, EVENTS, "default");
        let wait = async {
            loop {
                let list = events.get("").await.expect("a list");
                let found = list["items"]
                    .as_array()
                    .into_iter()
                    .flatten()
                    .find(|event| event["involvedObject"]["name"] == pod && event["reason"] == reason);
                if let Some(event) = found {
                    return event.clone();
                }
                tokio::time::sleep(LOOK).await;
            }
        };
        let found = tokio::time::timeout(DEADLINE, wait).await;
        found.unwrap_or_else(|_| panic!("no event {reason} about {pod}"))
    }

    /// Pods of the namespace.
    pub(crate) async fn all_pods(&self) -> Vec<Pod> {
        let list = Objects::<Value>::of(&self.client, Pod::RESOURCE, "default").get("").await.expect("a list");
        serde_json::from_value(list["items"].clone()).expect("pods")
    }
}

/// Waits until something holds.
pub(crate) async fn eventually<F: Future<Output = bool>>(what: &str, holds: impl Fn() -> F) {
    let wait = async {
        while !holds().await {
            tokio::time::sleep(LOOK).await;
        }
    };
    tokio::time::timeout(DEADLINE, wait).await.unwrap_or_else(|_| panic!("not in time: {what}"));
}

fn client_as(user: &str, service: Service) -> Client {
    let groups = vec!["system:authenticated".into()];
    let user = UserInfo { name: user.into(), groups, ..UserInfo::default() };
    Client::new(InProcess { service, user: Arc::new(user) }, "default")
}

fn security() -> Security {
    Security {
        authenticator: Arc::new(Nobody),
        authorizer: Arc::new(Rights),
        admission: Vec::new(),
        token_review: None,
        token_issuer: None,
        oidc: None,
        proxy_tls: None,
        published: Vec::new(),
    }
}

struct Nobody;

#[async_trait::async_trait]
impl Authenticator for Nobody {
    async fn authenticate(&self, _: &http::request::Parts) -> Result<Option<UserInfo>, Status> {
        Ok(None)
    }
}

/// The administrator may do everything, the scheduler what upstream's role lets it do.
struct Rights;

impl Authorizer for Rights {
    fn authorize(&self, attributes: &Attributes) -> Decision {
        let kind = match attributes.subresource.as_str() {
            "" => attributes.resource.clone(),
            subresource => format!("{}/{subresource}", attributes.resource),
        };
        let allowed: &[&str] = match kind.as_str() {
            _ if attributes.user.name != SCHEDULER => return Decision::Allow(String::new()),
            "events" => &["create", "patch", "update"],
            "leases" if attributes.name == "kube-scheduler" => &["get", "list", "update", "watch"],
            "leases" => &["create"],
            "pods" => &["delete", "get", "list", "watch"],
            "pods/binding" => &["create"],
            "pods/status" => &["patch", "update"],
            "nodes" | "namespaces" | "poddisruptionbudgets" | "storageclasses" => &["get", "list", "watch"],
            "persistentvolumes" | "persistentvolumeclaims" => &["get", "list", "patch", "update", "watch"],
            _ => &[],
        };
        if allowed.contains(&attributes.verb.as_str()) {
            return Decision::Allow(String::new());
        }
        Decision::Deny(format!("{} {kind} is no right of the scheduler", attributes.verb))
    }

    fn rules_for(&self, _: &UserInfo, _: &str) -> RulesReview {
        RulesReview::default()
    }
}

/// Requests without a network.
#[derive(Clone)]
struct InProcess {
    service: Service,
    user: Arc<UserInfo>,
}

impl tower::Service<Request<kube::client::Body>> for InProcess {
    type Response = Response<Body>;
    type Error = std::convert::Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Self::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        tower::Service::poll_ready(&mut self.service, context)
    }

    fn call(&mut self, request: Request<kube::client::Body>) -> Self::Future {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(InProcessIdentity(self.user.clone()));
        tower::Service::call(&mut self.service, request)
    }
}
