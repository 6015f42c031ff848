//! The resources this server has, and what each kind does differently.
//!
//! [`Registry::new`] makes one [`store::Store`] and one watch cache per stored resource and one [`Resource`] per group,
//! version and plural that is served. Behaviour of kinds is in `<group>/<kind>.rs`; [`strategies`] is the list. Custom
//! resources are served beside the built-in ones: `crate::apiextensions` makes a [`Resource`] for each of their versions.

mod admit;
pub mod at;
pub mod canonical;
pub mod conversion;
pub mod core;
pub mod defaults;
pub mod deletion;
pub mod deprecated;
pub mod disabled;
pub mod draft;
pub mod errors;
pub mod hook;
pub mod internal;
mod metadata_checks;
pub mod object_meta;
pub mod others;
pub mod served;
pub mod store;
pub mod strategies;
pub mod strategy;
pub mod unenforced;
pub mod versions;
pub mod webhook_client;
pub mod workloads;

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use compact_str::CompactString;
use skiff_api::KindInfo;
use skiff_apimachinery::schema::SchemaRef;
use tokio::sync::watch;

pub use self::served::{Custom, Resource, ScalePaths, Served, Types};
use self::store::Store;
use self::strategy::Behaviour;
use crate::cacher::{Cacher, ResourceConfig, SelectableFields};
use crate::endpoints::watch::FORMATS_PER_RESOURCE;

/// Hooks by group and plural.
pub type Hooks = HashMap<(&'static str, &'static str), Arc<dyn hook::Hook>>;

/// All resources.
pub struct Registry {
    served: ArcSwap<Served>,
    /// Follows the number of what is served.
    changes: watch::Sender<u64>,
    built_in: Vec<Arc<Resource>>,
    stores: HashMap<(CompactString, CompactString), Arc<Store>>,
}

impl Registry {
    /// Every built-in resource in the versions that `serves` picks, stored in and read through `cacher`.
    pub fn new(cacher: &Cacher, hooks: &Hooks, serves: impl Fn(&KindInfo) -> bool) -> Self {
        let mut registry = Self {
            served: ArcSwap::default(),
            changes: watch::Sender::new(0),
            built_in: Vec::new(),
            stores: HashMap::new(),
        };
        for (info, position) in skiff_api::builtin().kinds.iter().zip(1..) {
            if !serves(info) {
                continue;
            }
            let store = strategies::is_stored(info).then(|| registry.add_store(cacher, hooks, info));
            registry.built_in.push(Arc::new(Resource {
                info: Arc::new(info.clone()),
                types: Types::Builtin,
                store,
                conversion: strategies::conversion(&info.group, &info.version, &info.plural),
                format_base: position * FORMATS_PER_RESOURCE,
                custom: None,
            }));
        }
        registry.serve_custom(&[]);
        registry
    }

    /// The store behind a served resource: one however many versions and groups show it.
    fn add_store(&mut self, cacher: &Cacher, hooks: &Hooks, info: &KindInfo) -> Arc<Store> {
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
            strategy: Behaviour::Static(strategy),
            at_rest: None,
            storage: cacher.storage().clone(),
            cache: cacher.add(ResourceConfig::new(group, &info.plural, info.namespaced, fields)),
            hook: hooks.get(&(group.as_str(), info.plural.as_str())).cloned(),
        });
        self.stores.insert((group.clone(), info.plural.clone()), store.clone());
        store
    }

    /// What is served now. A request looks once and stays with what it saw.
    pub fn served(&self) -> Arc<Served> {
        self.served.load_full()
    }

    /// The resource of a request.
    pub fn resource(&self, group: &str, version: &str, plural: &str) -> Option<Arc<Resource>> {
        self.served.load().resource(group, version, plural).cloned()
    }

    /// Serves these custom resources beside the built-in ones, instead of those served before.
    pub fn serve_custom(&self, custom: &[Arc<Resource>]) {
        let generation = self.served.load().generation + 1;
        self.served.store(Arc::new(Served::new(generation, &self.built_in, custom)));
        self.changes.send_replace(generation);
    }

    /// Tells when something else is served.
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// The store of a built-in resource, by the group in which it is stored.
    pub fn store(&self, group: &str, plural: &str) -> Option<&Arc<Store>> {
        self.stores.get(&(group.into(), plural.into()))
    }

    /// The stores of all built-in resources, in no order.
    pub fn stores(&self) -> impl Iterator<Item = &Arc<Store>> {
        self.stores.values()
    }
}

/// The type in which objects of a resource are stored: that of its storage version.
fn stored_schema(info: &KindInfo) -> SchemaRef<'static> {
    let builtin = skiff_api::builtin();
    let (group, version) = &info.storage_version;
    let stored = builtin.resource(group, version, &info.plural).unwrap_or(info);
    builtin.schema(stored.type_id)
}
