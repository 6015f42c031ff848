//! What a pod as a whole asks for, from what its containers ask for, and its quality of service.
//!
//! Follows `k8s.io/component-helpers/resource` and `pkg/apis/core/v1/helper/qos`.

use std::collections::BTreeMap;

use skiff_apimachinery::quantity::Quantity;
use skiff_apimachinery::value::{Object, Value};

/// Amounts by resource.
pub type Resources = BTreeMap<String, Quantity>;

/// Requests of all containers: regular ones and sidecars together, or the largest init container if that is more.
pub fn requests(spec: &Object) -> Resources {
    together(spec, "requests")
}

/// Limits of all containers, counted in the same way.
pub fn limits(spec: &Object) -> Resources {
    together(spec, "limits")
}

fn together(spec: &Object, which: &str) -> Resources {
    let mut total = Resources::new();
    for container in list(spec, "containers") {
        add(&mut total, &amounts(container, which));
    }
    let mut sidecars = Resources::new();
    let mut largest = Resources::new();
    for container in list(spec, "initContainers") {
        let asked = amounts(container, which);
        if container.str_at(&["restartPolicy"]) == Some("Always") {
            add(&mut total, &asked);
            add(&mut sidecars, &asked);
            raise(&mut largest, &sidecars);
        } else {
            // It runs beside the sidecars that were started before it.
            let mut with_sidecars = asked;
            add(&mut with_sidecars, &sidecars);
            raise(&mut largest, &with_sidecars);
        }
    }
    raise(&mut total, &largest);
    total
}

fn list<'a>(spec: &'a Object, field: &str) -> &'a [Value] {
    spec.get(field).and_then(Value::as_array).unwrap_or(&[])
}

fn amounts(container: &Value, which: &str) -> Resources {
    let listed = container.at(&["resources", which]).and_then(Value::as_object);
    let pairs = listed.into_iter().flat_map(|object| object.iter());
    pairs.filter_map(|(name, value)| Some((name.to_owned(), Quantity::parse(value.as_str()?).ok()?))).collect()
}

fn add(total: &mut Resources, more: &Resources) {
    for (name, amount) in more {
        let sum = total.get(name).map_or(*amount, |before| before.plus(*amount));
        total.insert(name.clone(), sum);
    }
}

fn raise(total: &mut Resources, other: &Resources) {
    for (name, amount) in other {
        let entry = total.entry(name.clone()).or_insert(*amount);
        *entry = (*entry).max(*amount);
    }
}

/// `Guaranteed`, `Burstable` or `BestEffort`.
pub fn qos_class(spec: &Object) -> &'static str {
    if let Some(resources) = spec.get("resources").filter(|r| r.as_object().is_some_and(|r| !r.is_empty())) {
        return class_of(std::iter::once(resources));
    }
    let containers = list(spec, "containers").iter().chain(list(spec, "initContainers"));
    let resources = containers.map(|container| container.get("resources").unwrap_or(&Value::Null));
    class_of(resources.collect::<Vec<_>>().into_iter())
}

/// Guaranteed when everything has limits for cpu and memory that its requests are equal to.
fn class_of<'a>(all: impl Iterator<Item = &'a Value>) -> &'static str {
    let mut any = false;
    let mut guaranteed = true;
    for resources in all {
        let amount = |list: &str, name: &str| {
            let value = resources.str_at(&[list, name]).and_then(|text| Quantity::parse(text).ok());
            value.filter(|q| !q.is_zero())
        };
        for name in ["cpu", "memory"] {
            let (request, limit) = (amount("requests", name), amount("limits", name));
            any |= request.is_some() || limit.is_some();
            guaranteed &= limit.is_some() && request.is_none_or(|request| Some(request) == limit);
        }
    }
    match (any, guaranteed) {
        (false, _) => "BestEffort",
        (true, true) => "Guaranteed",
        (true, false) => "Burstable",
    }
}

#[cfg(test)]
mod tests {
    use skiff_apimachinery::value;

    use super::*;

    fn spec(value: &Value) -> &Object {
        value.as_object().expect("object")
    }

    #[test]
    fn classes() {
        for (pod, want) in [
            (value!({"containers": [{"name": "a"}]}), "BestEffort"),
            (value!({"containers": [{"resources": {"requests": {"cpu": "1"}}}]}), "Burstable"),
            (
                value!({"containers": [{"resources": {"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "1", "memory": "1Gi"}}}]}),
                "Guaranteed",
            ),
            (
                value!({"containers": [{"resources": {"limits": {"cpu": "1", "memory": "1Gi"}}}, {"name": "b"}]}),
                "Burstable",
            ),
        ] {
            assert_eq!(qos_class(spec(&pod)), want);
        }
    }

    #[test]
    fn init_containers_count_where_they_need_more() {
        let pod = value!({
            "containers": [{"resources": {"requests": {"cpu": "1"}}}],
            "initContainers": [
                {"restartPolicy": "Always", "resources": {"requests": {"cpu": "500m"}}},
                {"resources": {"requests": {"cpu": "2"}}}
            ]
        });
        assert_eq!(requests(spec(&pod))["cpu"].to_string(), "2500m");
    }
}
