//! The API servers that are measured: ours, started here, and any other that runs already.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use hyper::{Method, StatusCode};

use crate::client::{Call, Endpoint};
use crate::kubeconfig::Access;
use crate::process;

/// How long a server may take until it is ready.
const READY_WITHIN: Duration = Duration::from_secs(60);

/// How often its readiness is asked for: much less than any start takes.
const READY_EVERY: Duration = Duration::from_millis(1);

/// Name of the cluster.
const NAME: &str = "bench";

/// Address that the kubernetes Service leads to. Nobody follows it here (TEST-NET-1).
const ADVERTISED: &str = "192.0.2.1";

/// A server that can be put under load.
pub struct Target {
    /// What to call it in tables.
    pub name: String,
    /// How to reach it.
    pub endpoint: Endpoint,
    /// How to reach it without credentials.
    pub anonymous: Endpoint,
    /// Its processes, if they run on this machine: the API server and its store.
    pub pids: Vec<u32>,
}

impl Target {
    /// A server that runs already.
    pub async fn existing(name: &str, access: &Access, pids: Vec<u32>) -> anyhow::Result<Target> {
        let (endpoint, anonymous) = (Endpoint::new(access).await?, Endpoint::anonymous(access).await?);
        Ok(Target { name: name.to_owned(), endpoint, anonymous, pids })
    }

    /// CPU time that its processes have used, if they are known.
    pub fn cpu(&self) -> anyhow::Result<Option<Duration>> {
        if self.pids.is_empty() { Ok(None) } else { process::cpu(&self.pids).map(Some) }
    }
}

/// Our API server with an embedded store, in a folder of its own. Dropping it ends the process.
pub struct Server {
    child: Child,
    /// Who may enter.
    pub access: Access,
    /// From the start of the process until it was ready.
    pub ready_after: Duration,
    folder: Arc<tempfile::TempDir>,
}

/// What a server has written, without the server.
pub struct Left {
    folder: Arc<tempfile::TempDir>,
}

impl Left {
    /// Starts a server on it and waits until it is ready.
    pub async fn start(self, program: &Path) -> anyhow::Result<Server> {
        let folder = self.folder;
        let kubeconfig = folder.path().join(NAME).join("admin.kubeconfig");
        let log = std::fs::File::create(folder.path().join("log"))?;
        let started = Instant::now();
        let child = Command::new(program)
            .args(["server", "--name", NAME, "--node-ip", ADVERTISED])
            .args(["--bind-address", "127.0.0.1", "--secure-port", "0"])
            .args(["--disable", "scheduler,controller-manager,dns,node"])
            .args(["--data-dir".as_ref(), folder.path()])
            .args(["--run-dir".as_ref(), folder.path().join("run").as_path()])
            .args(["--log-dir".as_ref(), folder.path().join("log.d").as_path()])
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        let mut server = Starting { child: Some(child) };
        let access = server.ready(&kubeconfig, started, folder.path()).await?;
        let ready_after = started.elapsed();
        let child = server.child.take().context("the server was not started")?;
        Ok(Server { child, access, ready_after, folder })
    }
}

impl Server {
    /// Starts it on an empty folder and waits until it is ready.
    pub async fn start(program: &Path) -> anyhow::Result<Server> {
        Left { folder: Arc::new(tempfile::tempdir()?) }.start(program).await
    }

    /// Kills it; what it has written stays.
    pub fn kill(mut self) -> Left {
        end(&mut self.child);
        Left { folder: self.folder.clone() }
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it wrote to its log, at most the last few lines.
    pub fn log(&self) -> String {
        last_lines(&self.folder.path().join("log"))
    }

    /// This server as a target.
    pub async fn target(&self) -> anyhow::Result<Target> {
        Target::existing("skiff", &self.access, vec![self.pid()]).await
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

/// A process that is ended unless it becomes a [`Server`].
struct Starting {
    child: Option<Child>,
}

impl Starting {
    async fn ready(&mut self, kubeconfig: &Path, started: Instant, folder: &Path) -> anyhow::Result<Access> {
        while started.elapsed() < READY_WITHIN {
            if let Some(status) = self.child.as_mut().map(Child::try_wait).transpose()?.flatten() {
                bail!("the server ended with {status}:\n{}", last_lines(&folder.join("log")));
            }
            if kubeconfig.exists() {
                let access = Access::read(kubeconfig, None)?;
                if is_ready(&access).await.unwrap_or(false) {
                    return Ok(access);
                }
            }
            tokio::time::sleep(READY_EVERY).await;
        }
        bail!("the server was not ready within {READY_WITHIN:?}:\n{}", last_lines(&folder.join("log")))
    }
}

impl Drop for Starting {
    fn drop(&mut self) {
        self.child.as_mut().map(end);
    }
}

async fn is_ready(access: &Access) -> anyhow::Result<bool> {
    let mut connection = Endpoint::new(access).await?.connect().await?;
    Ok(connection.send(Call::new(Method::GET, "/readyz")).await?.0 == StatusCode::OK)
}

/// The store must survive this, so nobody waits for a polite end.
fn end(child: &mut Child) {
    let _ = child.kill();
    let _ = child.wait();
}

fn last_lines(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}
