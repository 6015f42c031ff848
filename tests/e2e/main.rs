//! The built `skiff` with real containers and a real network.

mod rolling_update;
