//! Roles and bindings that exist from the start, and how those that exist already are brought up to date.
//!
//! The data is in `manifests/bootstrap/rbac`; it says what
//! `plugin/pkg/auth/authorizer/rbac/bootstrappolicy` of v1.36 says, with the features that are on by default, plus what
//! kubeadm adds. [`objects`] spells it out; [`reconcile`] never takes away what an administrator has added.

use std::collections::BTreeMap;

use serde::Deserialize;
use skiff_apimachinery::value;
use skiff_apimachinery::value::{Object, Value};

use super::rbac::{GROUP, Rule, uncovered};

const CLUSTER_ROLES: &str = include_str!("../../../manifests/bootstrap/rbac/cluster-roles.yaml");
const CONTROLLER_ROLES: &str = include_str!("../../../manifests/bootstrap/rbac/controller-roles.yaml");
const CLUSTER_ROLE_BINDINGS: &str = include_str!("../../../manifests/bootstrap/rbac/cluster-role-bindings.yaml");
const ROLES: &str = include_str!("../../../manifests/bootstrap/rbac/roles.yaml");
const ROLE_BINDINGS: &str = include_str!("../../../manifests/bootstrap/rbac/role-bindings.yaml");
const OWN: &str = include_str!("../../../manifests/bootstrap/rbac/skiff.yaml");

/// Annotation that keeps an object from being brought up to date when it is `false`.
const AUTOUPDATE: &str = "rbac.authorization.kubernetes.io/autoupdate";
const BOOTSTRAPPING_LABEL: &str = "kubernetes.io/bootstrapping";
const CONTROLLER_PREFIX: &str = "system:controller:";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RoleSpec {
    name: String,
    #[serde(default)]
    namespace: String,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    /// Labels of the roles that this one gathers.
    #[serde(default)]
    aggregate: BTreeMap<String, String>,
    #[serde(default)]
    rules: Vec<RuleSpec>,
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct RuleSpec {
    verbs: Vec<String>,
    #[serde(default)]
    api_groups: Vec<String>,
    #[serde(default)]
    resources: Vec<String>,
    #[serde(default)]
    resource_names: Vec<String>,
    #[serde(default, rename = "nonResourceURLs")]
    non_resource_urls: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BindingSpec {
    name: String,
    #[serde(default)]
    namespace: String,
    /// The role, when it has another name.
    role: Option<String>,
    subjects: Vec<SubjectSpec>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
enum SubjectSpec {
    User(String),
    Group(String),
    /// `namespace/name`.
    ServiceAccount(String),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct OwnSpec {
    cluster_roles: Vec<RoleSpec>,
    cluster_role_bindings: Vec<BindingSpec>,
    roles: Vec<RoleSpec>,
    role_bindings: Vec<BindingSpec>,
}

/// Reads data that is compiled in and that the tests of this module have read before.
fn read<'a, T: Deserialize<'a>>(yaml: &'a str) -> T {
    serde_saphyr::from_str(yaml).unwrap_or_else(|error| panic!("manifests/bootstrap/rbac does not fit: {error}"))
}

/// Every role and binding that must exist, roles before the bindings that refer to them.
pub fn objects() -> Vec<Value> {
    let own: OwnSpec = read(OWN);
    let controllers: Vec<RoleSpec> = read(CONTROLLER_ROLES);
    let controller_bindings = controllers.iter().map(controller_binding).collect::<Vec<_>>();
    let mut cluster_roles: Vec<RoleSpec> = read(CLUSTER_ROLES);
    cluster_roles.extend(controllers.into_iter().map(|mut role| {
        role.name.insert_str(0, CONTROLLER_PREFIX);
        role
    }));
    cluster_roles.extend(own.cluster_roles);
    let mut objects = cluster_roles.iter().map(|role| role_object(role, &cluster_roles)).collect::<Vec<_>>();
    let roles = read::<Vec<RoleSpec>>(ROLES).into_iter().chain(own.roles);
    objects.extend(roles.map(|role| role_object(&role, &[])));
    let cluster_bindings = read::<Vec<BindingSpec>>(CLUSTER_ROLE_BINDINGS).into_iter();
    let cluster_bindings = cluster_bindings.chain(controller_bindings).chain(own.cluster_role_bindings);
    objects.extend(cluster_bindings.map(|binding| binding_object(&binding)));
    let bindings = read::<Vec<BindingSpec>>(ROLE_BINDINGS).into_iter().chain(own.role_bindings);
    objects.extend(bindings.map(|binding| binding_object(&binding)));
    objects
}

/// What every node may do, whatever the object.
pub(super) fn node_rules() -> Vec<Rule> {
    let roles: Vec<RoleSpec> = read(CLUSTER_ROLES);
    let node = roles.iter().find(|role| role.name == "system:node");
    node.into_iter().flat_map(|role| &role.rules).map(RuleSpec::rule).collect()
}

/// A controller's role goes to its ServiceAccount: each has an identity of its own (`--use-service-account-credentials`).
fn controller_binding(role: &RoleSpec) -> BindingSpec {
    BindingSpec {
        name: format!("{CONTROLLER_PREFIX}{}", role.name),
        namespace: String::new(),
        role: None,
        subjects: vec![SubjectSpec::ServiceAccount(format!("kube-system/{}", role.name))],
    }
}

impl RuleSpec {
    fn rule(&self) -> Rule {
        let list = |texts: &[String]| texts.iter().map(|text| text.as_str().into()).collect();
        Rule {
            verbs: list(&self.verbs),
            api_groups: list(&self.api_groups),
            resources: list(&self.resources),
            resource_names: list(&self.resource_names),
            non_resource_urls: list(&self.non_resource_urls),
        }
    }
}

fn metadata(name: &str, namespace: &str, labels: &BTreeMap<String, String>) -> Value {
    let mut all = labels.iter().map(|(k, v)| (k.as_str(), Value::from(v.as_str()))).collect::<Object>();
    all.insert(BOOTSTRAPPING_LABEL, "rbac-defaults");
    let mut metadata = value!({"name": name, "labels": all, "annotations": {}});
    metadata.set_at(&["annotations", AUTOUPDATE], "true");
    if !namespace.is_empty() {
        metadata.set_at(&["namespace"], namespace);
    }
    metadata
}

fn role_object(role: &RoleSpec, all: &[RoleSpec]) -> Value {
    let mut gathered = Vec::new();
    role.gather(all, &mut gathered);
    let mut object = value!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": (if role.namespace.is_empty() { "ClusterRole" } else { "Role" }),
        "metadata": (metadata(&role.name, &role.namespace, &role.labels)),
        "rules": (gathered.iter().map(Rule::to_value).collect::<Vec<_>>())
    });
    if !role.aggregate.is_empty() {
        let selectors = role.aggregate.iter().map(|(key, text)| {
            let labels = [(key.as_str(), Value::from(text.as_str()))].into_iter().collect::<Object>();
            value!({"matchLabels": labels})
        });
        object.set_at(&["aggregationRule", "clusterRoleSelectors"], selectors.collect::<Vec<_>>());
    }
    object
}

impl RoleSpec {
    /// The rules of this role and of all that it gathers, so that it works before the aggregation controller runs.
    fn gather(&self, all: &[RoleSpec], rules: &mut Vec<Rule>) {
        for rule in self.rules.iter().map(RuleSpec::rule) {
            if !rules.contains(&rule) {
                rules.push(rule);
            }
        }
        let wanted = |role: &&RoleSpec| self.aggregate.iter().any(|(key, text)| role.labels.get(key) == Some(text));
        let mut members = all.iter().filter(wanted).collect::<Vec<_>>();
        members.sort_by(|a, b| a.name.cmp(&b.name));
        for member in members {
            member.gather(all, rules);
        }
    }
}

fn binding_object(binding: &BindingSpec) -> Value {
    let namespaced = !binding.namespace.is_empty();
    let subjects = binding.subjects.iter().map(|subject| match subject {
        SubjectSpec::User(name) => value!({"apiGroup": GROUP, "kind": "User", "name": (name.as_str())}),
        SubjectSpec::Group(name) => value!({"apiGroup": GROUP, "kind": "Group", "name": (name.as_str())}),
        SubjectSpec::ServiceAccount(account) => {
            let (namespace, name) = account.split_once('/').unwrap_or(("", account));
            value!({"kind": "ServiceAccount", "name": name, "namespace": namespace})
        }
    });
    value!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": (if namespaced { "RoleBinding" } else { "ClusterRoleBinding" }),
        "metadata": (metadata(&binding.name, &binding.namespace, &BTreeMap::new())),
        "roleRef": {
            "apiGroup": GROUP,
            "kind": (if namespaced { "Role" } else { "ClusterRole" }),
            "name": (binding.role.as_deref().unwrap_or(&binding.name))
        },
        "subjects": (subjects.collect::<Vec<_>>())
    })
}

/// What to do with a role or binding that exists already.
#[derive(Clone, Debug, PartialEq)]
pub enum Reconciliation {
    /// It is as it should be, or its annotation says to leave it alone.
    Keep,
    /// Write this in its place.
    Update(Value),
    /// Delete it and create the expected one: its roleRef, which cannot be changed, is another.
    Recreate,
}

/// Adds to an existing role or binding what the expected one has (`component-helpers/auth/rbac/reconciliation`).
pub fn reconcile(existing: &Value, expected: &Value) -> Reconciliation {
    if existing.str_at(&["metadata", "annotations", AUTOUPDATE]) == Some("false") {
        return Reconciliation::Keep;
    }
    if existing.get("roleRef") != expected.get("roleRef") {
        return Reconciliation::Recreate;
    }
    let mut result = existing.clone();
    for map in ["labels", "annotations"] {
        for (key, text) in expected.at(&["metadata", map]).and_then(Value::as_object).iter().flat_map(|m| m.iter()) {
            if existing.at(&["metadata", map, key]).is_none() {
                result.set_at(&["metadata", map, key], text.clone());
            }
        }
    }
    let missing_rules = uncovered(&Rule::of_role(existing), &Rule::of_role(expected));
    append(&mut result, &["rules"], missing_rules.iter().map(Rule::to_value).collect());
    for list in [&["subjects"][..], &["aggregationRule", "clusterRoleSelectors"]] {
        let present = existing.array_at(list);
        let missing = expected.array_at(list).iter().filter(|item| !present.contains(item)).cloned().collect();
        append(&mut result, list, missing);
    }
    if expected.get("aggregationRule").is_none() {
        result.remove_at(&["aggregationRule"]);
    }
    if result == *existing { Reconciliation::Keep } else { Reconciliation::Update(result) }
}

fn append(object: &mut Value, path: &[&str], items: Vec<Value>) {
    if !items.is_empty() {
        let mut all = object.array_at(path).to_vec();
        all.extend(items);
        object.set_at(path, all);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find<'a>(objects: &'a [Value], kind: &str, namespace: &str, name: &str) -> &'a Value {
        let is = |object: &&Value| {
            object.str_at(&["kind"]) == Some(kind)
                && object.str_at(&["metadata", "namespace"]).unwrap_or("") == namespace
                && object.str_at(&["metadata", "name"]) == Some(name)
        };
        objects.iter().find(is).unwrap_or_else(|| panic!("{kind} {namespace}/{name}"))
    }

    #[test]
    fn data_is_complete_and_refers_to_itself() {
        let objects = objects();
        let count = |kind: &str| objects.iter().filter(|o| o.str_at(&["kind"]) == Some(kind)).count();
        assert_eq!(
            [count("ClusterRole"), count("ClusterRoleBinding"), count("Role"), count("RoleBinding")],
            [31 + 38 + 2, 12 + 38 + 6, 7 + 2, 7 + 2]
        );
        for binding in objects.iter().filter(|o| o.get("roleRef").is_some()) {
            let kind = binding.str_at(&["roleRef", "kind"]).expect("a kind");
            let namespace = binding.str_at(&["metadata", "namespace"]).unwrap_or("");
            find(&objects, kind, namespace, binding.str_at(&["roleRef", "name"]).expect("a name"));
        }
    }

    #[test]
    fn aggregated_roles_are_filled() {
        let objects = objects();
        let rules = |name: &str| Rule::of_role(find(&objects, "ClusterRole", "", name));
        let [view, edit, admin] = ["view", "edit", "admin"].map(rules);
        assert!(uncovered(&edit, &view).is_empty() && uncovered(&admin, &edit).is_empty());
        let secrets = Rule {
            verbs: vec!["get".into()],
            api_groups: vec!["".into()],
            resources: vec!["secrets".into()],
            ..Rule::default()
        };
        assert!(!uncovered(&view, std::slice::from_ref(&secrets)).is_empty());
        assert!(uncovered(&edit, &[secrets]).is_empty());
        assert!(!uncovered(&edit, &rules("system:aggregate-to-admin")).is_empty());
    }

    #[test]
    fn controllers_have_their_accounts() {
        let objects = objects();
        let binding = find(&objects, "ClusterRoleBinding", "", "system:controller:replicaset-controller");
        assert_eq!(
            binding.get("subjects"),
            Some(&value!([
                {"kind": "ServiceAccount", "name": "replicaset-controller", "namespace": "kube-system"}
            ]))
        );
    }

    #[test]
    fn reconciliation_adds_and_never_takes_away() {
        let objects = objects();
        for object in &objects {
            assert_eq!(reconcile(object, object), Reconciliation::Keep);
        }
        let view = find(&objects, "ClusterRole", "", "view");
        let extra = value!({"verbs": ["get"], "apiGroups": ["example.com"], "resources": ["things"]});
        let mut changed = view.clone();
        changed.set_at(&["rules"], value!([(extra.clone())]));
        changed.remove_at(&["metadata", "labels"]);
        let Reconciliation::Update(result) = reconcile(&changed, view) else { panic!("rules are missing") };
        assert_eq!(result.array_at(&["rules"])[0], extra);
        assert!(uncovered(&Rule::of_role(&result), &Rule::of_role(view)).is_empty());
        assert_eq!(result.at(&["metadata", "labels"]), view.at(&["metadata", "labels"]));
        changed.set_at(&["metadata", "annotations", AUTOUPDATE], "false");
        assert_eq!(reconcile(&changed, view), Reconciliation::Keep);

        let admin = find(&objects, "ClusterRoleBinding", "", "cluster-admin");
        let mut changed = admin.clone();
        changed.set_at(&["subjects"], value!([{"apiGroup": GROUP, "kind": "User", "name": "jane"}]));
        let Reconciliation::Update(result) = reconcile(&changed, admin) else { panic!("a subject is missing") };
        assert_eq!(result.array_at(&["subjects"]).len(), 2);
        changed.set_at(&["roleRef", "name"], "other");
        assert_eq!(reconcile(&changed, admin), Reconciliation::Recreate);
    }
}
