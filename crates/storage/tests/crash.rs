//! Power loss and failing disks: the embedded engine over a file layer that loses what was not synced.
//!
//! A failing run prints its seed; `SKIFF_CRASH_SEED=N` repeats it.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod vfs;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use skiff_storage::embedded::{self, Config};
use skiff_storage::testing::{create, draft, next_changes, update};
use skiff_storage::{HistoryLimits, ListOptions, LocalStorage, Storage, StorageError};
use tempfile::TempDir;

use self::vfs::{Fault, Op, Recording, Unsynced, VFS};

fn config(folder: &Path) -> Config {
    // A small history and log, so that cleaning and checkpoints are part of what is interrupted.
    let history = HistoryLimits { bytes: 64 << 10, ..HistoryLimits::default() };
    Config { history, slack_rows: 50, vfs: Some(VFS.into()), ..Config::new(folder) }
}

fn seed() -> u64 {
    let seed = std::env::var("SKIFF_CRASH_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(rand::random::<u64>);
    eprintln!("SKIFF_CRASH_SEED={seed}");
    seed
}

/// The state of a key after its `n`th write: writer `w` writes 0, 1, 2, ... and deletes at every fifth.
async fn write(storage: &dyn Storage, key: &str, n: usize) -> u64 {
    let name = key.rsplit('/').next().unwrap();
    let value = format!("{n}-{}", "v".repeat(n * 37 % 3000));
    match storage.get(key).await.unwrap().0 {
        Some(entry) if n % 5 == 4 => storage.delete(key, entry.revision).await.unwrap().1,
        Some(entry) => storage.update(key, entry.revision, draft(name, &value), None).await.unwrap().revision,
        None => storage.create(key, draft(name, &value), None).await.unwrap().revision,
    }
}

type Objects = BTreeMap<String, (u64, Vec<u8>)>;

async fn objects(storage: &dyn Storage) -> Objects {
    let page = storage.list("/", ListOptions::default()).await.unwrap();
    page.entries
        .into_iter()
        .map(|entry| (entry.key.to_string(), (entry.revision, entry.object.json.to_vec())))
        .collect()
}

/// What the store was after each revision, from its own watch.
async fn states(storage: &dyn Storage, until: u64) -> BTreeMap<u64, Objects> {
    let mut states = BTreeMap::new();
    for revision in storage.head("/").await.unwrap().oldest..=until {
        let options = ListOptions { revision: Some(revision), ..ListOptions::default() };
        let page = storage.list("/", options).await.unwrap();
        let of = |entry: skiff_storage::Entry| (entry.key.to_string(), (entry.revision, entry.object.json.to_vec()));
        states.insert(revision, page.entries.into_iter().map(of).collect());
    }
    states
}

/// Runs writers over a recorded store; returns the record and the state after every revision.
async fn record(writers: usize, writes: usize) -> (Vec<Op>, BTreeMap<u64, Objects>) {
    let folder = TempDir::new().unwrap();
    let recording = Recording::of(folder.path());
    let storage = Arc::new(embedded::open(&config(folder.path())).unwrap());
    // A second store of large history learns every state; it sees the same writes through a watch.
    let mut watch = storage.watch("/", 1).await.unwrap();
    let tasks: Vec<_> = (0..writers)
        .map(|writer| {
            let (storage, recording) = (storage.clone(), recording.clone());
            tokio::spawn(async move {
                for n in 0..writes {
                    let revision = write(&*storage, &format!("/registry/pods/a/{writer}"), n).await;
                    recording.ack(revision as usize);
                }
            })
        })
        .collect();
    let mut known = BTreeMap::from([(1, Objects::new())]);
    for _ in 0..writers * writes {
        let event = skiff_storage::testing::next_change(&mut watch).await.unwrap();
        let mut now = known.last_key_value().unwrap().1.clone();
        let revision = match event {
            skiff_storage::WatchEvent::Put { entry, .. } => {
                now.insert(entry.key.to_string(), (entry.revision, entry.object.json.to_vec()));
                entry.revision
            }
            skiff_storage::WatchEvent::Delete { previous, revision } => {
                now.remove(&*previous.key);
                revision
            }
            skiff_storage::WatchEvent::Progress { .. } => unreachable!("next_change skips it"),
        };
        known.insert(revision, now);
    }
    for task in tasks {
        task.await.unwrap();
    }
    let ops = recording.lock().ops.clone();
    drop(storage);
    let mut all = recording.lock().ops.clone();
    // The tidy end is part of the record too: it may be interrupted as well.
    assert!(all.len() > ops.len());
    all.push(Op::Ack(0));
    (all, known)
}

fn compare(found: &Objects, expected: &Objects, what: &str) {
    let revisions =
        |objects: &Objects| objects.iter().map(|(key, (revision, _))| format!("{key}@{revision}")).collect();
    let (a, b): (Vec<String>, Vec<String>) = (revisions(found), revisions(expected));
    assert_eq!(a, b, "{what}");
    assert!(found == expected, "{what}: a value differs");
}

/// Opens what a power loss left and compares: all that was acknowledged is there, and the state is one that was.
async fn check(files: &BTreeMap<String, Vec<u8>>, acked: u64, known: &BTreeMap<u64, Objects>, what: &str) {
    let folder = TempDir::new().unwrap();
    for (name, content) in files {
        std::fs::write(folder.path().join(name), content).unwrap();
    }
    for round in ["first", "second"] {
        let storage = embedded::open(&Config::new(folder.path())).unwrap_or_else(|error| panic!("{what}: {error}"));
        let revision = storage.current_revision().await.unwrap();
        assert!(revision >= acked, "{what}, {round} start: at {revision}, but {acked} was acknowledged");
        compare(&objects(&storage).await, &known[&revision], &format!("{what}, {round} start"));
        // The past that it offers is the past that was.
        for (past, state) in states(&storage, revision).await {
            compare(&state, &known[&past], &format!("{what}, {round} start, at {past}"));
        }
    }
    let storage = embedded::open(&Config::new(folder.path())).unwrap();
    let before = storage.current_revision().await.unwrap();
    let entry = create(&storage, "/registry/new", "1").await;
    assert_eq!(entry.revision, before + 1, "{what}: it can be written to");
}

fn acked(ops: &[Op]) -> u64 {
    ops.iter().map(|op| if let Op::Ack(revision) = op { *revision as u64 } else { 0 }).max().unwrap_or(0)
}

/// All single states are checked at every step of a short run, and random ones of a longer run.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_power_loss_loses_an_acknowledged_write() {
    const RANDOM_STATES: usize = 60;
    let mut rng = StdRng::seed_from_u64(seed());
    let (ops, known) = record(1, 12).await;
    for end in 0..=ops.len() {
        let done = &ops[..end];
        for unsynced in [Unsynced::Nothing, Unsynced::Everything, Unsynced::Some(0.5)] {
            let files = Recording::crash(done, unsynced, &mut rng);
            check(&files, acked(done), &known, &format!("{unsynced:?} after {end} of {} steps", ops.len())).await;
        }
    }
    let (ops, known) = record(8, 150).await;
    for _ in 0..RANDOM_STATES {
        let end = rng.random_range(0..=ops.len());
        let done = &ops[..end];
        let unsynced = match rng.random_range(0..4) {
            0 => Unsynced::Nothing,
            1 => Unsynced::Everything,
            _ => Unsynced::Some(rng.random_range(0.02..0.98)),
        };
        let files = Recording::crash(done, unsynced, &mut rng);
        check(&files, acked(done), &known, &format!("{unsynced:?} after {end} of {} steps", ops.len())).await;
    }
}

#[tokio::test]
async fn every_commit_is_synced_before_it_is_answered() {
    const WRITES: usize = 100;
    let folder = TempDir::new().unwrap();
    let recording = Recording::of(folder.path());
    let storage = embedded::open(&config(folder.path())).unwrap();
    for i in 0..WRITES {
        let before = recording.syncs();
        create(&storage, &format!("/registry/pods/a/{i}"), "1").await;
        assert!(recording.syncs() > before, "write {i} was answered without a sync");
    }
}

async fn check_fault(fault: Fault) -> (TempDir, LocalStorage, StorageError) {
    let folder = TempDir::new().unwrap();
    let recording = Recording::of(folder.path());
    let storage = embedded::open(&config(folder.path())).unwrap();
    let a = create(&storage, "/registry/pods/a/a", "1").await;
    let mut watch = storage.watch("/", a.revision).await.unwrap();
    recording.fail(Some(fault));
    let error = storage.update(&a.key, a.revision, draft("a", "2"), None).await.unwrap_err();
    assert!(matches!(error, StorageError::Unavailable(_)), "{error:?}");
    assert!(storage.create("/registry/pods/a/b", draft("b", "1"), None).await.is_err());
    assert!(storage.healthy().await.is_err());
    // Reads go on, and nothing of the failed writes is seen.
    assert_eq!(storage.get(&a.key).await.unwrap().0.unwrap().object, a.object);
    assert_eq!(storage.current_revision().await.unwrap(), a.revision);
    recording.fail(None);
    if fault != Fault::Sync {
        storage.healthy().await.unwrap();
        let a2 = update(&storage, &a, "3").await;
        assert_eq!(a2.revision, a.revision + 1);
        let expected = format!("put {}@{} (was {})", a.key, a2.revision, a.revision);
        assert_eq!(next_changes(&mut watch, 1).await, [expected]);
    }
    (folder, storage, error)
}

#[tokio::test]
async fn a_full_disk_refuses_writes_and_recovers() {
    let (folder, storage, error) = check_fault(Fault::Full).await;
    assert!(error.to_string().contains("free space"), "{error}");
    let before = objects(&storage).await;
    drop(storage);
    assert_eq!(objects(&embedded::open(&Config::new(folder.path())).unwrap()).await, before);
}

#[tokio::test]
async fn a_read_only_file_system_refuses_writes_and_recovers() {
    let (_folder, _storage, error) = check_fault(Fault::ReadOnly).await;
    assert!(error.to_string().contains("writable"), "{error}");
}

#[tokio::test]
async fn after_a_failed_sync_nothing_is_written_until_a_restart() {
    let (folder, storage, error) = check_fault(Fault::Sync).await;
    assert!(error.to_string().contains("restart"), "{error}");
    assert!(storage.healthy().await.is_err(), "the next sync may lie");
    assert!(storage.create("/registry/pods/a/c", draft("c", "1"), None).await.is_err());
    drop(storage);
    let storage = embedded::open(&Config::new(folder.path())).unwrap();
    storage.healthy().await.unwrap();
    create(&storage, "/registry/pods/a/c", "1").await;
}

#[tokio::test]
async fn a_disk_that_is_full_at_the_start_says_so() {
    let folder = TempDir::new().unwrap();
    let recording = Recording::of(folder.path());
    recording.fail(Some(Fault::Full));
    let error = embedded::open(&config(folder.path())).err().expect("an error");
    assert!(matches!(error, StorageError::Unavailable(_)), "{error:?}");
    assert!(error.to_string().contains("free space"), "{error}");
}
