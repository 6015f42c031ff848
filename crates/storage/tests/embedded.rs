//! The embedded engine under the behaviour suite, and what only a durable engine has to do: restarts, damage, growth.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::path::Path;
use std::time::Duration;

use futures::StreamExt;
use skiff_storage::embedded::{Config, DATABASE_FILE};
use skiff_storage::testing::{create, describe, draft, embedded_fixture, next_change, next_changes, update};
use skiff_storage::{HistoryLimits, ListOptions, LocalStorage, Storage, StorageError, WatchEvent, embedded};
use tempfile::TempDir;

fn open(folder: &Path) -> LocalStorage {
    embedded::open(&Config::new(folder)).expect("a store")
}

skiff_storage::storage_suite!(skiff_storage::testing::embedded_fixture);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_watcher_is_cut_off() {
    skiff_storage::testing::watches::a_slow_watcher_is_cut_off(&*embedded_fixture().await.storage, 17_000).await;
}

/// All entries as `key@revision json`.
async fn dump(storage: &dyn Storage) -> Vec<String> {
    let page = storage.list("/", ListOptions::default()).await.unwrap();
    let text = |entry: &skiff_storage::Entry| {
        format!("{}@{} {}", entry.key, entry.revision, std::str::from_utf8(&entry.object.json).unwrap())
    };
    page.entries.iter().map(text).collect()
}

#[tokio::test]
async fn everything_survives_a_restart() {
    let folder = TempDir::new().unwrap();
    let storage = open(folder.path());
    let a = create(&storage, "/registry/pods/a/a", "1").await;
    let b = create(&storage, "/registry/pods/a/b", "1").await;
    let a2 = update(&storage, &a, "2").await;
    let (_, gone) = storage.delete(&b.key, b.revision).await.unwrap();
    let before = dump(&storage).await;
    drop(storage);

    let storage = open(folder.path());
    assert_eq!(dump(&storage).await, before);
    assert_eq!(storage.current_revision().await.unwrap(), gone);
    // Reads and watches from before the restart go on.
    let options = ListOptions { revision: Some(b.revision), ..ListOptions::default() };
    assert_eq!(storage.list("/", options).await.unwrap().entries.len(), 2);
    let mut watch = storage.watch("/registry/pods/", a.revision).await.unwrap();
    let expected = [
        format!("put {}@{}", b.key, b.revision),
        format!("put {}@{} (was {})", a.key, a2.revision, a.revision),
        format!("del {}@{gone} (was {})", b.key, b.revision),
    ];
    assert_eq!(next_changes(&mut watch, 3).await, expected);
    let c = create(&storage, "/registry/pods/a/c", "1").await;
    assert_eq!(c.revision, gone + 1);
    // The updated object can be updated on: its resourceVersion is where it was.
    let a3 = update(&storage, &a2, "3").await;
    assert_eq!(a3.object.json, skiff_storage::testing::json("a", "3", a3.revision));
}

#[tokio::test]
async fn a_deadline_survives_a_restart() {
    let folder = TempDir::new().unwrap();
    let storage = open(folder.path());
    let ttl = Some(Duration::from_secs(1));
    let entry = storage.create("/registry/events/a/e", draft("e", "1"), ttl).await.unwrap();
    let start = std::time::Instant::now();
    drop(storage);
    let storage = open(folder.path());
    let mut watch = storage.watch("/registry/events/", entry.revision).await.unwrap();
    let event = next_change(&mut watch).await.unwrap();
    assert!(matches!(event, WatchEvent::Delete { .. }), "{}", describe(&event));
    assert!(start.elapsed() < Duration::from_secs(10));
}

/// A history of at most some kilobytes, cleaned early.
fn tight(folder: &Path) -> Config {
    let history = HistoryLimits { bytes: 16 << 10, age: Duration::from_secs(300) };
    Config { history, slack_rows: 100, ..Config::new(folder) }
}

async fn rows(folder: &Path) -> i64 {
    let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY;
    let connection = rusqlite::Connection::open_with_flags(folder.join(DATABASE_FILE), flags).unwrap();
    connection.query_row("SELECT count(*) FROM log", [], |row| row.get(0)).unwrap()
}

#[tokio::test]
async fn the_log_is_cleaned_and_nothing_needed_is_lost() {
    const KEYS: usize = 50;
    const ROUNDS: usize = 40;
    let folder = TempDir::new().unwrap();
    let storage = embedded::open(&tight(folder.path())).unwrap();
    let quiet = create(&storage, "/registry/quiet/old", "stays").await;
    let gone = create(&storage, "/registry/quiet/gone", "goes").await;
    storage.delete(&gone.key, gone.revision).await.unwrap();
    let mut entries = Vec::new();
    for i in 0..KEYS {
        entries.push(create(&storage, &format!("/registry/pods/a/{i:02}"), "0").await);
    }
    for round in 1..ROUNDS {
        let value = round.to_string();
        let updates = entries.iter().map(|entry| update(&storage, entry, &value));
        entries = futures::future::join_all(updates).await;
        let rows = rows(folder.path()).await;
        assert!(rows <= 2 * (KEYS as i64 + 1) + 100 + KEYS as i64, "{rows} rows after round {round}");
    }
    let oldest = storage.head("/").await.unwrap().oldest;
    let past = ListOptions { revision: Some(oldest), ..ListOptions::default() };
    let past_before = storage.list("/", past.clone()).await.unwrap().entries.len();
    let before = dump(&storage).await;
    assert_eq!(before.len(), KEYS + 1);
    drop(storage);

    // With room for more history, all that the log still has comes back, and each change knows its previous value.
    let storage = open(folder.path());
    assert_eq!(dump(&storage).await, before);
    assert_eq!(storage.get(&quiet.key).await.unwrap().0.unwrap().object, quiet.object);
    let restored = storage.head("/").await.unwrap().oldest;
    assert!(restored <= oldest, "the window got smaller: {restored} > {oldest}");
    assert_eq!(storage.list("/", past).await.unwrap().entries.len(), past_before);
    let mut watch = storage.watch("/registry/pods/", restored).await.unwrap();
    let last = entries.iter().map(|entry| entry.revision).max().unwrap();
    loop {
        match next_change(&mut watch).await.unwrap() {
            WatchEvent::Put { entry, previous } => {
                let previous = previous.expect("all pods existed before the window");
                assert_eq!(&previous.key, &entry.key);
                if entry.revision == last {
                    break;
                }
            }
            other => panic!("{}", describe(&other)),
        }
    }
}

#[tokio::test]
async fn deleting_everything_leaves_a_small_log() {
    let folder = TempDir::new().unwrap();
    let storage = embedded::open(&tight(folder.path())).unwrap();
    for round in 0..100 {
        let names: Vec<String> = (0..60).map(|i| format!("/registry/pods/a/{i:02}")).collect();
        let entries = futures::future::join_all(names.iter().map(|name| create(&storage, name, "1"))).await;
        let deletes = entries.iter().map(|entry| storage.delete(&entry.key, entry.revision));
        for deleted in futures::future::join_all(deletes).await {
            deleted.unwrap();
        }
        let rows = rows(folder.path()).await;
        // Of 12 000 in all; batches that come together are cleaned up after a few rounds late.
        assert!(rows <= 1_000, "{rows} rows after round {round}");
    }
    let revision = storage.current_revision().await.unwrap();
    drop(storage);
    let storage = open(folder.path());
    assert!(dump(&storage).await.is_empty());
    assert_eq!(storage.current_revision().await.unwrap(), revision);
}

#[tokio::test]
async fn space_is_given_back() {
    let folder = TempDir::new().unwrap();
    let storage = embedded::open(&tight(folder.path())).unwrap();
    let value = "v".repeat(200_000);
    let big = (0..600).map(|i| (format!("/registry/pods/a/{i:03}"), &value));
    let big = futures::future::join_all(big.map(|(key, value)| {
        let storage = &storage;
        async move { create(storage, &key, value).await }
    }));
    for entry in big.await {
        storage.delete(&entry.key, entry.revision).await.unwrap();
    }
    let size = || std::fs::metadata(folder.path().join(DATABASE_FILE)).unwrap().len();
    // Small writes, as a cluster always has; each gives a little back.
    let mut lease = create(&storage, "/registry/leases/a", "1").await;
    let mut most = size();
    let wait = async {
        for i in 0.. {
            lease = update(&storage, &lease, &i.to_string()).await;
            most = most.max(size());
            if size() < most * 4 / 5 {
                return;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(60), wait).await.expect("the file did not shrink");
    drop(storage);
    assert_eq!(dump(&open(folder.path())).await.len(), 1);
}

#[tokio::test]
async fn a_second_process_is_refused_with_the_pid_of_the_first() {
    let folder = TempDir::new().unwrap();
    let storage = open(folder.path());
    let error = embedded::open(&Config::new(folder.path())).err().expect("an error");
    let expected = format!("is in use by process {}", std::process::id());
    assert!(error.to_string().contains(&expected), "{error}");
    drop(storage);
    open(folder.path());
}

#[tokio::test]
async fn the_folder_is_private() {
    use std::os::unix::fs::PermissionsExt;
    let parent = TempDir::new().unwrap();
    let folder = parent.path().join("a/b");
    open(&folder);
    assert_eq!(std::fs::metadata(&folder).unwrap().permissions().mode() & 0o777, 0o700);
}

fn corrupt(error: Option<StorageError>) -> String {
    match error {
        Some(StorageError::Corrupt(message)) => message,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_newer_format_is_refused() {
    let folder = TempDir::new().unwrap();
    drop(open(folder.path()));
    let connection = rusqlite::Connection::open(folder.path().join(DATABASE_FILE)).unwrap();
    connection.execute("UPDATE meta SET v = 2 WHERE k = 'format'", []).unwrap();
    drop(connection);
    let message = corrupt(embedded::open(&Config::new(folder.path())).err());
    assert!(message.contains("format 2") && message.contains("newer version"), "{message}");
}

#[tokio::test]
async fn foreign_and_broken_files_are_refused() {
    let folder = TempDir::new().unwrap();
    let database = folder.path().join(DATABASE_FILE);
    std::fs::write(&database, "this is not a database, just a text that somebody left here. ".repeat(200)).unwrap();
    let message = corrupt(embedded::open(&Config::new(folder.path())).err());
    assert!(message.contains("skiff restore"), "{message}");

    std::fs::remove_file(&database).unwrap();
    let connection = rusqlite::Connection::open(&database).unwrap();
    connection.execute_batch("CREATE TABLE somebody(elses)").unwrap();
    drop(connection);
    let message = corrupt(embedded::open(&Config::new(folder.path())).err());
    assert!(message.contains("not one of Skiff"), "{message}");
}

async fn filled(folder: &Path) -> Vec<String> {
    let storage = open(folder);
    let value = "v".repeat(1500);
    for i in 0..200 {
        create(&storage, &format!("/registry/pods/a/{i:03}"), &value).await;
    }
    dump(&storage).await
}

/// Every damage to the database is refused, or had no effect on what is read.
#[tokio::test]
async fn a_damaged_database_is_refused() {
    let folder = TempDir::new().unwrap();
    let before = filled(folder.path()).await;
    let database = folder.path().join(DATABASE_FILE);
    let good = std::fs::read(&database).unwrap();
    let mut refused = 0;
    let positions: Vec<usize> = (0..good.len()).step_by(4999).collect();
    for position in &positions {
        let mut bad = good.clone();
        bad[*position] ^= 0x10;
        std::fs::write(&database, &bad).unwrap();
        match embedded::open(&Config::new(folder.path())) {
            Err(StorageError::Corrupt(message)) => {
                assert!(message.contains("Nothing was changed"), "{message}");
                refused += 1;
            }
            Err(other) => panic!("byte {position}: {other}"),
            Ok(storage) => assert_eq!(dump(&storage).await, before, "byte {position}"),
        }
    }
    assert!(refused > positions.len() / 2, "only {refused} of {} were noticed", positions.len());

    std::fs::write(&database, &good[..good.len() / 2]).unwrap();
    corrupt(embedded::open(&Config::new(folder.path())).err());
    std::fs::write(&database, &good).unwrap();
    assert_eq!(dump(&open(folder.path())).await, before);
}

#[tokio::test]
async fn missing_rows_are_noticed() {
    for (what, damage) in [
        ("in the middle", "DELETE FROM log WHERE pos = 100"),
        ("at the head", "DELETE FROM log WHERE pos = 1"),
        ("an old value in place of a new one", "UPDATE log SET rev = 100 WHERE pos = 150"),
    ] {
        let folder = TempDir::new().unwrap();
        filled(folder.path()).await;
        let connection = rusqlite::Connection::open(folder.path().join(DATABASE_FILE)).unwrap();
        connection.execute_batch(damage).unwrap();
        drop(connection);
        let message = corrupt(embedded::open(&Config::new(folder.path())).err());
        assert!(message.contains("of its log"), "{what}: {message}");
    }
}

/// The files of a store as a kill leaves them: with a write-ahead log.
async fn killed(folder: &Path) -> Vec<(&'static str, Vec<u8>)> {
    let storage = open(folder);
    for i in 0..100 {
        create(&storage, &format!("/registry/pods/a/{i:03}"), "1").await;
    }
    let read = |name: &'static str| (name, std::fs::read(folder.join(name)).unwrap());
    let files = vec![read("store.db"), read("store.db-wal")];
    assert!(files[1].1.len() > 100 * 8192, "all commits are in the write-ahead log");
    files
}

fn put_back(files: &[(&str, Vec<u8>)]) -> TempDir {
    let folder = TempDir::new().unwrap();
    for (name, content) in files {
        std::fs::write(folder.path().join(name), content).unwrap();
    }
    folder
}

#[tokio::test]
async fn a_log_broken_before_its_end_is_refused_and_one_cut_at_its_end_is_not() {
    let folder = TempDir::new().unwrap();
    let files = killed(folder.path()).await;
    let all = dump(&open(put_back(&files).path())).await;
    assert_eq!(all.len(), 100);

    let len = files[1].1.len();
    for position in [0, 20, 40, 5000, len / 4, len / 2, len - 4 * 8216] {
        let mut bad = files.clone();
        bad[1].1[position] ^= 1;
        let folder = put_back(&bad);
        let message = corrupt(embedded::open(&Config::new(folder.path())).err());
        assert!(message.contains("store.db-wal"), "byte {position}: {message}");
    }
    // The last commit may be unfinished: it was never answered.
    for cut in [1, 5000, 8216] {
        let mut torn = files.clone();
        torn[1].1.truncate(len - cut);
        let left = dump(&open(put_back(&torn).path())).await;
        assert_eq!(left, all[..99], "{cut} bytes cut off");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_of_a_running_store_can_be_restored() {
    let folder = TempDir::new().unwrap();
    let storage = open(folder.path());
    let entry = create(&storage, "/registry/pods/a/a", "1").await;
    let backup = folder.path().join("backup.db");
    let writes = async {
        let mut entry = entry.clone();
        for i in 0..200 {
            entry = update(&storage, &entry, &i.to_string()).await;
        }
    };
    let copy = {
        let (folder, backup) = (folder.path().to_owned(), backup.clone());
        tokio::task::spawn_blocking(move || embedded::backup(&folder, &backup))
    };
    let (_, copied) = tokio::join!(writes, copy);
    copied.unwrap().unwrap();
    assert!(embedded::backup(folder.path(), &backup).is_err(), "a backup is never overwritten");

    let other = folder.path().join("other");
    embedded::restore(&backup, &other).unwrap();
    assert!(embedded::restore(&backup, &other).is_err(), "nor is a store");
    let restored = open(&other);
    let read = restored.get(&entry.key).await.unwrap().0.expect("the entry");
    assert!(read.revision >= entry.revision);
    assert_eq!(restored.current_revision().await.unwrap(), read.revision);
    create(&restored, "/registry/pods/a/b", "1").await;

    std::fs::write(&backup, b"not a backup").unwrap();
    corrupt(embedded::restore(&backup, &folder.path().join("third")).err());
}

#[tokio::test]
async fn a_log_without_its_database_is_refused() {
    let folder = TempDir::new().unwrap();
    let files = killed(folder.path()).await;
    for database in [None, Some(Vec::new())] {
        let folder = put_back(&files[1..]);
        if let Some(content) = database {
            std::fs::write(folder.path().join(DATABASE_FILE), content).unwrap();
        }
        let message = corrupt(embedded::open(&Config::new(folder.path())).err());
        assert!(message.contains("missing"), "{message}");
    }
}

#[tokio::test]
async fn a_watch_ends_when_the_store_closes() {
    let folder = TempDir::new().unwrap();
    let storage = open(folder.path());
    let mut watch = storage.watch("/", storage.current_revision().await.unwrap()).await.unwrap();
    drop(storage);
    let error = next_change(&mut watch).await.unwrap_err();
    assert!(matches!(error, StorageError::Unavailable(_)), "{error:?}");
    assert!(watch.next().await.is_none());
}
