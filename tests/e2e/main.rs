//! The built `skiff` with real containers and a real network.

mod healing;
mod identity;
mod rolling_update;
