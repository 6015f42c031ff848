//! The mirror of etcd in memory, and following etcd's changes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use etcd_client::{Client, EventType, GetOptions, KeyValue, WatchOptions};
use imbl::OrdMap;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use super::error::{Refused, unavailable};
use super::{CATCH_UP_TIMEOUT, Config, MESSAGE_BYTES, PAGE_KEYS, kv, value, within};
use crate::local::history::{Event, History};
use crate::local::hub::{Hub, Live, Snapshot};
use crate::{Entry, Revision, StorageError};

/// Changes from before the start that are read back, so that watches survive a restart.
const REPLAYED_REVISIONS: Revision = 20_000;

/// How long reading them back may take before it is left.
const REPLAY_TIMEOUT: Duration = Duration::from_secs(10);

/// How often quiet watchers learn that other keys changed, and the history is trimmed.
const TICK: Duration = Duration::from_secs(1);

/// Pauses between attempts to reach etcd: doubled from the first to the last.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LAST_PAUSE: Duration = Duration::from_secs(5);

/// See the module.
pub(super) struct Mirror {
    client: Client,
    config: Config,
    pub(super) hub: Arc<Hub>,
    reached: watch::Sender<Revision>,
    /// The watch is thought to hang: make a new one.
    hangs: Notify,
}

/// Why following stopped for now.
enum Stopped {
    /// etcd has compacted what came next.
    Lost,
    /// Try again.
    Broken(String),
}

impl Mirror {
    pub(super) async fn load(client: Client, config: &Config) -> Result<Arc<Self>, StorageError> {
        let (snapshot, history) = load(&client, config).await?;
        let revision = snapshot.revision;
        Ok(Arc::new(Self {
            client,
            config: config.clone(),
            hub: Arc::new(Hub::new(snapshot, history)),
            reached: watch::Sender::new(revision),
            hangs: Notify::new(),
        }))
    }

    /// Waits until everything up to `revision` has arrived.
    pub(super) async fn reach(&self, revision: Revision) -> Result<(), StorageError> {
        let mut reached = self.reached.subscribe();
        let wait = reached.wait_for(|reached| *reached >= revision);
        if tokio::time::timeout(CATCH_UP_TIMEOUT, wait).await.is_ok() {
            return Ok(());
        }
        self.hangs.notify_one();
        Err(unavailable(format!("etcd is at revision {revision}, but its changes have not arrived")))
    }

    /// Follows etcd until cancelled.
    pub(super) async fn follow(self: Arc<Self>, stop: CancellationToken) {
        stop.run_until_cancelled(self.follow_always()).await;
        self.hub.close();
    }

    async fn follow_always(&self) {
        let mut pause = FIRST_PAUSE;
        loop {
            let before = self.hub.snapshot().revision;
            let stopped = self.follow_once().await;
            if self.hub.snapshot().revision > before {
                pause = FIRST_PAUSE;
            }
            match stopped {
                Stopped::Broken(why) => tracing::warn!(why, "the watch on etcd broke; it is resumed"),
                Stopped::Lost => {
                    tracing::warn!("etcd has compacted what this server has not seen; it reads everything again");
                    match load(&self.client, &self.config).await {
                        Ok((snapshot, history)) => {
                            let revision = snapshot.revision;
                            self.hub.reset(snapshot, history);
                            self.reached.send_replace(revision);
                        }
                        Err(error) => tracing::warn!(%error, "cannot read etcd; it is tried again"),
                    }
                }
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LAST_PAUSE);
        }
    }

    async fn follow_once(&self) -> Stopped {
        let start = self.hub.snapshot().revision + 1;
        let mut watch = match watch_all(&self.client, start, false).await {
            Ok(watch) => watch,
            Err(Refused::Compacted) => return Stopped::Lost,
            Err(Refused::Unavailable(why)) => return Stopped::Broken(why),
        };
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut told = 0;
        loop {
            let message = tokio::select! {
                message = watch.message() => message,
                () = self.hangs.notified() => return Stopped::Broken("it hangs".into()),
                _ = tick.tick(), if told < self.hub.snapshot().revision || self.hub.remembers() => {
                    told = self.hub.snapshot().revision;
                    self.hub.send_progress();
                    self.hub.trim(Instant::now());
                    continue;
                }
            };
            match message {
                Ok(Some(answer)) if answer.compact_revision() > 0 => return Stopped::Lost,
                Ok(Some(answer)) if answer.canceled() => return Stopped::Broken(answer.cancel_reason().to_owned()),
                Ok(Some(answer)) => self.apply(answer.events()),
                Ok(None) => return Stopped::Broken("etcd ended it".into()),
                Err(error) => return Stopped::Broken(error.to_string()),
            }
        }
    }

    /// Makes the changes of one answer visible.
    fn apply(&self, changes: &[etcd_client::Event]) {
        let before = self.hub.snapshot();
        let mut snapshot = Snapshot::clone(&before);
        let now = Instant::now();
        let mut events = Vec::with_capacity(changes.len());
        for change in changes {
            let Some(kv) = change.kv() else { continue };
            snapshot.revision = snapshot.revision.max(kv.mod_revision() as Revision);
            let Some(key) = own_key(kv, &self.config.prefix) else { continue };
            let entry = match (change.event_type(), value::entry(kv)) {
                (EventType::Delete, _) => None,
                (EventType::Put, Ok(entry)) => Some(entry),
                (EventType::Put, Err(error)) => {
                    tracing::error!(%error, "a change in etcd is ignored");
                    continue;
                }
            };
            let previous = match &entry {
                Some(entry) => snapshot.live.insert(entry.key.clone(), entry.clone()),
                None => snapshot.live.remove(key),
            };
            if entry.is_some() || previous.is_some() {
                let key = entry.as_ref().or(previous.as_ref()).map_or_else(|| key.into(), |entry| entry.key.clone());
                events.push(Arc::new(Event { revision: kv.mod_revision() as Revision, key, entry, previous, at: now }));
            }
        }
        let revision = snapshot.revision;
        if revision > before.revision {
            self.hub.publish(snapshot, events);
            self.reached.send_replace(revision);
        }
    }
}

/// The key, if it is one of ours.
fn own_key<'kv>(kv: &'kv KeyValue, prefix: &str) -> Option<&'kv str> {
    std::str::from_utf8(kv.key()).ok().filter(|key| key.starts_with(prefix))
}

async fn watch_all(client: &Client, start: Revision, previous: bool) -> Result<etcd_client::WatchStream, Refused> {
    let mut options = WatchOptions::new().with_range([0]).with_start_revision(start as i64);
    if previous {
        options = options.with_prev_key();
    }
    let mut client = client.watch_client().max_decoding_message_size(MESSAGE_BYTES);
    within(client.watch([0], Some(options))).await
}

/// Everything under the prefix, and the changes that led there as far as etcd still has them.
async fn load(client: &Client, config: &Config) -> Result<(Snapshot, History), StorageError> {
    let mut entries = Vec::new();
    let mut revision = 0;
    let mut start = config.prefix.clone().into_bytes();
    loop {
        let mut options = GetOptions::new().with_range(value::range_end(&config.prefix)).with_limit(PAGE_KEYS as i64);
        if revision > 0 {
            options = options.with_revision(revision as i64);
        }
        let page = within(kv(client).get(start, Some(options))).await;
        let page = page.map_err(|refused| refused.into_error(&config.prefix))?;
        if revision == 0 {
            revision = page.header().map_or(0, |header| header.revision()) as Revision;
        }
        for kv in page.kvs() {
            entries.push(value::entry(kv)?);
        }
        match (page.more(), page.kvs().last()) {
            (true, Some(last)) => start = [last.key(), b"\0"].concat(),
            _ => break,
        }
    }
    let live: Live = entries.into_iter().map(|entry| (entry.key.clone(), entry)).collect::<OrdMap<_, _>>();
    let history = match tokio::time::timeout(REPLAY_TIMEOUT, replay(client, config, &live, revision)).await {
        Ok(Ok(history)) => history,
        Ok(Err(why)) => {
            tracing::warn!(why, "changes from before the start cannot be read from etcd");
            History::new(config.history, revision)
        }
        Err(_) => {
            tracing::warn!("changes from before the start take too long to read from etcd");
            History::new(config.history, revision)
        }
    };
    Ok((Snapshot { revision, live }, history))
}

/// The changes up to `end`.
async fn replay(client: &Client, config: &Config, live: &Live, end: Revision) -> Result<History, String> {
    let mut floor = end.saturating_sub(REPLAYED_REVISIONS).max(1);
    loop {
        let mut history = History::new(config.history, floor);
        if floor >= end {
            return Ok(history);
        }
        let mut watch = match watch_all(client, floor + 1, true).await {
            Ok(watch) => watch,
            Err(Refused::Compacted) => return Err("compacted".into()),
            Err(Refused::Unavailable(why)) => return Err(why),
        };
        let mut reached = floor;
        while reached < end {
            let Some(answer) = watch.message().await.map_err(|error| error.to_string())? else {
                return Err("etcd ended the watch".into());
            };
            if answer.compact_revision() as Revision > floor {
                floor = answer.compact_revision() as Revision;
                break;
            }
            if answer.canceled() {
                return Err(answer.cancel_reason().to_owned());
            }
            for change in answer.events() {
                let Some(kv) = change.kv().filter(|kv| kv.mod_revision() as Revision <= end) else { continue };
                if let Some(event) = past_event(change, kv, &config.prefix, live) {
                    history.push(Arc::new(event));
                    history.trim(Instant::now());
                }
            }
            let last = answer.events().last().and_then(|change| change.kv());
            reached = last.map_or(reached, |kv| kv.mod_revision() as Revision);
        }
        if reached >= end {
            return Ok(history);
        }
    }
}

fn past_event(change: &etcd_client::Event, kv: &KeyValue, prefix: &str, live: &Live) -> Option<Event> {
    let key = own_key(kv, prefix)?;
    let revision = kv.mod_revision() as Revision;
    // Bytes that are still live are shared.
    let shared = |revision: Revision| live.get(key).filter(|entry| entry.revision == revision).cloned();
    let read = |kv: &KeyValue| shared(kv.mod_revision() as Revision).or_else(|| value::entry(kv).ok());
    let entry: Option<Entry> = match change.event_type() {
        EventType::Put => Some(read(kv)?),
        EventType::Delete => None,
    };
    let previous = change.prev_kv().and_then(read);
    if entry.is_none() && previous.is_none() {
        return None;
    }
    Some(Event { revision, key: key.into(), entry, previous, at: Instant::now() })
}
