//! Patches, applied to a pod with a bit of everything.

use std::sync::LazyLock;

use skiff_api::builtin;
use skiff_apimachinery::managedfields::{self, ManagerInfo};
use skiff_apimachinery::schema::SchemaRef;
use skiff_apimachinery::value::Value;
use skiff_apimachinery::{json, patch, yaml};

/// The object that patches change.
static POD: LazyLock<Value> = LazyLock::new(|| {
    let mut pod = yaml::parse(include_bytes!("pod.yaml")).expect("a pod");
    managedfields::on_create(&mut pod, schema(), &manager("somebody"));
    pod
});

fn schema() -> SchemaRef<'static> {
    builtin().schema_of("", "v1", "Pod").expect("it is built in")
}

fn manager(name: &str) -> ManagerInfo<'_> {
    ManagerInfo::new(name, "v1", "", "2026-01-02T03:04:05Z")
}

pub(crate) fn json_patch(input: &[u8]) {
    let _ = patch::json::apply(&mut POD.clone(), input);
}

pub(crate) fn merge_patch(input: &[u8]) {
    let Ok(value) = json::parse(input) else { return };
    if patch::merge::check(&value).is_ok() {
        let once = patch::merge::apply(POD.clone(), &value);
        assert_eq!(patch::merge::apply(once.clone(), &value), once, "the second time changes something");
    }
}

pub(crate) fn strategic_merge_patch(input: &[u8]) {
    if let Ok(value) = json::parse(input) {
        let _ = patch::strategic::apply(POD.clone(), &value, schema());
    }
}

pub(crate) fn apply(input: &[u8]) {
    let Ok(applied) = yaml::parse(input) else { return };
    let live = managedfields::apply(Some(&POD), applied.clone(), schema(), &manager("fuzzer"), true);
    // An element whose key is null cannot be found again; validation refuses such an object.
    if let Ok(live) = live
        && !owns_a_null_key(&live)
    {
        let again = managedfields::apply(Some(&live), applied, schema(), &manager("fuzzer"), false);
        assert_eq!(again.as_ref(), Ok(&live), "applying the same once more changes something");
    }
}

fn owns_a_null_key(object: &Value) -> bool {
    object.array_at(&["metadata", "managedFields"]).iter().any(|entry| {
        let mut fields = Vec::new();
        json::write(entry, &mut fields);
        fields.windows(5).any(|bytes| bytes == b":null")
    })
}

pub(crate) fn fields_v1(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let mut pod = POD.clone();
    let Ok(fields) = json::parse(text.as_bytes()) else { return };
    let mut entries = pod.array_at(&["metadata", "managedFields"]).to_vec();
    entries.iter_mut().for_each(|entry| entry.set_at(&["fieldsV1"], fields.clone()));
    pod.set_at(&["metadata", "managedFields"], Value::Array(entries));
    // Whoever writes next finds these entries in the object.
    let applied = json::parse(br#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"p","labels":{"a":"b"}}}"#);
    let _ = managedfields::apply(Some(&pod), applied.expect("an object"), schema(), &manager("next"), true);
}
