//! Rows of the kinds about devices and who has them.

use jiff::Timestamp;
use skiff_apimachinery::value::Value;

use super::human::{NONE, age, since};
use super::{AGE, Column, NAME, Printer, count, name, number, text};

pub(super) static PRINTERS: &[Printer] = &[
    Printer::new("resource.k8s.io", "DeviceClass", &[NAME, AGE], |object, now| vec![name(object), age(object, now)]),
    Printer::new("resource.k8s.io", "ResourceClaim", &RESOURCE_CLAIM, |object, now| {
        vec![name(object), claim_state(object).into(), age(object, now)]
    }),
    Printer::new("resource.k8s.io", "ResourceClaimTemplate", &[NAME, AGE], |object, now| {
        vec![name(object), age(object, now)]
    }),
    Printer::new("resource.k8s.io", "ResourceSlice", &RESOURCE_SLICE, |object, now| {
        let spec = |path: &[&str]| Value::from(text(object, path));
        let (node, driver) = (spec(&["spec", "nodeName"]), spec(&["spec", "driver"]));
        vec![name(object), node, driver, spec(&["spec", "pool", "name"]), age(object, now)]
    }),
    Printer::new("resource.k8s.io", "DeviceTaintRule", &TAINT_RULE, |object, now| {
        let taint = |field: &str| Value::from(text(object, &["spec", "taint", field]));
        let added = object.at(&["spec", "taint", "timeAdded"]).map_or(String::new(), |time| since(Some(time), now));
        vec![name(object), taint("key"), taint("value"), taint("effect"), added.into(), age(object, now)]
    }),
    Printer::new("resource.k8s.io", "ResourcePoolStatusRequest", &POOL_STATUS_REQUEST, pool_status_request),
];

static RESOURCE_CLAIM: [Column; 3] = [NAME, Column::string("State", "Whether devices are allocated and in use."), AGE];

fn claim_state(object: &Value) -> String {
    let deleted = object.at(&["metadata", "deletionTimestamp"]).is_some();
    let allocated = object.at(&["status", "allocation"]).is_some();
    let states = [
        ("deleted", deleted),
        ("pending", !allocated && !deleted),
        ("allocated", allocated),
        ("reserved", allocated && count(object, &["status", "reservedFor"]) > 0),
    ];
    states.into_iter().filter(|(_, holds)| *holds).map(|(state, _)| state).collect::<Vec<_>>().join(",")
}

static RESOURCE_SLICE: [Column; 5] = [
    NAME,
    Column::string("Node", "Node of the devices."),
    Column::string("Driver", "Driver of the devices."),
    Column::string("Pool", "Pool that the devices belong to."),
    AGE,
];

static TAINT_RULE: [Column; 6] = [
    NAME,
    Column::string("Key", "Key of the taint."),
    Column::string("Value", "Value of the taint."),
    Column::string("Effect", "What the taint does to claims that do not tolerate it."),
    Column::string("TimeAdded", "Time since the taint has this effect."),
    AGE,
];

static POOL_STATUS_REQUEST: [Column; 10] = [
    NAME,
    Column::string("Driver", "Driver whose pools are asked about."),
    Column::string("Total", "Devices in all these pools."),
    Column::string("Available", "Devices that nobody has."),
    Column::string("Allocated", "Devices that claims have."),
    Column::string("Unavailable", "Devices that cannot be had."),
    Column::string("Errors", "Pools that are not valid."),
    Column::integer("Pools", "Pools that match."),
    Column::string("Status", "Whether the question is answered."),
    Column::string("Completed", "Time since the question was answered."),
];

fn pool_status_request(object: &Value, now: Timestamp) -> Vec<Value> {
    let pools = object.array_at(&["status", "pools"]);
    let pool_count = number(object, &["status", "poolCount"]);
    let mut holding = object.array_at(&["status", "conditions"]).iter().filter(|one| text(one, &["status"]) == "True");
    let outcome = holding.find(|one| matches!(text(one, &["type"]), "Complete" | "Failed"));
    let (mut status, completed) = match outcome.map(|found| (text(found, &["type"]), found)) {
        None => ("Pending".to_owned(), None),
        Some(("Complete", found)) => ("Complete".to_owned(), Some(found)),
        Some((other, _)) => (other.to_owned(), None),
    };
    if completed.is_some() && pool_count > count(object, &["status", "pools"]) {
        status = format!("Complete ({}/{pool_count} pools)", pools.len());
    }
    let answered = object.at(&["status"]).is_some() && status != "Failed";
    let figure = |of_pool: fn(&Value) -> i64| {
        Value::from(if answered { pools.iter().map(of_pool).sum::<i64>().to_string() } else { "-".to_owned() })
    };
    vec![
        name(object),
        text(object, &["spec", "driver"]).into(),
        figure(|pool| number(pool, &["totalDevices"])),
        figure(|pool| number(pool, &["availableDevices"])),
        figure(|pool| number(pool, &["allocatedDevices"])),
        figure(|pool| number(pool, &["unavailableDevices"])),
        figure(|pool| pool.get("validationError").is_some().into()),
        pool_count.into(),
        status.into(),
        completed.map_or(NONE.to_owned(), |found| since(found.get("lastTransitionTime"), now)).into(),
    ]
}
