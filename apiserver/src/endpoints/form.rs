//! The form in which a request sees the stored object: as it is, in another version, or as a Scale.

use std::borrow::Cow;

use skiff_apimachinery::managedfields::scale;
use skiff_apimachinery::schema::SchemaRef;
use skiff_apimachinery::status::{self, Status};
use skiff_apimachinery::value;
use skiff_apimachinery::value::{Object, Value};

use super::Call;
use crate::body::Expected;
use crate::registry::ScalePaths;
use crate::registry::core::validation::label_selector;

/// Where built-in kinds with a Scale keep its values.
fn built_in_scale(api_version: &str) -> ScalePaths {
    let path = |parts: &[&str]| parts.iter().map(|part| (*part).to_owned()).collect::<Vec<_>>();
    ScalePaths {
        replicas_of_versions: vec![(api_version.to_owned(), path(&["spec", "replicas"]))],
        replicas: path(&["spec", "replicas"]),
        status_replicas: path(&["status", "replicas"]),
        selector: Some(path(&["spec", "selector"])),
    }
}

/// A path as `Value` takes it.
fn parts(path: &[String]) -> Vec<&str> {
    path.iter().map(String::as_str).collect()
}

impl Call<'_> {
    fn is_scale(&self) -> bool {
        self.cx.info.subresource == "scale"
    }

    fn scale_paths(&self) -> ScalePaths {
        let custom = self.resource.custom.as_ref().and_then(|custom| custom.scale.clone());
        custom.unwrap_or_else(|| built_in_scale(&self.resource.info.api_version()))
    }

    /// The kind of the objects that go in and out, as they are decoded.
    pub fn expected(&self) -> Expected<'_> {
        if let Some(sub) = self.subresource.filter(|sub| sub.foreign_kind || self.resource.custom.is_none()) {
            let schema = self.resource.schema_of_subresource(sub);
            return Expected { group: &sub.group, version: &sub.version, kind: &sub.kind, schema, pruning: None };
        }
        let pruning = match (&self.resource.custom, &self.resource.store) {
            (Some(_), Some(store)) => Some(&*store.strategy),
            _ => None,
        };
        Expected { pruning, ..Expected::of(&self.resource.info, self.resource.decoding()) }
    }

    /// Schema by which the objects that go in and out merge.
    pub fn schema(&self) -> SchemaRef<'_> {
        match self.subresource {
            Some(sub) => self.resource.schema_of_subresource(sub),
            None => self.resource.schema(),
        }
    }

    /// What the client is sent of stored bytes: of a Scale not who owns it.
    pub fn shown_of_stored(&self, json: &[u8]) -> Result<Value, Status> {
        let mut view = self.view_of_stored(json)?;
        if self.is_scale() {
            view.remove_at(&["metadata", "managedFields"]);
        }
        Ok(view)
    }

    /// What the request works on of a stored object.
    pub fn view<'v>(&self, stored: &'v Value) -> Cow<'v, Value> {
        match self.resource.conversion {
            _ if self.is_scale() => Cow::Owned(scale_of(stored, &self.scale_paths())),
            Some(_) => Cow::Owned(self.served_from(stored.clone())),
            None => Cow::Borrowed(stored),
        }
    }

    /// What the client sees of stored bytes.
    pub fn view_of_stored(&self, json: &[u8]) -> Result<Value, Status> {
        let object = self.resource.read(json)?;
        if !self.is_scale() {
            return Ok(object);
        }
        let mut scale = scale_of(&object, &self.scale_paths());
        if self.resource.custom.is_some() {
            // Upstream shows them for built-in kinds only.
            scale.remove_at(&["metadata", "managedFields"]);
        }
        Ok(scale)
    }

    /// The object to store for what the client wrote, once that is [`completed`](Self::completed).
    pub fn merge(&self, view: Value, current: Option<&Value>) -> Result<Value, Status> {
        if !self.is_scale() {
            return Ok(self.to_stored(view));
        }
        let Some(current) = current else {
            let info = &self.cx.info;
            return Err(status::not_found(&info.group, &info.resource, &info.name));
        };
        let paths = self.scale_paths();
        let mut object = current.clone();
        object.set_at(&parts(&paths.replicas), view.i64_at(&["spec", "replicas"]).unwrap_or(0));
        for field in ["resourceVersion", "uid"] {
            match view.at(&["metadata", field]) {
                Some(value) => object.set_at(&["metadata", field], value.clone()),
                None => drop(object.remove_at(&["metadata", field])),
            }
        }
        let version = self.resource.info.api_version();
        paths.with_replicas(|paths| scale::to_parent(&mut object, &view, &version, paths));
        Ok(object)
    }

    /// What the client wrote, as the client would read it: canonical and with defaults.
    pub fn completed(&self, view: Value) -> Result<Value, Status> {
        if self.is_scale() {
            return Ok(view);
        }
        let mut stored = self.to_stored(view);
        // The canonical form has no empty lists; this one asks to forget all managers, as a single empty entry does.
        const MANAGED_FIELDS: &[&str] = &["metadata", "managedFields"];
        if stored.at(MANAGED_FIELDS).and_then(Value::as_array).is_some_and(<[Value]>::is_empty) {
            stored.set_at(MANAGED_FIELDS, vec![Value::Object(Object::new())]);
        }
        self.set_defaults(&mut stored)?;
        Ok(self.served_from(stored))
    }
}

/// The Scale of an object.
fn scale_of(parent: &Value, paths: &ScalePaths) -> Value {
    let mut metadata = Object::new();
    for field in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
        if let Some(value) = parent.at(&["metadata", field]) {
            metadata.insert(field, value.clone());
        }
    }
    let mut spec = Object::new();
    // Go leaves out a zero here, as protobuf does.
    if let Some(replicas) = parent.i64_at(&parts(&paths.replicas)).filter(|replicas| *replicas != 0) {
        spec.insert("replicas", replicas);
    }
    let mut status = Object::new();
    status.insert("replicas", parent.i64_at(&parts(&paths.status_replicas)).unwrap_or(0));
    let selector = match paths.selector.as_ref().and_then(|path| parent.at(&parts(path))) {
        Some(Value::String(text)) => text.to_string(),
        other => label_selector::to_text(other),
    };
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
    paths.with_replicas(|paths| scale::to_scale(parent, &mut scale, paths));
    scale
}
