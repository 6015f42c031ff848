//! `status` of a ResourceClaim: what was allocated, for whom, and how it is.

use std::collections::HashSet;

use skiff_apimachinery::field::{Error, ErrorList};
use skiff_apimachinery::value::Value;

use super::claim::{MAX_CONFIGURATIONS, Requests};
use super::formats;
use crate::registry::at::At;
use crate::registry::core::validation::{conditions, formats as core_formats, ip, scheduling};

const MAX_CONSUMERS: usize = 256;
const MAX_RESULTS: usize = 32;
const MAX_CONDITIONS: usize = 8;
const MAX_ADDRESSES: usize = 16;
/// Bytes of the name and the address of an interface.
const MAX_INTERFACE: usize = 256;
const MAX_HARDWARE_ADDRESS: usize = 128;
const SOURCES: &[&str] = &["FromClaim", "FromClass"];

/// What tells one allocated device, or share of it, from another; as upstream shows it.
fn identity(device: &Value) -> Value {
    let text = |field: &str| device.str_at(&[field]).unwrap_or("");
    // The order is Go's.
    let (driver, pool, name, share) = (text("driver"), text("pool"), text("device"), text("shareID"));
    Value::Raw(format!(r#"{{"Driver":{driver:?},"Pool":{pool:?},"Device":{name:?},"ShareID":{share:?}}}"#).into())
}

fn shown(identity: &Value) -> String {
    match identity {
        Value::Raw(text) => text.to_string(),
        _ => String::new(),
    }
}

fn allocated(claim: &Value) -> HashSet<String> {
    let results = claim.array_at(&["status", "allocation", "devices", "results"]);
    results.iter().map(|result| shown(&identity(result))).collect()
}

/// What is said of devices goes with their allocation.
pub(super) fn forget_deallocated(new: &mut Value, old: &Value) {
    let mut gone = allocated(old);
    for device in allocated(new) {
        gone.remove(&device);
    }
    let status = new.object_at_mut(&["status"]);
    let Some(devices) = status.get_mut("devices").and_then(Value::as_array_mut) else { return };
    devices.retain(|device| !gone.contains(&shown(&identity(device))));
    if devices.is_empty() {
        status.remove("devices");
    }
}

/// Validates a changed status.
pub(super) fn validate(new: &Value, old: &Value, errors: &mut ErrorList) {
    let root = At::root(new);
    let status = root.child("status");
    let (reserved, allocation) = (status.child("reservedFor"), status.child("allocation"));
    let consumer = |consumer: &At<'_>, errors: &mut ErrorList| {
        for field in ["resource", "name", "uid"] {
            consumer.child(field).require(errors);
        }
    };
    formats::each_once(&reserved, MAX_CONSUMERS, errors, consumer, formats::member("uid"));
    let known = allocated(new);
    let device = |at: &At<'_>, errors: &mut ErrorList| device_status(at, &known, errors);
    formats::each_once(&status.child("devices"), usize::MAX, errors, device, |at| {
        identity(at.value().unwrap_or(&Value::Null))
    });
    if !reserved.is_empty() && !allocation.is_set() {
        reserved.forbidden(errors, "may not be specified when `allocated` is not set");
    } else if !reserved.is_empty() && new.at(&["metadata", "deletionTimestamp"]).is_some() {
        let before = old.array_at(&["status", "reservedFor"]);
        if new.array_at(&["status", "reservedFor"]).iter().any(|consumer| !before.contains(consumer)) {
            let message = "new entries may not be added while `deallocationRequested` or `deletionTimestamp` are set";
            reserved.forbidden(errors, message);
        }
    }
    if !allocation.is_set() {
        return;
    }
    let old = At::root(old);
    let (before, field) = (old.child("status"), "allocation");
    let before = before.child(field);
    if before.is_set() {
        allocation.immutable_as("*AllocationResult", errors, &before);
    } else {
        allocation_result(&allocation, &Requests::of(&root.child("spec")), errors);
    }
}

fn allocation_result(allocation: &At<'_>, requests: &Requests, errors: &mut ErrorList) {
    let devices = allocation.child("devices");
    formats::each(&devices.child("results"), MAX_RESULTS, errors, |result, errors| {
        requests.reference(&result.child("request").or_empty(), errors);
        formats::driver(&result.child("driver"), errors);
        formats::pool(&result.child("pool"), errors);
        core_formats::label(&result.child("device"), errors);
        formats::bindings(result, errors);
        let share = result.child("shareID");
        if share.is_set() {
            formats::uid(&share, errors);
        }
    });
    formats::each(&devices.child("config"), 2 * MAX_CONFIGURATIONS, errors, |configuration, errors| {
        configuration.child("source").one_of(errors, SOURCES);
        requests.references(&configuration.child("requests"), errors);
        formats::configuration(configuration, errors);
    });
    let selector = allocation.child("nodeSelector");
    if selector.is_set() {
        scheduling::node_selector(&selector, errors);
    }
}

fn device_status(device: &At<'_>, known: &HashSet<String>, errors: &mut ErrorList) {
    formats::driver(&device.child("driver"), errors);
    formats::pool(&device.child("pool"), errors);
    core_formats::label(&device.child("device"), errors);
    let share = device.child("shareID");
    if share.is_set() {
        formats::uid(&share, errors);
    }
    let identity = identity(device.value().unwrap_or(&Value::Null));
    if !known.contains(&shown(&identity)) {
        errors.push(Error::invalid(&device.path(), identity, "must be an allocated device in the claim"));
    }
    let list = device.child("conditions");
    if list.len() > MAX_CONDITIONS {
        list.too_many(errors, MAX_CONDITIONS);
    }
    conditions::validate(&list, errors);
    let data = device.child("data");
    if data.is_set() {
        formats::raw(&data, formats::MAX_PARAMETERS, errors);
    }
    let network = device.child("networkData");
    for (field, most) in [("interfaceName", MAX_INTERFACE), ("hardwareAddress", MAX_HARDWARE_ADDRESS)] {
        let text = network.child(field);
        if text.text().len() > most {
            text.too_long(errors, most);
        }
    }
    formats::each_once(&network.child("ips"), MAX_ADDRESSES, errors, ip::interface_address, formats::itself);
}
