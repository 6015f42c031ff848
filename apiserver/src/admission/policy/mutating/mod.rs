//! MutatingAdmissionPolicy: expressions that change the object of a request (`policy/mutating`).

pub(super) mod policy;

use std::sync::Arc;

use skiff_apimachinery::status::{Status, StatusCause};
use skiff_apimachinery::value::Value;

use self::policy::Policy;
use super::GROUP;
use super::invocation::{Binding, Seen, Surroundings};
use crate::admission::expressions::Variables;
use crate::admission::matching::is_exempt;
use crate::admission::{Asked, Operation, Plugin, Request};
use crate::authorization::Authorizer;
use crate::objects::{Extracts, Objects};
use crate::registry::{Registry, Resource};

const NAME: &str = "MutatingAdmissionPolicy";

/// Lets policies change objects.
pub struct MutatingPolicies {
    policies: Extracts<Policy>,
    bindings: Extracts<Binding>,
    surroundings: Surroundings,
}

/// A policy that is about a request, in one binding and with one set of parameters.
struct Invocation {
    policy: Arc<Policy>,
    binding: Arc<Binding>,
    version: Arc<Resource>,
    params: Option<Value>,
}

impl Invocation {
    /// Tells it from all others that are about the same request.
    fn key(&self) -> String {
        let name = |params: &Value| {
            let text = |field| params.str_at(&["metadata", field]).unwrap_or("");
            format!("{}/{}", text("namespace"), text("name"))
        };
        let params = self.params.as_ref().map(name).unwrap_or_default();
        format!("{}\n{}\n{params}", self.policy.name, self.binding.name)
    }
}

/// A policy that failed.
struct Failure {
    policy: Arc<Policy>,
    binding: Option<Arc<Binding>>,
    message: String,
    /// Whether an expression failed, not the configuration.
    in_expression: bool,
}

impl MutatingPolicies {
    /// Of the policies and bindings that `objects` reads.
    pub fn new(objects: Objects, registry: Arc<Registry>, authorizer: Arc<dyn Authorizer>) -> Self {
        Self {
            policies: Extracts::new(GROUP, "mutatingadmissionpolicies", Policy::parse),
            bindings: Extracts::new(GROUP, "mutatingadmissionpolicybindings", Binding::parse),
            surroundings: Surroundings { objects, registry, authorizer },
        }
    }

    async fn dispatch(&self, request: &mut Request<'_>, asked: &dyn Asked) -> Result<(), Status> {
        let mut failures = Vec::new();
        let invocations = self.invocations(request, &mut failures).await;
        if !invocations.is_empty() {
            self.invoke(&invocations, request, asked, &mut failures).await?;
        }
        failures.retain(|failure| !failure.policy.fails_open);
        if failures.is_empty() { Ok(()) } else { Err(refusal(request, &failures)) }
    }

    async fn invocations(&self, request: &Request<'_>, failures: &mut Vec<Failure>) -> Vec<Invocation> {
        let surroundings = &self.surroundings;
        let reader = surroundings.objects.reader().as_ref();
        let (policies, bindings) = (self.policies.get(reader), self.bindings.get(reader));
        let mut found = Vec::new();
        for policy in policies.iter() {
            let bindings = bindings.iter().filter(|binding| binding.policy == policy.name).collect::<Vec<_>>();
            if bindings.is_empty() {
                continue;
            }
            let mut misconfigured = |error: String, binding: Option<&Arc<Binding>>| {
                let what = if binding.is_some() { "binding" } else { "policy" };
                failures.push(Failure {
                    policy: policy.clone(),
                    binding: binding.cloned(),
                    message: format!("failed to configure {what}: {error}"),
                    in_expression: false,
                });
            };
            let version = match policy.resources.matches(request, &surroundings.registry, &surroundings.objects).await {
                Ok(Some(version)) => version,
                Ok(None) => continue,
                Err(error) => {
                    misconfigured(error.message, None);
                    continue;
                }
            };
            for binding in bindings {
                match surroundings.bound(binding, policy.param_kind.as_ref(), request).await {
                    Ok(params) => found.extend(params.unwrap_or_default().into_iter().map(|params| Invocation {
                        policy: policy.clone(),
                        binding: binding.clone(),
                        version: version.clone(),
                        params,
                    })),
                    Err(error) => misconfigured(error, Some(binding)),
                }
            }
        }
        found
    }

    /// Applies the policies one after the other; each sees what those before it made.
    async fn invoke(
        &self,
        invocations: &[Invocation],
        request: &mut Request<'_>,
        asked: &dyn Asked,
        failures: &mut Vec<Failure>,
    ) -> Result<(), Status> {
        let again = request.reinvocation.is_again();
        if again && request.reinvocation.round(NAME).left.as_ref() != request.object.as_deref() {
            // Others have changed it since.
            request.reinvocation.round(NAME).changed();
        }
        let namespace = self.surroundings.namespace(request).await?;
        let Some(first) = invocations.first() else { return Ok(()) };
        let mut seen = Seen::of(request, asked, &first.version).await?;
        let mut dirty = false;
        for invocation in invocations {
            seen.subject.convert(&invocation.version).await?;
            let applies = {
                let context = seen.context(request, asked, &self.surroundings);
                invocation.policy.applies(&context, invocation.params.as_ref())
            };
            match applies {
                Ok(true) => {}
                Ok(false) => continue,
                Err(message) => {
                    failures.push(Failure::of(invocation, message));
                    continue;
                }
            }
            if again && !request.reinvocation.round(NAME).is_due(&invocation.key()) {
                continue;
            }
            let changed = self.mutate(invocation, &mut seen, request, asked, namespace.as_ref(), failures)?;
            if changed {
                dirty = true;
                request.reinvocation.round(NAME).changed();
                request.reinvocation.want();
            }
            if invocation.policy.reinvoked {
                request.reinvocation.round(NAME).add(&invocation.key());
            }
        }
        if dirty {
            seen.subject.store(request, asked).await?;
        }
        request.reinvocation.round(NAME).left = request.object.as_deref().cloned();
        Ok(())
    }

    /// Makes the changes of one policy; whether there was one.
    fn mutate(
        &self,
        invocation: &Invocation,
        seen: &mut Seen,
        request: &Request<'_>,
        asked: &dyn Asked,
        namespace: Option<&Value>,
        failures: &mut Vec<Failure>,
    ) -> Result<bool, Status> {
        let mut changed = false;
        for mutation in &invocation.policy.mutations {
            let mutated = {
                let Some(object) = &seen.subject.object else { continue };
                let context = seen.context(request, asked, &self.surroundings);
                let variables = Variables::new(&context, namespace, invocation.params.as_ref());
                invocation.policy.mutate(mutation, object, seen.subject.schema(asked), &variables)
            };
            match mutated {
                Ok(object) => changed |= seen.subject.replace(&object, asked)?,
                Err(message) => failures.push(Failure::of(invocation, message)),
            }
        }
        Ok(changed)
    }
}

impl Failure {
    fn of(invocation: &Invocation, message: String) -> Self {
        let Invocation { policy, binding, .. } = invocation;
        Self { policy: policy.clone(), binding: Some(binding.clone()), message, in_expression: true }
    }

    fn text(&self) -> String {
        let (policy, message) = (&self.policy.name, &self.message);
        match &self.binding {
            Some(binding) => format!("policy '{policy}' with binding '{}' denied request: {message}", binding.name),
            None => format!("policy {policy:?} denied request: {message}"),
        }
    }
}

/// The answer to a request that policies failed for: the first says why.
fn refusal(request: &Request<'_>, failures: &[Failure]) -> Status {
    let mut status = request.forbidden("admission request denied by policy");
    let causes = failures.iter().map(|failure| StatusCause { message: failure.text(), ..StatusCause::default() });
    status.details.causes.extend(causes);
    if let Some(first) = failures.first() {
        status.message = first.text();
        if first.in_expression {
            status.reason = "Invalid";
        }
    }
    status
}

#[async_trait::async_trait]
impl Plugin for MutatingPolicies {
    fn name(&self) -> &'static str {
        NAME
    }

    fn handles(&self, operation: Operation, group: &str, resource: &str, _subresource: &str) -> bool {
        operation != Operation::Delete
            && !is_exempt(group, resource)
            && !self.bindings.get(self.surroundings.objects.reader().as_ref()).is_empty()
    }

    async fn admit(&self, request: &mut Request<'_>) -> Result<(), Status> {
        match request.asked {
            Some(asked) => self.dispatch(request, asked).await,
            None => Ok(()),
        }
    }
}
