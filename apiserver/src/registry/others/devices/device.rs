//! A device of a ResourceSlice.

use skiff_apimachinery::field::{Error, ErrorList};
use skiff_apimachinery::names;
use skiff_apimachinery::time;
use skiff_apimachinery::value::{Object, Value};

use super::{capacity, formats};
use crate::registry::at::At;
use crate::registry::core::validation::{formats as core_formats, scheduling};
use crate::registry::defaults::{absent, each};

const MAX_ATTRIBUTES_AND_CAPACITIES: usize = 32;
const MAX_ATTRIBUTE_VALUES: usize = 48;
/// Bytes of a text as an attribute.
const MAX_TEXT: usize = 64;
const MAX_TAINTS: usize = 16;
const MAX_CONSUMPTIONS: usize = 2;
const MAX_COUNTERS: usize = 32;
/// Members of an attribute that hold lists: of a feature that is off.
const LISTS: &[&str] = &["bools", "ints", "strings", "versions"];
const ONE_PLACE: &str = "exactly one of `nodeName`, `nodeSelector`, or `allNodes` is required when `perDeviceNodeSelection` is set to true in the ResourceSlice spec";
const NO_PLACE: &str = "`nodeName`, `nodeSelector` and `allNodes` can only be set if `perDeviceNodeSelection` is set to true in the ResourceSlice spec";

/// Says when taints came.
pub(super) fn set_defaults(spec: &mut Object) {
    each(spec, "devices", |device| {
        each(device, "taints", |taint| absent(taint, "timeAdded", time::format(jiff::Timestamp::now())));
    });
}

/// Takes away what belongs to features that are off, unless it was there before.
pub(super) fn drop_disabled(slice: &mut Value, old: Option<&Value>) {
    let before =
        |used: &dyn Fn(&Value) -> bool| old.is_some_and(|old| old.array_at(&["spec", "devices"]).iter().any(used));
    let had_mappings = before(&|device| device.get("nodeAllocatableResourceMappings").is_some());
    let had_lists = before(&|device| {
        let attributes = device.get("attributes").and_then(Value::as_object);
        attributes
            .into_iter()
            .flat_map(|all| all.iter())
            .any(|(_, one)| LISTS.iter().any(|list| one.get(list).is_some()))
    });
    each(slice.object_at_mut(&["spec"]), "devices", |device| {
        if !had_mappings {
            device.remove("nodeAllocatableResourceMappings");
        }
        let attributes = device.get_mut("attributes").and_then(Value::as_object_mut).filter(|_| !had_lists);
        for (_, attribute) in attributes.into_iter().flat_map(|attributes| attributes.iter_mut()) {
            if let Some(attribute) = attribute.as_object_mut() {
                attribute.retain(|member, _| !LISTS.contains(&member));
            }
        }
    });
}

/// Whether an attribute of the device is a list.
pub(super) fn has_lists(device: &At<'_>) -> bool {
    device.child("attributes").entries().any(|(_, one)| LISTS.iter().any(|list| one.child(list).is_set()))
}

/// Validates a device; `old` is the slice's spec as it was.
pub(super) fn validate(device: &At<'_>, old: Option<&At<'_>>, per_device: bool, errors: &mut ErrorList) {
    let name = device.child("name");
    core_formats::label(&name, errors);
    amounts(device, errors);
    let attributes = device.child("attributes");
    for (key, attribute) in attributes.entries() {
        formats::qualified(&attributes.path(), key, errors);
        self::attribute(&attribute, errors);
    }
    let capacities = device.child("capacity");
    let shared = device.child("allowMultipleAllocations").flag();
    for (key, one) in capacities.entries() {
        formats::qualified(&capacities.path(), key, errors);
        capacity::validate(&one, shared, errors);
    }
    let taints = device.child("taints");
    let before = old.and_then(|old| {
        let devices = old.value()?.array_at(&["devices"]);
        devices.iter().find(|before| before.str_at(&["name"]) == Some(name.text()))
    });
    if before.is_none_or(|before| before.get("taints") != taints.value()) {
        formats::each(&taints, MAX_TAINTS, errors, formats::taint);
    }
    let consumption = |one: &At<'_>, errors: &mut ErrorList| counters(one, "counterSet", errors);
    let consumptions = device.child("consumesCounters");
    formats::each_once(&consumptions, MAX_CONSUMPTIONS, errors, consumption, formats::member("counterSet"));
    place(device, per_device, errors);
    formats::bindings(device, errors);
}

fn amounts(device: &At<'_>, errors: &mut ErrorList) {
    let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
    let attributes = device.child("attributes");
    let total = attributes.entries().count() + device.child("capacity").entries().count();
    if total > MAX_ATTRIBUTES_AND_CAPACITIES {
        let message =
            format!("the total number of attributes and capacities must not exceed {MAX_ATTRIBUTES_AND_CAPACITIES}");
        errors.push(Error::invalid(&device.path(), number(total), message));
    }
    let values = |attribute: At<'_>| LISTS.iter().map(|list| attribute.child(list).len()).sum::<usize>().max(1);
    let total = attributes.entries().map(|(_, attribute)| values(attribute)).sum::<usize>();
    if total > MAX_ATTRIBUTE_VALUES {
        let message = format!("the total number of attribute values must not exceed {MAX_ATTRIBUTE_VALUES}");
        errors.push(Error::invalid(&device.path(), number(total), message));
    }
}

fn attribute(at: &At<'_>, errors: &mut ErrorList) {
    let (text, version) = (at.child("string"), at.child("version"));
    if text.text().len() > MAX_TEXT {
        text.too_long(errors, MAX_TEXT);
    }
    if version.is_set() {
        self::version(&version, errors);
    }
    let mut given = ["bool", "int", "string", "version"].iter().filter(|member| at.child(member).is_set()).count();
    for list in LISTS {
        let items = at.child(list);
        given += usize::from(items.is_set());
        for item in items.items() {
            match *list {
                "strings" if item.text().len() > MAX_TEXT => item.too_long(errors, MAX_TEXT),
                "versions" => self::version(&item, errors),
                _ => {}
            }
        }
    }
    match given {
        0 => errors.push(Error::invalid(&at.path(), "", "exactly one value must be specified")),
        1 => {}
        _ => {
            let shown = attribute_as_go(at);
            errors.push(Error::invalid(&at.path(), shown, "exactly one value must be specified"));
        }
    }
}

/// Go's members of an attribute are named otherwise than those of JSON.
fn attribute_as_go(at: &At<'_>) -> Value {
    let mut renamed = Value::Object(Object::new());
    for (theirs, ours) in [
        ("int", "intValue"),
        ("bool", "boolValue"),
        ("string", "stringValue"),
        ("version", "versionValue"),
        ("ints", "intValues"),
        ("bools", "boolValues"),
        ("strings", "stringValues"),
        ("versions", "versionValues"),
    ] {
        if let Some(value) = at.child(theirs).value() {
            renamed.set_at(&[ours], value.clone());
        }
    }
    crate::registry::internal::shown(Some(&renamed), "DeviceAttribute")
}

fn version(at: &At<'_>, errors: &mut ErrorList) {
    if !is_semantic_version(at.text()) {
        at.invalid(errors, "must be a string compatible with semver.org spec 2.0.0");
    }
    if at.text().len() > MAX_TEXT {
        at.too_long(errors, MAX_TEXT);
    }
}

fn is_semantic_version(text: &str) -> bool {
    let word = |part: &str| !part.is_empty() && part.bytes().all(|c| c == b'-' || c.is_ascii_alphanumeric());
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|c| c.is_ascii_digit());
    let number = |part: &str| digits(part) && (part == "0" || !part.starts_with('0'));
    let (rest, build) = text.split_once('+').map_or((text, None), |(rest, build)| (rest, Some(build)));
    let (core, before) = rest.split_once('-').map_or((rest, None), |(core, before)| (core, Some(before)));
    core.split('.').count() == 3
        && core.split('.').all(number)
        && before.is_none_or(|parts| parts.split('.').all(|part| word(part) && (!digits(part) || number(part))))
        && build.is_none_or(|parts| parts.split('.').all(word))
}

/// Validates named counters: a set of them, or what a device consumes of one.
pub(super) fn counters(set: &At<'_>, name: &'static str, errors: &mut ErrorList) {
    let (name, counters) = (set.child(name), set.child("counters"));
    if name.require(errors) {
        core_formats::label(&name, errors);
    }
    if !counters.require(errors) {
        return;
    }
    let count = counters.entries().count();
    if count > MAX_COUNTERS {
        return errors.push(Error::too_many(&counters.path(), count, MAX_COUNTERS));
    }
    for (key, _) in counters.entries() {
        for message in names::dns1123_label(key) {
            errors.push(Error::invalid(&counters.path(), key, message));
        }
    }
}

/// Validates where the device can be used, which it says only where its slice does not.
fn place(device: &At<'_>, per_device: bool, errors: &mut ErrorList) {
    let (node, selector, all) = (device.child("nodeName"), device.child("nodeSelector"), device.child("allNodes"));
    if !per_device {
        if [&node, &selector, &all].iter().any(|at| at.is_set()) {
            errors.push(Error::invalid(&device.path(), Value::Null, NO_PLACE));
        }
        return;
    }
    let mut set = Vec::new();
    if node.is_set() && node.is_empty() {
        node.invalid(errors, "must not be empty");
    } else if node.is_set() {
        set.push("`nodeName`");
        formats::node_name(&node, errors);
    }
    if selector.is_set() {
        set.push("`nodeSelector`");
        scheduling::node_selector(&selector, errors);
    }
    if all.flag() {
        set.push("`allNodes`");
    } else if all.is_set() {
        all.invalid(errors, "must be either unset or set to true");
    }
    match set.len() {
        0 => device.required(errors, ONE_PLACE),
        1 => {}
        _ => errors.push(Error::invalid(&device.path(), format!("{{{}}}", set.join(", ")), ONE_PLACE)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn semantic_versions() {
        for text in ["1.2.3", "0.0.0", "1.2.3-a.1", "1.2.3-0a", "1.2.3+b-c.01", "1.2.3-a+b"] {
            assert!(is_semantic_version(text), "{text}");
        }
        for text in ["", "1.2", "01.2.3", "1.2.3-", "1.2.3-01", "1.2.3+", "1.2.3-a..b", "v1.2.3"] {
            assert!(!is_semantic_version(text), "{text}");
        }
    }
}
