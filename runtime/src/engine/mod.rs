//! The runtime itself: what CRI asks for, done. `service/` only translates.

mod containers;
mod exec;
mod image_volumes;
mod recover;
mod sandboxes;

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;
use rustix::fs::{FlockOperation, flock};
use skiff_cri::v1::{self, ContainerEventType};
use skiff_netlink::pod_network::{self, PodNetwork};
use tokio::sync::broadcast;
use tonic::Status;

use crate::cgroup::Hierarchies;
use crate::config::{Config, Paths};
use crate::container::Container;
use crate::files::{at, create_private_dir};
use crate::image::{ImageStore, Puller};
use crate::mounts::{bind_read_only, make_private};
use crate::sandbox::Sandbox;
use crate::shim_client;

pub(crate) use exec::{Exec, ExecStreams, TerminalStream};

/// Events a slow subscriber may lag behind before it is told that it lost some.
const EVENT_QUEUE: usize = 1_024;

/// The runtime's state and means. Shared by all requests.
pub(crate) struct Engine {
    pub(crate) config: Config,
    pub(crate) paths: Paths,
    pub(crate) images: Arc<ImageStore>,
    pub(crate) puller: Puller,
    pub(crate) hierarchies: Hierarchies,
    /// Why there is no pod network, if there is none.
    pub(crate) network: Result<PodNetwork, String>,
    shim_program: PathBuf,
    sandboxes: Mutex<BTreeMap<String, Arc<Sandbox>>>,
    containers: Mutex<BTreeMap<String, Arc<Container>>>,
    events: broadcast::Sender<v1::ContainerEventResponse>,
    /// Held as long as this runtime lives: two on the same folders would undo each other's work.
    _lock: File,
}

/// Nanoseconds since the epoch, as CRI counts time.
pub(crate) fn now() -> i64 {
    i64::try_from(jiff::Timestamp::now().as_nanosecond()).unwrap_or(i64::MAX)
}

/// A new id: 64 hexadecimal digits, like other runtimes' ids.
fn new_id() -> String {
    format!("{}{}", uuid::Uuid::new_v4().simple(), uuid::Uuid::new_v4().simple())
}

/// Runs blocking work off the async threads.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(|_| io::Error::other("a task panicked"))?
}

/// Errors of the operating system as gRPC statuses.
pub(crate) fn status(action: &str) -> impl FnOnce(io::Error) -> Status {
    let action = action.to_owned();
    move |error| {
        let text = format!("{action}: {error}");
        match error.kind() {
            io::ErrorKind::NotFound => Status::not_found(text),
            io::ErrorKind::InvalidInput => Status::invalid_argument(text),
            io::ErrorKind::TimedOut => Status::deadline_exceeded(text),
            io::ErrorKind::StorageFull => Status::resource_exhausted(text),
            _ => Status::unknown(text),
        }
    }
}

// === impl Engine ===

impl Engine {
    /// Opens the runtime's folders, takes over what an earlier run left, and cleans up what nobody uses.
    pub(crate) async fn open(config: Config) -> anyhow::Result<Arc<Self>> {
        let paths = config.paths();
        for folder in [paths.root(), paths.state()] {
            create_private_dir(folder)?;
        }
        let lock = lock(&paths)?;
        make_private(paths.state())?;
        for folder in [
            paths.sandboxes_root(),
            paths.containers_root(),
            paths.sandboxes_state(),
            paths.containers_state(),
            paths.oci(),
            paths.execs(),
        ] {
            create_private_dir(&folder)?;
        }
        let shim_program = prepare_shim_program(&config, &paths)?;
        let images = ImageStore::open(paths.clone())?;
        let network = open_network(&config, &paths).await;
        let (events, _) = broadcast::channel(EVENT_QUEUE);
        let engine = Arc::new(Self {
            puller: Puller::new(Arc::clone(&images), config.insecure_registries.clone()),
            hierarchies: Hierarchies::detect()?,
            images,
            network,
            shim_program,
            sandboxes: Mutex::default(),
            containers: Mutex::default(),
            events,
            _lock: lock,
            paths,
            config,
        });
        engine.recover().await?;
        Ok(engine)
    }

    pub(crate) fn sandboxes(&self) -> Vec<Arc<Sandbox>> {
        self.sandboxes.lock().values().cloned().collect()
    }

    pub(crate) fn containers(&self) -> Vec<Arc<Container>> {
        self.containers.lock().values().cloned().collect()
    }

    /// Finds a sandbox by id or by an unambiguous beginning of one.
    pub(crate) fn sandbox(&self, id: &str) -> Result<Arc<Sandbox>, Status> {
        find(&self.sandboxes.lock(), id)
            .ok_or_else(|| Status::not_found(format!("an error occurred when try to find sandbox {id:?}: not found")))
    }

    /// Finds a container by id or by an unambiguous beginning of one.
    pub(crate) fn container(&self, id: &str) -> Result<Arc<Container>, Status> {
        find(&self.containers.lock(), id)
            .ok_or_else(|| Status::not_found(format!("an error occurred when try to find container {id:?}: not found")))
    }

    pub(crate) fn containers_of(&self, sandbox: &str) -> Vec<Arc<Container>> {
        self.containers.lock().values().filter(|container| container.sandbox_id == sandbox).cloned().collect()
    }

    pub(crate) fn container_status(&self, container: &Container) -> v1::ContainerStatus {
        let directory = self.sandboxes.lock().get(&container.sandbox_id).map(|s| s.config.log_directory.clone());
        container.status(&directory.unwrap_or_default())
    }

    /// What happens to containers and sandboxes from now on.
    pub(crate) fn events(&self) -> broadcast::Receiver<v1::ContainerEventResponse> {
        self.events.subscribe()
    }

    fn emit(&self, id: &str, sandbox_id: &str, kind: ContainerEventType) {
        if self.events.receiver_count() == 0 {
            return;
        }
        let sandbox = self.sandboxes.lock().get(sandbox_id).cloned();
        let containers = self.containers_of(sandbox_id);
        let event = v1::ContainerEventResponse {
            container_id: id.to_owned(),
            container_event_type: kind.into(),
            created_at: now(),
            pod_sandbox_status: sandbox.map(|sandbox| sandbox.status()),
            containers_statuses: containers.iter().map(|container| self.container_status(container)).collect(),
        };
        // An error only says that the last subscriber left just now.
        let _ = self.events.send(event);
    }
}

fn lock(paths: &Paths) -> anyhow::Result<File> {
    let path = paths.root().join("lock");
    let file = File::create(&path).map_err(at("create", &path))?;
    flock(&file, FlockOperation::NonBlockingLockExclusive)
        .map_err(|_| anyhow::anyhow!("another container runtime already uses {}", paths.root().display()))?;
    Ok(file)
}

fn find<T>(all: &BTreeMap<String, Arc<T>>, id: &str) -> Option<Arc<T>> {
    if let Some(found) = all.get(id) {
        return Some(Arc::clone(found));
    }
    let mut matching = all.range(id.to_owned()..).take_while(|(known, _)| known.starts_with(id));
    match (id.is_empty(), matching.next(), matching.next()) {
        (false, Some((_, found)), None) => Some(Arc::clone(found)),
        _ => None,
    }
}

/// A read-only view of the program that shims run. Code in a container that gets hold of `/proc/PID/exe` of a process
/// that enters it cannot write the program through it (CVE-2019-5736).
fn prepare_shim_program(config: &Config, paths: &Paths) -> io::Result<PathBuf> {
    let program = shim_client::own_program(config.shim_program.as_ref())?;
    let view = paths.shim_program();
    if !view.exists() {
        std::fs::write(&view, "").map_err(at("create", &view))?;
    }
    bind_read_only(&program, &view)?;
    Ok(view)
}

async fn open_network(config: &Config, paths: &Paths) -> Result<PodNetwork, String> {
    let settings = pod_network::Config {
        cluster: config.cluster.clone(),
        state_dir: paths.network(),
        mtu: config.mtu,
        cluster_range: config.cluster_range,
    };
    let network = PodNetwork::new(settings).await.map_err(|error| error.to_string())?;
    if let Some(range) = config.pod_cidr {
        network.set_pod_cidr(range);
    }
    Ok(network)
}
