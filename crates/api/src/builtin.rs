//! Groups, versions, kinds and resources of the built-in API.

use std::collections::HashMap;
use std::sync::LazyLock;

use compact_str::CompactString;
use skiff_apimachinery::schema::{SchemaRef, TypeId, TypeTable};

use crate::tables::{self, ResourceRecord};

/// Definition of `metav1.Status` and its neighbours.
const META_V1: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.";

/// Kinds that are registered in every group version (upstream: `metav1.AddToGroupVersion`).
const IN_EVERY_GROUP_VERSION: &[&str] =
    &["CreateOptions", "DeleteOptions", "GetOptions", "ListOptions", "PatchOptions", "UpdateOptions", "WatchEvent"];

/// Kinds of `v1` that are neither resources nor core types (upstream: unversioned types).
const UNVERSIONED: &[&str] = &["Status", "APIVersions", "APIGroup", "APIGroupList", "APIResourceList"];

/// Kinds of `meta.k8s.io/v1` and `v1beta1`.
const META_GROUP: &[&str] = &["Table", "TableOptions", "PartialObjectMetadata", "PartialObjectMetadataList"];

/// The one kind of `meta.k8s.io` whose fields have other numbers in `v1beta1`.
const META_V1BETA1_LIST: &str = "io.k8s.apimachinery.pkg.apis.meta.v1beta1.PartialObjectMetadataList";

/// Kinds without a resource in this server that are decoded or encoded, as (group, version, kind, definition).
const WITHOUT_RESOURCE: &[(&str, &str, &str, &str)] = &[
    ("", "v1", "List", "io.k8s.api.core.v1.List"),
    ("", "v1", "PodLogOptions", "io.k8s.api.core.v1.PodLogOptions"),
    ("", "v1", "RangeAllocation", "io.k8s.api.core.v1.RangeAllocation"),
    ("", "v1", "SerializedReference", "io.k8s.api.core.v1.SerializedReference"),
    ("", "v1", "PodStatusResult", "io.k8s.api.core.v1.PodStatusResult"),
    ("admission.k8s.io", "v1", "AdmissionReview", "io.k8s.api.admission.v1.AdmissionReview"),
    (
        "apiextensions.k8s.io",
        "v1",
        "ConversionReview",
        "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.ConversionReview",
    ),
    ("apidiscovery.k8s.io", "v2", "APIGroupDiscoveryList", "io.k8s.api.apidiscovery.v2.APIGroupDiscoveryList"),
    ("audit.k8s.io", "v1", "Event", "io.k8s.apiserver.pkg.apis.audit.v1.Event"),
    ("audit.k8s.io", "v1", "EventList", "io.k8s.apiserver.pkg.apis.audit.v1.EventList"),
    ("audit.k8s.io", "v1", "Policy", "io.k8s.apiserver.pkg.apis.audit.v1.Policy"),
];

/// A served resource with its kind: one per group, version and plural.
#[derive(Clone, Debug)]
pub struct KindInfo {
    /// API group, empty for core.
    pub group: CompactString,
    /// API version.
    pub version: CompactString,
    /// Kind, e.g. `Deployment`.
    pub kind: CompactString,
    /// Kind of lists; `None` for resources that cannot be listed.
    pub list_kind: Option<CompactString>,
    /// Resource name in URLs, e.g. `deployments`.
    pub plural: CompactString,
    /// `singularName` in discovery.
    pub singular: CompactString,
    /// Short names, e.g. `deploy`.
    pub short_names: Vec<CompactString>,
    /// Categories, e.g. `all`.
    pub categories: Vec<CompactString>,
    /// Whether objects live in namespaces.
    pub namespaced: bool,
    /// Verbs of the resource itself, sorted.
    pub verbs: Vec<CompactString>,
    /// Subresources, sorted by name.
    pub subresources: Vec<Subresource>,
    /// Type of the objects.
    pub type_id: TypeId,
    /// Type of the list kind.
    pub list_type_id: Option<TypeId>,
    /// Group and version in which objects are stored.
    pub storage_version: (CompactString, CompactString),
    /// `storageVersionHash` in legacy discovery; empty when upstream shows none.
    pub storage_version_hash: CompactString,
    /// Whether the version is served without `--runtime-config`: neither alpha nor beta.
    pub served_by_default: bool,
}

impl KindInfo {
    /// Whether the resource answers to this verb.
    pub fn has_verb(&self, verb: &str) -> bool {
        self.verbs.iter().any(|v| v == verb)
    }

    /// The subresource of this name.
    pub fn subresource(&self, name: &str) -> Option<&Subresource> {
        self.subresources.iter().find(|s| s.name == name)
    }

    /// `group/version`, or the version alone for the core group.
    pub fn api_version(&self) -> CompactString {
        api_version(&self.group, &self.version)
    }
}

/// A subresource such as `status` or `scale`.
#[derive(Clone, Debug)]
pub struct Subresource {
    /// Name after the slash.
    pub name: CompactString,
    /// Group of the kind it speaks.
    pub group: CompactString,
    /// Version of the kind it speaks.
    pub version: CompactString,
    /// Whether discovery names group and version because they differ from the resource's.
    pub foreign_kind: bool,
    /// Kind it speaks, e.g. `Scale`.
    pub kind: CompactString,
    /// Verbs, sorted.
    pub verbs: Vec<CompactString>,
    /// Type of that kind.
    pub type_id: TypeId,
}

/// A group with its versions, most preferred first.
#[derive(Clone, Debug)]
pub struct GroupInfo {
    /// Name, empty for core.
    pub name: CompactString,
    /// Versions that exist, in order of preference.
    pub versions: Vec<VersionInfo>,
}

/// A version of a group.
#[derive(Clone, Debug)]
pub struct VersionInfo {
    /// Name, e.g. `v1beta1`.
    pub name: CompactString,
    /// Whether it is served without `--runtime-config`.
    pub served_by_default: bool,
}

/// What only OpenAPI documents need to know about a type.
#[derive(Clone, Debug)]
pub(crate) struct Publication {
    pub(crate) published: bool,
    pub(crate) unions: &'static str,
    pub(crate) enums: Vec<(&'static str, &'static str)>,
    pub(crate) gvks: Vec<&'static str>,
}

/// The built-in API.
#[derive(Debug)]
pub struct Builtin {
    /// All struct types.
    pub types: TypeTable,
    /// All resources, in discovery order.
    pub kinds: Vec<KindInfo>,
    /// All groups, in discovery order.
    pub groups: Vec<GroupInfo>,
    pub(crate) publications: Vec<Publication>,
    type_gvks: HashMap<(CompactString, CompactString, CompactString), TypeId>,
    by_kind: HashMap<(CompactString, CompactString, CompactString), usize>,
    by_resource: HashMap<(CompactString, CompactString, CompactString), usize>,
}

/// The built-in API, parsed on first use.
pub fn builtin() -> &'static Builtin {
    static BUILTIN: LazyLock<Builtin> = LazyLock::new(Builtin::load);
    &BUILTIN
}

/// `group/version`, or the version alone for the core group.
pub(crate) fn api_version(group: &str, version: &str) -> CompactString {
    if group.is_empty() { version.into() } else { compact_str::format_compact!("{group}/{version}") }
}

fn key(group: &str, version: &str, name: &str) -> (CompactString, CompactString, CompactString) {
    (group.into(), version.into(), name.into())
}

/// Splits `group/version/kind`.
fn split_gvk(gvk: &'static str) -> (&'static str, &'static str, &'static str) {
    let mut parts = gvk.splitn(3, '/');
    let mut part = || parts.next().unwrap_or("");
    (part(), part(), part())
}

fn on_by_default(version: &str) -> bool {
    !version.contains("alpha") && !version.contains("beta")
}

impl Builtin {
    fn load() -> Self {
        let mut type_gvks = HashMap::new();
        let mut publications = Vec::new();
        let mut defs = Vec::new();
        for (record, id) in tables::types().into_iter().zip(0..) {
            for gvk in &record.gvks {
                let (group, version, kind) = split_gvk(gvk);
                type_gvks.insert(key(group, version, kind), TypeId(id));
            }
            publications.push(Publication {
                published: !record.unpublished,
                unions: record.unions,
                enums: record.enums,
                gvks: record.gvks,
            });
            defs.push(record.def);
        }
        let types = TypeTable::new(defs);
        for (group, version, kind, definition) in WITHOUT_RESOURCE {
            type_gvks.insert(key(group, version, kind), lookup(&types, definition));
        }
        let mut this = Self {
            types,
            kinds: Vec::new(),
            groups: Vec::new(),
            publications,
            type_gvks,
            by_kind: HashMap::new(),
            by_resource: HashMap::new(),
        };
        for record in tables::resources() {
            this.add(record);
        }
        this.register_meta();
        this
    }

    fn add(&mut self, record: ResourceRecord) {
        let type_id = lookup(&self.types, record.definition);
        let (group, version) = (record.group, record.version);
        let (kind_group, kind_version) = record.kind_group_version.unwrap_or((group, version));
        self.type_gvks.entry(key(kind_group, kind_version, record.kind)).or_insert(type_id);
        if let Some((plural, name)) = record.name.split_once('/') {
            let subresource = Subresource {
                name: name.into(),
                group: kind_group.into(),
                version: kind_version.into(),
                foreign_kind: record.kind_group_version.is_some(),
                kind: record.kind.into(),
                verbs: record.verbs,
                type_id,
            };
            let parent = self.by_resource[&key(group, version, plural)];
            self.kinds[parent].subresources.push(subresource);
            return;
        }
        self.add_version(group, version);
        self.by_kind.insert(key(group, version, record.kind), self.kinds.len());
        self.by_resource.insert(key(group, version, record.name), self.kinds.len());
        let (storage_group, storage_version) = record.storage.unwrap_or((group, version));
        self.kinds.push(KindInfo {
            group: group.into(),
            version: version.into(),
            kind: record.kind.into(),
            list_kind: record.list_kind.map(Into::into),
            plural: record.name.into(),
            singular: record.singular.into(),
            short_names: record.short_names,
            categories: record.categories,
            namespaced: record.namespaced,
            verbs: record.verbs,
            subresources: Vec::new(),
            type_id,
            list_type_id: record.list_kind.and_then(|l| self.type_gvks.get(&key(group, version, l)).copied()),
            storage_version: (storage_group.into(), storage_version.into()),
            storage_version_hash: record.storage_version_hash.unwrap_or("").into(),
            served_by_default: on_by_default(version),
        });
    }

    fn add_version(&mut self, group: &str, version: &str) {
        if self.groups.last().is_none_or(|g| g.name != group) {
            self.groups.push(GroupInfo { name: group.into(), versions: Vec::new() });
        }
        if let Some(last) = self.groups.last_mut()
            && last.versions.last().is_none_or(|v| v.name != version)
        {
            last.versions.push(VersionInfo { name: version.into(), served_by_default: on_by_default(version) });
        }
    }

    fn register_meta(&mut self) {
        let meta = |kind: &str| lookup(&self.types, &format!("{META_V1}{kind}"));
        let mut entries = Vec::new();
        for kind in UNVERSIONED {
            entries.push((key("", "v1", kind), meta(kind)));
        }
        for version in ["v1", "v1beta1"] {
            for kind in META_GROUP {
                entries.push((key("meta.k8s.io", version, kind), meta(kind)));
            }
        }
        entries
            .push((key("meta.k8s.io", "v1beta1", "PartialObjectMetadataList"), lookup(&self.types, META_V1BETA1_LIST)));
        let served = self.groups.iter().flat_map(|g| g.versions.iter().map(|v| (g.name.as_str(), v.name.as_str())));
        for (group, version) in served.chain([("meta.k8s.io", "v1"), ("meta.k8s.io", "v1beta1")]) {
            for kind in IN_EVERY_GROUP_VERSION {
                entries.push((key(group, version, kind), meta(kind)));
            }
        }
        self.type_gvks.extend(entries);
    }

    /// The type registered as this kind: objects, lists, options, `Status` and so on.
    pub fn type_id(&self, group: &str, version: &str, kind: &str) -> Option<TypeId> {
        self.type_gvks.get(&key(group, version, kind)).copied()
    }

    /// The schema of the type registered as this kind.
    pub fn schema_of(&self, group: &str, version: &str, kind: &str) -> Option<SchemaRef<'_>> {
        Some(self.types.schema(self.type_id(group, version, kind)?))
    }

    /// The schema of a type, by OpenAPI definition name.
    pub fn schema_by_name(&self, definition: &str) -> Option<SchemaRef<'_>> {
        Some(self.types.schema(self.types.lookup(definition)?))
    }

    /// The schema of a type.
    pub fn schema(&self, id: TypeId) -> SchemaRef<'_> {
        self.types.schema(id)
    }

    /// `x-kubernetes-unions` of a type, as JSON; empty if it has none.
    pub fn unions(&self, id: TypeId) -> &'static str {
        self.publications[id.0 as usize].unions
    }

    /// The values that a field may have, where OpenAPI lists them: of the field, of its items or of its map's values.
    pub fn enum_of(&self, id: TypeId, field: &str) -> Option<impl Iterator<Item = &'static str>> {
        let (_, values) = self.publications[id.0 as usize].enums.iter().find(|(name, _)| *name == field)?;
        Some(values.split(','))
    }

    /// Group, version and kind of everything that a type is published as, in order.
    pub fn published_kinds(&self, id: TypeId) -> impl Iterator<Item = (&'static str, &'static str, &'static str)> {
        self.publications[id.0 as usize].gvks.iter().map(|gvk| split_gvk(gvk))
    }

    /// Whether OpenAPI documents show a type.
    pub fn is_published(&self, id: TypeId) -> bool {
        self.publications[id.0 as usize].published
    }

    /// The resource that serves this kind.
    pub fn kind(&self, group: &str, version: &str, kind: &str) -> Option<&KindInfo> {
        self.by_kind.get(&key(group, version, kind)).map(|i| &self.kinds[*i])
    }

    /// The resource of this plural name.
    pub fn resource(&self, group: &str, version: &str, plural: &str) -> Option<&KindInfo> {
        self.by_resource.get(&key(group, version, plural)).map(|i| &self.kinds[*i])
    }

    /// All (group, version, kind) with the type behind, in no order.
    pub fn registered(&self) -> impl Iterator<Item = (&str, &str, &str, TypeId)> {
        self.type_gvks.iter().map(|((g, v, k), id)| (g.as_str(), v.as_str(), k.as_str(), *id))
    }
}

fn lookup(types: &TypeTable, definition: &str) -> TypeId {
    types.lookup(definition).unwrap_or_else(|| panic!("the tables have no type {definition}"))
}

#[cfg(test)]
mod tests {
    use skiff_apimachinery::schema::{ListKind, Type};

    use super::*;

    #[test]
    fn pods_are_complete() {
        let api = builtin();
        let pods = api.resource("", "v1", "pods").expect("pods");
        assert_eq!(pods.kind, "Pod");
        assert_eq!(pods.list_kind.as_deref(), Some("PodList"));
        assert!(pods.namespaced && pods.served_by_default && pods.has_verb("watch"));
        let eviction = pods.subresource("eviction").expect("eviction");
        assert_eq!((eviction.group.as_str(), eviction.kind.as_str()), ("policy", "Eviction"));
        let schema = api.schema(pods.type_id);
        let containers = schema.member("spec").and_then(|s| s.field_def("containers")).expect("containers");
        let Type::List(list) = &containers.ty else { panic!("containers is {:?}", containers.ty) };
        assert_eq!((list.kind, list.map_keys[0].as_str()), (ListKind::Map, "name"));
        assert!(containers.patch.merge && containers.required);
    }

    #[test]
    fn every_kind_is_registered() {
        let api = builtin();
        for (group, version, kind) in [
            ("", "v1", "DeleteOptions"),
            ("apps", "v1", "DeleteOptions"),
            ("", "v1", "Status"),
            ("", "v1", "PodExecOptions"),
            ("policy", "v1", "Eviction"),
            ("autoscaling", "v1", "Scale"),
            ("meta.k8s.io", "v1beta1", "Table"),
            ("authentication.k8s.io", "v1", "TokenRequest"),
            ("authorization.k8s.io", "v1", "SelfSubjectRulesReview"),
            ("apps", "v1", "DeploymentList"),
        ] {
            assert!(api.type_id(group, version, kind).is_some(), "{group}/{version} {kind}");
        }
        for info in &api.kinds {
            assert_eq!(info.list_kind.is_some(), info.has_verb("list"), "{} {}", info.group, info.plural);
            assert_eq!(info.list_kind.is_some(), info.list_type_id.is_some(), "{} {}", info.group, info.plural);
        }
    }

    #[test]
    fn one_object_is_stored_once() {
        let storage = |group, version, plural| builtin().resource(group, version, plural).map(|k| &k.storage_version);
        assert_eq!(storage("events.k8s.io", "v1", "events"), Some(&("".into(), "v1".into())));
        assert_eq!(
            storage("autoscaling", "v1", "horizontalpodautoscalers"),
            Some(&("autoscaling".into(), "v2".into()))
        );
    }

    #[test]
    fn loading_is_quick() {
        let start = std::time::Instant::now();
        let loaded = Builtin::load();
        let took = start.elapsed();
        assert!(loaded.kinds.len() > 80 && loaded.types.types().len() > 700);
        // Measured 1 ms in release; the debug build and a busy machine get room.
        assert!(took.as_millis() < 500, "{took:?}");
    }
}
