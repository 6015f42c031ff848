//! Rows of the kinds about access, certificates, scheduling, nodes, flow control, admission and storage.

use jiff::Timestamp;
use skiff_apimachinery::value::Value;

use super::human::{NONE, UNSET, age, duration, some_of};
use super::{AGE, Column, NAME, Printer, boolean, count, name, non_empty, number, scalar, text};

pub(super) static PRINTERS: &[Printer] = &[
    Printer::new("rbac.authorization.k8s.io", "RoleBinding", &ROLE_BINDING, role_binding),
    Printer::new("rbac.authorization.k8s.io", "ClusterRoleBinding", &ROLE_BINDING, role_binding),
    Printer::new("coordination.k8s.io", "Lease", &LEASE, |object, now| {
        vec![name(object), text(object, &["spec", "holderIdentity"]).into(), age(object, now)]
    }),
    Printer::new("coordination.k8s.io", "LeaseCandidate", &LEASE_CANDIDATE, |object, now| {
        let spec = |field: &str| Value::from(text(object, &["spec", field]));
        vec![name(object), spec("leaseName"), spec("binaryVersion"), spec("emulationVersion"), age(object, now)]
    }),
    Printer::new("certificates.k8s.io", "CertificateSigningRequest", &SIGNING_REQUEST, signing_request),
    Printer::new("certificates.k8s.io", "ClusterTrustBundle", &TRUST_BUNDLE, |object, _| {
        vec![name(object), non_empty(text(object, &["spec", "signerName"]), NONE)]
    }),
    Printer::new("scheduling.k8s.io", "PriorityClass", &PRIORITY_CLASS, |object, now| {
        vec![
            name(object),
            number(object, &["value"]).into(),
            boolean(object, &["globalDefault"], false),
            age(object, now),
            text(object, &["preemptionPolicy"]).into(),
        ]
    }),
    Printer::new("node.k8s.io", "RuntimeClass", &RUNTIME_CLASS, |object, now| {
        vec![name(object), text(object, &["handler"]).into(), age(object, now)]
    }),
    Printer::new("flowcontrol.apiserver.k8s.io", "FlowSchema", &FLOW_SCHEMA, flow_schema),
    Printer::new("flowcontrol.apiserver.k8s.io", "PriorityLevelConfiguration", &PRIORITY_LEVEL, priority_level),
    Printer::new("admissionregistration.k8s.io", "MutatingWebhookConfiguration", &WEBHOOKS, webhooks),
    Printer::new("admissionregistration.k8s.io", "ValidatingWebhookConfiguration", &WEBHOOKS, webhooks),
    Printer::new("admissionregistration.k8s.io", "ValidatingAdmissionPolicy", &VALIDATING_POLICY, |object, now| {
        vec![name(object), count(object, &["spec", "validations"]).into(), param_kind(object), age(object, now)]
    }),
    Printer::new("admissionregistration.k8s.io", "MutatingAdmissionPolicy", &MUTATING_POLICY, |object, now| {
        vec![name(object), count(object, &["spec", "mutations"]).into(), param_kind(object), age(object, now)]
    }),
    Printer::new("admissionregistration.k8s.io", "ValidatingAdmissionPolicyBinding", &POLICY_BINDING, policy_binding),
    Printer::new("admissionregistration.k8s.io", "MutatingAdmissionPolicyBinding", &POLICY_BINDING, policy_binding),
    Printer::new("internal.apiserver.k8s.io", "StorageVersion", &STORAGE_VERSION, storage_version),
    Printer::new("apiregistration.k8s.io", "APIService", &API_SERVICE, api_service),
];

static ROLE_BINDING: [Column; 6] = [
    NAME,
    Column::string("Role", "Role that is granted."),
    AGE,
    Column::string("Users", "Users that the role is granted to.").wide(),
    Column::string("Groups", "Groups that the role is granted to.").wide(),
    Column::string("ServiceAccounts", "Service accounts that the role is granted to.").wide(),
];

fn role_binding(object: &Value, now: Timestamp) -> Vec<Value> {
    let subjects = |kind: &str| {
        let subjects = object.array_at(&["subjects"]).iter().filter(|subject| text(subject, &["kind"]) == kind);
        let names = subjects.map(|subject| match kind {
            "ServiceAccount" => format!("{}/{}", text(subject, &["namespace"]), text(subject, &["name"])),
            _ => text(subject, &["name"]).to_owned(),
        });
        Value::from(names.collect::<Vec<_>>().join(", "))
    };
    let role = format!("{}/{}", text(object, &["roleRef", "kind"]), text(object, &["roleRef", "name"]));
    let (users, groups) = (subjects("User"), subjects("Group"));
    vec![name(object), role.into(), age(object, now), users, groups, subjects("ServiceAccount")]
}

static STORAGE_VERSION: [Column; 4] = [
    NAME,
    Column::string("CommonEncodingVersion", "Version in which all servers store the resource."),
    Column::string("StorageVersions", "Version in which each server stores the resource."),
    AGE,
];

fn storage_version(object: &Value, now: Timestamp) -> Vec<Value> {
    const SHOWN: usize = 3;
    let servers = object.array_at(&["status", "storageVersions"]);
    let one = |server: &Value| format!("{}={}", text(server, &["apiServerID"]), text(server, &["encodingVersion"]));
    let shown = servers.iter().take(SHOWN).map(one).collect::<Vec<_>>();
    let common = scalar(object.at(&["status", "commonEncodingVersion"]), UNSET);
    vec![name(object), common, some_of(&shown, servers.len(), SHOWN).into(), age(object, now)]
}

static LEASE: [Column; 3] = [NAME, Column::string("Holder", "Who holds the lease."), AGE];
static LEASE_CANDIDATE: [Column; 5] = [
    NAME,
    Column::string("LeaseName", "Lease that the candidate is for."),
    Column::string("BinaryVersion", "Version of the candidate."),
    Column::string("EmulationVersion", "Version that the candidate behaves like."),
    AGE,
];

static SIGNING_REQUEST: [Column; 6] = [
    NAME,
    AGE,
    Column::string("SignerName", "Who is asked to sign."),
    Column::string("Requestor", "Who asks."),
    Column::string("RequestedDuration", "How long the certificate should be valid."),
    Column::string("Condition", "What became of the request."),
];

fn signing_request(object: &Value, now: Timestamp) -> Vec<Value> {
    // Such conditions count whatever their status is.
    let has = |wanted: &str| {
        object.array_at(&["status", "conditions"]).iter().any(|condition| text(condition, &["type"]) == wanted)
    };
    let mut condition = String::from(match (has("Denied"), has("Approved")) {
        (true, _) => "Denied",
        (false, true) => "Approved",
        (false, false) => "Pending",
    });
    if has("Failed") {
        condition.push_str(",Failed");
    }
    if !text(object, &["status", "certificate"]).is_empty() {
        condition.push_str(",Issued");
    }
    vec![
        name(object),
        age(object, now),
        non_empty(text(object, &["spec", "signerName"]), NONE),
        text(object, &["spec", "username"]).into(),
        object.i64_at(&["spec", "expirationSeconds"]).map_or(NONE.into(), duration).into(),
        condition.into(),
    ]
}

static TRUST_BUNDLE: [Column; 2] = [NAME, Column::string("SignerName", "Signer that the bundle belongs to.")];

static PRIORITY_CLASS: [Column; 5] = [
    NAME,
    Column::integer("Value", "Priority of the pods."),
    Column::boolean("Global-Default", "Whether pods without a class get this one."),
    AGE,
    Column::string("PreemptionPolicy", "Whether the pods push out others."),
];

static RUNTIME_CLASS: [Column; 3] = [NAME, Column::string("Handler", "Configuration of the container runtime."), AGE];

static FLOW_SCHEMA: [Column; 6] = [
    NAME,
    Column::string("PriorityLevel", "Priority level that requests are put into."),
    Column::string("MatchingPrecedence", "Which of several matching schemas wins: the lowest."),
    Column::string("DistinguisherMethod", "How requests are told apart for fairness."),
    AGE,
    Column::string("MissingPL", "Whether the priority level does not exist."),
];

fn flow_schema(object: &Value, now: Timestamp) -> Vec<Value> {
    let mut conditions = object.array_at(&["status", "conditions"]).iter();
    let dangling = conditions.find(|condition| text(condition, &["type"]) == "Dangling");
    vec![
        name(object),
        text(object, &["spec", "priorityLevelConfiguration", "name"]).into(),
        number(object, &["spec", "matchingPrecedence"]).into(),
        object.str_at(&["spec", "distinguisherMethod", "type"]).unwrap_or(NONE).into(),
        age(object, now),
        dangling.map_or("?", |condition| text(condition, &["status"])).into(),
    ]
}

static PRIORITY_LEVEL: [Column; 7] = [
    NAME,
    Column::string("Type", "Whether the level is limited."),
    Column::string("NominalConcurrencyShares", "Share of the server that the level has."),
    Column::string("Queues", "Queues of the level."),
    Column::string("HandSize", "Queues that one flow is spread over."),
    Column::string("QueueLengthLimit", "Requests that wait in a queue."),
    AGE,
];

fn priority_level(object: &Value, now: Timestamp) -> Vec<Value> {
    let limited = |path: &[&str]| match object.at(path) {
        Some(Value::Int(n)) => Value::Int(*n),
        other => scalar(other, NONE),
    };
    let queuing = |field: &str| limited(&["spec", "limited", "limitResponse", "queuing", field]);
    vec![
        name(object),
        text(object, &["spec", "type"]).into(),
        limited(&["spec", "limited", "nominalConcurrencyShares"]),
        queuing("queues"),
        queuing("handSize"),
        queuing("queueLengthLimit"),
        age(object, now),
    ]
}

static WEBHOOKS: [Column; 3] = [NAME, Column::integer("Webhooks", "Number of webhooks."), AGE];

fn webhooks(object: &Value, now: Timestamp) -> Vec<Value> {
    vec![name(object), count(object, &["webhooks"]).into(), age(object, now)]
}

const PARAM_KIND: Column = Column::string("ParamKind", "Kind of the policy's parameters.");
static VALIDATING_POLICY: [Column; 4] =
    [NAME, Column::integer("Validations", "Number of validations."), PARAM_KIND, AGE];
static MUTATING_POLICY: [Column; 4] = [NAME, Column::integer("Mutations", "Number of mutations."), PARAM_KIND, AGE];

fn param_kind(object: &Value) -> Value {
    let kind = object.at(&["spec", "paramKind"]);
    kind.map_or(UNSET.into(), |kind| format!("{}/{}", text(kind, &["apiVersion"]), text(kind, &["kind"]))).into()
}

static POLICY_BINDING: [Column; 4] = [
    NAME,
    Column::string("PolicyName", "Policy that is put into force."),
    Column::string("ParamRef", "Parameters for the policy."),
    AGE,
];

fn policy_binding(object: &Value, now: Timestamp) -> Vec<Value> {
    let params = object.at(&["spec", "paramRef"]).map_or(UNSET.into(), |params| {
        match (text(params, &["name"]), text(params, &["namespace"])) {
            ("", _) => super::human::selector(params.get("selector")).filter(|text| !text.is_empty()),
            // Whether the parameters have a namespace is not known here.
            (name, "") => Some(format!("*/{name}")),
            (name, namespace) => Some(format!("{namespace}/{name}")),
        }
        .unwrap_or_else(|| UNSET.into())
    });
    vec![name(object), text(object, &["spec", "policyName"]).into(), params.into(), age(object, now)]
}

static API_SERVICE: [Column; 4] = [
    NAME,
    Column::string("Service", "Service that serves the group version; Local for this server."),
    Column::string("Available", "Whether it is served, and if not, why."),
    AGE,
];

fn api_service(object: &Value, now: Timestamp) -> Vec<Value> {
    let service = match object.at(&["spec", "service"]) {
        Some(service) => format!("{}/{}", text(service, &["namespace"]), text(service, &["name"])),
        None => "Local".to_owned(),
    };
    let conditions = object.array_at(&["status", "conditions"]);
    let condition = conditions.iter().find(|condition| text(condition, &["type"]) == "Available");
    let available = match condition.map(|found| (text(found, &["status"]), text(found, &["reason"]))) {
        None => "Unknown".to_owned(),
        Some(("True", _)) => "True".to_owned(),
        Some((status, reason)) => format!("{status} ({reason})"),
    };
    vec![name(object), service.into(), available.into(), age(object, now)]
}
