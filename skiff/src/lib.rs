//! All of Skiff in one process, and the command that people type.
//!
//! In reading order: [`settings`] is what can be chosen, [`layout`] where everything lies, [`cluster`] puts the parts
//! together (also for tests), [`in_process`] is how they talk to the API server, [`node`] is what runs on a machine;
//! [`commands`] has a file per subcommand.

pub mod settings;
pub mod layout;
pub mod machine;
pub mod cluster;
pub mod in_process;
pub mod node;
pub mod kubeconfig;
pub mod instance;
pub mod doctor;
pub mod commands;
mod apply;
mod certificate;
mod endpoint;
mod terminal;

pub use cluster::Cluster;
pub use settings::Settings;
