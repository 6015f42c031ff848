//! etcd's revision by quorum reads, as few as possible: a read that waits while one is under way shares the next one
//! with all who wait, because that begins after each of them did.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use etcd_client::{GetOptions, KvClient};
use tokio::sync::Mutex;

use super::within;
use crate::{Revision, StorageError};

/// Attempts when a member cannot be reached: another one may.
const ATTEMPTS: usize = 3;

const PAUSE: Duration = Duration::from_millis(50);

/// See the module.
pub(super) struct HeadReader {
    client: KvClient,
    /// Reads begun.
    begun: AtomicU64,
    last: Mutex<Last>,
}

struct Last {
    /// Which read this is the answer of.
    number: u64,
    revision: Revision,
}

impl HeadReader {
    pub(super) fn new(client: KvClient) -> Self {
        Self { client, begun: AtomicU64::new(0), last: Mutex::new(Last { number: 0, revision: 0 }) }
    }

    /// A revision that includes everything written before this call.
    pub(super) async fn read(&self) -> Result<Revision, StorageError> {
        let begun_before = self.begun.load(Ordering::SeqCst);
        let mut last = self.last.lock().await;
        if last.number > begun_before {
            return Ok(last.revision);
        }
        let number = self.begun.fetch_add(1, Ordering::SeqCst) + 1;
        let mut attempt = 1;
        let revision = loop {
            // Any key will do: only the header counts.
            let options = GetOptions::new().with_count_only();
            match within(self.client.clone().get("/", Some(options))).await {
                Ok(answer) => break answer.header().map_or(0, |header| header.revision()) as Revision,
                Err(_) if attempt < ATTEMPTS => tokio::time::sleep(PAUSE).await,
                Err(refused) => return Err(refused.into_error("revision")),
            }
            attempt += 1;
        };
        *last = Last { number, revision };
        Ok(revision)
    }
}
