//! Naming: which kind an object is ([`ResourceType`]), which object of it ([`ObjectKey`]), and what the generic code
//! must be able to ask any object ([`Object`]).

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use serde::de::DeserializeOwned;

/// A resource of the API, as its URL needs it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ResourceType {
    /// API group; empty for the core group.
    pub group: Cow<'static, str>,
    /// Version, such as `v1`.
    pub version: Cow<'static, str>,
    /// Plural resource name, such as `pods`.
    pub plural: Cow<'static, str>,
    /// Kind, such as `Pod`.
    pub kind: Cow<'static, str>,
    /// Whether objects live in namespaces.
    pub namespaced: bool,
}

impl ResourceType {
    /// A resource known at compile time.
    pub const fn new(
        group: &'static str,
        version: &'static str,
        plural: &'static str,
        kind: &'static str,
        namespaced: bool,
    ) -> Self {
        Self {
            group: Cow::Borrowed(group),
            version: Cow::Borrowed(version),
            plural: Cow::Borrowed(plural),
            kind: Cow::Borrowed(kind),
            namespaced,
        }
    }

    /// `group/version`, or the bare version in the core group: the `apiVersion` of its objects.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.to_string() } else { format!("{}/{}", self.group, self.version) }
    }

    /// Path of the collection: all namespaces if `namespace` is empty.
    pub fn path(&self, namespace: &str) -> String {
        let mut path = if self.group.is_empty() {
            format!("/api/{}", self.version)
        } else {
            format!("/apis/{}/{}", self.group, self.version)
        };
        if self.namespaced && !namespace.is_empty() {
            path.push_str("/namespaces/");
            path.push_str(namespace);
        }
        path.push('/');
        path.push_str(&self.plural);
        path
    }
}

impl fmt::Display for ResourceType {
    /// `plural.group`, as upstream writes a GroupResource.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.group.is_empty() { write!(f, "{}", self.plural) } else { write!(f, "{}.{}", self.plural, self.group) }
    }
}

/// Namespace and name of an object. Cheap to clone; ordered by namespace, then name.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectKey {
    /// Namespace; empty for cluster-scoped objects.
    pub namespace: Arc<str>,
    /// Name.
    pub name: Arc<str>,
}

impl ObjectKey {
    /// A key from its two parts; the namespace is empty for cluster-scoped objects.
    pub fn new(namespace: impl Into<Arc<str>>, name: impl Into<Arc<str>>) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }

    /// The key of an object.
    pub fn of(object: &impl Object) -> Self {
        Self::new(object.namespace(), object.name())
    }
}

impl fmt::Display for ObjectKey {
    /// `namespace/name`, or the bare name of a cluster-scoped object.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespace.is_empty() { f.write_str(&self.name) } else { write!(f, "{}/{}", self.namespace, self.name) }
    }
}

impl fmt::Debug for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What generic code asks of an object, whatever its Rust type: a slim struct of [`crate::types`] or a full one of
/// k8s-openapi.
pub trait Object: DeserializeOwned + Send + Sync + 'static {
    /// Name.
    fn name(&self) -> &str;
    /// Namespace; empty for cluster-scoped objects.
    fn namespace(&self) -> &str;
    /// UID; empty before creation.
    fn uid(&self) -> &str;
    /// Resource version; empty before creation.
    fn resource_version(&self) -> &str;
    /// Drops what no cache should hold. Called once after decoding.
    fn prune(&mut self) {}
}

/// An object whose Rust type says which resource it is.
pub trait Kind: Object {
    /// The resource its objects are read from.
    const RESOURCE: ResourceType;
}

/// Scope of a k8s-openapi type, as a value.
pub trait ScopeFlag {
    /// Whether objects live in namespaces.
    const NAMESPACED: bool;
}

impl ScopeFlag for k8s_openapi::NamespaceResourceScope {
    const NAMESPACED: bool = true;
}

impl ScopeFlag for k8s_openapi::ClusterResourceScope {
    const NAMESPACED: bool = false;
}

/// Full typed objects. managedFields are dropped on arrival: they are more than half of a typed object's heap.
impl<T> Object for T
where
    T: k8s_openapi::Metadata<Ty = k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta>
        + DeserializeOwned
        + Send
        + Sync
        + 'static,
{
    fn name(&self) -> &str {
        self.metadata().name.as_deref().unwrap_or_default()
    }
    fn namespace(&self) -> &str {
        self.metadata().namespace.as_deref().unwrap_or_default()
    }
    fn uid(&self) -> &str {
        self.metadata().uid.as_deref().unwrap_or_default()
    }
    fn resource_version(&self) -> &str {
        self.metadata().resource_version.as_deref().unwrap_or_default()
    }
    fn prune(&mut self) {
        self.metadata_mut().managed_fields = None;
    }
}

impl<T> Kind for T
where
    T: Object + k8s_openapi::Metadata<Ty = k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta>,
    T::Scope: ScopeFlag,
{
    const RESOURCE: ResourceType =
        ResourceType::new(T::GROUP, T::VERSION, T::URL_PATH_SEGMENT, T::KIND, <T::Scope as ScopeFlag>::NAMESPACED);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_api_versions() {
        let pods = ResourceType::new("", "v1", "pods", "Pod", true);
        assert_eq!(pods.path(""), "/api/v1/pods");
        assert_eq!(pods.path("demo"), "/api/v1/namespaces/demo/pods");
        let nodes = <k8s_openapi::api::core::v1::Node as Kind>::RESOURCE;
        assert_eq!(nodes.path("ignored"), "/api/v1/nodes");
        let deployments = <k8s_openapi::api::apps::v1::Deployment as Kind>::RESOURCE;
        assert_eq!(deployments.path("demo"), "/apis/apps/v1/namespaces/demo/deployments");
        assert_eq!((pods.api_version(), deployments.api_version()), ("v1".into(), "apps/v1".into()));
        assert_eq!(deployments.to_string(), "deployments.apps");
    }
}
