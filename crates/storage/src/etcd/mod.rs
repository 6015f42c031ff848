//! The engine for clusters of several API servers: keys and values live in etcd, under upstream's layout
//! (`/registry/...`), and every API server follows them into the same in-memory state that the other engines have.
//!
//! Writes are transactions on `mod_revision`. Reads are consistent: a read asks etcd for its revision (one small quorum
//! read shared by all reads that wait for it, [`head`]), waits until the mirror has it, and answers from memory.
//!
//! The mirror ([`follow`]) is one watch over **all** keys. Every revision of etcd is a change of some key, so an event
//! of revision R says that everything before R has arrived. Following that needs no progress requests, whose answers
//! etcd up to 3.4.30 and 3.5.12 gave too early (etcd-io/etcd#15220), and 100 watch caches cost etcd one watch.
//!
//! Values are JSON with an empty resourceVersion; it is filled in from `mod_revision` on the way out ([`value`]). A time
//! to live is a lease of its own per write, so that each deletion gets a revision of its own.
//!
//! Not promised: that a write whose answer was lost ([`StorageError::Unavailable`]) did not happen.

mod compactor;
mod error;
mod follow;
mod head;
mod value;

use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use etcd_client::{
    Certificate, Client, Compare, CompareOp, ConnectOptions, DeleteOptions, GetOptions, Identity, KvClient, PutOptions,
    TlsOptions, Txn, TxnOp, TxnOpResponse,
};
use tokio_util::sync::CancellationToken;

use self::error::{Refused, unavailable};
use self::follow::Mirror;
use self::head::HeadReader;
use crate::{
    Draft, Entry, Head, HistoryLimits, ListOptions, ListPage, MAX_OBJECT_BYTES, Revision, Storage, StorageError,
    WatchStream,
};

/// How long etcd may take to answer.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// A quiet connection is checked this often, and given up after as long again.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// How long a read waits for the mirror to catch up with etcd.
const CATCH_UP_TIMEOUT: Duration = Duration::from_secs(5);

/// Keys per request when listing.
const PAGE_KEYS: usize = 500;

/// Answers of etcd are as large as what was asked for: a page of the largest objects.
const MESSAGE_BYTES: usize = PAGE_KEYS * 2 * MAX_OBJECT_BYTES;

/// TLS to etcd, as PEM files (`--etcd-cafile`, `--etcd-certfile`, `--etcd-keyfile`).
#[derive(Clone, Debug)]
pub struct Tls {
    /// The certificate authority of etcd's server certificate.
    pub ca: PathBuf,
    /// The client certificate and key, if etcd asks for one.
    pub identity: Option<(PathBuf, PathBuf)>,
}

/// Where etcd is and how to use it.
#[derive(Clone, Debug)]
pub struct Config {
    /// URLs of the members (`--etcd-servers`).
    pub endpoints: Vec<String>,
    /// Needed for `https` URLs.
    pub tls: Option<Tls>,
    /// All keys begin with this (`--etcd-prefix` and a slash).
    pub prefix: String,
    /// Bounds of the window of past changes that is kept in memory.
    pub history: HistoryLimits,
    /// How often etcd is compacted (`--etcd-compaction-interval`); `None` for never. API servers take turns.
    pub compaction: Option<Duration>,
}

impl Config {
    /// The usual prefix and limits.
    pub fn new(endpoints: Vec<String>) -> Self {
        let compaction = Some(Duration::from_secs(300));
        let history = HistoryLimits::default();
        Self { endpoints, tls: None, prefix: "/registry/".to_owned(), history, compaction }
    }
}

/// See the module.
pub struct EtcdStorage {
    client: Client,
    config: Config,
    mirror: Arc<Mirror>,
    heads: HeadReader,
    stop: CancellationToken,
}

/// Connects, and reads everything under the prefix.
pub async fn open(config: &Config) -> Result<EtcdStorage, StorageError> {
    let client = connect(config).await?;
    let mirror = Box::pin(Mirror::load(client.clone(), config)).await?;
    let stop = CancellationToken::new();
    tokio::spawn(mirror.clone().follow(stop.clone()));
    if let Some(interval) = config.compaction {
        tokio::spawn(compactor::run(kv(&client), interval, stop.clone()));
    }
    Ok(EtcdStorage { heads: HeadReader::new(kv(&client)), client, config: config.clone(), mirror, stop })
}

async fn connect(config: &Config) -> Result<Client, StorageError> {
    let mut options = ConnectOptions::new()
        .with_connect_timeout(REQUEST_TIMEOUT)
        .with_keep_alive(KEEP_ALIVE, KEEP_ALIVE)
        .with_keep_alive_while_idle(true)
        .with_require_leader(true);
    if let Some(tls) = &config.tls {
        let read = |path: &PathBuf| {
            std::fs::read(path).map_err(|error| unavailable(format!("cannot read {}: {error}", path.display())))
        };
        let mut tls_options = TlsOptions::new().ca_certificate(Certificate::from_pem(read(&tls.ca)?));
        if let Some((certificate, key)) = &tls.identity {
            tls_options = tls_options.identity(Identity::from_pem(read(certificate)?, read(key)?));
        }
        options = options.with_tls(tls_options);
    }
    // Large, and rarely needed: not part of the caller's future.
    let connecting = Box::pin(Client::connect(&config.endpoints, Some(options)));
    within(connecting).await.map_err(|refused| refused.into_error(&config.endpoints.join(",")))
}

fn kv(client: &Client) -> KvClient {
    client.kv_client().max_decoding_message_size(MESSAGE_BYTES)
}

/// Waits for etcd, but not for ever.
async fn within<T>(call: impl Future<Output = Result<T, etcd_client::Error>>) -> Result<T, Refused> {
    match tokio::time::timeout(REQUEST_TIMEOUT, call).await {
        Ok(answer) => answer.map_err(Refused::from),
        Err(_) => Err(Refused::Unavailable(format!("no answer within {REQUEST_TIMEOUT:?}"))),
    }
}

impl Drop for EtcdStorage {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// The state of a key when a transaction's comparison failed, or what it deleted.
struct Outcome {
    succeeded: bool,
    revision: Revision,
    found: Option<Entry>,
}

impl EtcdStorage {
    /// Runs `then` if the key is at `expected` (0: does not exist), and otherwise reads it.
    async fn compare(&self, key: &str, expected: Revision, then: TxnOp) -> Result<Outcome, StorageError> {
        if !key.starts_with(&self.config.prefix) {
            return Err(unavailable(format!("the key {key} is outside of {}", self.config.prefix)));
        }
        let txn = Txn::new()
            .when([Compare::mod_revision(key, CompareOp::Equal, expected as i64)])
            .and_then([then])
            .or_else([TxnOp::get(key, None)]);
        let mut client = kv(&self.client);
        let answer = within(client.txn(txn)).await.map_err(|refused| refused.into_error(key))?;
        let revision = answer.header().map_or(0, |header| header.revision()) as Revision;
        let mut found = None;
        for response in answer.op_responses() {
            let kv = match &response {
                TxnOpResponse::Get(get) => get.kvs().first(),
                TxnOpResponse::Delete(delete) => delete.prev_kvs().first(),
                TxnOpResponse::Put(_) | TxnOpResponse::Txn(_) => None,
            };
            found = kv.map(value::entry).transpose()?.or(found);
        }
        Ok(Outcome { succeeded: answer.succeeded(), revision, found })
    }

    async fn put(&self, key: &str, draft: &Draft, ttl: Option<Duration>) -> Result<TxnOp, StorageError> {
        let size = draft.json.len();
        if size > MAX_OBJECT_BYTES {
            return Err(StorageError::TooLarge { size, limit: MAX_OBJECT_BYTES });
        }
        let options = match ttl {
            None => None,
            Some(ttl) => Some(PutOptions::new().with_lease(self.lease(ttl).await?)),
        };
        Ok(TxnOp::put(key, draft.json.clone(), options))
    }

    async fn lease(&self, ttl: Duration) -> Result<i64, StorageError> {
        let seconds = ttl.as_secs() + u64::from(ttl.subsec_nanos() > 0);
        let mut client = self.client.lease_client();
        let lease = within(client.grant(seconds as i64, None)).await;
        Ok(lease.map_err(|refused| refused.into_error("lease"))?.id())
    }

    /// Waits until the mirror includes everything that was written before this call.
    async fn fresh(&self) -> Result<Revision, StorageError> {
        let revision = self.heads.read().await?;
        self.mirror.reach(revision).await?;
        Ok(revision)
    }

    /// A list of a past state that is no longer in memory.
    async fn list_past(
        &self,
        prefix: &str,
        revision: Revision,
        options: &ListOptions,
    ) -> Result<Option<ListPage>, StorageError> {
        let start = options.start.as_deref().filter(|start| *start > prefix).unwrap_or(prefix);
        let limit = if options.limit == 0 { 0 } else { options.limit as i64 };
        let range = GetOptions::new().with_range(value::range_end(prefix)).with_revision(revision as i64);
        let mut client = kv(&self.client);
        match within(client.get(start, Some(range.with_limit(limit)))).await {
            Ok(answer) => {
                let entries = answer.kvs().iter().map(value::entry).collect::<Result<Vec<_>, _>>()?;
                let remaining = answer.count() as u64 - entries.len() as u64;
                Ok(Some(ListPage { entries, revision, remaining }))
            }
            Err(Refused::Compacted) => Ok(None),
            Err(refused) => Err(refused.into_error(prefix)),
        }
    }
}

#[async_trait::async_trait]
impl Storage for EtcdStorage {
    async fn get(&self, key: &str) -> Result<(Option<Entry>, Revision), StorageError> {
        self.fresh().await?;
        let snapshot = self.mirror.hub.snapshot();
        Ok((snapshot.live.get(key).cloned(), snapshot.revision))
    }

    async fn list(&self, prefix: &str, options: ListOptions) -> Result<ListPage, StorageError> {
        self.fresh().await?;
        match (self.mirror.hub.list(prefix, &options), options.revision) {
            (Err(compacted @ StorageError::Compacted { .. }), Some(revision)) => {
                self.list_past(prefix, revision, &options).await?.ok_or(compacted)
            }
            (answer, _) => answer,
        }
    }

    async fn create(&self, key: &str, draft: Draft, ttl: Option<Duration>) -> Result<Entry, StorageError> {
        let put = self.put(key, &draft, ttl).await?;
        let outcome = self.compare(key, 0, put).await?;
        if !outcome.succeeded {
            return Err(StorageError::Exists { key: key.to_owned() });
        }
        Ok(Entry { key: key.into(), revision: outcome.revision, object: draft.splice(outcome.revision) })
    }

    async fn update(
        &self,
        key: &str,
        expected: Revision,
        draft: Draft,
        ttl: Option<Duration>,
    ) -> Result<Entry, StorageError> {
        let put = self.put(key, &draft, ttl).await?;
        let outcome = self.compare(key, expected, put).await?;
        if outcome.succeeded {
            return Ok(Entry { key: key.into(), revision: outcome.revision, object: draft.splice(outcome.revision) });
        }
        Err(refusal(key, outcome.found))
    }

    async fn delete(&self, key: &str, expected: Revision) -> Result<(Entry, Revision), StorageError> {
        let delete = TxnOp::delete(key, Some(DeleteOptions::new().with_prev_key()));
        let outcome = self.compare(key, expected, delete).await?;
        match outcome.found {
            Some(deleted) if outcome.succeeded => Ok((deleted, outcome.revision)),
            found => Err(refusal(key, found)),
        }
    }

    async fn watch(&self, prefix: &str, from: Revision) -> Result<WatchStream, StorageError> {
        // A list may have told the caller of a revision that has not arrived here.
        if from > self.mirror.hub.snapshot().revision {
            self.fresh().await?;
        }
        self.mirror.hub.watch(prefix, from)
    }

    async fn compact(&self, revision: Revision) -> Result<(), StorageError> {
        self.fresh().await?;
        self.mirror.hub.compact(revision)?;
        match within(kv(&self.client).compact(revision as i64, None)).await {
            // Somebody did it before.
            Ok(_) | Err(Refused::Compacted) => Ok(()),
            Err(refused) => Err(refused.into_error("compact")),
        }
    }

    async fn head(&self, prefix: &str) -> Result<Head, StorageError> {
        self.fresh().await?;
        Ok(self.mirror.hub.head(prefix))
    }

    async fn size(&self) -> Result<u64, StorageError> {
        let mut client = self.client.maintenance_client();
        let status = within(client.status()).await.map_err(|refused| refused.into_error("status"))?;
        Ok(u64::try_from(status.db_size()).unwrap_or(0))
    }

    async fn healthy(&self) -> Result<(), StorageError> {
        self.fresh().await?;
        let mut client = self.client.maintenance_client();
        let action = (etcd_client::AlarmAction::Get, etcd_client::AlarmType::Nospace);
        let alarms = within(client.alarm(action.0, action.1, None)).await;
        let alarms = alarms.map_err(|refused| refused.into_error("alarms"))?;
        match alarms.alarms().iter().any(|alarm| alarm.alarm() == etcd_client::AlarmType::Nospace) {
            true => Err(unavailable("etcd has no space left and refuses writes: compact and defragment it".into())),
            false => Ok(()),
        }
    }
}

fn refusal(key: &str, found: Option<Entry>) -> StorageError {
    match found {
        Some(current) => StorageError::Conflict { current: Box::new(current) },
        None => StorageError::NotFound { key: key.to_owned() },
    }
}
