//! `MatchResources`: which requests a policy or binding is about (`policy/matching/matching.go`).

use std::sync::Arc;

use skiff_apimachinery::status::Status;
use skiff_apimachinery::value::{Object, Value};

use crate::admission::Request;
use crate::admission::matching::{Rule, matched, namespace_selected, object_selected};
use crate::objects::Objects;
use crate::registry::{Registry, Resource};

/// Rules and selectors.
#[derive(Debug)]
pub struct MatchResources {
    rules: Vec<NamedRule>,
    excluded: Vec<NamedRule>,
    namespace_selector: Value,
    object_selector: Value,
    /// Whether requests for other versions of what the rules name count as well.
    equivalent: bool,
}

/// A rule, and the names that it is about; all if there are none.
#[derive(Debug)]
struct NamedRule {
    rule: Rule,
    names: Vec<String>,
}

impl MatchResources {
    /// From `matchConstraints` of a policy or `matchResources` of a binding.
    pub fn parse(resources: &Value) -> Self {
        let rules = |field: &str| resources.array_at(&[field]).iter().map(NamedRule::parse).collect();
        let selector = |field: &str| resources.get(field).cloned().unwrap_or_else(|| Object::new().into());
        Self {
            rules: rules("resourceRules"),
            excluded: rules("excludeResourceRules"),
            namespace_selector: selector("namespaceSelector"),
            object_selector: selector("objectSelector"),
            equivalent: resources.str_at(&["matchPolicy"]) == Some("Equivalent"),
        }
    }

    /// The version of its resource in which a request is meant; `None` if it is not.
    pub async fn matches(
        &self,
        request: &Request<'_>,
        registry: &Registry,
        objects: &Objects,
    ) -> Result<Option<Arc<Resource>>, Status> {
        let Some(asked) = request.asked else { return Ok(None) };
        let selected = namespace_selected(&self.namespace_selector, request, objects).await;
        if matches!(selected, Ok(false))
            || !object_selected(&self.object_selector, request.object.as_deref(), request.old_object)
        {
            return Ok(None);
        }
        if self.named(&self.excluded, request, registry).is_some() {
            return Ok(None);
        }
        let resource = if self.rules.is_empty() {
            Some(asked.resource().clone())
        } else {
            self.named(&self.rules, request, registry)
        };
        // Only where the rest is right does it matter that a selector could not be asked.
        match (resource, selected) {
            (Some(_), Err(error)) => Err(error),
            (resource, _) => Ok(resource),
        }
    }

    fn named(&self, rules: &[NamedRule], request: &Request<'_>, registry: &Registry) -> Option<Arc<Resource>> {
        let fits = |rule: &&NamedRule| rule.names.is_empty() || rule.names.iter().any(|name| name == request.name);
        let rules = rules.iter().filter(fits).map(|named| named.rule.clone()).collect::<Vec<_>>();
        if rules.is_empty() { None } else { matched(request, &rules, self.equivalent, registry) }
    }
}

impl NamedRule {
    fn parse(rule: &Value) -> Self {
        let names = rule.array_at(&["resourceNames"]).iter().filter_map(Value::as_str).map(str::to_owned);
        Self { rule: Rule::parse(rule), names: names.collect() }
    }
}
