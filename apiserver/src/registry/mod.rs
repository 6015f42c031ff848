//! The resources this server has, and what each kind does differently.
//!
//! [`Registry::new`] makes one [`store::Store`] and one watch cache per stored resource and one [`Resource`] per group,
//! version and plural that is served. Behaviour of kinds is in `<group>/<kind>.rs`; [`strategies`] is the list.

mod admit;
pub mod at;
pub mod canonical;
pub mod conversion;
pub mod core;
pub mod defaults;
pub mod deletion;
pub mod draft;
pub mod errors;
pub mod hook;
pub mod object_meta;
pub mod others;
pub mod store;
pub mod strategies;
pub mod strategy;
pub mod unenforced;
pub mod workloads;

use std::collections::HashMap;
use std::sync::Arc;

use compact_str::CompactString;
use skiff_api::KindInfo;
use skiff_apimachinery::schema::SchemaRef;

use self::conversion::Conversion;
use self::store::Store;
use crate::cacher::{Cacher, Format, ResourceConfig, SelectableFields};
use crate::endpoints::watch::FORMATS_PER_RESOURCE;

/// A resource as one group and version show it.
pub struct Resource {
    /// Names, verbs, subresources.
    pub info: &'static KindInfo,
    /// Where its objects are; `None` for kinds that are only asked (reviews, bindings).
    pub store: Option<Arc<Store>>,
    /// To and from the form that is stored, where it differs.
    pub conversion: Option<&'static dyn Conversion>,
    /// First of the numbers under which watchers share encodings of this version's events.
    pub format_base: Format,
}

impl Resource {
    /// The schema of the objects in this version.
    pub fn schema(&self) -> SchemaRef<'static> {
        skiff_api::builtin().schema(self.info.type_id)
    }

    /// The name in errors, e.g. `deployments.apps`.
    pub fn qualified(&self) -> String {
        if self.info.group.is_empty() {
            self.info.plural.to_string()
        } else {
            format!("{}.{}", self.info.plural, self.info.group)
        }
    }
}

/// Hooks by group and plural.
pub type Hooks = HashMap<(&'static str, &'static str), Arc<dyn hook::Hook>>;

/// All resources.
pub struct Registry {
    served: HashMap<(CompactString, CompactString, CompactString), Arc<Resource>>,
    stores: HashMap<(CompactString, CompactString), Arc<Store>>,
}

impl Registry {
    /// Every built-in resource in the versions that `serves` picks, stored in and read through `cacher`.
    pub fn new(cacher: &Cacher, hooks: &Hooks, serves: impl Fn(&KindInfo) -> bool) -> Self {
        let mut registry = Self { served: HashMap::new(), stores: HashMap::new() };
        for (info, position) in skiff_api::builtin().kinds.iter().zip(1..) {
            if !serves(info) {
                continue;
            }
            let store = strategies::is_stored(info).then(|| registry.add_store(cacher, hooks, info));
            let resource = Resource {
                info,
                store,
                conversion: strategies::conversion(&info.group, &info.version, &info.plural),
                format_base: position * FORMATS_PER_RESOURCE,
            };
            registry.served.insert((info.group.clone(), info.version.clone(), info.plural.clone()), Arc::new(resource));
        }
        registry
    }

    /// The store behind a served resource: one however many versions and groups show it.
    fn add_store(&mut self, cacher: &Cacher, hooks: &Hooks, info: &'static KindInfo) -> Arc<Store> {
        let group = &info.storage_version.0;
        if let Some(store) = self.store(group, &info.plural) {
            return store.clone();
        }
        let strategy = strategies::strategy(group, &info.plural);
        let fields = SelectableFields::new(strategy.selectable_fields());
        let store = Arc::new(Store {
            group: group.clone(),
            resource: info.plural.clone(),
            kind: info.kind.clone(),
            namespaced: info.namespaced,
            has_status: info.subresource("status").is_some(),
            schema: stored_schema(info),
            strategy,
            storage: cacher.storage().clone(),
            cache: cacher.add(ResourceConfig::new(group, &info.plural, info.namespaced, fields)),
            hook: hooks.get(&(group.as_str(), info.plural.as_str())).cloned(),
        });
        self.stores.insert((group.clone(), info.plural.clone()), store.clone());
        store
    }

    /// The resource of a request.
    pub fn resource(&self, group: &str, version: &str, plural: &str) -> Option<&Arc<Resource>> {
        self.served.get(&(group.into(), version.into(), plural.into()))
    }

    /// The store of a resource, by the group in which it is stored.
    pub fn store(&self, group: &str, plural: &str) -> Option<&Arc<Store>> {
        self.stores.get(&(group.into(), plural.into()))
    }

    /// All stores, in no order.
    pub fn stores(&self) -> impl Iterator<Item = &Arc<Store>> {
        self.stores.values()
    }

    /// All served resources, in no order.
    pub fn resources(&self) -> impl Iterator<Item = &Arc<Resource>> {
        self.served.values()
    }

    /// Whether a group version is served.
    pub fn serves(&self, group: &str, version: &str) -> bool {
        self.served.keys().any(|(g, v, _)| g == group && v == version)
    }
}

/// The type in which objects of a resource are stored: that of its storage version.
fn stored_schema(info: &'static KindInfo) -> SchemaRef<'static> {
    let builtin = skiff_api::builtin();
    let (group, version) = &info.storage_version;
    let stored = builtin.resource(group, version, &info.plural).unwrap_or(info);
    builtin.schema(stored.type_id)
}
