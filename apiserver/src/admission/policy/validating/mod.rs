//! ValidatingAdmissionPolicy: expressions that must be true of a request (`policy/validating`).

pub(super) mod policy;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;
use skiff_apimachinery::status::{Status, StatusCause};

use self::policy::{Decision, Policy};
use super::GROUP;
use super::invocation::{Binding, Seen, Surroundings};
use crate::admission::matching::is_exempt;
use crate::admission::{Asked, Operation, Plugin, Request};
use crate::audit::record::go_json;
use crate::authorization::Authorizer;
use crate::objects::{Extracts, Objects};
use crate::registry::Registry;

/// Lets policies refuse requests.
pub struct ValidatingPolicies {
    policies: Extracts<Policy>,
    bindings: Extracts<Binding>,
    surroundings: Surroundings,
}

/// A refusal, and who refuses.
struct Refusal {
    policy: String,
    binding: Option<String>,
    reason: String,
    message: String,
}

/// What the audit log is to say, by key: bindings and parameters may each have another text.
type Annotations = BTreeMap<String, Vec<String>>;

/// What the audit log is told of an expression that is not true, in upstream's order.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Failure<'a> {
    message: &'a str,
    policy: &'a str,
    binding: &'a str,
    expression_index: usize,
    validation_actions: &'a [String],
}

impl ValidatingPolicies {
    /// Of the policies and bindings that `objects` reads.
    pub fn new(objects: Objects, registry: Arc<Registry>, authorizer: Arc<dyn Authorizer>) -> Self {
        Self {
            policies: Extracts::new(GROUP, "validatingadmissionpolicies", Policy::parse),
            bindings: Extracts::new(GROUP, "validatingadmissionpolicybindings", Binding::parse),
            surroundings: Surroundings { objects, registry, authorizer },
        }
    }

    async fn dispatch(&self, request: &mut Request<'_>, asked: &dyn Asked) -> Result<(), Status> {
        let reader = self.surroundings.objects.reader().as_ref();
        let (policies, bindings) = (self.policies.get(reader), self.bindings.get(reader));
        let mut refusals = Vec::new();
        for policy in policies.iter() {
            let bindings = bindings.iter().filter(|binding| binding.policy == policy.name).collect::<Vec<_>>();
            if !bindings.is_empty() {
                self.apply(policy, &bindings, request, asked, &mut refusals).await?;
            }
        }
        match refusals.into_iter().next() {
            Some(refusal) => Err(refusal.status(request)),
            None => Ok(()),
        }
    }

    /// Applies a policy in each of its bindings.
    async fn apply(
        &self,
        policy: &Policy,
        bindings: &[&Arc<Binding>],
        request: &mut Request<'_>,
        asked: &dyn Asked,
        refusals: &mut Vec<Refusal>,
    ) -> Result<(), Status> {
        let surroundings = &self.surroundings;
        let mut misconfigured = |error: String, binding: Option<&Binding>| {
            if !policy.fails_open {
                let what = if binding.is_some() { "binding" } else { "policy" };
                let message = format!("failed to configure {what}: {error}");
                refusals.push(Refusal::new(policy, binding, String::new(), message));
            }
        };
        let matched = policy.resources.matches(request, &surroundings.registry, &surroundings.objects).await;
        let version = match matched {
            Ok(Some(version)) => version,
            Ok(None) => return Ok(()),
            Err(error) => {
                misconfigured(error.message, None);
                return Ok(());
            }
        };
        let seen = match Seen::of(request, asked, &version).await {
            Ok(seen) => seen,
            Err(error) => {
                misconfigured(format!("failed to convert object version: {}", error.message), None);
                return Ok(());
            }
        };
        let mut found = Vec::new();
        for binding in bindings {
            match surroundings.bound(binding, policy.param_kind.as_ref(), request).await {
                Ok(Some(params)) => found.push((binding, params)),
                Ok(None) => {}
                Err(error) => misconfigured(error, Some(binding)),
            }
        }
        if found.is_empty() {
            return Ok(());
        }
        let namespace = surroundings.namespace(request).await?;
        let (mut warnings, mut annotations) = (Vec::new(), Annotations::new());
        for (binding, params) in found {
            for params in params {
                let context = seen.context(request, asked, surroundings);
                let decided = policy.decide(&context, namespace.as_ref(), params.as_ref());
                for decision in decided.decisions {
                    act(policy, binding, asked, decision, refusals, &mut warnings);
                }
                for (key, text) in decided.annotations {
                    let texts = annotations.entry(key).or_default();
                    if !texts.contains(&text) {
                        texts.push(text);
                    }
                }
            }
        }
        for (key, texts) in annotations {
            asked.annotate(&format!("{}/{key}", policy.name), &texts.join(", "));
        }
        request.warnings.extend(warnings);
        Ok(())
    }
}

/// Does what a binding wants done where an expression was not true.
fn act(
    policy: &Policy,
    binding: &Binding,
    asked: &dyn Asked,
    decision: Decision,
    refusals: &mut Vec<Refusal>,
    warnings: &mut Vec<String>,
) {
    let has = |action: &str| decision.always_refuses || binding.actions.iter().any(|known| known == action);
    if has("Warn") && !decision.always_refuses {
        let (policy, binding, message) = (&policy.name, &binding.name, &decision.message);
        warnings.push(format!(
            "Validation failed for ValidatingAdmissionPolicy '{policy}' with binding '{binding}': {message}"
        ));
    }
    if has("Audit") && !decision.always_refuses {
        let failure = Failure {
            message: &decision.message,
            policy: &policy.name,
            binding: &binding.name,
            expression_index: decision.index,
            validation_actions: &binding.actions,
        };
        asked.annotate("validation.policy.admission.k8s.io/validation_failure", &go_json(&[failure]));
    }
    if has("Deny") {
        refusals.push(Refusal::new(policy, Some(binding), decision.reason, decision.message));
    }
}

impl Refusal {
    fn new(policy: &Policy, binding: Option<&Binding>, reason: String, message: String) -> Self {
        let binding = binding.map(|binding| binding.name.clone());
        Self { policy: policy.name.clone(), binding, reason, message }
    }

    /// The answer: 422 unless the policy names another reason.
    fn status(self, request: &Request<'_>) -> Status {
        let Self { policy, binding, reason, message } = self;
        let message = match binding {
            Some(binding) => {
                format!("ValidatingAdmissionPolicy '{policy}' with binding '{binding}' denied request: {message}")
            }
            None => format!("ValidatingAdmissionPolicy '{policy}' denied request: {message}"),
        };
        let mut status = request.forbidden(&message);
        let (code, reason) = match reason.as_str() {
            "Forbidden" => (403, "Forbidden"),
            "Unauthorized" => (401, "Unauthorized"),
            "RequestEntityTooLarge" => (413, "RequestEntityTooLarge"),
            _ => (422, "Invalid"),
        };
        status.code = code;
        status.reason = reason;
        status.details.causes.push(StatusCause { message, ..StatusCause::default() });
        status
    }
}

#[async_trait::async_trait]
impl Plugin for ValidatingPolicies {
    fn name(&self) -> &'static str {
        "ValidatingAdmissionPolicy"
    }

    fn handles(&self, _operation: Operation, group: &str, resource: &str, _subresource: &str) -> bool {
        !is_exempt(group, resource) && !self.bindings.get(self.surroundings.objects.reader().as_ref()).is_empty()
    }

    async fn validate(&self, request: &mut Request<'_>) -> Result<(), Status> {
        match request.asked {
            Some(asked) => self.dispatch(request, asked).await,
            None => Ok(()),
        }
    }
}
