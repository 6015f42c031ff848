//! A controller as users write them: it copies, owns, cleans up by a finalizer, and tells by events.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::core::v1::{ConfigMap, Event as StoredEvent, Secret};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::runtime::controller::{Action, Controller};
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::runtime::finalizer::{Event as Finalizer, finalizer};
use kube::runtime::wait::{await_condition, conditions};
use kube::runtime::watcher::Config;
use kube::{Api, Client, Resource, ResourceExt};
use serde_json::json;
use skiff_tests::eventually;

use super::typed::config_map;
use skiff_tests::stage::Stage;

const FINALIZER: &str = "example.com/copies";

/// What the controller works with.
struct Context {
    client: Client,
    recorder: Recorder,
}

#[derive(Debug)]
struct Failed(String);

impl std::fmt::Display for Failed {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(&self.0)
    }
}

impl std::error::Error for Failed {}

async fn reconcile(map: Arc<ConfigMap>, context: Arc<Context>) -> Result<Action, Failed> {
    let namespace = map.namespace().unwrap_or_default();
    let maps: Api<ConfigMap> = Api::namespaced(context.client.clone(), &namespace);
    let secrets: Api<Secret> = Api::namespaced(context.client.clone(), &namespace);
    let done = finalizer(&maps, FINALIZER, map, |event| async {
        match event {
            Finalizer::Apply(map) => copy(&secrets, &map, &context).await,
            Finalizer::Cleanup(map) => {
                let name = format!("{}-gone", map.name_any());
                let left: Secret = serde_json::from_value(json!({"metadata": {"name": name}})).map_err(fail)?;
                secrets.create(&PostParams::default(), &left).await.map_err(fail)?;
                Ok(Action::await_change())
            }
        }
    });
    done.await.map_err(fail)
}

async fn copy(secrets: &Api<Secret>, map: &ConfigMap, context: &Context) -> Result<Action, Failed> {
    let owner = map.controller_owner_ref(&()).ok_or_else(|| Failed("it has no name".to_owned()))?;
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret",
        "metadata": {"name": map.name_any(), "ownerReferences": [owner]},
        "stringData": map.data,
    });
    secrets
        .patch(&map.name_any(), &PatchParams::apply("copier").force(), &Patch::Apply(&secret))
        .await
        .map_err(fail)?;
    let copied = Event {
        type_: EventType::Normal,
        reason: "Copied".into(),
        note: None,
        action: "Copying".into(),
        secondary: None,
    };
    context.recorder.publish(&copied, &map.object_ref(&())).await.map_err(fail)?;
    Ok(Action::requeue(Duration::from_secs(300)))
}

fn fail(error: impl std::fmt::Debug) -> Failed {
    Failed(format!("{error:?}"))
}

pub(super) async fn copies(stage: Stage) {
    let (maps, secrets): (Api<ConfigMap>, Api<Secret>) = (stage.api(), stage.api());
    let reporter = Reporter { controller: "copier".into(), instance: None };
    let context = Context { client: stage.client.clone(), recorder: Recorder::new(stage.client.clone(), reporter) };
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let controller = Controller::new(maps.clone(), Config::default().labels("kind=settings"))
        .owns(secrets.clone(), Config::default())
        .graceful_shutdown_on(async move { drop(stopped.await) })
        .run(reconcile, |_, _: &Failed, _| Action::requeue(Duration::from_millis(200)), Arc::new(context));
    let running = tokio::spawn(controller.for_each(|_| async {}));

    for name in ["one", "two", "three"] {
        maps.create(&PostParams::default(), &config_map(name, "blue")).await.expect("created");
    }
    let color = async |name: &str| {
        let data = secrets.get_opt(name).await.expect("an answer").and_then(|secret| secret.data);
        data.and_then(|data| data.get("color").map(|value| String::from_utf8_lossy(&value.0).into_owned()))
    };
    for name in ["one", "two", "three"] {
        eventually("its copy", async || match color(name).await {
            Some(color) if color == "blue" => Ok(()),
            other => Err(other),
        })
        .await;
    }
    stage.done("copies of what is there");

    maps.patch("one", &PatchParams::default(), &Patch::Merge(json!({"data": {"color": "red"}})))
        .await
        .expect("patched");
    eventually("the copy follows", async || match color("one").await {
        Some(color) if color == "red" => Ok(()),
        other => Err(other),
    })
    .await;
    stage.done("changes");
    secrets.delete("two", &DeleteParams::default()).await.expect("deleted");
    eventually("the copy is made again", async || color("two").await.ok_or("not yet")).await;
    stage.done("what it owns");

    let uid = maps.get("three").await.expect("read").uid().expect("a uid");
    maps.delete("three", &DeleteParams::default()).await.expect("deleted");
    let gone = await_condition(maps.clone(), "three", conditions::is_deleted(&uid));
    tokio::time::timeout(Duration::from_secs(60), gone).await.expect("in time").expect("watched");
    secrets.get("three-gone").await.expect("what the clean-up left");
    eventually("the copy is gone with its owner", async || match secrets.get_opt("three").await {
        Ok(None) => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
    stage.done("finalizer and owner");

    let events: Api<StoredEvent> = stage.api();
    eventually("its events", async || {
        let told = ListParams::default().fields("involvedObject.name=one,reason=Copied");
        let told = events.list(&told).await.expect("a list").items;
        told.first().and_then(|event| event.reporting_component.clone()).filter(|by| by == "copier").ok_or("none yet")
    })
    .await;
    stage.done("events");
    drop(stop);
    tokio::time::timeout(Duration::from_secs(30), running).await.expect("an end in time").expect("an orderly end");
    stage.done("an orderly end");
    for name in ["one", "two"] {
        let free = Patch::Merge(json!({"metadata": {"finalizers": null}}));
        maps.patch(name, &PatchParams::default(), &free).await.expect("freed");
    }
}
