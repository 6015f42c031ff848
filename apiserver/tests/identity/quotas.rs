//! No quota is exceeded, however many write at once.

use std::sync::Arc;

use serde_json::{Value, json};
use skiff_fixture::Api;
use tokio::task::JoinSet;

const ROUNDS: usize = 100;
const WRITERS: usize = 64;
const LIMIT: usize = 10;

/// A namespace with a quota that its controller has counted.
async fn namespace(api: &Api, name: &str) {
    api.post("/api/v1/namespaces", json!({"metadata": {"name": name}})).await.expect(201);
    let quotas = format!("/api/v1/namespaces/{name}/resourcequotas");
    let hard = json!({"configmaps": LIMIT.to_string()});
    let mut quota =
        api.post(&quotas, json!({"metadata": {"name": "q"}, "spec": {"hard": hard}})).await.expect(201).json();
    quota["status"] = json!({"hard": hard, "used": {"configmaps": "0"}});
    api.put(&format!("{quotas}/q/status"), quota).await.expect(200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_quota_of_ten_leaves_exactly_ten_of_sixty_four() {
    let api = Arc::new(Api::secured().await);
    for round in 0..ROUNDS {
        let name = format!("round-{round}");
        namespace(&api, &name).await;
        let maps = format!("/api/v1/namespaces/{name}/configmaps");
        let mut writers = JoinSet::new();
        for number in 0..WRITERS {
            let (api, maps) = (api.clone(), maps.clone());
            writers.spawn(async move { api.post(&maps, json!({"metadata": {"name": format!("c{number}")}})).await });
        }
        let mut made = 0;
        for answer in writers.join_all().await {
            match answer.status.as_u16() {
                201 => made += 1,
                403 => {
                    let text = answer.json()["message"].as_str().expect("a message").to_owned();
                    assert!(text.contains("exceeded quota: q, requested: configmaps=1, used: configmaps=10"), "{text}");
                }
                _ => panic!("{answer:?}"),
            }
        }
        let there = api.get(&maps).await.expect(200).json()["items"].as_array().map_or(0, Vec::len);
        let quota = api.get(&format!("/api/v1/namespaces/{name}/resourcequotas/q")).await.expect(200).json();
        assert_eq!((made, there, &quota["status"]["used"]["configmaps"]), (LIMIT, LIMIT, &Value::from("10")));
    }
    println!("{ROUNDS} rounds of {WRITERS} writers left {LIMIT} each");
}
