//! Lists: freshness, selectors, pages.

use super::*;

fn request(predicate: Predicate) -> ListRequest {
    ListRequest { revision: ListRevision::Fresh(Freshness::Latest), predicate, limit: 0, start: None }
}

fn names(result: &ListResult) -> Vec<String> {
    result.objects.iter().map(|object| format!("{}/{}", object.namespace(), object.name())).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_includes_every_answered_write() {
    let fixture = fixture().await;
    for i in 0..500 {
        let entry = fixture.create(&format!("x/{i}"), "web", "").await;
        let result = fixture.pods.list(&request(Predicate::default())).await.unwrap();
        assert_eq!(result.objects.len(), i + 1);
        assert_eq!(result.revision, entry.revision);
        assert!(fixture.pods.get("x", &i.to_string()).is_some());
    }
}

#[tokio::test]
async fn the_revision_of_a_quiet_resource_follows_the_store() {
    let fixture = fixture().await;
    fixture.create("x/a", "web", "").await;
    let node = fixture.storage.create("/registry/nodes/n", pod("n", "", ""), None).await.unwrap();
    let start = std::time::Instant::now();
    let result = fixture.pods.list(&request(Predicate::default())).await.unwrap();
    assert_eq!(result.revision, node.revision);
    fixture.pods.wait_for(node.revision).await.unwrap();
    assert!(start.elapsed() < Duration::from_millis(400), "it did not wait for the store's next progress");
}

#[tokio::test(start_paused = true)]
async fn a_revision_that_does_not_come_is_a_timeout() {
    let fixture = fixture().await;
    let asked = fixture.pods.revision() + 10;
    let request =
        ListRequest { revision: ListRevision::Fresh(Freshness::NotOlderThan(asked)), ..request(Predicate::default()) };
    let error = fixture.pods.list(&request).await.unwrap_err();
    let status = skiff_apimachinery::status::Status::from(error);
    assert_eq!((status.code, status.reason), (504, "Timeout"));
    assert_eq!(status.message, format!("Timeout: Too large resource version: {asked}, current: {}", asked - 10));
    assert_eq!(status.details.causes[0].reason, "ResourceVersionTooLarge");
    assert_eq!(status.details.retry_after_seconds, 1);
}

#[tokio::test]
async fn pages_with_selectors_fill_up_to_the_limit() {
    let fixture = fixture().await;
    for i in 0..10 {
        fixture.create(&format!("x/{i}"), if i % 3 == 0 { "web" } else { "db" }, "").await;
    }
    let first = fixture.pods.list(&ListRequest { limit: 3, ..request(app("web")) }).await.unwrap();
    assert_eq!(names(&first), ["x/0", "x/3", "x/6"]);
    assert_eq!((first.next.as_deref(), first.remaining), (Some("x/6\0"), None));
    let second = ListRequest {
        limit: 3,
        start: first.next,
        revision: ListRevision::Exact(first.revision),
        ..request(app("web"))
    };
    let second = fixture.pods.list(&second).await.unwrap();
    assert_eq!(names(&second), ["x/9"]);
    assert_eq!((second.next, second.revision), (None, first.revision));
}

#[tokio::test]
async fn pages_of_a_namespace_count_what_remains() {
    let fixture = fixture().await;
    for key in ["w/a", "x/a", "x/b", "x/c", "x-1/a"] {
        fixture.create(key, "web", "").await;
    }
    let first = fixture.pods.list(&ListRequest { limit: 2, ..request(in_namespace("x")) }).await.unwrap();
    assert_eq!((names(&first), first.remaining), (vec!["x/a".into(), "x/b".into()], Some(1)));
    let all = fixture.pods.list(&ListRequest { limit: 2, ..request(Predicate::default()) }).await.unwrap();
    assert_eq!((names(&all), all.remaining), (vec!["w/a".into(), "x-1/a".into()], Some(3)));
}
