//! The one thread that writes. It takes what is queued (at once when idle, many together under load), decides each
//! request against the state after the ones before it, makes the whole batch durable with one commit, and only then
//! publishes it and answers. Revisions are assigned here and nowhere else.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::Shared;
use super::expiry::{Expiry, UnixSeconds, deadline, unix_now};
use super::history::Event;
use super::hub::{Live, Snapshot};
use super::journal::{Commit, Journal, Record};
use crate::{Draft, Entry, Revision, StorageError};

/// Most requests in one commit.
pub(crate) const BATCH_REQUESTS: usize = 512;

/// A batch takes no further request beyond this many bytes.
const BATCH_BYTES: usize = 8 << 20;

/// How often watchers learn that other keys changed. Readers that cannot wait ask for the head.
const PROGRESS_PERIOD: Duration = Duration::from_secs(1);

/// The longest the writer sleeps with something on a wall clock to wait for, so that a clock change is noticed.
const CLOCK_CHECK_PERIOD: Duration = Duration::from_secs(30);

/// The pause between looks at the window's age.
const TRIM_PERIOD: Duration = Duration::from_secs(1);

/// What a client wants written.
pub(crate) enum Operation {
    Create {
        draft: Draft,
        ttl: Option<Duration>,
    },
    Update {
        expected: Revision,
        draft: Draft,
        ttl: Option<Duration>,
    },
    Delete {
        expected: Revision,
    },
    /// Delete whatever is there, because its time has come.
    Expire,
    /// Write nothing of meaning, to find out whether writes work again.
    Probe,
}

/// The entry written or deleted, and the revision of that.
pub(crate) type Written = Result<(Entry, Revision), StorageError>;

pub(crate) struct Request {
    pub(crate) key: Arc<str>,
    pub(crate) operation: Operation,
    pub(crate) reply: Option<oneshot::Sender<Written>>,
}

impl Request {
    fn bytes(&self) -> usize {
        match &self.operation {
            Operation::Create { draft, .. } | Operation::Update { draft, .. } => draft.json.len(),
            Operation::Delete { .. } | Operation::Expire | Operation::Probe => 0,
        }
    }
}

/// A batch as it is being decided: the state after it, and what to make durable.
struct Plan {
    live: Live,
    revision: Revision,
    events: Vec<Arc<Event>>,
    deadlines: Vec<(Arc<str>, UnixSeconds)>,
    probe: bool,
    now: Instant,
}

pub(crate) struct Writer<J> {
    pub(crate) shared: Arc<Shared>,
    pub(crate) journal: J,
    pub(crate) expiry: Expiry,
    pub(crate) requests: Receiver<Request>,
    /// When to send progress next; `None` when every watcher has been told.
    pub(crate) progress_at: Option<Instant>,
    pub(crate) trim_at: Option<Instant>,
}

impl<J: Journal> Writer<J> {
    /// Runs until all senders are gone.
    pub(crate) fn run(mut self) {
        while let Some(mut batch) = self.next_batch() {
            batch.extend(self.due());
            if !batch.is_empty() {
                self.commit(batch);
            }
            self.tick();
        }
        self.shared.hub.close();
        self.journal.close();
    }

    /// What is queued, empty when a timer went off first; `None` at the end.
    fn next_batch(&mut self) -> Option<Vec<Request>> {
        let first = match self.sleep_at_most() {
            None => self.requests.recv().ok()?,
            Some(timeout) => match self.requests.recv_timeout(timeout) {
                Ok(request) => request,
                Err(RecvTimeoutError::Timeout) => return Some(Vec::new()),
                Err(RecvTimeoutError::Disconnected) => return None,
            },
        };
        let mut bytes = first.bytes();
        let mut batch = vec![first];
        while batch.len() < BATCH_REQUESTS && bytes < BATCH_BYTES {
            match self.requests.try_recv() {
                Ok(request) => {
                    bytes += request.bytes();
                    batch.push(request);
                }
                // Disconnected: this batch is still committed; the next round ends the loop.
                Err(TryRecvError::Empty | TryRecvError::Disconnected) => break,
            }
        }
        Some(batch)
    }

    fn sleep_at_most(&self) -> Option<Duration> {
        let now = Instant::now();
        let timers = [self.progress_at, self.trim_at].into_iter().flatten().map(|at| at.saturating_duration_since(now));
        let expiry = self.expiry.next().map(|at| {
            let wait = Duration::from_secs(at.saturating_sub(unix_now()));
            // A key that could not be deleted stays due: wait a little before trying again.
            wait.clamp(Duration::from_millis(100), CLOCK_CHECK_PERIOD)
        });
        timers.chain(expiry).min()
    }

    fn due(&self) -> Vec<Request> {
        let due = self.expiry.due(unix_now(), BATCH_REQUESTS);
        due.into_iter().map(|key| Request { key, operation: Operation::Expire, reply: None }).collect()
    }

    fn tick(&mut self) {
        let now = Instant::now();
        if self.progress_at.is_some_and(|at| at <= now) {
            self.shared.hub.send_progress();
            self.progress_at = None;
        }
        if self.trim_at.is_none_or(|at| at <= now) {
            let next = self.shared.hub.trim(now);
            self.trim_at = next.map(|at| at.max(now + TRIM_PERIOD));
        }
    }

    fn commit(&mut self, batch: Vec<Request>) {
        let before = self.shared.hub.snapshot();
        let mut plan = Plan {
            live: before.live.clone(),
            revision: before.revision,
            events: Vec::with_capacity(batch.len()),
            deadlines: Vec::new(),
            probe: false,
            now: Instant::now(),
        };
        let mut replies = Vec::with_capacity(batch.len());
        for request in batch {
            let written = plan.decide(request.key, request.operation);
            replies.push((request.reply, written));
        }
        if let Err(error) = self.make_durable(&plan) {
            for reply in replies.into_iter().filter_map(|(reply, _)| reply) {
                let _ = reply.send(Err(error.clone()));
            }
            return;
        }
        for (key, at) in &plan.deadlines {
            self.expiry.set(key, *at);
        }
        if !plan.events.is_empty() {
            self.shared.hub.publish(Snapshot { revision: plan.revision, live: plan.live }, plan.events);
            self.progress_at.get_or_insert(plan.now + PROGRESS_PERIOD);
            self.trim_at.get_or_insert(plan.now + TRIM_PERIOD);
        }
        for (reply, written) in replies {
            if let Some(reply) = reply {
                // The client may have gone away; its write stands.
                let _ = reply.send(written);
            }
        }
    }

    fn make_durable(&mut self, plan: &Plan) -> Result<(), StorageError> {
        if plan.events.is_empty() && !plan.probe {
            return Ok(());
        }
        let deadlines: std::collections::HashMap<&str, UnixSeconds> =
            plan.deadlines.iter().map(|(key, at)| (&**key, *at)).collect();
        let records: Vec<Record<'_>> = plan
            .events
            .iter()
            .map(|event| Record {
                revision: event.revision,
                key: &event.key,
                object: event.entry.as_ref().map(|entry| &entry.object),
                expires_at: deadlines.get(&*event.key).copied().unwrap_or(0),
            })
            .collect();
        let commit = Commit {
            records: &records,
            events: &plan.events,
            live: &plan.live,
            hub: &self.shared.hub,
            expiry: &self.expiry,
        };
        let done = self.journal.commit(&commit);
        let before = std::mem::replace(&mut *self.shared.failure.lock(), done.as_ref().err().cloned());
        // Said once, however often clients and timers try.
        match (&before, &done) {
            (None, Err(error)) => tracing::error!(%error, "the store cannot write"),
            (Some(_), Ok(())) => tracing::info!("the store can write again"),
            _ => {}
        }
        done
    }
}

impl Plan {
    fn decide(&mut self, key: Arc<str>, operation: Operation) -> Written {
        let current = self.live.get(&key).cloned();
        match (operation, current) {
            (Operation::Create { .. }, Some(_)) => Err(StorageError::Exists { key: key.to_string() }),
            (Operation::Create { draft, ttl }, None) => Ok(self.put(key, None, &draft, ttl)),
            (Operation::Update { expected, draft, ttl }, Some(current)) if current.revision == expected => {
                Ok(self.put(key, Some(current), &draft, ttl))
            }
            (Operation::Delete { expected }, Some(current)) if current.revision == expected => {
                Ok(self.remove(key, current))
            }
            (Operation::Update { .. } | Operation::Delete { .. }, Some(current)) => {
                Err(StorageError::Conflict { current: Box::new(current) })
            }
            (Operation::Expire, Some(current)) => Ok(self.remove(key, current)),
            (Operation::Update { .. } | Operation::Delete { .. }, None) => {
                Err(StorageError::NotFound { key: key.to_string() })
            }
            (Operation::Expire, None) => {
                self.deadlines.push((key.clone(), 0));
                Err(StorageError::NotFound { key: key.to_string() })
            }
            (Operation::Probe, _) => {
                self.probe = true;
                Err(StorageError::NotFound { key: key.to_string() })
            }
        }
    }

    fn put(
        &mut self,
        key: Arc<str>,
        previous: Option<Entry>,
        draft: &Draft,
        ttl: Option<Duration>,
    ) -> (Entry, Revision) {
        self.revision += 1;
        // The map's key is reused so that a key is in memory once.
        let key = previous.as_ref().map_or(key, |previous| previous.key.clone());
        let entry = Entry { key: key.clone(), revision: self.revision, object: draft.splice(self.revision) };
        self.live.insert(key.clone(), entry.clone());
        self.deadlines.push((key.clone(), ttl.map_or(0, deadline)));
        self.record(key, Some(entry.clone()), previous);
        (entry, self.revision)
    }

    fn remove(&mut self, key: Arc<str>, current: Entry) -> (Entry, Revision) {
        self.revision += 1;
        self.live.remove(&key);
        self.deadlines.push((key, 0));
        self.record(current.key.clone(), None, Some(current.clone()));
        (current, self.revision)
    }

    fn record(&mut self, key: Arc<str>, entry: Option<Entry>, previous: Option<Entry>) {
        let event = Event { revision: self.revision, key, entry, previous, at: self.now };
        self.events.push(Arc::new(event));
    }
}
