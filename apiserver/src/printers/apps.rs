//! Rows of the workload kinds: apps, batch, autoscaling and policy.

use jiff::Timestamp;
use skiff_apimachinery::value::Value;

use super::human::{NONE, UNKNOWN, UNSET, age, between, labels, selector, selector_or_none, since, timestamp};
use super::{
    AGE, CONTAINERS, Column, IMAGES, NAME, Printer, containers, count, has_condition, name, number, scalar, text,
};

pub(super) static PRINTERS: &[Printer] = &[
    Printer::new("apps", "Deployment", &DEPLOYMENT, deployment),
    Printer::new("apps", "ReplicaSet", &REPLICA_SET, replica_set),
    Printer::new("apps", "StatefulSet", &STATEFUL_SET, stateful_set),
    Printer::new("apps", "DaemonSet", &DAEMON_SET, daemon_set),
    Printer::new("apps", "ControllerRevision", &CONTROLLER_REVISION, controller_revision),
    Printer::new("batch", "Job", &JOB, job),
    Printer::new("batch", "CronJob", &CRON_JOB, cron_job),
    Printer::new("autoscaling", "HorizontalPodAutoscaler", &AUTOSCALER, autoscaler),
    Printer::new("autoscaling", "Scale", &SCALE, |object, now| {
        let replicas = |part: &str| Value::from(number(object, &[part, "replicas"]));
        vec![name(object), replicas("spec"), replicas("status"), age(object, now)]
    }),
    Printer::new("policy", "PodDisruptionBudget", &DISRUPTION_BUDGET, |object, now| {
        vec![
            name(object),
            scalar(object.at(&["spec", "minAvailable"]), "N/A"),
            scalar(object.at(&["spec", "maxUnavailable"]), "N/A"),
            number(object, &["status", "disruptionsAllowed"]).into(),
            age(object, now),
        ]
    }),
];

const SELECTOR: Column = Column::string("Selector", "Labels of the pods.").wide();
const TEMPLATE: [&str; 4] = ["spec", "template", "spec", "containers"];

static DEPLOYMENT: [Column; 8] = [
    NAME,
    Column::string("Ready", "Pods that are ready, out of those wanted."),
    Column::string("Up-to-date", "Pods that are made from the current template."),
    Column::string("Available", "Pods that have been ready long enough."),
    AGE,
    CONTAINERS,
    IMAGES,
    SELECTOR,
];

/// The wanted number of pods. An object in flight is defaulted, so only a broken one has none.
fn desired(object: &Value) -> i64 {
    number(object, &["spec", "replicas"])
}

fn ready_of_desired(object: &Value) -> Value {
    format!("{}/{}", number(object, &["status", "readyReplicas"]), desired(object)).into()
}

fn deployment(object: &Value, now: Timestamp) -> Vec<Value> {
    let [names, images] = containers(object, &TEMPLATE);
    vec![
        name(object),
        ready_of_desired(object),
        number(object, &["status", "updatedReplicas"]).into(),
        number(object, &["status", "availableReplicas"]).into(),
        age(object, now),
        names,
        images,
        selector(object.at(&["spec", "selector"])).unwrap_or_else(|| "<invalid>".into()).into(),
    ]
}

static REPLICA_SET: [Column; 8] = [
    NAME,
    Column::integer("Desired", "Pods that are wanted."),
    Column::integer("Current", "Pods that there are."),
    Column::integer("Ready", "Pods that are ready."),
    AGE,
    CONTAINERS,
    IMAGES,
    SELECTOR,
];

fn replica_set(object: &Value, now: Timestamp) -> Vec<Value> {
    let [names, images] = containers(object, &TEMPLATE);
    vec![
        name(object),
        desired(object).into(),
        number(object, &["status", "replicas"]).into(),
        number(object, &["status", "readyReplicas"]).into(),
        age(object, now),
        names,
        images,
        selector_or_none(object.at(&["spec", "selector"])),
    ]
}

static STATEFUL_SET: [Column; 5] =
    [NAME, Column::string("Ready", "Pods that are ready, out of those wanted."), AGE, CONTAINERS, IMAGES];

fn stateful_set(object: &Value, now: Timestamp) -> Vec<Value> {
    let [names, images] = containers(object, &TEMPLATE);
    vec![name(object), ready_of_desired(object), age(object, now), names, images]
}

static DAEMON_SET: [Column; 11] = [
    NAME,
    Column::integer("Desired", "Nodes that should run a pod."),
    Column::integer("Current", "Nodes that should run a pod and do."),
    Column::integer("Ready", "Nodes whose pod is ready."),
    Column::integer("Up-to-date", "Nodes whose pod is made from the current template."),
    Column::integer("Available", "Nodes whose pod has been ready long enough."),
    Column::string("Node Selector", "Labels of the nodes."),
    AGE,
    CONTAINERS,
    IMAGES,
    SELECTOR,
];

fn daemon_set(object: &Value, now: Timestamp) -> Vec<Value> {
    let status = |field: &str| Value::from(number(object, &["status", field]));
    let [names, images] = containers(object, &TEMPLATE);
    vec![
        name(object),
        status("desiredNumberScheduled"),
        status("currentNumberScheduled"),
        status("numberReady"),
        status("updatedNumberScheduled"),
        status("numberAvailable"),
        labels(object.at(&["spec", "template", "spec", "nodeSelector"])).into(),
        age(object, now),
        names,
        images,
        selector_or_none(object.at(&["spec", "selector"])),
    ]
}

static CONTROLLER_REVISION: [Column; 4] = [
    NAME,
    Column::string("Controller", "Object that the revision belongs to."),
    Column::string("Revision", "Number of the revision."),
    AGE,
];

fn controller_revision(object: &Value, now: Timestamp) -> Vec<Value> {
    let mut owners = object.array_at(&["metadata", "ownerReferences"]).iter();
    let owner = owners.find(|owner| owner.bool_at(&["controller"]) == Some(true));
    let controller = owner.map_or(NONE.into(), |owner| {
        let group = text(owner, &["apiVersion"]).split_once('/').map_or("", |(group, _)| group);
        let dot = if group.is_empty() { "" } else { "." };
        let kind = format!("{}{dot}{group}", text(owner, &["kind"])).to_lowercase();
        format!("{kind}/{}", text(owner, &["name"]))
    });
    vec![name(object), controller.into(), number(object, &["revision"]).into(), age(object, now)]
}

static JOB: [Column; 8] = [
    NAME,
    Column::string("Status", "How the job is going."),
    Column::string("Completions", "Pods that succeeded, out of those wanted."),
    Column::string("Duration", "Time from the job's start to its end, or until now."),
    AGE,
    CONTAINERS,
    IMAGES,
    SELECTOR,
];

fn job(object: &Value, now: Timestamp) -> Vec<Value> {
    let succeeded = number(object, &["status", "succeeded"]);
    let completions = match (object.i64_at(&["spec", "completions"]), number(object, &["spec", "parallelism"])) {
        (Some(completions), _) => format!("{succeeded}/{completions}"),
        (None, parallelism @ 2..) => format!("{succeeded}/1 of {parallelism}"),
        (None, _) => format!("{succeeded}/1"),
    };
    let end = timestamp(object.at(&["status", "completionTime"])).unwrap_or(now);
    let duration = timestamp(object.at(&["status", "startTime"])).map_or(String::new(), |start| between(start, end));
    let deleted = object.at(&["metadata", "deletionTimestamp"]).is_some();
    let states = [
        ("Complete", has_condition(object, "Complete")),
        ("Failed", has_condition(object, "Failed")),
        ("Terminating", deleted),
        ("Suspended", has_condition(object, "Suspended")),
        ("FailureTarget", has_condition(object, "FailureTarget")),
        ("SuccessCriteriaMet", has_condition(object, "SuccessCriteriaMet")),
    ];
    let status = states.into_iter().find(|(_, holds)| *holds).map_or("Running", |(state, _)| state);
    let [names, images] = containers(object, &TEMPLATE);
    vec![
        name(object),
        status.into(),
        completions.into(),
        duration.into(),
        age(object, now),
        names,
        images,
        selector_or_none(object.at(&["spec", "selector"])),
    ]
}

static CRON_JOB: [Column; 10] = [
    NAME,
    Column::string("Schedule", "When jobs start, as a cron expression."),
    Column::string("Timezone", "Time zone of the schedule."),
    Column::boolean("Suspend", "Whether no jobs are started for now."),
    Column::integer("Active", "Jobs that are running."),
    Column::string("Last Schedule", "Time since a job was last started."),
    AGE,
    CONTAINERS,
    IMAGES,
    SELECTOR,
];

fn cron_job(object: &Value, now: Timestamp) -> Vec<Value> {
    let last = object.at(&["status", "lastScheduleTime"]);
    let suspend = match object.bool_at(&["spec", "suspend"]) {
        Some(true) => "True",
        Some(false) => "False",
        None => UNSET,
    };
    let [names, images] = containers(object, &["spec", "jobTemplate", "spec", "template", "spec", "containers"]);
    vec![
        name(object),
        text(object, &["spec", "schedule"]).into(),
        object.str_at(&["spec", "timeZone"]).unwrap_or(NONE).into(),
        suspend.into(),
        count(object, &["status", "active"]).into(),
        last.map_or(NONE.into(), |_| since(last, now)).into(),
        age(object, now),
        names,
        images,
        selector_or_none(object.at(&["spec", "jobTemplate", "spec", "selector"])),
    ]
}

static AUTOSCALER: [Column; 7] = [
    NAME,
    Column::string("Reference", "Object that is scaled."),
    Column::string("Targets", "Metrics as they are, and as they should be."),
    Column::string("MinPods", "Lower bound of the number of pods."),
    Column::string("MaxPods", "Upper bound of the number of pods."),
    Column::string("Replicas", "Pods that there are."),
    AGE,
];

fn autoscaler(object: &Value, now: Timestamp) -> Vec<Value> {
    let reference = |field: &str| text(object, &["spec", "scaleTargetRef", field]);
    vec![
        name(object),
        format!("{}/{}", reference("kind"), reference("name")).into(),
        targets(object).into(),
        scalar(object.at(&["spec", "minReplicas"]), UNSET),
        number(object, &["spec", "maxReplicas"]).into(),
        number(object, &["status", "currentReplicas"]).into(),
        age(object, now),
    ]
}

fn targets(object: &Value) -> String {
    const SHOWN: usize = 2;
    let percent = |value: Option<&Value>, default: &str| match value.and_then(Value::as_i64) {
        Some(percent) => format!("{percent}%"),
        None => default.into(),
    };
    // autoscaling/v1 knows only one metric.
    if let Some(target) = object.at(&["spec", "targetCPUUtilizationPercentage"]) {
        let current = percent(object.at(&["status", "currentCPUUtilizationPercentage"]), UNKNOWN);
        return format!("cpu: {current}/{}", percent(Some(target), "<auto>"));
    }
    let metrics = object.array_at(&["spec", "metrics"]);
    if metrics.is_empty() {
        return NONE.into();
    }
    let quantity = |value: Option<&Value>, default: &str| scalar(value, default).as_str().unwrap_or("").to_owned();
    let current = object.array_at(&["status", "currentMetrics"]);
    let one = |(i, metric): (usize, &Value)| {
        let field = match text(metric, &["type"]) {
            "External" => "external",
            "Pods" => "pods",
            "Object" => "object",
            "Resource" => "resource",
            "ContainerResource" => "containerResource",
            _ => return "<unknown type>".into(),
        };
        let target = |part: &str| metric.at(&[field, "target", part]);
        let now = |part: &str| current.get(i).and_then(|current| current.at(&[field, "current", part]));
        let is_resource = matches!(field, "resource" | "containerResource");
        let prefix = if is_resource { format!("{}: ", text(metric, &[field, "name"])) } else { String::new() };
        match target("averageValue") {
            Some(average) => {
                let note = if matches!(field, "external" | "object") { " (avg)" } else { "" };
                let now = quantity(now("averageValue"), UNKNOWN);
                format!("{prefix}{now}/{}{note}", quantity(Some(average), "0"))
            }
            None if is_resource => {
                let target = percent(target("averageUtilization"), "<auto>");
                format!("{prefix}{}/{target}", percent(now("averageUtilization"), UNKNOWN))
            }
            None => format!("{}/{}", quantity(now("value"), UNKNOWN), quantity(target("value"), "0")),
        }
    };
    let shown: Vec<String> = metrics.iter().enumerate().take(SHOWN).map(one).collect();
    let text = shown.join(", ");
    match metrics.len() {
        ..=SHOWN => text,
        count => format!("{text} + {} more...", count - SHOWN),
    }
}

static SCALE: [Column; 4] = [
    Column { format: "", ..NAME },
    Column::integer("Desired", "Pods that are wanted."),
    Column::integer("Available", "Pods that there are."),
    AGE,
];

static DISRUPTION_BUDGET: [Column; 5] = [
    NAME,
    Column::string("Min Available", "Pods that must stay available."),
    Column::string("Max Unavailable", "Pods that may be unavailable."),
    Column::integer("Allowed Disruptions", "Pods that may be evicted now."),
    AGE,
];
