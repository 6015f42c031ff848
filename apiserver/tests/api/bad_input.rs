//! Bad input gets upstream's code, reason and text, and the server then answers a good request.

use serde_json::json;

use skiff_fixture::Api;

const MAPS: &str = "/api/v1/namespaces/demo/configmaps";
const PODS: &str = "/api/v1/namespaces/demo/pods";
const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/demo/deployments";

/// Posts a bad body, checks code, reason and message, and that a good request works then.
async fn refused(path: &str, media: &str, body: impl Into<Vec<u8>>, code: u16, reason: &str, message: &str) {
    let api = Api::open().await;
    let answer = api.send("POST", path, &[("content-type", media)], body.into()).await.expect(code).json();
    assert_eq!((answer["kind"].as_str(), answer["reason"].as_str()), (Some("Status"), Some(reason)));
    assert_eq!(answer["message"].as_str(), Some(message));
    api.post(MAPS, json!({"metadata": {"name": "good"}, "data": {"a": "b"}})).await.expect(201);
    assert_eq!(api.get(&format!("{MAPS}/good")).await.expect(200).json()["data"]["a"], "b");
}

#[tokio::test]
async fn broken_json() {
    let message = "the object provided is unrecognized (must be of type ConfigMap): couldn't get version/kind; \
        json parse error: unexpected end of JSON input ({\"metadata\": {\"name\":)";
    refused(MAPS, "application/json", "{\"metadata\": {\"name\":", 400, "BadRequest", message).await;
}

#[tokio::test]
async fn no_body() {
    let message = "the object provided is unrecognized (must be of type ConfigMap): couldn't get version/kind; \
        json parse error: unexpected end of JSON input (<empty>)";
    refused(MAPS, "application/json", "", 400, "BadRequest", message).await;
}

#[tokio::test]
async fn a_list_instead_of_an_object() {
    let message = "the object provided is unrecognized (must be of type ConfigMap): couldn't get version/kind; \
        json parse error: json: cannot unmarshal array into Go value of type struct { APIVersion string \
        \"json:\\\"apiVersion,omitempty\\\"\"; Kind string \"json:\\\"kind,omitempty\\\"\" } (5b5d)";
    refused(MAPS, "application/json", "[]", 400, "BadRequest", message).await;
}

#[tokio::test]
async fn broken_yaml() {
    let api = Api::open().await;
    let body = "apiVersion: v1\nkind: [Pod".as_bytes().to_vec();
    let answer = api.send("POST", PODS, &[("content-type", "application/yaml")], body).await.expect(400).json();
    let message = answer["message"].as_str().expect("message");
    let start = "the object provided is unrecognized (must be of type Pod): yaml: ";
    assert!(message.starts_with(start) && message.contains("line 2"), "{message}");
    assert!(message.ends_with(" (61706956657273696f6e3a2076310a6b696e643a205b506f64)"), "{message}");
    api.post(MAPS, json!({"metadata": {"name": "good"}})).await.expect(201);
}

#[tokio::test]
async fn wrong_types_name_the_go_field() {
    for (path, spec, message) in [
        (
            DEPLOYMENTS,
            json!({"replicas": "three"}),
            "Deployment in version \"v1\" cannot be handled as a Deployment: json: cannot unmarshal string into Go \
             struct field DeploymentSpec.spec.replicas of type int32",
        ),
        (
            PODS,
            json!({"containers": [{"env": [{"name": "a", "value": 1}]}]}),
            "Pod in version \"v1\" cannot be handled as a Pod: json: cannot unmarshal number into Go struct field \
             EnvVar.spec.containers.env.value of type string",
        ),
        (
            PODS,
            json!({"containers": {}}),
            "Pod in version \"v1\" cannot be handled as a Pod: json: cannot unmarshal object into Go struct field \
             PodSpec.spec.containers of type []v1.Container",
        ),
        (
            PODS,
            json!({"containers": [{"resources": {"requests": {"cpu": "1x"}}}]}),
            "Pod in version \"v1\" cannot be handled as a Pod: quantities must match the regular expression \
             '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
        ),
    ] {
        let body = json!({"metadata": {"name": "a"}, "spec": spec}).to_string();
        refused(path, "application/json", body, 400, "BadRequest", message).await;
    }
    let body = json!({"metadata": {"name": "a"}, "data": {"k": "###"}}).to_string();
    let message = "Secret in version \"v1\" cannot be handled as a Secret: illegal base64 data at input byte 0";
    refused("/api/v1/namespaces/demo/secrets", "application/json", body, 400, "BadRequest", message).await;
}

#[tokio::test]
async fn unknown_and_duplicate_fields() {
    let body = r#"{"metadata":{"name":"a"},"data":{"x":"1"},"dta":{},"data":{"y":"2"}}"#;
    let strict = "ConfigMap in version \"v1\" cannot be handled as a ConfigMap: strict decoding error: \
        unknown field \"dta\", duplicate field \"data\"";
    let path = format!("{MAPS}?fieldValidation=Strict");
    refused(&path, "application/json", body, 400, "BadRequest", strict).await;

    let api = Api::open().await;
    let send = |query: &'static str| {
        let (api, path) = (&api, format!("{MAPS}{query}"));
        async move { api.send("POST", &path, &[("content-type", "application/json")], body.into()).await }
    };
    let warned = send("?dryRun=All&fieldValidation=Warn").await.expect(201);
    let warnings = warned.headers.get_all("warning").iter().map(|w| w.to_str().expect("text")).collect::<Vec<_>>();
    assert_eq!(warnings, ["299 - \"unknown field \\\"dta\\\"\"", "299 - \"duplicate field \\\"data\\\"\""]);
    assert_eq!(warned.json()["data"], json!({"y": "2"}));
    let by_default = send("?dryRun=All").await.expect(201);
    assert_eq!(by_default.headers.get_all("warning").iter().count(), 2);
    let ignored = send("?fieldValidation=Ignore").await.expect(201);
    assert_eq!(ignored.headers.get_all("warning").iter().count(), 0);
}

#[tokio::test]
async fn another_version_or_kind() {
    let body = json!({"apiVersion": "v2", "kind": "ConfigMap", "metadata": {"name": "a"}}).to_string();
    let message = "ConfigMap in version \"v2\" cannot be handled as a ConfigMap: no kind \"ConfigMap\" is registered for version \"v2\" in scheme \"pkg/api/legacyscheme/scheme.go:30\"";
    refused(MAPS, "application/json", body, 400, "BadRequest", message).await;
}

#[tokio::test]
async fn invalid_names() {
    let message = "ConfigMap \"B_\" is invalid: metadata.name: Invalid value: \"B_\": a lowercase RFC 1123 subdomain \
        must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric \
        character (e.g. 'example.com', regex used for validation is \
        '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
    refused(MAPS, "application/json", r#"{"metadata":{"name":"B_"}}"#, 422, "Invalid", message).await;
    let message = "ConfigMap \"\" is invalid: metadata.name: Required value: name or generateName is required";
    refused(MAPS, "application/json", "{}", 422, "Invalid", message).await;
}

#[tokio::test]
async fn a_selector_that_misses_its_template() {
    let body = json!({"metadata": {"name": "web"}, "spec": {
        "selector": {"matchLabels": {"app": "web"}},
        "template": {
            "metadata": {"labels": {"app": "other"}},
            "spec": {"containers": [{"name": "a", "image": "a:v1"}]}
        }
    }});
    let message = "Deployment.apps \"web\" is invalid: spec.template.metadata.labels: Invalid value: \
        {\"app\":\"other\"}: `selector` does not match template `labels`";
    refused(DEPLOYMENTS, "application/json", body.to_string(), 422, "Invalid", message).await;
}

#[tokio::test]
async fn a_body_of_four_mebibytes() {
    let body = json!({"metadata": {"name": "a"}, "data": {"a": "x".repeat(4 << 20)}}).to_string();
    let message = "Request entity too large: limit is 3145728";
    refused(MAPS, "application/json", body, 413, "RequestEntityTooLarge", message).await;
}

#[tokio::test]
async fn nesting_ten_thousand_deep() {
    let deep = |open: &str, close: &str| {
        let (open, close) = (open.repeat(10_000), close.repeat(10_000));
        format!(r#"{{"metadata":{{"name":"a","managedFields":[{{"fieldsV1":{open}{close}}}]}}}}"#)
    };
    for body in [deep("[", "]"), deep(r#"{"a":"#, "}").replace("{\"a\":}", "{}")] {
        for media in ["application/json", "application/yaml"] {
            let api = Api::open().await;
            let answer = api.send("POST", MAPS, &[("content-type", media)], body.clone().into()).await;
            assert_eq!(answer.expect(400).json()["reason"], "BadRequest");
            let patch = [("content-type", "application/merge-patch+json")];
            api.post(MAPS, json!({"metadata": {"name": "a"}})).await.expect(201);
            api.send("PATCH", &format!("{MAPS}/a"), &patch, body.clone().into()).await.expect(400);
            api.get(&format!("{MAPS}/a")).await.expect(200);
        }
    }
}

#[tokio::test]
async fn media_types_that_nobody_reads() {
    let message = "the body of the request was in an unknown format - accepted media types include: application/json, \
        application/yaml, application/vnd.kubernetes.protobuf";
    refused(MAPS, "text/plain", "{}", 415, "UnsupportedMediaType", message).await;
}

#[tokio::test]
async fn patches_with_unknown_fields_quote_the_patch() {
    let api = Api::open().await;
    api.post(MAPS, json!({"metadata": {"name": "a"}})).await.expect(201);
    let path = format!("{MAPS}/a?fieldValidation=Strict");
    let patch = json!({"dta": {"a": "b c"}});
    let refused = api.patch(&path, "strategic-merge-patch+json", patch.clone()).await.expect(422).json();
    let wanted = "patch: Invalid value: \"map[dta:map[a:b c]]\": strict decoding error: unknown field \"dta\"";
    assert!(refused["message"].as_str().expect("message").ends_with(wanted), "{}", refused["message"]);
    let refused = api.patch(&path, "merge-patch+json", patch).await.expect(422).json();
    assert!(refused["message"].as_str().expect("message").contains("{\\\"apiVersion\\\":\\\"v1\\\""));
    api.patch(&path, "merge-patch+json", json!({"data": {"a": "b"}})).await.expect(200);
}
