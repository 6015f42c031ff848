//! One informer per kind and process.

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::sync::Arc;

use kube::Client;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use super::Informer;
use crate::resource::Kind;

/// Narrows an informer to a part of its kind. The default is everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Scope {
    /// Only this namespace; empty for all.
    pub namespace: String,
    /// Only objects with these labels; empty for all.
    pub label_selector: String,
    /// Only objects with these fields; empty for all.
    pub field_selector: String,
}

type Registered = HashMap<(TypeId, Scope), Box<dyn Any + Send>>;

/// The informers of a process (or of an identity in it), each started when first asked for. Cloning gives another
/// handle on the same ones.
#[derive(Clone)]
pub struct SharedInformers {
    client: Client,
    shutdown: CancellationToken,
    informers: Arc<Mutex<Registered>>,
}

impl SharedInformers {
    /// No informers yet; they will read through this client until `shutdown`.
    pub fn new(client: Client, shutdown: CancellationToken) -> Self {
        Self { client, shutdown, informers: Arc::default() }
    }

    /// The informer on all objects of a kind.
    pub fn get<K: Kind>(&self) -> Informer<K> {
        self.get_scoped(Scope::default())
    }

    /// The informer on a part of a kind.
    pub fn get_scoped<K: Kind>(&self, scope: Scope) -> Informer<K> {
        let mut informers = self.informers.lock();
        let entry = informers.entry((TypeId::of::<K>(), scope.clone())).or_insert_with(|| {
            let mut source = Informer::<K>::source();
            source.namespace = scope.namespace;
            source.label_selector = scope.label_selector;
            source.field_selector = scope.field_selector;
            Box::new(Informer::<K>::spawn(self.client.clone(), source, self.shutdown.clone()))
        });
        let informer = entry.downcast_ref::<Informer<K>>();
        informer.expect("an entry has the type of its key").clone()
    }

    /// Registers an informer that something else feeds: for tests of what reads from it.
    pub fn provide<K: Kind>(&self, informer: Informer<K>) {
        self.informers.lock().insert((TypeId::of::<K>(), Scope::default()), Box::new(informer));
    }

    /// The client they read through.
    pub fn client(&self) -> &Client {
        &self.client
    }
}
