//! The etcd engine under the behaviour suite, against real servers, and what only it has to do: several API servers on
//! one etcd, lost servers, foreign data.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::time::Duration;

use skiff_storage::etcd::{self, Config, EtcdStorage};
use skiff_storage::testing::{DEADLINE, EtcdServer, create, describe, draft, next_change, next_changes, update};
use skiff_storage::{ListOptions, Storage, StorageError, WatchEvent};

fn config(server: &EtcdServer) -> Config {
    Config::new(vec![server.url.clone()])
}

async fn open(server: &EtcdServer) -> EtcdStorage {
    etcd::open(&config(server)).await.expect("a store")
}

skiff_storage::storage_suite!(skiff_storage::testing::etcd_fixture);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_servers_see_each_others_writes() {
    let server = EtcdServer::start();
    let (one, two) = (open(&server).await, open(&server).await);
    let mut watch = two.watch("/registry/pods/", two.current_revision().await.unwrap()).await.unwrap();
    for i in 0..50 {
        let entry = create(&one, &format!("/registry/pods/a/{i:02}"), "1").await;
        // At once: a read of one server includes every write answered by the other.
        let read = two.get(&entry.key).await.unwrap().0.expect("the entry");
        assert_eq!((read.revision, read.object), (entry.revision, entry.object.clone()));
        let updated = update(&two, &entry, "2").await;
        let error = one.update(&entry.key, entry.revision, draft("x", "3"), None).await.unwrap_err();
        assert!(matches!(error, StorageError::Conflict { ref current } if current.revision == updated.revision));
        let expected = [
            format!("put {}@{}", entry.key, entry.revision),
            format!("put {}@{} (was {})", entry.key, updated.revision, entry.revision),
        ];
        assert_eq!(next_changes(&mut watch, 2).await, expected);
    }
}

#[tokio::test]
async fn watches_and_reads_of_the_past_survive_a_restart_of_the_api_server() {
    let server = EtcdServer::start();
    let storage = open(&server).await;
    let a = create(&storage, "/registry/pods/a/a", "1").await;
    let b = create(&storage, "/registry/pods/a/b", "1").await;
    let a2 = update(&storage, &a, "2").await;
    let (_, gone) = storage.delete(&b.key, b.revision).await.unwrap();
    drop(storage);

    let storage = open(&server).await;
    let mut watch = storage.watch("/registry/pods/", a.revision).await.unwrap();
    let expected = [
        format!("put {}@{}", b.key, b.revision),
        format!("put {}@{} (was {})", a.key, a2.revision, a.revision),
        format!("del {}@{gone} (was {})", b.key, b.revision),
    ];
    assert_eq!(next_changes(&mut watch, 3).await, expected);
    let options = ListOptions { revision: Some(b.revision), ..ListOptions::default() };
    let past = storage.list("/registry/", options).await.unwrap();
    assert_eq!(past.entries[0].object.json, a.object.json);
    assert_eq!(past.entries.len(), 2);

    // After a compaction only what is left can be offered.
    storage.compact(a2.revision).await.unwrap();
    drop(storage);
    let storage = open(&server).await;
    assert_eq!(storage.head("/").await.unwrap().oldest, a2.revision);
    let mut watch = storage.watch("/registry/pods/", a2.revision).await.unwrap();
    assert_eq!(next_changes(&mut watch, 1).await, [format!("del {}@{gone} (was {})", b.key, b.revision)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_server_is_waited_for_and_the_watch_goes_on() {
    let mut server = EtcdServer::start();
    let storage = open(&server).await;
    let a = create(&storage, "/registry/pods/a/a", "1").await;
    let mut watch = storage.watch("/registry/pods/", a.revision).await.unwrap();
    server.kill();
    let error = storage.create("/registry/pods/a/b", draft("b", "1"), None).await.unwrap_err();
    assert!(matches!(error, StorageError::Unavailable(_)), "{error:?}");
    assert!(storage.healthy().await.is_err());
    server.restart();
    let wait = async {
        while storage.healthy().await.is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(DEADLINE, wait).await.expect("not healthy again");
    let a2 = update(&storage, &a, "2").await;
    assert_eq!(next_changes(&mut watch, 1).await, [format!("put {}@{} (was {})", a.key, a2.revision, a.revision)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_compacted_while_away_ends_watches() {
    let mut server = EtcdServer::start();
    let storage = open(&server).await;
    let a = create(&storage, "/registry/pods/a/a", "1").await;
    let mut watch = storage.watch("/registry/pods/", a.revision).await.unwrap();
    server.kill();
    // The change and the compaction happen before the engine's watch is resumed: it only tries now and then.
    server.restart();
    let mut client = etcd_client::Client::connect([&server.url], None).await.unwrap();
    let mut last = 0;
    for value in 0..20 {
        let json = format!(r#"{{"metadata":{{"name":"a","resourceVersion":""}},"value":"{value}"}}"#);
        last = client.put("/registry/pods/a/a", json, None).await.unwrap().header().unwrap().revision();
        client.compact(last, None).await.unwrap();
    }
    // Either it was quick enough to see all changes, or it says that it was not; never a gap.
    let mut seen = a.revision;
    let end = loop {
        match next_change(&mut watch).await {
            Ok(WatchEvent::Put { entry, previous }) => {
                assert_eq!(previous.map(|previous| previous.revision), Some(seen), "a gap");
                seen = entry.revision;
                if seen == last as u64 {
                    break None;
                }
            }
            Ok(other) => panic!("{}", describe(&other)),
            Err(error) => break Some(error),
        }
    };
    assert!(matches!(end, None | Some(StorageError::Compacted { .. })), "{end:?}");
    let wait = async {
        loop {
            match storage.get("/registry/pods/a/a").await {
                Ok((Some(entry), _)) if entry.revision == last as u64 => return,
                _ => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    };
    tokio::time::timeout(DEADLINE, wait).await.expect("the mirror did not recover");
}

#[tokio::test]
async fn other_peoples_keys_are_left_alone() {
    let server = EtcdServer::start();
    let mut client = etcd_client::Client::connect([&server.url], None).await.unwrap();
    client.put("/somebody/elses", "anything", None).await.unwrap();
    let storage = open(&server).await;
    let mut watch = storage.watch("/registry/", storage.current_revision().await.unwrap()).await.unwrap();
    client.put("/somebody/elses", "something", None).await.unwrap();
    client.put("/registryx/a", "something", None).await.unwrap();
    let entry = create(&storage, "/registry/pods/a/a", "1").await;
    assert_eq!(next_changes(&mut watch, 1).await, [format!("put {}@{}", entry.key, entry.revision)]);
    assert_eq!(storage.list("/registry", ListOptions::default()).await.unwrap().entries.len(), 1);
    let error = storage.create("/other/a", draft("a", "1"), None).await.unwrap_err();
    assert!(error.to_string().contains("outside"), "{error}");

    client.put("/registry/pods/a/foreign", "k8s\0not ours", None).await.unwrap();
    drop(storage);
    let error = etcd::open(&config(&server)).await.err().expect("an error");
    assert!(
        matches!(&error, StorageError::Corrupt(message) if message.contains("/registry/pods/a/foreign")),
        "{error}"
    );
}

#[tokio::test]
async fn values_are_readable_json_without_a_version() {
    let server = EtcdServer::start();
    let storage = open(&server).await;
    create(&storage, "/registry/pods/a/a", "1").await;
    let mut client = etcd_client::Client::connect([&server.url], None).await.unwrap();
    let stored = client.get("/registry/pods/a/a", None).await.unwrap();
    let expected = r#"{"kind":"Test","metadata":{"name":"a","resourceVersion":""},"value":"1"}"#;
    assert_eq!(stored.kvs()[0].value_str().unwrap(), expected);
}

#[tokio::test]
async fn servers_take_turns_at_compacting() {
    let server = EtcdServer::start();
    let config = Config { compaction: Some(Duration::from_millis(200)), ..config(&server) };
    let (one, two) = (etcd::open(&config).await.unwrap(), etcd::open(&config).await.unwrap());
    let a = create(&one, "/registry/pods/a/a", "1").await;
    let mut client = etcd_client::Client::connect([&server.url], None).await.unwrap();
    let wait = async {
        loop {
            let options = etcd_client::GetOptions::new().with_revision(a.revision as i64 - 1);
            match client.get("/registry/pods/a/a", Some(options)).await {
                Err(error) if error.to_string().contains("compacted") => return,
                _ => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    };
    tokio::time::timeout(DEADLINE, wait).await.expect("never compacted");
    // What is live is not touched.
    assert_eq!(two.get("/registry/pods/a/a").await.unwrap().0.unwrap().object, a.object);
}

#[tokio::test]
async fn an_unreachable_server_is_an_error_in_time() {
    let server = {
        let mut server = EtcdServer::start();
        server.kill();
        server
    };
    let opened = tokio::time::timeout(DEADLINE, etcd::open(&config(&server))).await.expect("in time");
    assert!(matches!(opened.err(), Some(StorageError::Unavailable(_))));
}
