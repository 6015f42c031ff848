//! What every client of the API needs that is more than one request: the counterpart of client-go on top of kube-rs.
//!
//! In reading order: [`resource`] names a kind and [`types`] are its slim forms; [`objects`] makes single requests;
//! [`informer`] keeps a local copy of a kind and tells handlers what changed; handlers put keys on a [`workqueue`];
//! workers take keys, compare, and write, holding themselves back by [`expectations`]; what a user should know goes to
//! the [`events`] recorder. [`leader_election`] lets one of several processes do all that.
//!
//! Time: delays and timeouts use tokio's clock, which tests pause; wall-clock time comes from [`clock::Clock`].

pub mod backoff;
pub mod clock;
pub mod connect;
pub mod errors;
pub mod events;
pub mod expectations;
pub mod informer;
pub mod leader_election;
pub mod objects;
pub mod resource;
pub mod retry;
pub mod selector;
pub mod types;
pub mod watch;
pub mod workqueue;

pub use clock::{Clock, SystemClock};
pub use connect::connect;
pub use events::{EventRecorder, EventType, ObjectReference};
pub use expectations::Expectations;
pub use informer::{Event, Informer, Scope, SharedInformers};
pub use objects::Objects;
pub use resource::{Kind, Object, ObjectKey, ResourceType};
pub use workqueue::Workqueue;

#[cfg(test)]
mod test_api;
