//! The form in which a request sees the stored object: as it is, in another version, or as a Scale.

use skiff_apimachinery::managedfields::scale::{self, ReplicasPaths};
use skiff_apimachinery::schema::SchemaRef;
use skiff_apimachinery::status::{self, Status};
use skiff_apimachinery::value;
use skiff_apimachinery::value::{Object, Value};

use super::Call;
use crate::body::Expected;
use crate::registry::core::validation::label_selector;

/// Every kind with a Scale keeps its replicas in the same place.
const REPLICAS: ReplicasPaths<'static> = &[("apps/v1", &["spec", "replicas"]), ("v1", &["spec", "replicas"])];

impl Call<'_> {
    fn is_scale(&self) -> bool {
        self.cx.info.subresource == "scale"
    }

    /// The kind of the objects that go in and out.
    pub fn expected(&self) -> Expected<'_> {
        match self.subresource {
            Some(sub) => {
                let schema = skiff_api::builtin().schema(sub.type_id);
                Expected { group: &sub.group, version: &sub.version, kind: &sub.kind, schema }
            }
            None => Expected::of(self.resource.info, self.resource.schema()),
        }
    }

    /// Schema of the objects that go in and out.
    pub fn schema(&self) -> SchemaRef<'static> {
        match self.subresource {
            Some(sub) => skiff_api::builtin().schema(sub.type_id),
            None => self.resource.schema(),
        }
    }

    /// What the client sees of a stored object.
    pub fn view(&self, stored: &Value) -> Value {
        if self.is_scale() { scale_of(stored) } else { self.served_from(stored.clone()) }
    }

    /// The object to store for what the client wrote.
    pub fn merge(&self, view: Value, current: Option<&Value>) -> Result<Value, Status> {
        if !self.is_scale() {
            let mut stored = self.to_stored(view);
            self.store()?.set_defaults(&mut stored);
            return Ok(stored);
        }
        let Some(current) = current else {
            let info = &self.cx.info;
            return Err(status::not_found(&info.group, &info.resource, &info.name));
        };
        let mut object = current.clone();
        object.set_at(&["spec", "replicas"], view.i64_at(&["spec", "replicas"]).unwrap_or(0));
        for field in ["resourceVersion", "uid"] {
            match view.at(&["metadata", field]) {
                Some(value) => object.set_at(&["metadata", field], value.clone()),
                None => drop(object.remove_at(&["metadata", field])),
            }
        }
        scale::to_parent(&mut object, &view, &self.resource.info.api_version(), REPLICAS);
        Ok(object)
    }

    /// What the client wrote, as the client would read it: canonical and with defaults.
    pub fn completed(&self, view: Value) -> Result<Value, Status> {
        if self.is_scale() {
            return Ok(view);
        }
        let mut stored = self.to_stored(view);
        self.store()?.set_defaults(&mut stored);
        Ok(self.served_from(stored))
    }
}

/// The Scale of an object.
fn scale_of(parent: &Value) -> Value {
    let mut metadata = Object::new();
    for field in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
        if let Some(value) = parent.at(&["metadata", field]) {
            metadata.insert(field, value.clone());
        }
    }
    let mut spec = Object::new();
    if let Some(replicas) = parent.i64_at(&["spec", "replicas"]) {
        spec.insert("replicas", replicas);
    }
    let mut status = Object::new();
    status.insert("replicas", parent.i64_at(&["status", "replicas"]).unwrap_or(0));
    let selector = label_selector::to_text(parent.at(&["spec", "selector"]));
    if !selector.is_empty() {
        status.insert("selector", selector);
    }
    let mut scale = value!({
        "apiVersion": "autoscaling/v1",
        "kind": "Scale",
        "metadata": metadata,
        "spec": spec,
        "status": status
    });
    scale::to_scale(parent, &mut scale, REPLICAS);
    scale
}
