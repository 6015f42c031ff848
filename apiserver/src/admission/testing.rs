//! Requests for plugins, and the objects around them.

use std::sync::Arc;

use skiff_apimachinery::status::Status;
use skiff_apimachinery::value::Value;

use super::{Operation, Plugin, Request};
use crate::authentication::UserInfo;
use crate::objects::Objects;
use crate::objects::testing::FakeReader;

/// The objects that plugins read.
pub(super) struct Fixture {
    pub(super) reader: Arc<FakeReader>,
}

impl Fixture {
    pub(super) fn new() -> Self {
        Self { reader: Arc::new(FakeReader::default()) }
    }

    pub(super) fn put(&self, group: &str, resource: &str, object: Value) {
        self.reader.put(group, resource, &object);
    }

    pub(super) fn objects(&self) -> Objects {
        self.reader.objects()
    }
}

/// One request.
#[derive(Clone)]
pub(super) struct Case {
    pub(super) user: Arc<UserInfo>,
    pub(super) operation: Operation,
    pub(super) group: String,
    pub(super) resource: String,
    pub(super) subresource: String,
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) object: Option<Value>,
    pub(super) old: Option<Value>,
    pub(super) warnings: Vec<String>,
}

impl Case {
    fn new(
        operation: Operation,
        group: &str,
        resource: &str,
        namespace: &str,
        object: Option<Value>,
        old: Option<Value>,
    ) -> Self {
        let named = object.as_ref().or(old.as_ref());
        let name = named.and_then(|object| object.str_at(&["metadata", "name"])).unwrap_or("").to_owned();
        Self {
            user: Arc::new(UserInfo { name: "jane".into(), ..UserInfo::default() }),
            operation,
            group: group.into(),
            resource: resource.into(),
            subresource: String::new(),
            namespace: namespace.into(),
            name,
            object,
            old,
            warnings: Vec::new(),
        }
    }

    pub(super) fn create(group: &str, resource: &str, namespace: &str, object: Value) -> Self {
        Self::new(Operation::Create, group, resource, namespace, Some(object), None)
    }

    pub(super) fn update(group: &str, resource: &str, namespace: &str, old: Value, new: Value) -> Self {
        Self::new(Operation::Update, group, resource, namespace, Some(new), Some(old))
    }

    pub(super) fn delete(group: &str, resource: &str, namespace: &str, old: Value) -> Self {
        Self::new(Operation::Delete, group, resource, namespace, None, Some(old))
    }

    pub(super) fn sub(mut self, subresource: &str) -> Self {
        self.subresource = subresource.into();
        self
    }

    pub(super) fn by(mut self, name: &str, groups: &[&str]) -> Self {
        let groups = groups.iter().map(|group| group.to_string()).collect();
        self.user = Arc::new(UserInfo { name: name.into(), groups, ..UserInfo::default() });
        self
    }

    /// Lets a plugin do both its steps; the object afterwards, or why it was refused.
    pub(super) async fn run(&mut self, plugin: &dyn Plugin, validate: bool) -> Result<(), Status> {
        let mut request = Request {
            user: &self.user,
            operation: self.operation,
            group: &self.group,
            version: "v1",
            kind: "",
            resource: &self.resource,
            subresource: &self.subresource,
            namespace: &self.namespace,
            name: &self.name,
            dry_run: false,
            object: self.object.as_mut(),
            old_object: self.old.as_ref(),
            warnings: &mut self.warnings,
            asked: None,
            delete_options: None,
            reinvocation: Default::default(),
        };
        if !plugin.handles(request.operation, request.group, request.resource, request.subresource) {
            return Ok(());
        }
        if validate { plugin.validate(&mut request).await } else { plugin.admit(&mut request).await }
    }

    pub(super) async fn admit_status(mut self, plugin: &dyn Plugin) -> Result<Value, Status> {
        self.run(plugin, false).await?;
        self.run(plugin, true).await?;
        Ok(self.object.unwrap_or_default())
    }

    pub(super) async fn admit(self, plugin: &dyn Plugin) -> Result<Value, (u16, String)> {
        self.admit_status(plugin).await.map_err(|status| (status.code, status.message))
    }
}
