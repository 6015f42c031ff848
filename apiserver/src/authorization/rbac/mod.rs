//! Role-based access control: roles are lists of rules, bindings give them to users and groups.
//!
//! Follows `plugin/pkg/auth/authorizer/rbac` and `pkg/registry/rbac/validation`. Roles and bindings are resolved into
//! an index by subject, which is made again when one of them changes; a decision is a few lookups in it.

mod escalation;
mod index;
mod rule;

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use parking_lot::Mutex;

pub use self::escalation::RbacWrite;
pub use self::rule::{Rule, uncovered};

use self::index::{BindingExtract, Index, RoleExtract};
use self::rule::Asked;
use super::{Attributes, Authorizer, Decision, RulesReview};
use crate::authentication::UserInfo;
use crate::cacher::SharedReader;
use crate::objects::Extracts;

/// API group of roles and bindings.
pub const GROUP: &str = "rbac.authorization.k8s.io";

/// The RBAC authorizer.
pub struct Rbac {
    reader: SharedReader,
    cluster_roles: Extracts<RoleExtract>,
    roles: Extracts<RoleExtract>,
    cluster_bindings: Extracts<BindingExtract>,
    bindings: Extracts<BindingExtract>,
    current: ArcSwapOption<Current>,
    rebuild: Mutex<()>,
}

/// An index and the generations of what it was made from.
struct Current {
    generations: [u64; 4],
    index: Index,
}

impl Rbac {
    /// Reads roles and bindings from here.
    pub fn new(reader: SharedReader) -> Self {
        Self {
            reader,
            cluster_roles: Extracts::new(GROUP, "clusterroles", RoleExtract::of),
            roles: Extracts::new(GROUP, "roles", RoleExtract::of),
            cluster_bindings: Extracts::new(GROUP, "clusterrolebindings", BindingExtract::of),
            bindings: Extracts::new(GROUP, "rolebindings", BindingExtract::of),
            current: ArcSwapOption::empty(),
            rebuild: Mutex::new(()),
        }
    }

    fn generations(&self) -> [u64; 4] {
        let reader = self.reader.as_ref();
        [
            self.cluster_roles.generation(reader),
            self.roles.generation(reader),
            self.cluster_bindings.generation(reader),
            self.bindings.generation(reader),
        ]
    }

    fn current(&self) -> Arc<Current> {
        let fresh = |generations: [u64; 4]| self.current.load_full().filter(|c| c.generations == generations);
        if let Some(current) = fresh(self.generations()) {
            return current;
        }
        let _alone = self.rebuild.lock();
        // Before reading: what changes meanwhile is noticed by the next request.
        let generations = self.generations();
        if let Some(current) = fresh(generations) {
            return current;
        }
        let reader = self.reader.as_ref();
        let index = Index::new(
            &self.cluster_roles.get(reader),
            &self.roles.get(reader),
            &self.cluster_bindings.get(reader),
            &self.bindings.get(reader),
        );
        let current = Arc::new(Current { generations, index });
        self.current.store(Some(current.clone()));
        current
    }

    /// All rules that a user has in a namespace (and in the cluster), and the bindings that lead nowhere.
    fn rules_held(&self, user: &UserInfo, namespace: &str) -> (Vec<Rule>, Vec<Arc<str>>) {
        let current = self.current();
        let (mut rules, mut errors) = (Vec::new(), Vec::new());
        for grant in current.index.grants(user, namespace) {
            match &grant.rules {
                Ok(granted) => rules.extend(granted.iter().cloned()),
                Err(error) => errors.push(error.clone()),
            }
        }
        (rules, errors)
    }
}

/// Several errors as one text, as `utilerrors.NewAggregate` shows them: without repetition, in brackets from two on.
fn aggregate(errors: &[Arc<str>]) -> String {
    let mut distinct: Vec<&str> = Vec::new();
    for error in errors {
        if !distinct.contains(&error.as_ref()) {
            distinct.push(error);
        }
    }
    match distinct.as_slice() {
        [one] => (*one).to_owned(),
        several => format!("[{}]", several.join(", ")),
    }
}

impl Authorizer for Rbac {
    fn authorize(&self, attributes: &Attributes) -> Decision {
        let current = self.current();
        let asked = Asked::new(attributes);
        let (mut allowed, mut errors) = (None, Vec::new());
        current.index.visit(&attributes.user, &attributes.namespace, |grant| match &grant.rules {
            Ok(rules) if rules.iter().any(|rule| rule.allows_asked(&asked)) => {
                allowed = Some(&grant.source);
                true
            }
            Ok(_) => false,
            Err(error) => {
                errors.push(error.clone());
                false
            }
        });
        match allowed {
            Some(source) => Decision::Allow(format!("RBAC: allowed by {source}")),
            None if errors.is_empty() => Decision::NoOpinion(String::new()),
            None => Decision::NoOpinion(format!("RBAC: {}", aggregate(&errors))),
        }
    }

    fn rules_for(&self, user: &UserInfo, namespace: &str) -> RulesReview {
        let (rules, errors) = self.rules_held(user, namespace);
        let mut review = RulesReview::default();
        for rule in rules {
            if !rule.resources.is_empty() {
                let resource = Rule { non_resource_urls: Vec::new(), ..rule.clone() };
                review.resource_rules.push(resource.to_value());
            }
            if !rule.non_resource_urls.is_empty() {
                let Rule { verbs, non_resource_urls, .. } = rule;
                let path = Rule { verbs, non_resource_urls, ..Rule::default() };
                review.non_resource_rules.push(path.to_value());
            }
        }
        if !errors.is_empty() {
            review.evaluation_error = aggregate(&errors);
        }
        review
    }
}

#[cfg(test)]
mod tests;
