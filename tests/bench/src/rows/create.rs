//! Durable creates of pods.

use std::sync::Arc;

use hyper::{Method, StatusCode};

use super::{Operation, Settings, closed_loop, empty, pods_path};
use crate::client::{Call, Connection};
use crate::objects::Pods;
use crate::sample::Sample;
use crate::target::Target;

/// Creates pods as fast as the server answers.
pub async fn measure(target: &Target, clients: usize, settings: &Settings) -> anyhow::Result<Sample> {
    let operation = Create { pods: settings.pods.clone(), path: pods_path().into() };
    let sample = closed_loop(target, clients, settings, operation).await?;
    empty(&mut target.endpoint.connect().await?).await?;
    Ok(sample)
}

#[derive(Clone)]
struct Create {
    pods: Arc<Pods>,
    path: Arc<str>,
}

impl Operation for Create {
    async fn run(&self, connection: &mut Connection, client: usize, number: usize) -> anyhow::Result<()> {
        let body = self.pods.body(client * 31 + number, &format!("pod-{client}-{number}"));
        connection.expect(StatusCode::CREATED, Call::new(Method::POST, &self.path).json(body)).await?;
        Ok(())
    }
}
