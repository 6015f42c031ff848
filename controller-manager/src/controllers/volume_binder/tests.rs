//! Plans of the binder: from claims and volumes to what is done with them.

use std::sync::Arc;

use serde_json::{Value, json};
use skiff_client::types::{PersistentVolume, PersistentVolumeClaim, Pod, StorageClass};

use super::claim_plan::{self, Step, World};
use super::volume_plan::{self, Reclaim};
use super::{apply, matching};

fn claim(name: &str, spec: Value) -> PersistentVolumeClaim {
    let metadata = json!({"name": name, "namespace": "n", "uid": name, "annotations": spec["annotations"]});
    serde_json::from_value(json!({"metadata": metadata, "spec": spec, "status": {"phase": "Pending"}}))
        .expect("a claim")
}

fn gib(size: u32) -> Value {
    json!({"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": format!("{size}Gi")}}})
}

fn with(mut spec: Value, fields: Value) -> Value {
    for (key, value) in fields.as_object().expect("fields") {
        spec[key] = value.clone();
    }
    spec
}

fn volume(name: &str, size: u32, fields: Value) -> Arc<PersistentVolume> {
    let spec = with(json!({"capacity": {"storage": format!("{size}Gi")}, "accessModes": ["ReadWriteOnce"]}), fields);
    let phase = spec["phase"].as_str().unwrap_or("Available").to_owned();
    let metadata = json!({"name": name, "labels": spec["labels"], "annotations": spec["annotations"]});
    let volume = json!({"metadata": metadata, "spec": spec, "status": {"phase": phase}});
    Arc::new(serde_json::from_value(volume).expect("a volume"))
}

#[test]
fn a_claim_gets_the_smallest_volume_that_does() {
    let volumes = [
        volume("small", 1, json!({})),
        volume("large", 20, json!({})),
        volume("fits", 5, json!({})),
        volume("shared", 3, json!({"accessModes": ["ReadWriteOnce", "ReadWriteMany"]})),
        volume("taken", 2, json!({"claimRef": {"namespace": "n", "name": "other", "uid": "other"}})),
        volume("released", 2, json!({"phase": "Released"})),
        volume("gold", 2, json!({"storageClassName": "gold"})),
        volume("labelled", 9, json!({"labels": {"disk": "ssd"}})),
        volume("device", 2, json!({"volumeMode": "Block"})),
        volume("kept", 50, json!({"claimRef": {"namespace": "n", "name": "favoured"}})),
    ];
    let check = |name: &str, spec: Value, waits: bool, expected: Option<&str>| {
        let found = matching::best(&claim(name, spec), &volumes, waits);
        assert_eq!(found.as_ref().map(|volume| volume.metadata.name.as_str()), expected, "{name}");
    };
    check("plain", gib(2), false, Some("fits"));
    check("big", gib(10), false, Some("large"));
    check("too big", gib(99), false, None);
    check("many", with(gib(2), json!({"accessModes": ["ReadWriteMany"]})), false, Some("shared"));
    check("classy", with(gib(1), json!({"storageClassName": "gold"})), false, Some("gold"));
    check("picky", with(gib(1), json!({"selector": {"matchLabels": {"disk": "ssd"}}})), false, Some("labelled"));
    check("raw", with(gib(1), json!({"volumeMode": "Block"})), false, Some("device"));
    check("favoured", gib(1), false, Some("kept"));
    check("favoured", gib(1), true, Some("kept"));
    check("plain", gib(1), true, None);
}

/// What the plan for a claim is, in a word.
fn step(claim: &PersistentVolumeClaim, volumes: &[Arc<PersistentVolume>], classes: Value, pods: Value) -> String {
    let classes: Vec<StorageClass> = serde_json::from_value(classes).expect("classes");
    let classes: Vec<_> = classes.into_iter().map(Arc::new).collect();
    let pods: Vec<Pod> = serde_json::from_value(pods).expect("pods");
    let pods: Vec<_> = pods.into_iter().map(Arc::new).collect();
    match claim_plan::plan(claim, &World { volumes, classes: &classes, pods: &pods }) {
        Step::Bind(volume) => format!("bind {}", volume.metadata.name),
        Step::Wait(note) => {
            format!("wait: {}", note.map(|note| format!("{} {}", note.reason, note.message)).unwrap_or_default())
        }
        Step::Lose(note) => format!("lost: {} {}", note.reason, note.message),
        Step::AssignClass(class) => format!("class {class}"),
        Step::Provision(driver) => format!("ask {driver}"),
        Step::Fail(note, error) => format!("fail: {} / {error}", note.message),
    }
}

#[test]
fn claims_that_are_not_bound() {
    let volumes = [
        volume("v", 5, json!({})),
        volume("taken", 5, json!({"claimRef": {"namespace": "n", "name": "x", "uid": "x"}})),
    ];
    let check = |spec: Value, classes: Value, pods: Value, expected: &str| {
        assert_eq!(step(&claim("c", spec), &volumes, classes, pods), expected);
    };
    let none = || json!([]);
    check(gib(1), none(), none(), "bind v");
    let nothing = "wait: FailedBinding no persistent volumes available for this claim and no storage class is set";
    check(gib(50), none(), none(), nothing);
    let default =
        json!([{"metadata": {"name": "std", "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}}}]);
    check(gib(50), default.clone(), none(), "class std");
    check(with(gib(50), json!({"storageClassName": ""})), default, none(), nothing);
    let gold = with(gib(1), json!({"storageClassName": "gold"}));
    check(gold.clone(), none(), none(), "wait: ProvisioningFailed storageclass.storage.k8s.io \"gold\" not found");
    check(
        gold.clone(),
        json!([{"metadata": {"name": "gold"}, "provisioner": "d.example.com"}]),
        none(),
        "ask d.example.com",
    );
    let later = json!([{"metadata": {"name": "gold"}, "provisioner": "d.example.com", "volumeBindingMode": "WaitForFirstConsumer"}]);
    let waits = "wait: WaitForFirstConsumer waiting for first consumer to be created before binding";
    check(gold.clone(), later.clone(), none(), waits);
    let pod = json!([{"metadata": {"name": "p"}, "spec": {}}]);
    check(gold.clone(), later.clone(), pod, "wait: WaitForPodScheduled waiting for pod p to be scheduled");
    let chosen = with(gold, json!({"annotations": {super::SELECTED_NODE: "n1"}}));
    check(chosen, later, none(), "ask d.example.com");
    // By name.
    let named = |name: &str, size: u32| with(gib(size), json!({"volumeName": name}));
    check(named("v", 1), none(), none(), "bind v");
    check(
        named("v", 9),
        none(),
        none(),
        "wait: VolumeMismatch Cannot bind to requested volume \"v\": requested PV is too small",
    );
    check(named("gone", 1), none(), none(), "wait: ");
    check(
        named("taken", 1),
        none(),
        none(),
        "wait: FailedBinding volume \"taken\" already bound to a different claim.",
    );
}

#[test]
fn claims_that_were_bound() {
    let volumes = [
        volume("mine", 5, json!({"claimRef": {"namespace": "n", "name": "c", "uid": "c"}})),
        volume("theirs", 5, json!({"claimRef": {"namespace": "n", "name": "x", "uid": "x"}})),
        volume("free", 5, json!({})),
    ];
    let check = |name: &str, expected: &str| {
        let bound = json!({"volumeName": name, "annotations": {super::BIND_COMPLETED: "yes"}});
        assert_eq!(step(&claim("c", with(gib(1), bound)), &volumes, json!([]), json!([])), expected);
    };
    check("mine", "bind mine");
    check("free", "bind free");
    check("gone", "lost: ClaimLost Bound claim has lost its PersistentVolume. Data on the volume is lost!");
    check("", "lost: ClaimLost Bound claim has lost reference to PersistentVolume. Data on the volume is lost!");
    check("theirs", "lost: ClaimMisbound Two claims are bound to the same volume, this one is bound incorrectly");
}

#[test]
fn volumes_follow_their_claims() {
    let to_c = json!({"namespace": "n", "name": "c", "uid": "c"});
    let bound_to = |name: &str| Some(claim("c", with(gib(1), json!({"volumeName": name}))));
    let check = |fields: Value, claim: Option<PersistentVolumeClaim>, expected: volume_plan::Step| {
        assert_eq!(volume_plan::plan(&volume("v", 1, fields.clone()), claim.as_ref()), expected, "{fields}");
    };
    check(json!({}), None, volume_plan::Step::Phase("Available"));
    check(json!({"claimRef": {"namespace": "n", "name": "c"}}), None, volume_plan::Step::Phase("Available"));
    check(json!({"claimRef": to_c}), bound_to("v"), volume_plan::Step::Phase("Bound"));
    check(json!({"claimRef": to_c}), bound_to(""), volume_plan::Step::LookAtClaim);
    check(json!({"claimRef": to_c}), bound_to("w"), volume_plan::Step::Unbind(false));
    let ours = json!({"claimRef": to_c, "annotations": {super::BOUND_BY_CONTROLLER: "yes"}});
    check(ours, bound_to("w"), volume_plan::Step::Unbind(true));
    let released =
        |policy: &str, fields: Value| with(json!({"claimRef": to_c, "persistentVolumeReclaimPolicy": policy}), fields);
    let release = volume_plan::Step::Release;
    check(released("Retain", json!({})), None, release(Reclaim::Keep));
    check(released("Delete", json!({"csi": {}})), None, release(Reclaim::Keep));
    check(
        released("Delete", json!({"hostPath": {"path": "/tmp/x"}})),
        None,
        release(Reclaim::DeleteHostPath("/tmp/x".into())),
    );
    let refused = "host_path deleter only supports /tmp/.+ but received provided /srv/x";
    check(
        released("Delete", json!({"hostPath": {"path": "/srv/x"}})),
        None,
        release(Reclaim::Fail("VolumeFailedDelete", refused.into())),
    );
    let of_driver = json!({"annotations": {super::PROVISIONED_BY: "d.example.com"}});
    check(released("Delete", of_driver.clone()), None, release(Reclaim::Keep));
    check(released("Delete", of_driver), bound_to("w"), release(Reclaim::Keep));
}

#[test]
fn a_binding_is_four_writes_and_then_none() {
    let free = volume("v", 5, json!({}));
    let wants = claim("c", gib(1));
    let reference = apply::reference_change(&free, &wants).expect("a change");
    assert_eq!(reference["spec"]["claimRef"]["uid"], "c");
    assert_eq!(reference["metadata"]["annotations"][super::BOUND_BY_CONTROLLER], "yes");
    let binding = apply::binding_change(&wants, &free).expect("a change");
    assert_eq!(binding["spec"]["volumeName"], "v");
    let status = apply::bound_status(&wants, &free).expect("a change");
    assert_eq!(status, json!({"phase": "Bound", "accessModes": ["ReadWriteOnce"], "capacity": {"storage": "5Gi"}}));

    let to_c = json!({"namespace": "n", "name": "c", "uid": "c"});
    let bound = volume("v", 5, json!({"claimRef": to_c}));
    assert_eq!(apply::reference_change(&bound, &wants), None, "a user's reference is left as it is");
    let done = with(gib(1), json!({"volumeName": "v", "annotations": {super::BIND_COMPLETED: "yes"}}));
    let mut done = claim("c", done);
    assert_eq!(apply::binding_change(&done, &bound), None);
    done.status.phase = "Bound".into();
    done.status.access_modes = vec!["ReadWriteOnce".into()];
    assert_eq!(apply::bound_status(&done, &bound), None);
    // A volume that is kept for the claim by name gets its UID, and no mark: a user chose it.
    let kept = volume("v", 5, json!({"claimRef": {"namespace": "n", "name": "c"}}));
    let change = apply::reference_change(&kept, &wants).expect("a change");
    assert_eq!((change["spec"]["claimRef"]["uid"].clone(), change.get("metadata")), (json!("c"), None));
}
