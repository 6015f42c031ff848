//! A cluster of an API server and all controllers, without kubelets and scheduler: the test is both.

use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use http::{Request, Response};
use kube::Client;
use serde_json::{Value, json};
use skiff_apimachinery::status::Status;
use skiff_apiserver::authentication::{Authenticator, InProcessIdentity, UserInfo};
use skiff_apiserver::authorization::{Attributes, Authorization, Authorizer, Decision, RulesReview};
use skiff_apiserver::cacher::SharedReader;
use skiff_apiserver::server::Service;
use skiff_apiserver::{ApiServer, Config, Security};
use skiff_client::objects::{DeleteOptions, Objects, PatchKind};
use skiff_client::types::{Pod, ReplicaSet};
use skiff_client::{Kind, ResourceType};
use skiff_controller_manager::controllers::certificates::Signing;
use skiff_storage::HistoryLimits;
use tokio_util::sync::{CancellationToken, DropGuard};

/// How long anything may take before a test fails.
const DEADLINE: Duration = Duration::from_secs(30);
/// How often a state is looked at while it is waited for.
const LOOK: Duration = Duration::from_millis(10);

/// Where the tests work.
pub(crate) const NAMESPACE: &str = "default";

pub(crate) const NAMESPACES: ResourceType = ResourceType::new("", "v1", "namespaces", "Namespace", false);
pub(crate) const DEPLOYMENTS: ResourceType = ResourceType::new("apps", "v1", "deployments", "Deployment", true);
pub(crate) const STATEFUL_SETS: ResourceType = ResourceType::new("apps", "v1", "statefulsets", "StatefulSet", true);
pub(crate) const DAEMON_SETS: ResourceType = ResourceType::new("apps", "v1", "daemonsets", "DaemonSet", true);
pub(crate) const JOBS: ResourceType = ResourceType::new("batch", "v1", "jobs", "Job", true);
pub(crate) const CRON_JOBS: ResourceType = ResourceType::new("batch", "v1", "cronjobs", "CronJob", true);
pub(crate) const BUDGETS: ResourceType =
    ResourceType::new("policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget", true);

/// The cluster; it ends with the test.
pub(crate) struct Cluster {
    pub(crate) client: Client,
    refused: Refusals,
    server: Arc<ApiServer>,
    _shutdown: DropGuard,
}

impl Cluster {
    /// Starts server and controllers.
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    /// The same, with the controllers' configuration changed.
    pub(crate) async fn start_with(change: impl FnOnce(&mut skiff_controller_manager::Config)) -> Self {
        let refused = Refusals::default();
        let recorded = refused.clone();
        let shutdown = CancellationToken::new();
        let config = Config {
            advertise_address: [192, 0, 2, 1].into(),
            advertise_port: 6443,
            service_cidr: "10.96.0.0/16".parse().expect("a range"),
            node_ports: 30000..=32767,
            runtime_config: Vec::new(),
            services: None,
            history: HistoryLimits::default(),
            audit: None,
            security: Box::new(move |reader| Ok(with_roles(reader, recorded))),
            shutdown: shutdown.clone(),
        };
        let storage = Arc::new(skiff_storage::memory::open(HistoryLimits::default()).expect("a memory store"));
        let server = ApiServer::build(config, storage).await.expect("a server");
        server.ready().await;
        server.bootstrap().await.expect("what must exist");
        let service = server.service();
        let accounts = {
            let service = service.clone();
            let groups = ["system:serviceaccounts", "system:serviceaccounts:kube-system"];
            Arc::new(move |name: &str| {
                client_of(&service, &format!("system:serviceaccount:kube-system:{name}"), &groups)
            })
        };
        let mut config = skiff_controller_manager::Config {
            root_ca: "a certificate".into(),
            signing: Some(authority()),
            accounts: Some(accounts),
            ..Default::default()
        };
        change(&mut config);
        let process = client_of(&service, "system:kube-controller-manager", &[]);
        let controllers = skiff_controller_manager::run(config, process, shutdown.child_token());
        tokio::spawn(async move { controllers.await.expect("the controllers run until the end") });
        let client = client_of(&service, "admin", &["system:masters"]);
        Self { client, refused, server, _shutdown: shutdown.drop_guard() }
    }

    /// A client of somebody else.
    pub(crate) fn client_of(&self, name: &str, groups: &[&str]) -> Client {
        client_of(&self.server.service(), name, groups)
    }

    /// Objects of a kind as JSON.
    pub(crate) fn json(&self, resource: &ResourceType, namespace: &str) -> Objects<Value> {
        Objects::of(&self.client, resource.clone(), namespace)
    }

    /// Makes an object in the tests' namespace.
    pub(crate) async fn create(&self, resource: &ResourceType, object: Value) {
        let created = self.json(resource, NAMESPACE).create(&object).await;
        created.unwrap_or_else(|error| panic!("{object}: {error}"));
    }

    /// Reads an object in the tests' namespace; `Null` if it is not there.
    pub(crate) async fn get(&self, resource: &ResourceType, name: &str) -> Value {
        self.json(resource, NAMESPACE).get_opt(name).await.expect("an answer").unwrap_or(Value::Null)
    }

    /// Applies a merge patch in the tests' namespace.
    pub(crate) async fn patch(&self, resource: &ResourceType, name: &str, patch: Value) {
        let patched = self.json(resource, NAMESPACE).patch(name, "", PatchKind::Merge, &patch).await;
        patched.unwrap_or_else(|error| panic!("{name} {patch}: {error}"));
    }

    /// All objects of a kind in the tests' namespace.
    pub(crate) async fn list<K: Kind>(&self) -> Vec<K> {
        let list = self.json(&K::RESOURCE, NAMESPACE).get("").await.expect("a list");
        serde_json::from_value(list["items"].clone()).expect("objects")
    }

    /// Pods that are not being deleted.
    pub(crate) async fn pods(&self) -> Vec<Pod> {
        let pods: Vec<Pod> = self.list().await;
        pods.into_iter().filter(|pod| !pod.metadata.is_deleting()).collect()
    }

    /// Replicas that the ReplicaSets want, the newest first; empty ones are left out.
    pub(crate) async fn wanted(&self) -> Vec<i32> {
        let mut sets: Vec<ReplicaSet> = self.list().await;
        let revision = |set: &ReplicaSet| -> i64 {
            let text = set.metadata.annotations.get("deployment.kubernetes.io/revision");
            text.and_then(|text| text.parse().ok()).unwrap_or(0)
        };
        sets.sort_by_key(|set| std::cmp::Reverse(revision(set)));
        sets.iter().filter_map(|set| set.spec.replicas).filter(|replicas| *replicas > 0).collect()
    }

    /// Does what kubelets do until something holds: new pods become ready, those to delete go.
    pub(crate) async fn run_until<F: Future<Output = bool>>(&self, what: &str, holds: impl Fn() -> F) {
        let wait = async {
            while !holds().await {
                self.kubelet_round().await;
                tokio::time::sleep(LOOK).await;
            }
        };
        tokio::time::timeout(DEADLINE, wait).await.unwrap_or_else(|_| panic!("not in time: {what}"));
    }

    async fn kubelet_round(&self) {
        let api = Objects::<Pod>::namespaced(&self.client, NAMESPACE);
        for pod in self.list::<Pod>().await {
            // A pod may go while this round looks at it: the next round sees the outcome.
            if pod.metadata.is_deleting() {
                let mut options = DeleteOptions::with_uid(&pod.metadata.uid);
                options.grace_period_seconds = Some(0);
                drop(api.delete(&pod.metadata.name, &options).await);
            } else if !pod.is_ready() {
                let now = skiff_client::clock::format_time(jiff::Timestamp::now());
                let patch = json!({"metadata": {"uid": pod.metadata.uid}, "status": {"phase": "Running",
                    "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": now}]}});
                drop(api.patch(&pod.metadata.name, "status", PatchKind::Strategic, &patch).await);
            }
        }
    }
}

/// Waits until something holds, while no kubelet does anything.
pub(crate) async fn eventually<F: Future<Output = bool>>(what: &str, holds: impl Fn() -> F) {
    let wait = async {
        while !holds().await {
            tokio::time::sleep(LOOK).await;
        }
    };
    tokio::time::timeout(DEADLINE, wait).await.unwrap_or_else(|_| panic!("not in time: {what}"));
}

/// Requests come with their identities, which may do what the usual roles allow.
fn with_roles(reader: SharedReader, refused: Refusals) -> Security {
    Security {
        authenticator: Arc::new(Nobody),
        authorizer: Arc::new(Recording { roles: Authorization::build(reader), refused }),
        admission: Vec::new(),
        token_review: None,
        token_issuer: None,
        oidc: None,
        proxy_tls: None,
        published: Vec::new(),
    }
}

/// Who was refused what.
type Refusals = Arc<Mutex<BTreeSet<String>>>;

/// The usual roles, and a record of what they do not allow: a controller that asks for more than its role has would go
/// on trying for ever.
struct Recording {
    roles: Authorization,
    refused: Refusals,
}

impl Authorizer for Recording {
    fn authorize(&self, attributes: &Attributes) -> Decision {
        let decision = self.roles.authorize(attributes);
        if !matches!(decision, Decision::Allow(_)) {
            let Attributes { user, verb, api_group, resource, subresource, .. } = attributes;
            let what = format!("{} {verb} {api_group}/{resource}/{subresource}", user.name);
            self.refused.lock().expect("a lock").insert(what);
        }
        decision
    }

    fn rules_for(&self, user: &UserInfo, namespace: &str) -> RulesReview {
        self.roles.rules_for(user, namespace)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let refused = self.refused.lock().expect("a lock");
        assert!(refused.is_empty() || std::thread::panicking(), "roles do not allow: {refused:#?}");
        if !refused.is_empty() {
            eprintln!("roles do not allow: {refused:#?}");
        }
    }
}

struct Nobody;

#[async_trait::async_trait]
impl Authenticator for Nobody {
    async fn authenticate(&self, _: &http::request::Parts) -> Result<Option<UserInfo>, Status> {
        Ok(None)
    }
}

/// An authority of the test's own.
fn authority() -> Signing {
    let key = rcgen::KeyPair::generate().expect("a key");
    let mut params = rcgen::CertificateParams::default();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let certificate = params.self_signed(&key).expect("a certificate");
    let duration = jiff::SignedDuration::from_hours(24);
    Signing { certificate_pem: certificate.pem(), key_pem: key.serialize_pem(), duration }
}

/// A client of this user.
fn client_of(service: &Service, name: &str, groups: &[&str]) -> Client {
    let groups = groups.iter().chain(&["system:authenticated"]).map(|group| group.to_string()).collect();
    let user = UserInfo { name: name.to_owned(), groups, ..UserInfo::default() };
    Client::new(InProcess { service: service.clone(), user: Arc::new(user) }, NAMESPACE)
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
