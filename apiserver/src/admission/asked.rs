//! A request as the client sees it, where that differs from what is stored: its version, its kind, its options.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use skiff_api::Subresource;
use skiff_apimachinery::schema::SchemaRef;
use skiff_apimachinery::status::Status;
use skiff_apimachinery::value::Value;

use super::Operation;
use crate::audit::record::Record;
use crate::registry::Resource;
use crate::registry::deletion::DeleteOptions;

/// What webhooks and policies are told of a request.
pub trait Asked: Send + Sync {
    /// The resource in the version of the request.
    fn resource(&self) -> &Arc<Resource>;

    /// The subresource, if the request names one.
    fn subresource(&self) -> Option<&Subresource>;

    /// Group, version and kind of the objects that the client sends.
    fn kind(&self) -> (&str, &str, &str);

    /// Type of those objects.
    fn schema(&self) -> SchemaRef<'_>;

    /// The options, e.g. a `CreateOptions` of `meta.k8s.io/v1`; null when the operation has none.
    fn options(&self, operation: Operation, delete: Option<&DeleteOptions>) -> Value;

    /// What is kept of the request, if anything is.
    fn record(&self) -> Option<&Record>;

    /// Has the audit log say something of the request.
    fn annotate(&self, name: &str, text: &str) {
        if let Some(record) = self.record() {
            record.annotate(name, text);
        }
    }

    /// What the client sees of an object on its way to the store.
    fn view(&self, object: &Value) -> Value;

    /// The object on its way to the store after what the client sees of it was changed.
    fn merge(&self, view: Value, object: &Value) -> Result<Value, Status>;
}

/// Whether the plugins run a second time, and what those that call others remember of the first.
#[derive(Debug, Default)]
pub struct Reinvocation {
    wanted: bool,
    again: bool,
    rounds: BTreeMap<&'static str, Round>,
}

impl Reinvocation {
    /// Asks for all plugins to run once more.
    pub fn want(&mut self) {
        self.wanted = true;
    }

    /// Whether somebody asked for it.
    pub fn is_wanted(&self) -> bool {
        self.wanted
    }

    /// Begins the second time.
    pub fn begin(&mut self) {
        self.again = true;
    }

    /// Whether this is the second time.
    pub fn is_again(&self) -> bool {
        self.again
    }

    /// What a plugin, by its name, remembers.
    pub fn round(&mut self, plugin: &'static str) -> &mut Round {
        self.rounds.entry(plugin).or_default()
    }
}

/// What a plugin that calls webhooks or policies remembers of its first time.
#[derive(Debug, Default)]
pub struct Round {
    /// Those that were asked and want to be asked again when others change the object.
    asked: BTreeSet<String>,
    /// Those to ask again.
    again: BTreeSet<String>,
    /// The object as this plugin left it.
    pub left: Option<Value>,
}

impl Round {
    /// One was asked that wants to be asked again.
    pub fn add(&mut self, uid: &str) {
        self.asked.insert(uid.to_owned());
    }

    /// The object changed: all that were asked so far are to be asked again.
    pub fn changed(&mut self) {
        self.again.append(&mut self.asked);
    }

    /// Whether one is to be asked again.
    pub fn is_due(&self, uid: &str) -> bool {
        self.again.contains(uid)
    }
}
