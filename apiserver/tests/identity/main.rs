//! Who may do what, and how much: the server's identity and admission through its own front door.

mod questions;
mod quotas;
mod roles;
mod routes;
