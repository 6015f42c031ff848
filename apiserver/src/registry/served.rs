//! What is served at one moment: an immutable picture that is replaced when a definition of custom resources changes.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use compact_str::CompactString;
use foldhash::fast::FixedState;
use skiff_api::{KindInfo, Subresource};
use skiff_apimachinery::json;
use skiff_apimachinery::managedfields::scale::ReplicasPaths;
use skiff_apimachinery::schema::{SchemaRef, TypeId, TypeTable};
use skiff_apimachinery::status::{self, Status};
use skiff_apimachinery::value::Value;

use super::conversion::Conversion;
use super::store::Store;
use crate::apiextensions::conversion::Converter;
use crate::cacher::{CachedObject, Format};
use crate::printers::Rows;
use crate::response;

/// Bytes that an object may grow by when it is read before more memory is taken.
const ROOM_FOR_DEFAULTS: usize = 256;

/// The table that a resource's types are in.
#[derive(Clone)]
pub enum Types {
    /// That of all built-in kinds.
    Builtin,
    /// One version of a custom resource's.
    Custom(Arc<TypeTable>),
}

impl Types {
    /// The table.
    pub fn table(&self) -> &TypeTable {
        match self {
            Types::Builtin => &skiff_api::builtin().types,
            Types::Custom(table) => table,
        }
    }
}

/// Where objects keep what their Scale shows, as paths of members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScalePaths {
    /// By group and version, for owners of the field: `spec.replicas` in each version that the kind has.
    pub replicas_of_versions: Vec<(String, Vec<String>)>,
    /// The wanted replicas.
    pub replicas: Vec<String>,
    /// The observed replicas.
    pub status_replicas: Vec<String>,
    /// The selector: a label selector, or a string.
    pub selector: Option<Vec<String>>,
}

impl ScalePaths {
    /// Calls `with` the paths in the form that managedFields want.
    pub fn with_replicas<R>(&self, with: impl FnOnce(ReplicasPaths<'_>) -> R) -> R {
        let paths = self.replicas_of_versions.iter();
        let parts = paths.map(|(v, path)| (v.as_str(), path.iter().map(String::as_str).collect::<Vec<_>>()));
        let parts = parts.collect::<Vec<_>>();
        with(&parts.iter().map(|(v, path)| (*v, path.as_slice())).collect::<Vec<_>>())
    }
}

/// A resource as one group and version show it.
pub struct Resource {
    /// Names, verbs, subresources.
    pub info: Arc<KindInfo>,
    /// What the types in `info` are types of.
    pub types: Types,
    /// Where its objects are; `None` for kinds that are only asked (reviews, bindings).
    pub store: Option<Arc<Store>>,
    /// To and from the form that is stored, where it differs.
    pub conversion: Option<&'static dyn Conversion>,
    /// First of the numbers under which watchers share encodings of this version's events. It is nobody else's and never 0.
    pub format_base: Format,
    /// What only custom resources have; `None` for built-in kinds.
    pub custom: Option<Custom>,
}

/// What a CustomResourceDefinition says of a version beside its schema and names.
pub struct Custom {
    /// The CustomResourceDefinition's OpenAPI schema of the objects, as published; `None` if it publishes none.
    pub published: Option<Arc<Value>>,
    /// Rows of tables.
    pub rows: Arc<dyn Rows>,
    /// Where the Scale's values are, if there is one.
    pub scale: Option<ScalePaths>,
    /// Fields that selectors can name in this version.
    pub selectable: Vec<String>,
    /// Told to everybody who uses this version.
    pub warning: Option<String>,
    /// How objects become those of another version.
    pub converter: Converter,
}

impl Resource {
    /// The schema of the objects in this version, by which they merge.
    pub fn schema(&self) -> SchemaRef<'_> {
        self.schema_of(self.info.type_id)
    }

    /// The schema under which objects are decoded. A custom resource's is validated, not enforced by decoding.
    pub fn decoding(&self) -> SchemaRef<'_> {
        match (&self.custom, &self.store) {
            (Some(_), Some(store)) => store.schema,
            _ => self.schema(),
        }
    }

    /// The schema of a type named in `info`.
    pub fn schema_of(&self, id: TypeId) -> SchemaRef<'_> {
        self.types.table().schema(id)
    }

    /// The schema of what a subresource speaks. A foreign kind is always a built-in one.
    pub fn schema_of_subresource(&self, subresource: &Subresource) -> SchemaRef<'_> {
        if subresource.foreign_kind {
            skiff_api::builtin().schema(subresource.type_id)
        } else {
            self.schema_of(subresource.type_id)
        }
    }

    /// The name in errors, e.g. `deployments.apps`.
    pub fn qualified(&self) -> String {
        if self.info.group.is_empty() {
            self.info.plural.to_string()
        } else {
            format!("{}.{}", self.info.plural, self.info.group)
        }
    }

    /// Whether clients of this version see stored bytes as they are.
    pub fn shows_stored_bytes(&self) -> bool {
        self.conversion.is_none() && self.custom.is_none()
    }

    /// Brings an object into another version of the same resource.
    pub async fn convert_to(&self, object: Value, to: &Resource) -> Result<Value, Status> {
        if let Some(custom) = &self.custom {
            let converted = custom.converter.convert(vec![object], &to.info.api_version()).await;
            let mut object = converted.map_err(status::internal_error)?.pop().unwrap_or_default();
            to.complete(&mut object);
            return Ok(object);
        }
        let stored = self.conversion.map_or_else(|| object.clone(), |conversion| conversion.to_stored(object.clone()));
        let mut object =
            to.conversion.map_or_else(|| stored.clone(), |conversion| conversion.from_stored(stored.clone()));
        object.set_at(&["apiVersion"], to.info.api_version().as_str());
        object.set_at(&["kind"], to.info.kind.as_str());
        Ok(object)
    }

    /// Makes an object of this version what a client would read: canonical, without what the kind does not know, and
    /// with defaults.
    pub fn complete(&self, object: &mut Value) {
        let Some(store) = &self.store else { return };
        let Some(conversion) = self.conversion else { return store.set_defaults(object) };
        let mut stored = conversion.to_stored(std::mem::take(object));
        store.set_defaults_of(Some(conversion), &mut stored);
        *object = conversion.from_stored(stored);
    }

    /// The JSON of an object as clients of this version see it.
    ///
    /// What is stored of a custom resource may have been written under another schema, so it is read under this one. If
    /// that gives the very same bytes, it always will: that is remembered with the object, and nothing is read again.
    pub fn json_of(&self, object: &CachedObject) -> Result<Bytes, Status> {
        let stored = object.json();
        if self.shows_stored_bytes() || object.is_shown_by(self.format_base) {
            return Ok(stored.clone());
        }
        let mut json = Vec::with_capacity(stored.len() + ROOM_FOR_DEFAULTS);
        json::write(&self.read(stored)?, &mut json);
        if json == *stored {
            object.set_shown_by(self.format_base);
            return Ok(stored.clone());
        }
        Ok(json.into())
    }

    /// The object of this version that stored bytes are.
    pub fn read(&self, json: &[u8]) -> Result<Value, Status> {
        let object = match &self.store {
            Some(store) if store.at_rest.is_some() => store.parse_stored(json)?,
            _ => response::parse(json)?,
        };
        Ok(match self.conversion {
            Some(conversion) => conversion.from_stored(object),
            None => object,
        })
    }
}

/// A served group.
pub struct Group {
    /// Name, empty for core.
    pub name: CompactString,
    /// Versions, most preferred first.
    pub versions: Vec<Version>,
}

/// A served version of a group.
pub struct Version {
    /// Name.
    pub name: CompactString,
    /// Resources in the order of discovery.
    pub resources: Vec<Arc<Resource>>,
}

/// All that is served.
#[derive(Default)]
pub struct Served {
    /// Grows with every change.
    pub generation: u64,
    /// Groups in the order of preference.
    pub groups: Vec<Group>,
    resources: HashMap<(CompactString, CompactString, CompactString), Arc<Resource>, FixedState>,
}

impl Served {
    /// These resources. `built_in` are in the order of discovery; `custom` ones come behind, groups by name, versions
    /// by their rank, resources by name. What is built in cannot be replaced.
    pub fn new(generation: u64, built_in: &[Arc<Resource>], custom: &[Arc<Resource>]) -> Self {
        let mut served = Self { generation, ..Self::default() };
        for resource in built_in {
            served.add(resource);
        }
        let mut custom = custom.iter().collect::<Vec<_>>();
        custom.sort_by(|a, b| {
            let (a, b) = (&a.info, &b.info);
            a.group
                .cmp(&b.group)
                .then_with(|| super::versions::compare(&a.version, &b.version))
                .then_with(|| a.plural.cmp(&b.plural))
        });
        for resource in custom {
            served.add(resource);
        }
        served
    }

    fn add(&mut self, resource: &Arc<Resource>) {
        let info = &resource.info;
        let key = (info.group.clone(), info.version.clone(), info.plural.clone());
        if self.resources.contains_key(&key) {
            return;
        }
        let group = match self.groups.iter_mut().position(|group| group.name == info.group) {
            Some(at) => &mut self.groups[at],
            None => {
                self.groups.push(Group { name: info.group.clone(), versions: Vec::new() });
                let last = self.groups.len() - 1;
                &mut self.groups[last]
            }
        };
        match group.versions.iter_mut().find(|version| version.name == info.version) {
            Some(version) => version.resources.push(resource.clone()),
            None => group.versions.push(Version { name: info.version.clone(), resources: vec![resource.clone()] }),
        }
        self.resources.insert(key, resource.clone());
    }

    /// The resource of a request.
    pub fn resource(&self, group: &str, version: &str, plural: &str) -> Option<&Arc<Resource>> {
        self.resources.get(&(group.into(), version.into(), plural.into()))
    }

    /// All resources, in the order of discovery.
    pub fn resources(&self) -> impl Iterator<Item = &Arc<Resource>> {
        self.groups.iter().flat_map(|group| group.versions.iter().flat_map(|version| version.resources.iter()))
    }

    /// A group.
    pub fn group(&self, name: &str) -> Option<&Group> {
        self.groups.iter().find(|group| group.name == name)
    }

    /// A version of a group.
    pub fn version(&self, group: &str, version: &str) -> Option<&Version> {
        self.group(group)?.versions.iter().find(|v| v.name == version)
    }
}
