//! The objects of a request in the version that a webhook knows.

use std::sync::Arc;

use skiff_apimachinery::schema::SchemaRef;
use skiff_apimachinery::status::{self, Status};
use skiff_apimachinery::value::Value;
use skiff_apimachinery::{json, managedfields};

use crate::admission::{Asked, Request};
use crate::registry::Resource;

const MANAGED_FIELDS: &[&str] = &["metadata", "managedFields"];

/// The objects of a request, in one version of their resource.
#[derive(Clone)]
pub struct Subject {
    /// The version.
    pub resource: Arc<Resource>,
    /// Group, version and kind, where they are not those of the resource.
    own_kind: Option<(String, String, String)>,
    /// The object; `None` for deletes.
    pub object: Option<Value>,
    /// The object as it was; `None` for creates.
    pub old_object: Option<Value>,
}

impl Subject {
    /// The objects as the client sees them.
    pub fn of(request: &Request<'_>, asked: &dyn Asked) -> Self {
        let (group, version, kind) = asked.kind();
        let info = &asked.resource().info;
        let is_own = (info.group.as_str(), info.version.as_str(), info.kind.as_str()) != (group, version, kind);
        Self {
            resource: asked.resource().clone(),
            own_kind: is_own.then(|| (group.to_owned(), version.to_owned(), kind.to_owned())),
            object: request.object.as_deref().map(|object| asked.view(object)),
            old_object: request.old_object.map(|object| asked.view(object)),
        }
    }

    /// Group, version and kind of the objects.
    pub fn kind(&self) -> (&str, &str, &str) {
        match &self.own_kind {
            Some((group, version, kind)) => (group, version, kind),
            None => (&self.resource.info.group, &self.resource.info.version, &self.resource.info.kind),
        }
    }

    /// Brings the objects into another version of their resource.
    pub async fn convert(&mut self, to: &Arc<Resource>) -> Result<(), Status> {
        if Arc::ptr_eq(&self.resource, to) {
            return Ok(());
        }
        if self.own_kind.is_none() {
            for object in [&mut self.object, &mut self.old_object].into_iter().flatten() {
                *object = self.resource.convert_to(std::mem::take(object), to).await?;
            }
        }
        self.resource = to.clone();
        Ok(())
    }

    /// The schema by which the object merges.
    pub fn schema<'s>(&'s self, asked: &'s dyn Asked) -> SchemaRef<'s> {
        if self.own_kind.is_some() { asked.schema() } else { self.resource.schema() }
    }

    /// Puts the subject back into the request, in the form on its way to the store.
    pub async fn store(&self, request: &mut Request<'_>, asked: &dyn Asked) -> Result<(), Status> {
        let mut view = self.clone();
        view.convert(asked.resource()).await?;
        let (Some(object), Some(view)) = (request.object.as_deref_mut(), view.object) else { return Ok(()) };
        let mut merged = asked.merge(view, object)?;
        if let Err(problem) = managedfields::check(&merged) {
            request.warnings.push(format!(
                ".metadata.managedFields was in an invalid state after admission; this could be caused by an outdated mutating admission controller; please fix your requests: {problem}"
            ));
            match object.at(MANAGED_FIELDS) {
                Some(before) => merged.set_at(MANAGED_FIELDS, before.clone()),
                None => drop(merged.remove_at(MANAGED_FIELDS)),
            }
        }
        *object = merged;
        Ok(())
    }

    /// A patch may not make something else of the object.
    fn same_kind(&self, patched: &Value) -> Result<(), Status> {
        let type_of =
            |object: &Value| ["apiVersion", "kind"].map(|field| object.str_at(&[field]).unwrap_or("").to_owned());
        let (found, wanted) = (type_of(patched), self.object.as_ref().map(type_of).unwrap_or_default());
        if found == wanted {
            return Ok(());
        }
        let shown = |[api_version, kind]: [String; 2]| format!("{api_version}, Kind={kind}");
        let why = format!("the patched object is of {}, not of {}", shown(found), shown(wanted));
        Err(status::internal_error(why))
    }

    /// Takes over what a patch made of the object: decoded, pruned and given defaults. Returns whether it changed.
    pub fn replace(&mut self, patched: &Value, asked: &dyn Asked) -> Result<bool, Status> {
        self.same_kind(patched)?;
        let mut text = Vec::with_capacity(4096);
        json::write(patched, &mut text);
        let schema = if self.own_kind.is_some() { asked.schema() } else { self.resource.decoding() };
        let mut new = json::decode(&text, schema).map_err(status::internal_error)?.value;
        let changed = self.object.as_ref() != Some(&new);
        if self.own_kind.is_none() {
            self.resource.complete(&mut new);
        }
        self.object = Some(new);
        Ok(changed)
    }
}
