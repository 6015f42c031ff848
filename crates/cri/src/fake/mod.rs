//! A scripted container runtime in memory, for tests of the kubelet and for API-only test clusters.
//!
//! It keeps CRI's contract (idempotent stop and remove, states, events, ids by generation, logs in CRI format) but no
//! process runs: what a container "does" comes from a [`Script`] chosen by container name or image. Everything not
//! scripted succeeds: images can be pulled, containers run until they are stopped and exec returns 0.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use skiff_cri::fake::{FakeRuntime, Script};
//! let fake = FakeRuntime::new();
//! fake.script("crasher", [Script::exits(1)]);
//! let client = fake.connect().await?;
//! # Ok(()) }
//! ```

mod images;
mod runtime;
mod serve;
mod state;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::broadcast;
use tonic::Status;

use crate::v1::ContainerEventResponse;
use state::State;

pub use state::LogStream;

/// Calls remembered for assertions; older ones are dropped.
const MAX_CALLS: usize = 10_000;
/// Container events a slow subscriber may lag behind before it loses some.
const EVENT_QUEUE: usize = 1_024;

/// What one run of a container does.
#[derive(Clone, Debug, Default)]
pub struct Script {
    /// CreateContainer fails with this.
    pub create_error: Option<Status>,
    /// StartContainer answers only after this time.
    pub start_delay: Duration,
    /// StartContainer fails with this; the container is then exited with code 128, as containerd does.
    pub start_error: Option<Status>,
    /// Lines written to the log right after the start.
    pub logs: Vec<(LogStream, String)>,
    /// When the process ends by itself. `None`: it runs until it is stopped.
    pub exit: Option<Exit>,
    /// How the process takes SIGTERM.
    pub on_stop: OnStop,
}

/// The end of a process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exit {
    /// Time from the start.
    pub after: Duration,
    /// Exit code.
    pub code: i32,
    /// Reason in the status; empty stands for `Completed` or `Error` by the code.
    pub reason: String,
}

/// What a process does when it is asked to stop.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnStop {
    /// Ends at once with code 143.
    #[default]
    Terminates,
    /// Ends after this time with code 0, or with 137 if the grace period is shorter.
    ExitsAfter(Duration),
    /// Ignores the signal and is killed at the end of the grace period with code 137.
    Ignores,
}

/// The answer to an exec.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExecOutcome {
    /// Written to standard output.
    pub stdout: Vec<u8>,
    /// Written to standard error.
    pub stderr: Vec<u8>,
    /// Exit code of the command.
    pub exit_code: i32,
    /// Time the command takes; longer than the timeout is DEADLINE_EXCEEDED.
    pub takes: Duration,
}

type ExecHandler = dyn Fn(&str, &[String]) -> ExecOutcome + Send + Sync;

/// The fake runtime. Clones are handles on the same state.
#[derive(Clone)]
pub struct FakeRuntime {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    settings: Mutex<Settings>,
    events: broadcast::Sender<ContainerEventResponse>,
}

/// What tests prescribe and observe, apart from the state of pods and containers.
#[derive(Default)]
struct Settings {
    /// By container name or image; the last script of a list repeats.
    scripts: HashMap<String, VecDeque<Script>>,
    pull_errors: HashMap<String, Status>,
    pull_delay: Duration,
    failures: HashMap<String, VecDeque<Status>>,
    exec: Option<Arc<ExecHandler>>,
    network_not_ready: Option<String>,
    calls: VecDeque<String>,
}

// === impl Script ===

impl Script {
    /// Runs until it is stopped, and ends on SIGTERM.
    pub fn runs() -> Self {
        Self::default()
    }

    /// Ends right after the start with `code`.
    pub fn exits(code: i32) -> Self {
        Self::exits_after(Duration::ZERO, code)
    }

    /// Ends by itself `after` the start.
    pub fn exits_after(after: Duration, code: i32) -> Self {
        Self { exit: Some(Exit { after, code, reason: String::new() }), ..Self::default() }
    }

    /// Adds a line to what the process prints on standard output.
    pub fn prints(mut self, line: &str) -> Self {
        self.logs.push((LogStream::Stdout, line.to_owned()));
        self
    }
}

// === impl FakeRuntime ===

impl Default for FakeRuntime {
    fn default() -> Self {
        Self::new()
    }
}

impl FakeRuntime {
    /// A runtime with nothing in it.
    pub fn new() -> Self {
        let (events, _) = broadcast::channel(EVENT_QUEUE);
        let shared = Shared { state: Mutex::default(), settings: Mutex::default(), events };
        Self { shared: Arc::new(shared) }
    }

    /// Sets what successive containers with this container name or image do. The name wins over the image; the last
    /// script repeats.
    pub fn script(&self, name_or_image: &str, scripts: impl IntoIterator<Item = Script>) {
        self.shared.settings.lock().scripts.insert(name_or_image.to_owned(), scripts.into_iter().collect());
    }

    /// Answers every exec, given the container name and the command.
    pub fn on_exec(&self, handler: impl Fn(&str, &[String]) -> ExecOutcome + Send + Sync + 'static) {
        self.shared.settings.lock().exec = Some(Arc::new(handler));
    }

    /// Makes pulls of `image` fail with `status`; `None` lets them succeed again.
    pub fn fail_pull(&self, image: &str, status: Option<Status>) {
        let mut settings = self.shared.settings.lock();
        match status {
            Some(status) => settings.pull_errors.insert(image.to_owned(), status),
            None => settings.pull_errors.remove(image),
        };
    }

    /// How long each pull takes.
    pub fn set_pull_delay(&self, delay: Duration) {
        self.shared.settings.lock().pull_delay = delay;
    }

    /// Makes the next call of a CRI method, for example `RunPodSandbox`, fail with `status`. Failures queue up.
    pub fn fail_next(&self, method: &str, status: Status) {
        self.shared.settings.lock().failures.entry(method.to_owned()).or_default().push_back(status);
    }

    /// Reports the network as not ready with this message; `None` makes it ready.
    pub fn set_network_not_ready(&self, message: Option<&str>) {
        self.shared.settings.lock().network_not_ready = message.map(str::to_owned);
    }

    /// Every call so far as `Method subject`, oldest first (the last 10 000).
    pub fn calls(&self) -> Vec<String> {
        self.shared.settings.lock().calls.iter().cloned().collect()
    }

    /// Ends the newest running container with this container name, as if its process had exited. False if none runs.
    pub fn exit(&self, container_name: &str, code: i32, reason: &str) -> bool {
        let id = self.shared.state.lock().newest_running(container_name);
        id.is_some_and(|id| self.finish(&id, code, reason))
    }

    /// Notes the call and fails it if a test asked for that.
    fn enter(&self, method: &str, subject: &str) -> Result<(), Status> {
        let mut settings = self.shared.settings.lock();
        if settings.calls.len() == MAX_CALLS {
            settings.calls.pop_front();
        }
        settings.calls.push_back(format!("{method} {subject}"));
        match settings.failures.get_mut(method).and_then(VecDeque::pop_front) {
            Some(status) => Err(status),
            None => Ok(()),
        }
    }

    fn next_script(&self, container_name: &str, image: &str) -> Script {
        let mut settings = self.shared.settings.lock();
        let key = if settings.scripts.contains_key(container_name) { container_name } else { image };
        match settings.scripts.get_mut(key) {
            Some(scripts) if scripts.len() > 1 => scripts.pop_front().unwrap_or_default(),
            Some(scripts) => scripts.front().cloned().unwrap_or_default(),
            None => Script::default(),
        }
    }
}
