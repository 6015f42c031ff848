//! What the server refuses, as the client reads it.

use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod};
use kube::api::{ListParams, PostParams, WatchParams};
use kube::{Api, Client};
use serde_json::json;

use super::typed::config_map;
use skiff_tests::stage::Stage;

/// The code of a refusal. Panics if it is none.
#[track_caller]
pub(super) fn code<T>(answer: kube::Result<T>) -> u16 {
    match answer {
        Err(kube::Error::Api(status)) => status.code,
        Err(error) => panic!("not an answer of the API: {error:?}"),
        Ok(_) => 200,
    }
}

/// The Status of a refusal.
#[track_caller]
fn refused<T>(answer: kube::Result<T>) -> Box<kube::core::Status> {
    match answer {
        Err(kube::Error::Api(status)) => status,
        Err(error) => panic!("not an answer of the API: {error:?}"),
        Ok(_) => panic!("it was not refused"),
    }
}

pub(super) async fn statuses(stage: Stage) {
    let (maps, create): (Api<ConfigMap>, _) = (stage.api(), PostParams::default());
    let missing = refused(maps.get("nothing").await);
    assert_eq!((missing.code, missing.reason.as_str()), (404, "NotFound"));
    assert_eq!(missing.message, "configmaps \"nothing\" not found");
    assert!(missing.details.is_some_and(|details| details.name == "nothing" && details.kind == "configmaps"));
    maps.create(&create, &config_map("one", "blue")).await.expect("created");
    let again = refused(maps.create(&create, &config_map("one", "blue")).await);
    assert_eq!((again.code, again.reason.as_str()), (409, "AlreadyExists"));
    stage.done("not found, already exists");

    let invalid = refused(maps.create(&create, &config_map("Wrong_Name", "blue")).await);
    assert_eq!((invalid.code, invalid.reason.as_str()), (422, "Invalid"));
    let causes = invalid.details.expect("details").causes;
    assert_eq!((causes[0].field.as_str(), causes[0].reason.as_str()), ("metadata.name", "FieldValueInvalid"));
    let pods: Api<Pod> = stage.api();
    let pod = serde_json::from_value(json!({"metadata": {"name": "p"}, "spec": {"containers": []}})).expect("a Pod");
    let invalid = refused(pods.create(&create, &pod).await);
    assert_eq!(invalid.details.expect("details").causes[0].field, "spec.containers");
    stage.done("invalid");

    let unparsable = refused(maps.list(&ListParams::default().labels("a b")).await);
    assert_eq!((unparsable.code, unparsable.reason.as_str()), (400, "BadRequest"));
    let unknown = refused(maps.list(&ListParams::default().fields("data.a=b")).await);
    assert_eq!(unknown.code, 400);
    stage.done("bad selectors");

    let malformed = ListParams::default().continue_token("nonsense");
    assert_eq!(refused(maps.list(&malformed).await).code, 400);
    let future = WatchParams::default().timeout(5);
    assert!(maps.watch(&future, "nonsense").await.is_err());
    stage.done("versions");

    let nowhere: Api<ConfigMap> = Api::namespaced(stage.client.clone(), "no-such-namespace");
    assert_eq!(code(nowhere.create(&create, &config_map("one", "blue")).await), 404);
    let namespaces: Api<Namespace> = Api::all(stage.client.clone());
    assert_eq!(code(namespaces.delete("kube-system", &Default::default()).await), 403);
    stage.done("namespaces");

    let request = http::Request::get("/apis/example.com/v1/nothings").body(Vec::new()).expect("a request");
    assert_eq!(code(stage.client.request_text(request).await), 404);
    let request = http::Request::post("/api/v1/componentstatuses").body(b"{}".to_vec()).expect("a request");
    assert_eq!(code(stage.client.request_text(request).await), 405);
    stage.done("no such path, no such method");

    let nobody = stage.client_with_token("nonsense");
    let refusal = refused(Api::<ConfigMap>::namespaced(nobody, &stage.namespace).list(&ListParams::default()).await);
    assert_eq!((refusal.code, refusal.reason.as_str()), (401, "Unauthorized"));
    let anonymous = Client::try_from(stage.nobody()).expect("a client");
    let refusal = refused(Api::<ConfigMap>::namespaced(anonymous, &stage.namespace).list(&ListParams::default()).await);
    assert_eq!((refusal.code, refusal.reason.as_str()), (403, "Forbidden"));
    assert!(
        refusal.message.contains("User \"system:anonymous\" cannot list resource \"configmaps\""),
        "{}",
        refusal.message
    );
    stage.done("unauthorized, forbidden");
}
