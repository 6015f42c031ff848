//! Nobody gives away rights that they do not have themselves.
//!
//! Follows `pkg/registry/rbac/{escalation_check.go,*/policybased/storage.go}` and
//! `pkg/registry/rbac/validation/rule.go`.

use std::sync::Arc;

use skiff_apimachinery::status::{self, Status};
use skiff_apimachinery::value::Value;

use super::rule::{compacted, describe, uncovered};
use super::{GROUP, Rbac, Rule};
use crate::authentication::UserInfo;
use crate::authorization::{Attributes, Authorizer, Decision, SUPERUSERS};

impl Rbac {
    /// Whether `user` may write this role or binding: only with rights that they have, unless they have the verb
    /// `escalate` (roles) or `bind` (bindings). To be called before a create, and before an update with the `old`
    /// object; `authorizer` is the whole chain.
    pub fn check_escalation(
        &self,
        authorizer: &dyn Authorizer,
        user: &Arc<UserInfo>,
        write: &RbacWrite<'_>,
    ) -> Result<(), Status> {
        if user.groups.iter().any(|group| group == SUPERUSERS) {
            return Ok(());
        }
        if write.old.is_some_and(|old| only_garbage_collection_differs(write.object, old)) {
            return Ok(());
        }
        match write.resource {
            "roles" | "clusterroles" => self.check_role(authorizer, user, write),
            "rolebindings" | "clusterrolebindings" => self.check_binding(authorizer, user, write),
            _ => Ok(()),
        }
    }

    fn check_role(
        &self,
        authorizer: &dyn Authorizer,
        user: &Arc<UserInfo>,
        write: &RbacWrite<'_>,
    ) -> Result<(), Status> {
        let escalate = asked(user, "escalate", GROUP, write.resource, write.namespace, write.request_name);
        if matches!(authorizer.authorize(&escalate), Decision::Allow(_)) {
            return Ok(());
        }
        let refuse = |text: &str| Err(status::forbidden(GROUP, write.resource, write.name, text));
        if let Err(text) = self.covers(user, write, &Rule::of_role(write.object)) {
            return refuse(&text);
        }
        let aggregates = |role: &Value| !role.array_at(&["aggregationRule", "clusterRoleSelectors"]).is_empty();
        // An aggregated role may come to hold anything.
        if (aggregates(write.object) || write.old.is_some_and(aggregates))
            && self.covers(user, write, &full_authority()).is_err()
        {
            return refuse("must have cluster-admin privileges to use the aggregationRule");
        }
        Ok(())
    }

    fn check_binding(
        &self,
        authorizer: &dyn Authorizer,
        user: &Arc<UserInfo>,
        write: &RbacWrite<'_>,
    ) -> Result<(), Status> {
        let role = |field: &str| write.object.str_at(&["roleRef", field]).unwrap_or("");
        let (kind, name) = (role("kind"), role("name"));
        let resource = match kind {
            "ClusterRole" => Some("clusterroles"),
            "Role" => Some("roles"),
            _ => None,
        };
        if let Some(resource) = resource {
            let bind = asked(user, "bind", role("apiGroup"), resource, write.namespace, name);
            if matches!(authorizer.authorize(&bind), Decision::Allow(_)) {
                return Ok(());
            }
        }
        let rules = match self.current().index.rules_of(kind, write.namespace, name) {
            Ok(rules) => rules,
            Err(text) => {
                return Err(match resource {
                    // By the resource of the request, as above.
                    Some(_) => status::not_found(GROUP, write.resource, name),
                    None => status::internal_error(text),
                });
            }
        };
        match self.covers(user, write, &rules) {
            Ok(()) => Ok(()),
            Err(text) => Err(status::forbidden(GROUP, write.resource, write.name, &text)),
        }
    }

    /// Whether the user has all these rights; the error is the text that names those they have not.
    fn covers(&self, user: &UserInfo, write: &RbacWrite<'_>, wanted: &[Rule]) -> Result<(), String> {
        let (held, errors) = self.rules_held(user, write.namespace);
        let missing = uncovered(&held, wanted);
        if missing.is_empty() {
            return Ok(());
        }
        let mut lines = compacted(missing).iter().map(describe).collect::<Vec<_>>();
        lines.sort_unstable();
        lines.dedup();
        let groups = user.groups.iter().map(|group| format!("{group:?}")).collect::<Vec<_>>().join(" ");
        let mut text = format!(
            "user {:?} (groups=[{groups}]) is attempting to grant RBAC permissions not currently held:\n{}",
            user.name,
            lines.join("\n")
        );
        if !errors.is_empty() {
            // Upstream reads the roles in the name of this request, and so names them by its resource.
            let of_request = |error: &Arc<str>| {
                let rest = error.split_once('.').map_or(error.as_ref(), |(_, rest)| rest);
                Arc::from(format!("{}.{rest}", write.resource))
            };
            let errors = errors.iter().map(of_request).collect::<Vec<Arc<str>>>();
            text.push_str(&format!("; resolution errors: [{}]", super::aggregate(&errors)));
        }
        Err(text)
    }
}

/// A write of a role or binding.
#[derive(Clone, Copy, Debug)]
pub struct RbacWrite<'a> {
    /// `roles`, `clusterroles`, `rolebindings` or `clusterrolebindings`.
    pub resource: &'a str,
    /// Namespace; empty for cluster roles and bindings.
    pub namespace: &'a str,
    /// Name in the URL; empty for POST.
    pub request_name: &'a str,
    /// Name of the object.
    pub name: &'a str,
    /// As it will be stored.
    pub object: &'a Value,
    /// As it is stored; `None` for a create.
    pub old: Option<&'a Value>,
}

fn asked(user: &Arc<UserInfo>, verb: &str, group: &str, resource: &str, namespace: &str, name: &str) -> Attributes {
    Attributes {
        user: user.clone(),
        verb: verb.into(),
        is_resource_request: true,
        api_group: group.into(),
        api_version: "*".into(),
        resource: resource.into(),
        namespace: namespace.into(),
        name: name.into(),
        ..Attributes::default()
    }
}

fn full_authority() -> [Rule; 2] {
    let all = || vec!["*".into()];
    [
        Rule { verbs: all(), api_groups: all(), resources: all(), ..Rule::default() },
        Rule { verbs: all(), non_resource_urls: all(), ..Rule::default() },
    ]
}

/// Whether only finalizers, owners and bookkeeping differ: the garbage collector writes those.
fn only_garbage_collection_differs(new: &Value, old: &Value) -> bool {
    const IGNORED: [&str; 4] = ["finalizers", "managedFields", "ownerReferences", "selfLink"];
    let strip = |object: &Value| {
        let mut object = object.clone();
        for field in IGNORED {
            object.remove_at(&["metadata", field]);
        }
        object
    };
    strip(new) == strip(old)
}
