//! Forgetting etcd's past, a little behind the present, by one of the API servers at a time.
//!
//! Follows `k8s.io/apiserver/pkg/storage/etcd3/compact.go`, including the key, so that servers of both kinds take turns.
//! The key's version is a clock: whoever moves it from the reading of one interval ago may compact to the revision of
//! that reading.

use std::time::Duration;

use etcd_client::{Compare, CompareOp, KvClient, Txn, TxnOp, TxnOpResponse};
use tokio_util::sync::CancellationToken;

use super::error::Refused;
use super::within;

const KEY: &str = "compact_rev_key";

/// A reading of the clock and etcd's revision at that time.
#[derive(Clone, Copy, Default)]
struct Reading {
    time: i64,
    revision: i64,
}

pub(super) async fn run(client: KvClient, interval: Duration, stop: CancellationToken) {
    let mut reading = Reading::default();
    while stop.run_until_cancelled(tokio::time::sleep(interval)).await.is_some() {
        match step(client.clone(), reading).await {
            Ok(next) => reading = next,
            Err(Refused::Compacted) => reading = Reading::default(),
            Err(Refused::Unavailable(why)) => tracing::warn!(why, "etcd could not be compacted; it is tried again"),
        }
    }
}

async fn step(mut client: KvClient, before: Reading) -> Result<Reading, Refused> {
    let txn = Txn::new()
        .when([Compare::version(KEY, CompareOp::Equal, before.time)])
        .and_then([TxnOp::put(KEY, before.revision.to_string(), None)])
        .or_else([TxnOp::get(KEY, None)]);
    let answer = within(client.txn(txn)).await?;
    let revision = answer.header().map_or(0, |header| header.revision());
    if !answer.succeeded() {
        let time = answer.op_responses().iter().find_map(|response| match response {
            TxnOpResponse::Get(get) => get.kvs().first().map(|kv| kv.version()),
            _ => None,
        });
        return Ok(Reading { time: time.unwrap_or(0), revision });
    }
    if before.revision > 0 {
        within(client.compact(before.revision, None)).await?;
        tracing::debug!(revision = before.revision, "etcd was compacted");
    }
    Ok(Reading { time: before.time + 1, revision })
}
