//! Reads of single pods.

use hyper::{Method, StatusCode};
use rand::RngExt;

use super::{Operation, Settings, closed_loop, pods_path};
use crate::client::{Call, Connection};
use crate::sample::Sample;
use crate::target::Target;

/// Gets random pods of the seeded ones as fast as the server answers.
pub async fn measure(target: &Target, clients: usize, settings: &Settings) -> anyhow::Result<Sample> {
    closed_loop(target, clients, settings, Get { seeded: settings.seeded }).await
}

#[derive(Clone)]
struct Get {
    seeded: usize,
}

impl Operation for Get {
    async fn run(&self, connection: &mut Connection, _client: usize, _number: usize) -> anyhow::Result<()> {
        let path = format!("{}/seed-{}", pods_path(), rand::rng().random_range(0..self.seeded));
        connection.expect(StatusCode::OK, Call::new(Method::GET, &path)).await?;
        Ok(())
    }
}
