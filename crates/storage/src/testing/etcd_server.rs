//! A real etcd for tests: a process of its own on a free port, ended with the test.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

/// See the module.
pub struct EtcdServer {
    child: Child,
    folder: TempDir,
    /// The URL for clients.
    pub url: String,
}

impl EtcdServer {
    /// Starts an empty server. Panics when there is no `etcd` on the machine: what cannot be tested is not tested.
    pub fn start() -> Self {
        let folder = TempDir::new().expect("a folder");
        let (child, url) = spawn(folder.path(), "http://127.0.0.1:0");
        Self { child, folder, url }
    }

    /// Kills the server.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Starts it again with its data, at the same address.
    pub fn restart(&mut self) {
        self.kill();
        let (child, url) = spawn(self.folder.path(), &self.url);
        assert_eq!(url, self.url);
        self.child = child;
    }
}

impl Drop for EtcdServer {
    fn drop(&mut self) {
        self.kill();
    }
}

fn spawn(folder: &Path, client_url: &str) -> (Child, String) {
    let mut child = Command::new("etcd")
        .arg("--data-dir")
        .arg(folder.join("data"))
        .args(["--listen-client-urls", client_url, "--advertise-client-urls", "http://127.0.0.1:1"])
        .args(["--listen-peer-urls", "http://127.0.0.1:0", "--initial-advertise-peer-urls", "http://127.0.0.1:1"])
        .args(["--initial-cluster", "default=http://127.0.0.1:1", "--logger", "zap", "--log-outputs", "stderr"])
        .args(["--heartbeat-interval", "10", "--election-timeout", "100"])
        .stderr(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .expect("etcd must be installed to test the etcd engine (apt-get install etcd-server)");
    let mut lines = BufReader::new(child.stderr.take().expect("a pipe")).lines();
    let mut log = Vec::new();
    let address = lines.by_ref().map_while(Result::ok).find_map(|line| {
        let serving = line.contains("serving") && line.contains("client");
        let address = line.split("\"address\":\"").nth(1).and_then(|rest| rest.split('"').next()).map(str::to_owned);
        log.push(line);
        address.filter(|_| serving)
    });
    // etcd must not block on a full pipe.
    std::thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
    match address {
        Some(address) => (child, format!("http://{address}")),
        None => panic!("etcd did not start:\n{}", log.join("\n")),
    }
}
