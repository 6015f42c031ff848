//! The system calls of a running server, as `strace` sees them.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use skiff_tests::{Cluster, eventually};

/// Bytes of the header that SQLite writes before each page in its log. Bytes 4 to 8 are zero but in the last frame of a
/// commit: <https://www.sqlite.org/fileformat2.html#the_write_ahead_log>.
const FRAME_HEADER: usize = 24;

/// A running trace.
pub(crate) struct Trace {
    strace: Child,
    file: PathBuf,
}

/// What was seen.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Counted {
    /// Commits written to SQLite's log.
    pub(crate) commits: usize,
    /// Calls of `fsync` and `fdatasync` that succeeded.
    pub(crate) syncs: usize,
}

impl Trace {
    /// Follows every thread of a cluster's server.
    pub(crate) async fn start(cluster: &Cluster) -> Trace {
        let file = cluster.folder.join("strace");
        let strace = Command::new("strace")
            .args(["--follow-forks", "--strings-in-hex=all", "--string-limit=24"])
            .args(["--trace=fsync,fdatasync,pwrite64", "--output"])
            .arg(&file)
            .args(["--attach", &cluster.pid().to_string()])
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("strace; scripts/setup installs it");
        let trace = Trace { strace, file };
        let status = format!("/proc/{}/task", cluster.pid());
        eventually("every thread is traced", async || {
            let threads = std::fs::read_dir(&status).expect("the server runs");
            let untraced = threads.flatten().filter(|thread| {
                let status = std::fs::read_to_string(thread.path().join("status")).unwrap_or_default();
                status.lines().any(|line| line.strip_prefix("TracerPid:").is_some_and(|pid| pid.trim() == "0"))
            });
            match untraced.count() {
                0 => Ok(()),
                some => Err(some),
            }
        })
        .await;
        trace
    }

    /// Lets the server go, and counts.
    pub(crate) fn stop(mut self) -> Counted {
        kill(Pid::from_raw(self.strace.id() as i32), Signal::SIGINT).expect("strace runs");
        self.strace.wait().expect("it ends");
        count(&std::fs::read_to_string(&self.file).expect("the trace"))
    }
}

impl Drop for Trace {
    fn drop(&mut self) {
        // After `stop` there is nobody left to be killed.
        let _ = self.strace.kill();
        let _ = self.strace.wait();
    }
}

fn count(trace: &str) -> Counted {
    let synced = |line: &&str| {
        // A call that another thread's line interrupts is told of twice; its end counts.
        let ends = ["fsync(", "fdatasync(", "<... fsync resumed>", "<... fdatasync resumed>"];
        ends.iter().any(|end| line.contains(end)) && line.trim_end().ends_with("= 0")
    };
    Counted {
        commits: trace.lines().filter(|line| is_commit(line)).count(),
        syncs: trace.lines().filter(synced).count(),
    }
}

/// Whether a line is the write of a commit's last frame: `pwrite64(7, "\x00...", 24, 4152) = 24`.
fn is_commit(line: &str) -> bool {
    let Some((_, call)) = line.split_once("pwrite64(") else { return false };
    let Some((_, rest)) = call.split_once('"') else { return false };
    let Some((bytes, rest)) = rest.split_once('"') else { return false };
    let bytes: Vec<&str> = bytes.split("\\x").skip(1).collect();
    bytes.len() == FRAME_HEADER
        && rest.starts_with(&format!(", {FRAME_HEADER}, "))
        && bytes[4..8].iter().any(|byte| *byte != "00")
}

#[test]
fn commits_and_syncs_are_told_from_other_calls() {
    let frame = |size: &str| {
        let rest = "\\x01".repeat(16);
        format!("12 pwrite64(7, \"\\x00\\x00\\x00\\x02{size}{rest}\", 24, 4152) = 24\n")
    };
    let (last, inner) = (frame("\\x00\\x00\\x00\\x09"), frame(&"\\x00".repeat(4)));
    let page = "12 pwrite64(7, \"\\x0d\\x00\"..., 4096, 4176) = 4096\n";
    let syncs = "12 fdatasync(7) = 0\n13 fdatasync(7 <unfinished ...>\n13 <... fdatasync resumed>) = 0\n12 fsync(7) = -1 EIO (I)\n";
    let trace = [inner.as_str(), page, &last, page, syncs].concat();
    assert_eq!(count(&trace), Counted { commits: 1, syncs: 2 });
}
