//! A policy and a binding that are about a request, with the request as the policy knows it.

use std::sync::Arc;

use skiff_apimachinery::status::Status;
use skiff_apimachinery::value::Value;

use super::match_resources::MatchResources;
use super::params::{self, ParamKind, ParamRef};
use crate::admission::expressions::Context;
use crate::admission::webhook::subject::Subject;
use crate::admission::{Asked, Request};
use crate::authorization::Authorizer;
use crate::objects::Objects;
use crate::registry::{Registry, Resource};

/// What the policies of both kinds need.
pub struct Surroundings {
    /// Reads namespaces, policies, parameters.
    pub objects: Objects,
    /// What is served.
    pub registry: Arc<Registry>,
    /// Asked by expressions about rights.
    pub authorizer: Arc<dyn Authorizer>,
}

/// A binding of a policy.
#[derive(Debug)]
pub struct Binding {
    /// Its name.
    pub name: String,
    /// Name of the policy.
    pub policy: String,
    /// Which requests it is about, of those that the policy is about.
    pub resources: Option<MatchResources>,
    /// The parameters.
    pub params: Option<ParamRef>,
    /// `Deny`, `Warn`, `Audit`.
    pub actions: Vec<String>,
}

impl Binding {
    /// Of a stored object.
    pub fn parse(object: &Value) -> Option<Self> {
        let spec = object.get("spec")?;
        let actions = spec.array_at(&["validationActions"]).iter().filter_map(Value::as_str).map(str::to_owned);
        Some(Self {
            name: skiff_apimachinery::meta::name(object).to_owned(),
            policy: spec.str_at(&["policyName"]).unwrap_or("").to_owned(),
            resources: spec.get("matchResources").filter(|value| !value.is_null()).map(MatchResources::parse),
            params: spec.get("paramRef").filter(|value| !value.is_null()).map(ParamRef::parse),
            actions: actions.collect(),
        })
    }
}

impl Surroundings {
    /// The parameters of a binding for a request; `None` if the binding is not about it, an error if it is wrong.
    pub async fn bound(
        &self,
        binding: &Binding,
        kind: Option<&ParamKind>,
        request: &Request<'_>,
    ) -> Result<Option<Vec<Option<Value>>>, String> {
        if let Some(resources) = &binding.resources {
            let matched = resources.matches(request, &self.registry, &self.objects).await;
            if matched.map_err(|status| status.message)?.is_none() {
                return Ok(None);
            }
        }
        params::collect(kind, binding.params.as_ref(), request.namespace, &self.registry, &self.objects).map(Some)
    }

    /// The namespace that a request is in.
    pub async fn namespace(&self, request: &Request<'_>) -> Result<Option<Value>, Status> {
        if request.namespace.is_empty() || (request.group.is_empty() && request.resource == "namespaces") {
            return Ok(None);
        }
        match self.objects.find("", "namespaces", "", request.namespace).await? {
            Some(namespace) => Ok(Some(Arc::unwrap_or_clone(namespace))),
            None => Err(skiff_apimachinery::status::not_found("", "namespaces", request.namespace)),
        }
    }
}

/// A request in the version that a policy knows.
pub struct Seen {
    /// Its objects.
    pub subject: Subject,
    options: Value,
}

impl Seen {
    /// Brings a request into a version.
    pub async fn of(request: &Request<'_>, asked: &dyn Asked, version: &Arc<Resource>) -> Result<Self, Status> {
        let mut subject = Subject::of(request, asked);
        subject.convert(version).await?;
        Ok(Self { subject, options: asked.options(request.operation, request.delete_options) })
    }

    /// As expressions see it.
    pub fn context<'a>(
        &'a self,
        request: &'a Request<'_>,
        asked: &'a dyn Asked,
        surroundings: &'a Surroundings,
    ) -> Context<'a> {
        let (resource, requested) = (&self.subject.resource.info, &asked.resource().info);
        Context {
            operation: request.operation,
            kind: self.subject.kind(),
            resource: (&resource.group, &resource.version, &resource.plural),
            request_kind: asked.kind(),
            request_resource: (&requested.group, &requested.version, &requested.plural),
            subresource: request.subresource,
            name: request.name,
            namespace: request.namespace,
            user: request.user,
            dry_run: request.dry_run,
            options: &self.options,
            object: self.subject.object.as_ref(),
            old_object: self.subject.old_object.as_ref(),
            authorizer: surroundings.authorizer.as_ref(),
        }
    }
}
