//! The built `skiff` with real containers and a real network.

mod healing;
mod identity;
mod node_care;
mod rolling_update;
