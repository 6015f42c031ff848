//! How many requests are worked on at the same time.
//!
//! A bounded number of seats for reads and for writes, and a bounded queue before each; what finds no place in the
//! queue, or waits too long in it, is told to come back (429). `system:masters` is exempt, as in upstream's mandatory
//! `exempt` priority level, so that an administrator can always look.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use skiff_apimachinery::status::{self, Status};
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::authentication::UserInfo;

/// Reads at the same time (upstream's `--max-requests-inflight`).
const MAX_READS: usize = 400;
/// Writes at the same time (upstream's `--max-mutating-requests-inflight`).
const MAX_WRITES: usize = 200;
/// Requests that wait for a seat, per kind of request.
const MAX_QUEUED: usize = 4096;
/// Longest wait for a seat: a quarter of the request timeout, as upstream.
const MAX_WAIT: Duration = Duration::from_secs(15);

/// The seats.
#[derive(Debug)]
pub struct FlowControl {
    reads: Lane,
    writes: Lane,
}

#[derive(Debug)]
struct Lane {
    seats: Semaphore,
    queued: AtomicUsize,
}

impl Default for FlowControl {
    fn default() -> Self {
        let lane = |seats| Lane { seats: Semaphore::new(seats), queued: AtomicUsize::new(0) };
        Self { reads: lane(MAX_READS), writes: lane(MAX_WRITES) }
    }
}

impl FlowControl {
    /// A seat for as long as it is held; `None` for users that need none.
    pub async fn seat(&self, user: &UserInfo, mutating: bool) -> Result<Option<SemaphorePermit<'_>>, Status> {
        if user.groups.iter().any(|g| g == "system:masters") {
            return Ok(None);
        }
        let lane = if mutating { &self.writes } else { &self.reads };
        if let Ok(permit) = lane.seats.try_acquire() {
            return Ok(Some(permit));
        }
        let _queued = Queued::enter(&lane.queued)?;
        match tokio::time::timeout(MAX_WAIT, lane.seats.acquire()).await {
            Ok(Ok(permit)) => Ok(Some(permit)),
            _ => Err(too_many()),
        }
    }
}

impl FlowControl {
    /// Requests that are worked on now: reads, writes. Those of exempt users are not counted.
    pub fn in_flight(&self) -> (usize, usize) {
        (MAX_READS - self.reads.seats.available_permits(), MAX_WRITES - self.writes.seats.available_permits())
    }
}

/// A place in the queue, left on drop.
struct Queued<'a>(&'a AtomicUsize);

impl<'a> Queued<'a> {
    fn enter(count: &'a AtomicUsize) -> Result<Self, Status> {
        if count.fetch_add(1, Ordering::Relaxed) >= MAX_QUEUED {
            count.fetch_sub(1, Ordering::Relaxed);
            return Err(too_many());
        }
        Ok(Self(count))
    }
}

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn too_many() -> Status {
    status::too_many_requests("too many requests, please try again later", 1)
}
