//! All of Skiff with the sample application, in a network namespace of its own so that it gets along with a cluster on
//! this machine.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context, ensure};

use crate::process;

/// Address of the machine in its namespace (TEST-NET-1).
const NODE_IP: &str = "192.0.2.2";

/// A running cluster. Dropping it removes it and all that it made.
pub struct Application {
    name: String,
    program: PathBuf,
    folder: tempfile::TempDir,
}

impl Application {
    /// Starts it, and returns when the application is ready. The archives of its images lie in `images`.
    pub fn start(program: &Path, images: &Path, manifest: &Path) -> anyhow::Result<Application> {
        let (name, folder) = (format!("b{}", std::process::id()), tempfile::tempdir()?);
        run(Command::new("ip").args(["netns", "add", &name]))?;
        let cluster = Application { name, program: program.to_owned(), folder };
        for command in [
            "link set lo up",
            "link add eth0 type veth peer name outside",
            "link set outside up",
            &format!("address add {NODE_IP}/24 dev eth0"),
            "link set eth0 up",
            "route add default dev eth0",
        ] {
            run(Command::new("ip").args(["-n", &cluster.name]).args(command.split(' ')))?;
        }
        let mut up = cluster.skiff("up");
        up.args(["--node-ip", NODE_IP, "--no-kubeconfig", "--apply"]).arg(manifest);
        up.arg("--load-image").arg(images.join("echo-v1.tar"));
        run(&mut up).context("the sample application")?;
        Ok(cluster)
    }

    /// The server and the shims; not what runs in the containers.
    pub fn pids(&self) -> anyhow::Result<Vec<u32>> {
        let run = self.folder.path().join("run");
        let lock = run.join(&self.name).join("server.lock");
        let server = std::fs::read_to_string(&lock).with_context(|| format!("cannot read {}", lock.display()))?;
        let server: u32 = server.trim().parse().context("the lock names no process")?;
        let mut pids = vec![server];
        pids.extend(process::naming(&run.to_string_lossy())?.into_iter().filter(|pid| *pid != server));
        ensure!(pids.len() > 1, "there are no shims, so the application does not run");
        Ok(pids)
    }

    fn skiff(&self, subcommand: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/run/netns/{}", self.name)).arg(&self.program);
        command.args([subcommand, "--name", &self.name]);
        for (flag, folder) in [("--data-dir", "data"), ("--run-dir", "run"), ("--log-dir", "log")] {
            command.arg(flag).arg(self.folder.path().join(folder));
        }
        command
    }
}

impl Drop for Application {
    fn drop(&mut self) {
        let kubeconfig = self.folder.path().join("none");
        let down = run(self.skiff("down").arg("--delete-data").arg("--kubeconfig").arg(kubeconfig));
        let removed = run(Command::new("ip").args(["netns", "delete", &self.name]));
        for error in [down, removed].into_iter().filter_map(Result::err) {
            eprintln!("{error:#}");
        }
    }
}

fn run(command: &mut Command) -> anyhow::Result<Output> {
    let output = command.output().with_context(|| format!("cannot run {command:?}"))?;
    ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(output)
}
