//! Group versions that other API servers serve, as if they were this server's own.
//!
//! An APIService says who serves a group version: this server, or what is behind a Service. [`service`] is what the
//! objects say, [`controller`] follows them: it makes those of custom resources, looks after those of others
//! ([`availability`]) and learns what these serve ([`learned`]). [`proxy`] passes requests on over [`remote`]; [`listing`]
//! is the order of all groups, for discovery. Follows `k8s.io/kube-aggregator`.

pub mod availability;
pub mod controller;
pub mod learned;
pub mod listing;
pub mod proxy;
pub mod remote;
pub mod service;

use std::sync::Arc;

use arc_swap::ArcSwap;

pub use self::controller::Controller;
use self::learned::Learned;
use self::remote::Remote;
use self::service::ApiService;

/// Group of the APIServices.
pub const GROUP: &str = "apiregistration.k8s.io";
/// Their resource.
pub const RESOURCE: &str = "apiservices";

/// What is known of the APIServices.
#[derive(Default)]
pub struct Aggregator {
    picture: ArcSwap<Picture>,
}

/// The APIServices at one moment.
#[derive(Default)]
pub struct Picture {
    /// Grows with every change.
    pub generation: u64,
    /// All of them.
    pub services: Vec<Arc<ApiService>>,
    /// Those that others serve.
    pub delegated: Vec<Arc<Delegated>>,
}

/// A group version that somebody else serves.
pub struct Delegated {
    /// What its APIService says.
    pub service: Arc<ApiService>,
    /// How it is reached; or why not.
    pub remote: Result<Arc<Remote>, String>,
    /// What it said it serves.
    pub learned: ArcSwap<Learned>,
}

impl Aggregator {
    /// The APIServices now. A request looks once and stays with what it saw.
    pub fn picture(&self) -> Arc<Picture> {
        self.picture.load_full()
    }

    /// Who else serves a path, if somebody does: `/apis/GROUP/VERSION` and what is below.
    pub fn delegated(&self, path: &str) -> Option<Arc<Delegated>> {
        let picture = self.picture.load();
        if picture.delegated.is_empty() {
            return None;
        }
        let mut parts = path.strip_prefix("/apis/")?.splitn(3, '/');
        let (group, version) = (parts.next()?, parts.next()?);
        picture.find(group, version).cloned()
    }

    /// Replaces what is known.
    fn replace(&self, services: Vec<Arc<ApiService>>, delegated: Vec<Arc<Delegated>>) {
        let generation = self.picture.load().generation + 1;
        self.picture.store(Arc::new(Picture { generation, services, delegated }));
    }

    /// Something was learned: whoever keeps what it made of the picture makes it again.
    fn touch(&self) {
        let now = self.picture();
        self.replace(now.services.clone(), now.delegated.clone());
    }
}

impl Picture {
    /// Who else serves a group version.
    pub fn find(&self, group: &str, version: &str) -> Option<&Arc<Delegated>> {
        self.delegated.iter().find(|d| d.service.group == group && d.service.version == version)
    }
}
