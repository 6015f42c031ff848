//! How many requests are worked on at the same time, and whose come first.
//!
//! API priority and fairness: the first [`Schema`] that matches a request says to which level and flow it belongs, the
//! level gives it a seat, or a place in a queue, or none (429). Requests that last take no seat: they would keep it for
//! ever. Follows `k8s.io/apiserver/pkg/util/flowcontrol`; [`level`] says where it is simpler.

mod level;
pub mod metrics;
mod schema;

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use parking_lot::{Mutex, RwLock};

use self::level::{LevelSpec, Levels, Place};
use self::schema::{Counts, Schema};
use crate::authentication::UserInfo;
use crate::cacher::SharedReader;
use crate::objects::Extracts;
use crate::request_info::RequestInfo;
use crate::response::{self, Response};

/// Upstream's `--max-requests-inflight`. Together with the next it is the seats of the whole server.
pub const MAX_READS: usize = 400;
/// Upstream's `--max-mutating-requests-inflight`.
pub const MAX_WRITES: usize = 200;
/// Longest wait for a seat: a quarter of the request timeout, as upstream.
const MAX_WAIT: Duration = Duration::from_secs(15);
const GROUP: &str = "flowcontrol.apiserver.k8s.io";
const SCHEMA_UID: HeaderName = HeaderName::from_static("x-kubernetes-pf-flowschema-uid");
const LEVEL_UID: HeaderName = HeaderName::from_static("x-kubernetes-pf-prioritylevel-uid");

/// The seats and who gets them.
pub struct FlowControl {
    reader: SharedReader,
    schemas: Extracts<Schema>,
    specs: Extracts<LevelSpec>,
    config: RwLock<Arc<Config>>,
    levels: Arc<Mutex<Levels>>,
    in_flight: [AtomicUsize; 2],
}

/// The configuration as of two generations of the cached objects.
#[derive(Default)]
struct Config {
    generations: Option<(u64, u64)>,
    /// By precedence, each with its level.
    flows: Vec<Arc<Flow>>,
}

/// A schema whose level exists.
struct Flow {
    schema: Arc<Schema>,
    level: Arc<LevelSpec>,
    /// Stays when the schema or the level changes.
    counts: Arc<Counts>,
}

/// Where a request belongs.
#[derive(Clone)]
pub struct Classified(Arc<Flow>);

impl std::fmt::Debug for Classified {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0.schema.name)
    }
}

impl Classified {
    /// Says it to the client.
    pub fn into_headers(self, headers: &mut HeaderMap) {
        headers.insert(SCHEMA_UID, self.0.schema.uid.clone());
        headers.insert(LEVEL_UID, self.0.level.uid.clone());
    }
}

impl FlowControl {
    /// Follows the configuration in these caches.
    pub fn new(reader: SharedReader) -> Self {
        Self {
            reader,
            schemas: Extracts::new(GROUP, "flowschemas", Schema::of),
            specs: Extracts::new(GROUP, "prioritylevelconfigurations", LevelSpec::of),
            config: RwLock::default(),
            levels: Arc::default(),
            in_flight: Default::default(),
        }
    }

    /// The first schema that a request matches. `None` while there is no configuration: everything is let through then.
    pub fn classify(&self, user: &UserInfo, info: &RequestInfo) -> Option<Classified> {
        let config = self.config();
        config.flows.iter().find(|flow| flow.schema.matches(user, info)).cloned().map(Classified)
    }

    /// A seat for as long as it is held; the error is the answer to who gets none.
    pub async fn seat(
        &self,
        class: Option<&Classified>,
        user: &UserInfo,
        info: &RequestInfo,
    ) -> Result<Seat<'_>, Response> {
        let counter = &self.in_flight[usize::from(info.is_mutating())];
        let Some(Classified(flow)) = class else { return Ok(Seat::new(None, counter)) };
        let (counts, level) = (&flow.counts, &flow.level);
        if level.exempt {
            counts.dispatched.fetch_add(1, Ordering::Relaxed);
            return Ok(Seat::new(Some((flow.clone(), None)), counter));
        }
        let number = || {
            let mut hasher = DefaultHasher::new();
            (&flow.schema.name, flow.schema.distinguisher(user, info)).hash(&mut hasher);
            hasher.finish()
        };
        let place = self.levels.lock().enter(&level.name, number);
        match place {
            Place::Seat => counts.waits.observe(0.0),
            Place::Refused => {
                counts.rejected.fetch_add(1, Ordering::Relaxed);
                return Err(too_many());
            }
            Place::Queue(turn) => {
                counts.waiting.fetch_add(1, Ordering::Relaxed);
                let started = Instant::now();
                let mut waiting = Waiting { control: self, flow, turn: Some(turn) };
                let in_time = waiting.turn().await;
                drop(waiting);
                let waited = started.elapsed().as_secs_f64();
                if !in_time {
                    counts.timed_out.fetch_add(1, Ordering::Relaxed);
                    counts.waits_in_vain.observe(waited);
                    return Err(too_many());
                }
                counts.waits.observe(waited);
            }
        }
        counts.dispatched.fetch_add(1, Ordering::Relaxed);
        Ok(Seat::new(Some((flow.clone(), Some(self.levels.clone()))), counter))
    }

    /// Requests that are worked on now: reads, writes.
    pub fn in_flight(&self) -> (usize, usize) {
        (self.in_flight[0].load(Ordering::Relaxed), self.in_flight[1].load(Ordering::Relaxed))
    }

    fn config(&self) -> Arc<Config> {
        let generations = (self.schemas.generation(&*self.reader), self.specs.generation(&*self.reader));
        let known = self.config.read().clone();
        if known.generations == Some(generations) {
            return known;
        }
        let (schemas, specs) = (self.schemas.get(&*self.reader), self.specs.get(&*self.reader));
        let mut config = self.config.write();
        let mut flows = Vec::with_capacity(schemas.len());
        for schema in schemas.iter() {
            // One whose level is not there leads nowhere.
            if let Some(level) = specs.iter().find(|level| level.name == schema.level) {
                let before = config.flows.iter().find(|flow| flow.schema.name == schema.name);
                let counts = before.map(|flow| flow.counts.clone()).unwrap_or_default();
                flows.push(Arc::new(Flow { schema: schema.clone(), level: level.clone(), counts }));
            }
        }
        flows.sort_by(|a, b| (a.schema.precedence, &a.schema.name).cmp(&(b.schema.precedence, &b.schema.name)));
        let specs = specs.iter().map(|spec| LevelSpec::clone(spec)).collect::<Vec<_>>();
        self.levels.lock().configure(&specs, MAX_READS + MAX_WRITES);
        *config = Arc::new(Config { generations: Some(generations), flows });
        config.clone()
    }
}

/// A request in a queue. When it is dropped, because the client went away, the place or the seat is given back.
struct Waiting<'a> {
    control: &'a FlowControl,
    flow: &'a Arc<Flow>,
    turn: Option<tokio::sync::oneshot::Receiver<()>>,
}

impl Waiting<'_> {
    /// Whether its turn came in time.
    async fn turn(&mut self) -> bool {
        let Some(turn) = &mut self.turn else { return false };
        let came = matches!(tokio::time::timeout(MAX_WAIT, turn).await, Ok(Ok(())));
        if came {
            self.turn = None;
        }
        came
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.flow.counts.waiting.fetch_sub(1, Ordering::Relaxed);
        let Some(mut turn) = self.turn.take() else { return };
        turn.close();
        let mut levels = self.control.levels.lock();
        match turn.try_recv() {
            // It was told in the same moment.
            Ok(()) => levels.leave(&self.flow.level.name),
            Err(_) => {
                drop(turn);
                levels.give_up(&self.flow.level.name);
            }
        }
    }
}

/// The flow of a request, and where to give the seat back unless its level is exempt.
type Held = (Arc<Flow>, Option<Arc<Mutex<Levels>>>);

/// A place among those that are worked on, left on drop.
pub struct Seat<'a> {
    held: Option<Held>,
    in_flight: &'a AtomicUsize,
}

impl<'a> Seat<'a> {
    fn new(held: Option<Held>, in_flight: &'a AtomicUsize) -> Self {
        in_flight.fetch_add(1, Ordering::Relaxed);
        if let Some((flow, _)) = &held {
            flow.counts.executing.fetch_add(1, Ordering::Relaxed);
        }
        Self { held, in_flight }
    }
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
        let Some((flow, levels)) = self.held.take() else { return };
        flow.counts.executing.fetch_sub(1, Ordering::Relaxed);
        if let Some(levels) = levels {
            levels.lock().leave(&flow.level.name);
        }
    }
}

fn too_many() -> Response {
    let mut response = response::text(StatusCode::TOO_MANY_REQUESTS, "Too many requests, please try again later.\n");
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    response
}
