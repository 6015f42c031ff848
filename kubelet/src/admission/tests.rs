//! Pods and a node in, verdicts out.

use super::*;
use serde_json::{Value, json};

fn pod(uid: &str, spec: Value) -> Arc<Pod> {
    Arc::new(serde_json::from_value(json!({"metadata": {"name": uid, "uid": uid}, "spec": spec})).expect("a pod"))
}

fn offer() -> Offer {
    Offer {
        node_name: "node".into(),
        labels: [("disk".to_owned(), "ssd".to_owned()), ("cores".to_owned(), "4".to_owned())].into(),
        allocatable: serde_json::from_value(json!({"cpu": "2", "memory": "1Gi", "pods": "2"})).expect("a list"),
    }
}

fn admission() -> Admission {
    Admission::new(Arc::new(|_: &str| {}))
}

fn verdict(refusal: Refusal) -> Verdicted {
    match refusal {
        Refusal::Refused(verdict) => verdict,
        Refusal::Preempts(victims) => panic!("{} pods are to make room", victims.len()),
    }
}

/// The reason for which the second pod is refused beside the first.
fn reason(first: Value, second: Value) -> Option<String> {
    let admission = admission();
    admission.admit(&pod("a", first), &offer()).expect("taken");
    admission.admit(&pod("b", second), &offer()).err().map(|refusal| verdict(refusal).reason)
}

fn asks(resource: &str, amount: &str) -> Value {
    json!({"containers": [{"name": "c", "resources": {"requests": {resource: amount}}}]})
}

fn port(number: i32, ip: &str, protocol: &str) -> Value {
    json!({"containers": [{"name": "c", "ports": [{"containerPort": 1, "hostPort": number, "hostIP": ip, "protocol": protocol}]}]})
}

#[test]
fn resources() {
    assert_eq!(reason(asks("cpu", "1"), asks("cpu", "1")), None);
    assert_eq!(reason(asks("cpu", "1"), asks("cpu", "1001m")).as_deref(), Some("OutOfcpu"));
    assert_eq!(reason(asks("memory", "1Gi"), asks("memory", "1")).as_deref(), Some("OutOfmemory"));
    let admission = admission();
    for uid in ["a", "b"] {
        admission.admit(&pod(uid, json!({"containers": []})), &offer()).expect("taken");
    }
    let third = pod("c", json!({"containers": []}));
    let verdict = verdict(admission.admit(&third, &offer()).expect_err("full"));
    assert_eq!(
        verdict.message,
        "Pod was rejected: Node didn't have enough resource: pods, requested: 1, used: 2, capacity: 2"
    );
    admission.release("a", &offer());
    admission.admit(&third, &offer()).expect("a place is free");
    admission.admit(&third, &offer()).expect("it is its own place");
}

#[test]
fn ports() {
    assert_eq!(reason(port(80, "", "TCP"), port(80, "127.0.0.1", "TCP")).as_deref(), Some("NodePorts"));
    assert_eq!(reason(port(80, "127.0.0.2", "TCP"), port(80, "127.0.0.1", "TCP")), None);
    assert_eq!(reason(port(80, "", "TCP"), port(80, "", "UDP")), None);
    assert_eq!(reason(port(80, "", "TCP"), port(81, "", "TCP")), None);
}

#[test]
fn selectors() {
    let selects = |spec: Value| {
        let mut spec = spec;
        spec["containers"] = json!([]);
        admission().admit(&pod("a", spec), &offer()).is_ok()
    };
    assert!(selects(json!({"nodeSelector": {"disk": "ssd"}})));
    assert!(!selects(json!({"nodeSelector": {"disk": "hdd"}})));
    let affinity = |kind: &str, key: &str, operator: &str, values: Value| {
        selects(json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {
            "nodeSelectorTerms": [{kind: [{"key": key, "operator": operator, "values": values}]}]}}}}))
    };
    assert!(affinity("matchExpressions", "cores", "Gt", json!(["3"])));
    assert!(!affinity("matchExpressions", "cores", "Lt", json!(["3"])));
    assert!(affinity("matchExpressions", "gpu", "DoesNotExist", json!([])));
    assert!(affinity("matchExpressions", "disk", "NotIn", json!(["hdd"])));
    assert!(affinity("matchFields", "metadata.name", "In", json!(["node"])));
    assert!(!affinity("matchFields", "metadata.name", "In", json!(["other"])));
}

#[test]
fn sysctls_and_systems() {
    let check = |spec: Value| {
        let mut spec = spec;
        spec["containers"] = json!([]);
        admission().admit(&pod("a", spec), &offer()).err().map(|refusal| verdict(refusal).reason)
    };
    let sysctl = |name: &str| json!({"securityContext": {"sysctls": [{"name": name, "value": "1"}]}});
    assert_eq!(check(sysctl("kernel.shm_rmid_forced")), None);
    assert_eq!(check(sysctl("kernel.msgmax")).as_deref(), Some("SysctlForbidden"));
    assert_eq!(check(json!({"os": {"name": "windows"}})).as_deref(), Some("PodOSNotSupported"));
}

/// An admission that notes whom it wakes.
fn waking() -> (Admission, Arc<Mutex<Vec<String>>>) {
    let woken: Arc<Mutex<Vec<String>>> = Arc::default();
    let noted = woken.clone();
    (Admission::new(Arc::new(move |uid: &str| noted.lock().push(uid.to_owned()))), woken)
}

fn with_priority(priority: i32, cpu: &str) -> Value {
    let mut spec = asks("cpu", cpu);
    spec["priority"] = json!(priority);
    spec
}

#[test]
fn critical_pods_push_others_away() {
    let (admission, woken) = waking();
    admission.admit(&pod("a", with_priority(0, "1500m")), &offer()).expect("taken");
    let critical = pod("c", with_priority(2_000_000_000, "1"));
    let victims = |refusal| match refusal {
        Refusal::Preempts(victims) => victims.iter().map(|pod| pod.uid().to_owned()).collect::<Vec<_>>(),
        Refusal::Refused(verdict) => panic!("{}", verdict.message),
    };
    assert_eq!(victims(admission.admit(&critical, &offer()).expect_err("no room")), ["a"]);
    assert!(victims(admission.admit(&critical, &offer()).expect_err("no room yet")).is_empty(), "told once");
    admission.release("a", &offer());
    assert_eq!(*woken.lock(), ["c"]);
    admission.admit(&critical, &offer()).expect("there is room");
    let second = pod("d", with_priority(2_000_000_000, "1500m"));
    let refused = verdict(admission.admit(&second, &offer()).expect_err("not more important"));
    assert_eq!(refused.reason, "UnexpectedAdmissionError");
    let mut elsewhere = with_priority(2_000_000_000, "3");
    elsewhere["nodeSelector"] = json!({"disk": "hdd"});
    let refused = verdict(admission.admit(&pod("e", elsewhere), &offer()).expect_err("not here"));
    assert_eq!(refused.reason, "NodeAffinity", "room would not help");
}

#[test]
fn a_resize_is_granted_when_there_is_room() {
    let (admission, woken) = waking();
    admission.admit(&pod("a", asks("cpu", "1")), &offer()).expect("taken");
    admission.admit(&pod("b", asks("cpu", "500m")), &offer()).expect("taken");
    let (larger, smaller) = (pod("b", asks("cpu", "1100m")), pod("a", asks("cpu", "900m")));
    let (given, outcome) = admission.resize(&larger, &offer());
    let why = "Node didn't have enough resource: cpu, requested: 1100, used: 1000, capacity: 2000";
    assert_eq!(outcome, Resize::Deferred(why.into()));
    assert_eq!(given.spec, pod("b", asks("cpu", "500m")).spec);
    assert_eq!(admission.allocated(&larger).spec, given.spec);
    assert_eq!(admission.resize(&smaller, &offer()), (smaller.clone(), Resize::Granted));
    assert_eq!(*woken.lock(), ["b"], "what the one gave back is for the other");
    assert_eq!(admission.resize(&smaller, &offer()).1, Resize::None);
    assert_eq!(admission.resize(&larger, &offer()), (larger.clone(), Resize::Granted));
    assert_eq!(admission.resize(&larger, &offer()).1, Resize::None);
}

#[test]
fn what_becomes_free_goes_to_the_most_important() {
    let (admission, woken) = waking();
    for (uid, priority, cpu) in [("a", 0, "1"), ("b", 1, "500m"), ("c", 2, "500m")] {
        admission
            .admit(&pod(uid, with_priority(priority, cpu)), &Offer { allocatable: room(), ..offer() })
            .expect("taken");
    }
    let offer = Offer { allocatable: room(), ..offer() };
    for (uid, priority) in [("b", 1), ("c", 2)] {
        let wish = pod(uid, with_priority(priority, "1400m"));
        assert!(matches!(admission.resize(&wish, &offer).1, Resize::Deferred(_)));
    }
    admission.release("a", &offer);
    assert_eq!(*woken.lock(), ["c"]);
    let taken_back = pod("b", with_priority(1, "500m"));
    assert_eq!(admission.resize(&taken_back, &offer).1, Resize::None);
}

/// Two cores for three pods.
fn room() -> ResourceList {
    serde_json::from_value(json!({"cpu": "2", "memory": "1Gi", "pods": "3"})).expect("a list")
}
