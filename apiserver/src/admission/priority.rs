//! The number behind a pod's priority class.
//!
//! Follows `plugin/pkg/admission/priority`.

use skiff_apimachinery::status::Status;
use skiff_apimachinery::value::Value;

use super::{Operation, Plugin, Request};
use crate::objects::{Extracts, Objects};
use crate::registry::others::policy::SYSTEM_CLASSES;

const GROUP: &str = "scheduling.k8s.io";
const RESOURCE: &str = "priorityclasses";

pub(super) struct Priority {
    objects: Objects,
    defaults: Extracts<Class>,
}

/// What a class gives a pod.
#[derive(Clone)]
struct Class {
    name: String,
    value: i64,
    preemption_policy: Option<String>,
}

impl Class {
    fn of(class: &Value) -> Self {
        Self {
            name: class.str_at(&["metadata", "name"]).unwrap_or("").to_owned(),
            value: class.i64_at(&["value"]).unwrap_or(0),
            preemption_policy: class.str_at(&["preemptionPolicy"]).map(str::to_owned),
        }
    }
}

impl Priority {
    pub(super) fn new(objects: Objects) -> Self {
        let default = |class: &Value| (class.bool_at(&["globalDefault"]) == Some(true)).then(|| Class::of(class));
        Self { objects, defaults: Extracts::new(GROUP, RESOURCE, default) }
    }

    /// The class for pods that name none: of several the one with the lowest value.
    fn default_class(&self) -> Option<Class> {
        let defaults = self.defaults.get(self.objects.reader().as_ref());
        defaults.iter().min_by_key(|class| class.value).map(|class| class.as_ref().clone())
    }

    async fn class_of(&self, request: &Request<'_>) -> Result<Class, Status> {
        let name = request.object().str_at(&["spec", "priorityClassName"]).unwrap_or("");
        if name.is_empty() {
            let none =
                || Class { name: String::new(), value: 0, preemption_policy: Some("PreemptLowerPriority".into()) };
            return Ok(self.default_class().unwrap_or_else(none));
        }
        match self.objects.find(GROUP, RESOURCE, "", name).await? {
            Some(class) => Ok(Class::of(&class)),
            None => Err(request.forbidden(&format!("no PriorityClass with name {name} was found"))),
        }
    }

    async fn admit_new_pod(&self, request: &mut Request<'_>) -> Result<(), Status> {
        let class = self.class_of(request).await?;
        let pod = request.object();
        if let Some(given) = pod.i64_at(&["spec", "priority"])
            && given != class.value
        {
            return Err(request.forbidden(&format!(
                "the integer value of priority ({given}) must not be provided in pod spec; priority admission \
                 controller computed {} from the given PriorityClass name",
                class.value
            )));
        }
        if let (Some(given), Some(policy)) = (pod.str_at(&["spec", "preemptionPolicy"]), &class.preemption_policy)
            && given != policy
        {
            return Err(request.forbidden(&format!(
                "the string value of PreemptionPolicy ({given}) must not be provided in pod spec; priority admission \
                 controller computed {policy} from the given PriorityClass name"
            )));
        }
        let Some(pod) = &mut request.object else { return Ok(()) };
        pod.set_at(&["spec", "priority"], class.value);
        if let Some(policy) = class.preemption_policy {
            pod.set_at(&["spec", "preemptionPolicy"], policy);
        }
        if !class.name.is_empty() {
            pod.set_at(&["spec", "priorityClassName"], class.name);
        }
        Ok(())
    }
}

#[async_trait::async_trait]
impl Plugin for Priority {
    fn name(&self) -> &'static str {
        "Priority"
    }

    fn handles(&self, operation: Operation, group: &str, resource: &str, subresource: &str) -> bool {
        subresource.is_empty()
            && match operation {
                Operation::Create | Operation::Update => matches!((group, resource), ("", "pods") | (GROUP, RESOURCE)),
                Operation::Delete => (group, resource) == (GROUP, RESOURCE),
                Operation::Connect => false,
            }
    }

    async fn admit(&self, request: &mut Request<'_>) -> Result<(), Status> {
        if request.resource != "pods" || request.operation == Operation::Delete {
            return Ok(());
        }
        if request.operation == Operation::Create {
            return self.admit_new_pod(request).await;
        }
        // What was computed at creation stays when a client that does not know it leaves it out.
        let old = request.old();
        let kept = ["priority", "preemptionPolicy"].map(|field| (field, old.at(&["spec", field]).cloned()));
        if let Some(pod) = &mut request.object {
            for (field, value) in kept {
                if let (None, Some(value)) = (pod.at(&["spec", field]), value) {
                    pod.set_at(&["spec", field], value);
                }
            }
        }
        Ok(())
    }

    async fn validate(&self, request: &mut Request<'_>) -> Result<(), Status> {
        if request.operation == Operation::Delete {
            // Upstream does this in the storage of the kind.
            return match SYSTEM_CLASSES.iter().any(|(name, _)| *name == request.name) {
                true => Err(request.forbidden("this is a system priority class and cannot be deleted")),
                false => Ok(()),
            };
        }
        let class = request.object();
        if request.resource != RESOURCE || class.bool_at(&["globalDefault"]) != Some(true) {
            return Ok(());
        }
        match self.default_class() {
            Some(default)
                if request.operation == Operation::Create
                    || class.str_at(&["metadata", "name"]) != Some(&default.name) =>
            {
                Err(request.forbidden(&format!(
                    "PriorityClass {} is already marked as default. Only one default can exist",
                    default.name
                )))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use skiff_apimachinery::value;

    use super::super::testing::{Case, Fixture};
    use super::*;

    fn class(name: &str, number: i64, default: bool) -> Value {
        value!({
            "metadata": {"name": name}, "value": number, "globalDefault": default,
            "preemptionPolicy": (if name == "calm" { "Never" } else { "PreemptLowerPriority" })
        })
    }

    fn fixture(default: bool) -> (Fixture, Priority) {
        let fixture = Fixture::new();
        fixture.put(GROUP, RESOURCE, class("high", 1000, false));
        fixture.put(GROUP, RESOURCE, class("calm", 10, false));
        fixture.put(GROUP, RESOURCE, class("usual", 5, default));
        let plugin = Priority::new(fixture.objects());
        (fixture, plugin)
    }

    fn pod(spec: Value) -> Case {
        Case::create("", "pods", "demo", value!({"metadata": {"name": "p"}, "spec": spec}))
    }

    async fn spec(case: Case, plugin: &Priority) -> Result<Value, String> {
        let pod = case.admit(plugin).await.map_err(|(_, message)| message)?;
        Ok(pod.get("spec").cloned().unwrap_or_default())
    }

    #[tokio::test]
    async fn pods_get_the_number_of_their_class() {
        let (_fixture, plugin) = fixture(false);
        let policy = "PreemptLowerPriority";
        assert_eq!(spec(pod(value!({})), &plugin).await, Ok(value!({"priority": 0, "preemptionPolicy": policy})));
        let high = value!({"priorityClassName": "high"});
        let expected = value!({"priorityClassName": "high", "priority": 1000, "preemptionPolicy": policy});
        assert_eq!(spec(pod(high), &plugin).await, Ok(expected.clone()));
        assert_eq!(spec(pod(expected.clone()), &plugin).await, Ok(expected));
        let calm = spec(pod(value!({"priorityClassName": "calm"})), &plugin).await.expect("admitted");
        assert_eq!(calm.str_at(&["preemptionPolicy"]), Some("Never"));
        let none = spec(pod(value!({"priorityClassName": "none"})), &plugin).await;
        assert_eq!(none, Err("pods \"p\" is forbidden: no PriorityClass with name none was found".into()));
        let wrong = spec(pod(value!({"priorityClassName": "high", "priority": 7})), &plugin).await;
        assert_eq!(
            wrong,
            Err("pods \"p\" is forbidden: the integer value of priority (7) must not be provided in pod spec; priority \
                 admission controller computed 1000 from the given PriorityClass name"
                .into())
        );
        let wrong = spec(pod(value!({"priorityClassName": "calm", "preemptionPolicy": policy})), &plugin).await;
        assert!(wrong.is_err_and(|text| text.contains("computed Never from the given PriorityClass name")));
    }

    #[tokio::test]
    async fn the_default_class_is_one() {
        let (_fixture, plugin) = fixture(true);
        let usual = spec(pod(value!({})), &plugin).await.expect("admitted");
        assert_eq!((usual.i64_at(&["priority"]), usual.str_at(&["priorityClassName"])), (Some(5), Some("usual")));
        let second = Case::create(GROUP, RESOURCE, "", class("second", 1, true)).admit(&plugin).await;
        let refused = "priorityclasses.scheduling.k8s.io \"second\" is forbidden: PriorityClass usual is already marked \
                       as default. Only one default can exist";
        assert_eq!(second, Err((403, refused.into())));
        let same = class("usual", 5, true);
        assert!(Case::update(GROUP, RESOURCE, "", same.clone(), same).admit(&plugin).await.is_ok());
        assert!(Case::create(GROUP, RESOURCE, "", class("third", 1, false)).admit(&plugin).await.is_ok());
    }

    #[tokio::test]
    async fn updates_keep_the_number() {
        let (_fixture, plugin) = fixture(false);
        let old = value!({"spec": {"priority": 1000, "preemptionPolicy": "Never"}});
        let updated = Case::update("", "pods", "demo", old.clone(), value!({"spec": {}})).admit(&plugin).await;
        assert_eq!(updated, Ok(old));
    }
}
