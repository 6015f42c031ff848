//! Amounts of resources by name: of a list, and of a pod as a whole.
//!
//! Follows `k8s.io/component-helpers/resource`.

use std::collections::BTreeMap;

use skiff_apimachinery::quantity::Quantity;
use skiff_apimachinery::value::{Object, Value};

/// Amounts by resource name, in order.
pub type Amounts = BTreeMap<String, Quantity>;

/// Reads a quantity as objects have it; `None` for anything else.
pub fn quantity(value: &Value) -> Option<Quantity> {
    match value {
        Value::Int(number) => Some(Quantity::from_value(*number)),
        Value::String(text) => Quantity::parse(text).ok(),
        _ => None,
    }
}

/// The amounts of a resource list such as `requests`; what cannot be read is left to validation.
pub fn amounts(list: Option<&Value>) -> Amounts {
    let list = list.and_then(Value::as_object);
    let all = list.into_iter().flat_map(Object::iter);
    all.filter_map(|(name, value)| Some((name.to_owned(), quantity(value)?))).collect()
}

fn add(sum: &mut Amounts, more: &Amounts) {
    for (name, amount) in more {
        sum.entry(name.clone()).and_modify(|sum| *sum = sum.plus(*amount)).or_insert(*amount);
    }
}

fn raise(most: &mut Amounts, other: &Amounts) {
    for (name, amount) in other {
        most.entry(name.clone()).and_modify(|most| *most = (*most).max(*amount)).or_insert(*amount);
    }
}

/// What a pod needs of `requests` or `limits` in all: its containers together, but at least what the hungriest init
/// container needs beside the sidecars started before it; what is set for the pod as a whole counts instead.
pub fn pod_amounts(pod: &Value, field: &str) -> Amounts {
    let of = |container: &Value| amounts(container.at(&["resources", field]));
    let mut sum = Amounts::new();
    for container in pod.array_at(&["spec", "containers"]) {
        add(&mut sum, &of(container));
    }
    let (mut sidecars, mut init) = (Amounts::new(), Amounts::new());
    for container in pod.array_at(&["spec", "initContainers"]) {
        let mut own = of(container);
        if container.str_at(&["restartPolicy"]) == Some("Always") {
            add(&mut sum, &own);
            add(&mut sidecars, &own);
            raise(&mut init, &sidecars);
        } else {
            add(&mut own, &sidecars);
            raise(&mut init, &own);
        }
    }
    raise(&mut sum, &init);
    for (name, amount) in amounts(pod.at(&["spec", "resources", field])) {
        if name == "cpu" || name == "memory" || name.starts_with("hugepages-") {
            sum.insert(name, amount);
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use skiff_apimachinery::value;

    use super::*;

    #[test]
    fn pods_need_the_most_of_their_phases() {
        let container = |cpu: &str| value!({"resources": {"requests": {"cpu": cpu}}});
        let mut sidecar = container("1");
        sidecar.set_at(&["restartPolicy"], "Always");
        let mut pod = value!({"spec": {
            "initContainers": [(sidecar), (container("3"))],
            "containers": [(container("500m")), (container("500m"))]
        }});
        assert_eq!(pod_amounts(&pod, "requests")["cpu"].to_string(), "4");
        pod.set_at(&["spec", "resources", "requests", "cpu"], "7");
        assert_eq!(pod_amounts(&pod, "requests")["cpu"].to_string(), "7");
    }
}
