//! What is charged, to which quotas, and that no quota is exceeded by many at once.

use parking_lot::Mutex;
use skiff_apimachinery::value;

use super::super::testing::Case;
use super::*;

/// Quotas with resourceVersions.
#[derive(Default)]
struct Quotas {
    stored: Mutex<Vec<Value>>,
    /// Updates that somebody else is faster than.
    conflicts: Mutex<usize>,
}

#[async_trait::async_trait]
impl QuotaStore for Quotas {
    async fn quotas(&self, namespace: &str) -> Result<Vec<Value>, Status> {
        let own = |quota: &&Value| quota.str_at(&["metadata", "namespace"]) == Some(namespace);
        let quotas = self.stored.lock().iter().filter(own).cloned().collect();
        // Others get a turn between reading and writing.
        tokio::task::yield_now().await;
        Ok(quotas)
    }

    async fn update_status(&self, quota: &Value) -> Result<bool, Status> {
        tokio::task::yield_now().await;
        let mut conflicts = self.conflicts.lock();
        if *conflicts > 0 {
            *conflicts -= 1;
            return Ok(false);
        }
        let mut stored = self.stored.lock();
        let same = |other: &&mut Value| other.at(&["metadata", "name"]) == quota.at(&["metadata", "name"]);
        let Some(current) = stored.iter_mut().find(same) else { return Ok(false) };
        const VERSION: [&str; 2] = ["metadata", "resourceVersion"];
        if current.i64_at(&VERSION) != quota.i64_at(&VERSION) {
            return Ok(false);
        }
        let next = current.i64_at(&VERSION).unwrap_or(0) + 1;
        *current = quota.clone();
        current.set_at(&VERSION, next);
        Ok(true)
    }
}

fn quota(name: &str, spec: Value, hard: Value, used: Value) -> Value {
    value!({
        "metadata": {"name": name, "namespace": "demo", "resourceVersion": 1},
        "spec": spec, "status": {"hard": hard, "used": used}
    })
}

fn plugin(quotas: Vec<Value>) -> (Arc<Quotas>, ResourceQuota) {
    let store = Arc::new(Quotas { stored: Mutex::new(quotas), ..Quotas::default() });
    (store.clone(), ResourceQuota::new(store))
}

fn used(store: &Quotas, index: usize) -> Value {
    store.stored.lock()[index].at(&["status", "used"]).cloned().unwrap_or_default()
}

fn pod(resources: Value) -> Value {
    value!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "a", "resources": resources}]}})
}

async fn create(plugin: &ResourceQuota, group: &str, resource: &str, object: Value) -> Result<(), String> {
    let result = Case::create(group, resource, "demo", object).admit(plugin).await;
    result.map(drop).map_err(|(_, text)| text.split_once(" is forbidden: ").map_or(text.clone(), |(_, t)| t.to_owned()))
}

#[tokio::test]
async fn pods_are_charged_for_what_they_ask() {
    let hard = value!({"pods": "2", "requests.cpu": "1", "limits.memory": "2Gi", "count/pods": "5", "secrets": "1"});
    let zero = value!({"pods": "0", "requests.cpu": "0", "limits.memory": "0", "count/pods": "0", "secrets": "0"});
    let (store, plugin) = plugin(vec![quota("q", value!({}), hard, zero)]);
    let resources = value!({"requests": {"cpu": "600m"}, "limits": {"memory": "1Gi"}});
    assert_eq!(create(&plugin, "", "pods", pod(resources.clone())).await, Ok(()));
    let expected =
        value!({"pods": "1", "requests.cpu": "600m", "limits.memory": "1Gi", "count/pods": "1", "secrets": "0"});
    assert_eq!(used(&store, 0), expected);
    assert_eq!(
        create(&plugin, "", "pods", pod(resources)).await,
        Err("exceeded quota: q, requested: requests.cpu=600m, used: requests.cpu=600m, limited: requests.cpu=1".into())
    );
    assert_eq!(
        create(&plugin, "", "pods", pod(value!({}))).await,
        Err("failed quota: q: must specify limits.memory for: a; requests.cpu for: a".into())
    );
    assert_eq!(used(&store, 0), expected);
    assert_eq!(create(&plugin, "", "secrets", value!({"metadata": {"name": "s"}})).await, Ok(()));
    assert_eq!(
        create(&plugin, "", "secrets", value!({"metadata": {"name": "s"}})).await,
        Err("exceeded quota: q, requested: secrets=1, used: secrets=1, limited: secrets=1".into())
    );
}

#[tokio::test]
async fn quotas_count_any_kind_and_wait_for_their_controller() {
    let counts = value!({"count/deployments.apps": "1", "count/widgets.example.com": "0"});
    let (_store, plugin) = plugin(vec![
        quota("counts", value!({}), counts, value!({"count/deployments.apps": "0", "count/widgets.example.com": "0"})),
        quota("new", value!({}), value!({"count/jobs.batch": "1"}), value!({})),
    ]);
    let object = value!({"metadata": {"name": "x"}});
    assert_eq!(create(&plugin, "apps", "deployments", object.clone()).await, Ok(()));
    assert!(create(&plugin, "apps", "deployments", object.clone()).await.is_err());
    assert!(create(&plugin, "example.com", "widgets", object.clone()).await.is_err());
    assert_eq!(create(&plugin, "apps", "statefulsets", object.clone()).await, Ok(()));
    assert_eq!(
        create(&plugin, "batch", "jobs", object).await,
        Err("status unknown for quota: new, resources: count/jobs.batch".into())
    );
}

#[tokio::test]
async fn scopes_choose_pods() {
    let scoped = |name: &str, spec: Value| quota(name, spec, value!({"pods": "0"}), value!({"pods": "0"}));
    let best_effort = pod(value!({}));
    let burstable = pod(value!({"requests": {"cpu": "1"}}));
    let mut short = best_effort.clone();
    short.set_at(&["spec", "activeDeadlineSeconds"], 5);
    let mut high = best_effort.clone();
    high.set_at(&["spec", "priorityClassName"], "high");
    let mut crossing = best_effort.clone();
    let term = value!([{"topologyKey": "zone", "namespaces": ["other"]}]);
    crossing.set_at(&["spec", "affinity", "podAffinity", "requiredDuringSchedulingIgnoredDuringExecution"], term);
    let selector = |operator: &str, values: Value| {
        let expression = value!({"scopeName": "PriorityClass", "operator": operator, "values": values});
        value!({"scopeSelector": {"matchExpressions": [expression]}})
    };
    let all = [&best_effort, &burstable, &short, &high, &crossing];
    for (spec, refused) in [
        (value!({"scopes": ["BestEffort"]}), [true, false, true, true, true]),
        (value!({"scopes": ["NotBestEffort"]}), [false, true, false, false, false]),
        (value!({"scopes": ["Terminating"]}), [false, false, true, false, false]),
        (value!({"scopes": ["NotTerminating", "BestEffort"]}), [true, false, false, true, true]),
        (value!({"scopes": ["CrossNamespacePodAffinity"]}), [false, false, false, false, true]),
        (selector("Exists", value!([])), [false, false, false, true, false]),
        (selector("In", value!(["high"])), [false, false, false, true, false]),
        (selector("NotIn", value!(["high"])), [true, true, true, false, true]),
    ] {
        let (_store, plugin) = plugin(vec![scoped("q", spec.clone())]);
        for (pod, refused) in all.iter().zip(refused) {
            assert_eq!(create(&plugin, "", "pods", (*pod).clone()).await.is_err(), refused, "{spec:?} {pod:?}");
        }
    }
}

#[tokio::test]
async fn services_and_claims_have_parts() {
    let hard = value!({
        "services": "9", "services.nodeports": "3", "services.loadbalancers": "1",
        "requests.storage": "10Gi", "fast.storageclass.storage.k8s.io/requests.storage": "2Gi", "persistentvolumeclaims": "5"
    });
    let zero = value!({
        "services": "0", "services.nodeports": "0", "services.loadbalancers": "0",
        "requests.storage": "0", "fast.storageclass.storage.k8s.io/requests.storage": "0", "persistentvolumeclaims": "0"
    });
    let (store, plugin) = plugin(vec![quota("q", value!({}), hard, zero)]);
    let service =
        |kind: &str| value!({"metadata": {"name": "s"}, "spec": {"type": kind, "ports": [{"port": 1}, {"port": 2}]}});
    assert_eq!(create(&plugin, "", "services", service("NodePort")).await, Ok(()));
    assert!(create(&plugin, "", "services", service("NodePort")).await.is_err());
    assert_eq!(create(&plugin, "", "services", service("ClusterIP")).await, Ok(()));
    // Only what an update adds is charged.
    let grown =
        Case::update("", "services", "demo", service("ClusterIP"), service("LoadBalancer")).admit(&plugin).await;
    assert!(grown.is_err_and(|(_, text)| text.contains("requested: services.nodeports=2, used: services.nodeports=2")));
    let same = Case::update("", "services", "demo", service("NodePort"), service("NodePort")).admit(&plugin).await;
    assert!(same.is_ok());
    let claim = |class: &str, size: &str| {
        let resources = value!({"requests": {"storage": size}});
        value!({"metadata": {"name": "c"}, "spec": {"storageClassName": class, "resources": resources}})
    };
    assert_eq!(create(&plugin, "", "persistentvolumeclaims", claim("fast", "1.5Gi")).await, Ok(()));
    assert_eq!(create(&plugin, "", "persistentvolumeclaims", claim("slow", "4Gi")).await, Ok(()));
    assert!(create(&plugin, "", "persistentvolumeclaims", claim("fast", "1Gi")).await.is_err());
    let (old, new) = (claim("slow", "4Gi"), claim("slow", "6Gi"));
    assert!(Case::update("", "persistentvolumeclaims", "demo", old, new).admit(&plugin).await.is_ok());
    let used = used(&store, 0);
    assert_eq!(used.str_at(&["requests.storage"]), Some("7680Mi"));
    assert_eq!(used.str_at(&["fast.storageclass.storage.k8s.io/requests.storage"]), Some("1536Mi"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_at_once_do_not_exceed_it() {
    let full = quota("q", value!({}), value!({"pods": "10"}), value!({"pods": "0"}));
    let store = Arc::new(Quotas { stored: Mutex::new(vec![full]), ..Quotas::default() });
    // Two API servers, which share nothing but the store.
    let servers = [Arc::new(ResourceQuota::new(store.clone())), Arc::new(ResourceQuota::new(store.clone()))];
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..60 {
        let plugin = servers[number % 2].clone();
        tasks.spawn(async move { create(&plugin, "", "pods", pod(value!({}))).await });
    }
    let results = tasks.join_all().await;
    let admitted = results.iter().filter(|result| result.is_ok()).count();
    assert_eq!(used(&store, 0), value!({"pods": (admitted.to_string())}));
    assert!(admitted <= 10, "{admitted}");
    assert!(
        admitted > 0 && results.iter().filter_map(|r| r.as_ref().err()).all(|e| e.contains("quota")),
        "{results:?}"
    );
}

#[tokio::test]
async fn what_is_charged_is_not_charged_again() {
    let both = |name: &str| quota(name, value!({}), value!({"pods": "10"}), value!({"pods": "0"}));
    let (store, plugin) = plugin(vec![both("a"), both("b")]);
    *store.conflicts.lock() = 1;
    assert_eq!(create(&plugin, "", "pods", pod(value!({}))).await, Ok(()));
    assert_eq!((used(&store, 0), used(&store, 1)), (value!({"pods": "1"}), value!({"pods": "1"})));
    *store.conflicts.lock() = usize::MAX;
    assert!(create(&plugin, "", "pods", pod(value!({}))).await.is_err());
}
