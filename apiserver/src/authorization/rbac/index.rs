//! Who may do what, resolved from roles and bindings.

use std::collections::HashMap;
use std::sync::Arc;

use compact_str::CompactString;
use skiff_apimachinery::value::Value;

use super::rule::Rule;
use crate::authentication::{UserInfo, service_account};

/// A Role or ClusterRole as far as the index reads it.
pub(super) struct RoleExtract {
    pub(super) namespace: CompactString,
    pub(super) name: CompactString,
    pub(super) rules: Arc<[Rule]>,
}

impl RoleExtract {
    pub(super) fn of(role: &Value) -> Option<Self> {
        Some(Self {
            namespace: role.str_at(&["metadata", "namespace"]).unwrap_or("").into(),
            name: role.str_at(&["metadata", "name"])?.into(),
            rules: Rule::of_role(role).into(),
        })
    }
}

/// A RoleBinding or ClusterRoleBinding.
pub(super) struct BindingExtract {
    pub(super) namespace: CompactString,
    pub(super) name: CompactString,
    pub(super) role_kind: CompactString,
    pub(super) role_name: CompactString,
    subjects: Vec<Subject>,
}

/// One subject of a binding.
struct Subject {
    is_group: bool,
    /// User name (a ServiceAccount's in full) or group.
    name: CompactString,
    /// As reasons show it.
    description: Box<str>,
}

impl BindingExtract {
    pub(super) fn of(binding: &Value) -> Option<Self> {
        let namespace = binding.str_at(&["metadata", "namespace"]).unwrap_or("");
        Some(Self {
            namespace: namespace.into(),
            name: binding.str_at(&["metadata", "name"])?.into(),
            role_kind: binding.str_at(&["roleRef", "kind"])?.into(),
            role_name: binding.str_at(&["roleRef", "name"])?.into(),
            subjects: binding.array_at(&["subjects"]).iter().filter_map(|s| Subject::of(s, namespace)).collect(),
        })
    }
}

impl Subject {
    fn of(subject: &Value, binding_namespace: &str) -> Option<Self> {
        let (kind, name) = (subject.str_at(&["kind"])?, subject.str_at(&["name"])?);
        let (subject_name, shown) = match kind {
            "User" | "Group" => (name.into(), name.to_owned()),
            "ServiceAccount" => {
                let own = subject.str_at(&["namespace"]).filter(|ns| !ns.is_empty());
                let namespace = own.unwrap_or(binding_namespace);
                if namespace.is_empty() {
                    return None;
                }
                (service_account::user_name(namespace, name).into(), format!("{name}/{namespace}"))
            }
            _ => return None,
        };
        let description = format!("{kind} {shown:?}").into();
        Some(Self { is_group: kind == "Group", name: subject_name, description })
    }
}

/// What one binding gives one subject.
#[derive(Clone)]
pub(super) struct Grant {
    /// E.g. `ClusterRoleBinding "x" of ClusterRole "y" to Group "z"`.
    pub(super) source: Arc<str>,
    /// The rules, or why there are none.
    pub(super) rules: Result<Arc<[Rule]>, Arc<str>>,
    /// Tells grants of one binding to several subjects apart from others.
    binding: usize,
}

#[derive(Default)]
struct Grants {
    users: HashMap<CompactString, Vec<Grant>>,
    groups: HashMap<CompactString, Vec<Grant>>,
}

/// Everything, ready to be asked.
#[derive(Default)]
pub(super) struct Index {
    cluster: Grants,
    namespaces: HashMap<CompactString, Grants>,
    cluster_roles: HashMap<CompactString, Arc<[Rule]>>,
    roles: HashMap<(CompactString, CompactString), Arc<[Rule]>>,
}

impl Index {
    pub(super) fn new(
        cluster_roles: &[Arc<RoleExtract>],
        roles: &[Arc<RoleExtract>],
        cluster_bindings: &[Arc<BindingExtract>],
        bindings: &[Arc<BindingExtract>],
    ) -> Self {
        let mut index = Self {
            cluster_roles: cluster_roles.iter().map(|role| (role.name.clone(), role.rules.clone())).collect(),
            roles: roles.iter().map(|role| ((role.namespace.clone(), role.name.clone()), role.rules.clone())).collect(),
            ..Self::default()
        };
        let all = cluster_bindings.iter().map(|b| ("ClusterRoleBinding", b));
        for (number, (kind, binding)) in all.chain(bindings.iter().map(|b| ("RoleBinding", b))).enumerate() {
            index.add(number, kind, binding);
        }
        index
    }

    fn add(&mut self, number: usize, kind: &str, binding: &BindingExtract) {
        let rules = self.rules_of(&binding.role_kind, &binding.namespace, &binding.role_name).map_err(Arc::from);
        let shown = match kind {
            "RoleBinding" => format!("{}/{}", binding.name, binding.namespace),
            _ => binding.name.to_string(),
        };
        let grants = match binding.namespace.as_str() {
            "" => &mut self.cluster,
            _ => self.namespaces.entry(binding.namespace.clone()).or_default(),
        };
        for subject in &binding.subjects {
            let source =
                format!("{kind} {shown:?} of {} {:?} to {}", binding.role_kind, binding.role_name, subject.description);
            let grant = Grant { source: source.into(), rules: rules.clone(), binding: number };
            let subjects = if subject.is_group { &mut grants.groups } else { &mut grants.users };
            subjects.entry(subject.name.clone()).or_default().push(grant);
        }
    }

    /// The rules of a role that a binding refers to; the error is upstream's text.
    pub(super) fn rules_of(&self, kind: &str, namespace: &str, name: &str) -> Result<Arc<[Rule]>, String> {
        match kind {
            "ClusterRole" => self
                .cluster_roles
                .get(name)
                .cloned()
                .ok_or_else(|| format!("clusterrole.rbac.authorization.k8s.io {name:?} not found")),
            "Role" => self
                .roles
                .get(&(namespace.into(), name.into()))
                .cloned()
                .ok_or_else(|| format!("role.rbac.authorization.k8s.io {name:?} not found")),
            _ => Err(format!("unsupported role reference kind: {kind:?}")),
        }
    }

    /// Calls `visit` with every grant of a user, those of the whole cluster first, until it returns true.
    pub(super) fn visit<'a>(&'a self, user: &UserInfo, namespace: &str, mut visit: impl FnMut(&'a Grant) -> bool) {
        let namespaced = if namespace.is_empty() { None } else { self.namespaces.get(namespace) };
        for grants in [Some(&self.cluster), namespaced].into_iter().flatten() {
            let own = grants.users.get(user.name.as_str());
            let of_groups = user.groups.iter().filter_map(|group| grants.groups.get(group.as_str()));
            for grant in own.into_iter().chain(of_groups).flatten() {
                if visit(grant) {
                    return;
                }
            }
        }
    }

    /// The grants of a user, one per binding.
    pub(super) fn grants(&self, user: &UserInfo, namespace: &str) -> Vec<&Grant> {
        let mut grants: Vec<&Grant> = Vec::new();
        self.visit(user, namespace, |grant| {
            if !grants.iter().any(|seen| seen.binding == grant.binding) {
                grants.push(grant);
            }
            false
        });
        grants
    }
}
