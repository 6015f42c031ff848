//! Who may do what, and how much: the server's identity and admission through its own front door.

mod audit;
mod flows;
mod questions;
mod quotas;
mod roles;
mod routes;
