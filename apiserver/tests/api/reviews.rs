//! Kinds that are asked rather than stored.

use serde_json::json;

use skiff_fixture::Api;

#[tokio::test]
async fn may_i_and_who_am_i() {
    let api = Api::open().await;
    let review = json!({"spec": {"resourceAttributes": {"verb": "get", "resource": "pods"}}});
    let answer = api.post("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", review).await.expect(201).json();
    assert_eq!(answer["status"]["allowed"], true);
    let who = api.post("/apis/authentication.k8s.io/v1/selfsubjectreviews", json!({})).await.expect(201).json();
    assert_eq!(who["status"]["userInfo"]["username"], "admin");
    let nobody = json!({"spec": {"resourceAttributes": {"verb": "get", "resource": "pods"}}});
    api.post("/apis/authorization.k8s.io/v1/subjectaccessreviews", nobody).await.expect(422);
    let other =
        json!({"spec": {"user": "jane", "resourceAttributes": {"namespace": "x", "verb": "get", "resource": "pods"}}});
    let local = "/apis/authorization.k8s.io/v1/namespaces/demo/localsubjectaccessreviews";
    api.post(local, other).await.expect(422);
    let table = [("accept", "application/json;as=Table;v=v1;g=meta.k8s.io"), ("content-type", "application/json")];
    let path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
    api.send("POST", path, &table, b"{}".to_vec()).await.expect(406);
}
