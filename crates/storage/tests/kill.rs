//! kill -9: a child process writes to the embedded store and says over a pipe what was acknowledged; it is killed at a
//! random moment, twenty times on the same data, and nothing that it said may be missing.
//!
//! A failing run prints its seed; `SKIFF_KILL_SEED=N` repeats it.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use skiff_storage::embedded::{self, Config};
use skiff_storage::testing::draft;
use skiff_storage::{HistoryLimits, ListOptions, Storage};
use tempfile::TempDir;

const ROUNDS: usize = 20;
const WRITERS: usize = 16;

/// Tells the test program to be the child: `FOLDER ROUND`.
const CHILD: &str = "SKIFF_KILL_CHILD";

fn config(folder: &Path) -> Config {
    // So small that cleaning and checkpoints happen between kills.
    let history = HistoryLimits { bytes: 256 << 10, ..HistoryLimits::default() };
    Config { history, slack_rows: 200, ..Config::new(folder) }
}

/// What a key's value is after its `n`th write; `None`: every seventh is a deletion.
fn value(n: usize) -> Option<String> {
    (n % 7 != 6).then(|| format!("{n}-{}", "v".repeat(n * 131 % 4000)))
}

/// The child: writes for ever, says `WRITER N` after the `n`th write of a writer was answered.
async fn write_until_killed(folder: &Path, round: usize) {
    let storage = Arc::new(embedded::open(&config(folder)).expect("the store opens"));
    let writers = (0..WRITERS).map(|writer| {
        let storage = storage.clone();
        tokio::spawn(async move {
            let name = format!("{round:02}-{writer:02}");
            let key = format!("/registry/pods/a/{name}");
            let mut current = None;
            for n in 0.. {
                current = match (value(n), current) {
                    (Some(value), None) => {
                        Some(storage.create(&key, draft(&name, &value), None).await.expect("create").revision)
                    }
                    (Some(value), Some(revision)) => {
                        let draft = draft(&name, &value);
                        Some(storage.update(&key, revision, draft, None).await.expect("update").revision)
                    }
                    (None, Some(revision)) => {
                        storage.delete(&key, revision).await.expect("delete");
                        None
                    }
                    (None, None) => unreachable!("a deletion follows a value"),
                };
                // One write of less than a pipe's atomic size: a line is there or not.
                let line = format!("{writer} {n}\n");
                std::io::stdout().lock().write_all(line.as_bytes()).expect("the parent reads");
            }
        })
    });
    futures::future::join_all(writers).await;
}

/// Runs a child for a while, kills it, and returns the last acknowledged write of each writer.
fn run_and_kill(folder: &Path, round: usize, life: Duration) -> BTreeMap<usize, usize> {
    let mut child = Command::new(std::env::current_exe().expect("the test program"))
        .args(["--exact", "nothing_acknowledged_is_lost_by_a_kill", "--nocapture", "--test-threads=1"])
        .env(CHILD, format!("{} {round}", folder.display()))
        .stdout(Stdio::piped())
        .spawn()
        .expect("a child");
    let pipe = child.stdout.take().expect("a pipe");
    let reader = std::thread::spawn(move || {
        let mut acked = BTreeMap::new();
        let mut lines = 0;
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            let mut words = line.split(' ');
            let word = words.next().and_then(|word| word.parse::<usize>().ok());
            let (Some(writer), Some(n)) = (word, words.next().and_then(|word| word.parse::<usize>().ok())) else {
                continue;
            };
            acked.insert(writer, n);
            lines += 1;
        }
        (acked, lines)
    });
    // Counted from the start of the process, so that some kills hit while the store opens.
    std::thread::sleep(life);
    child.kill().expect("kill");
    let status = child.wait().expect("wait");
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(9), "the child ended by itself: {status}");
    let (acked, lines) = reader.join().expect("the reader");
    eprintln!("round {round}: {lines} writes acknowledged in {life:?}");
    acked
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nothing_acknowledged_is_lost_by_a_kill() {
    if let Ok(arguments) = std::env::var(CHILD) {
        let (folder, round) = arguments.split_once(' ').expect("FOLDER ROUND");
        return write_until_killed(Path::new(folder), round.parse().expect("a number")).await;
    }
    let seed = std::env::var("SKIFF_KILL_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(rand::random::<u64>);
    eprintln!("SKIFF_KILL_SEED={seed}");
    let mut rng = StdRng::seed_from_u64(seed);
    let folder = TempDir::new().unwrap();
    let mut expected: BTreeMap<String, String> = BTreeMap::new();
    let mut revision = 0;
    let mut total = 0;
    for round in 0..ROUNDS {
        let life = Duration::from_millis(rng.random_range(20..600));
        let path = folder.path().to_owned();
        let acked = tokio::task::spawn_blocking(move || run_and_kill(&path, round, life)).await.unwrap();
        let storage = embedded::open(&config(folder.path())).unwrap_or_else(|error| panic!("round {round}: {error}"));
        let page = storage.list("/registry/pods/a/", ListOptions::default()).await.unwrap();
        assert!(page.revision >= revision, "round {round}: the revision went back");
        revision = page.revision;
        let mut found: BTreeMap<String, String> = BTreeMap::new();
        for entry in page.entries {
            let json = std::str::from_utf8(&entry.object.json).unwrap();
            let value = json.split("\"value\":\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap();
            found.insert(skiff_storage::testing::name_of(&entry.key).to_owned(), value.to_owned());
        }
        for writer in 0..WRITERS {
            let name = format!("{round:02}-{writer:02}");
            let now = found.get(&name);
            let last = acked.get(&writer).copied();
            // The write after the last acknowledged one may have happened.
            let possible = match last {
                Some(n) => [value(n), value(n + 1)],
                None => [None, value(0)],
            };
            assert!(possible.contains(&now.cloned()), "round {round}, {name}: {now:?} after {last:?}");
            total += last.map_or(0, |n| n + 1);
            match now {
                Some(now) => expected.insert(name, now.clone()),
                None => expected.remove(&name),
            };
        }
        assert!(found == expected, "round {round}: an earlier round's objects changed");
    }
    eprintln!("{total} acknowledged writes survived {ROUNDS} kills");
    assert!(total > 0);
}
