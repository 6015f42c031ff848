//! All of Skiff in one process, and the command that people type.
//!
//! In reading order: [`settings`] is what can be chosen, [`layout`] where everything lies, [`cluster`] puts the parts
//! together (also for tests), [`in_process`] is how they talk to the API server, [`node`] is what runs on a machine;
//! [`commands`] has a file per subcommand.

mod apply;
mod certificate;
pub mod cluster;
pub mod commands;
pub mod doctor;
mod endpoint;
pub mod in_process;
pub mod instance;
pub mod kubeconfig;
pub mod kubelet_flags;
pub mod layout;
pub mod machine;
pub mod node;
pub mod settings;
mod store;
mod terminal;

pub use cluster::Cluster;
pub use settings::Settings;
