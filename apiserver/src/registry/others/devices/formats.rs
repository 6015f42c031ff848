//! Formats of single values, and lists of which no two items may be the same.

use std::collections::HashSet;

use skiff_apimachinery::field::{Error, ErrorList, Path};
use skiff_apimachinery::names;
use skiff_apimachinery::value::Value;

use crate::registry::at::At;
use crate::registry::core::validation::{formats, label_selector, volume_sources};

/// Bytes of the name of a pool, of an attribute and of what a driver is told.
const MAX_POOL: usize = 253;
const MAX_ID: usize = 32;
const MAX_DRIVER: usize = 63;
pub(super) const MAX_PARAMETERS: usize = 10 * 1024;
const MAX_BINDING_CONDITIONS: usize = 4;
const TAINT_EFFECTS: &[&str] = &["NoExecute", "NoSchedule", "None"];
const TOLERATION_OPERATORS: &[&str] = &["Equal", "Exists"];

/// Validates every item of a list that may have so many; says whether it has no more.
pub(super) fn each(
    list: &At<'_>,
    most: usize,
    errors: &mut ErrorList,
    mut item: impl FnMut(&At<'_>, &mut ErrorList),
) -> bool {
    if list.len() > most {
        list.too_many(errors, most);
        return false;
    }
    for one in list.items() {
        item(&one, errors);
    }
    true
}

/// The same for a list of which no two items may have the same key.
pub(super) fn each_once(
    list: &At<'_>,
    most: usize,
    errors: &mut ErrorList,
    item: impl FnMut(&At<'_>, &mut ErrorList),
    key: impl Fn(&At<'_>) -> Value,
) {
    if !each(list, most, errors, item) {
        return;
    }
    let mut seen = HashSet::new();
    for one in list.items() {
        let key = key(&one);
        let mut text = Vec::new();
        skiff_apimachinery::json::write(&key, &mut text);
        if !seen.insert(text) {
            errors.push(Error::duplicate(&one.path(), key));
        }
    }
}

/// The text of a member, as a key for [`each_once`].
pub(super) fn member(name: &'static str) -> impl Fn(&At<'_>) -> Value {
    move |at| Value::from(at.child(name).text())
}

/// The item itself, as a key for [`each_once`].
pub(super) fn itself(at: &At<'_>) -> Value {
    Value::from(at.text())
}

/// A driver's name, which must be there.
pub(super) fn driver(at: &At<'_>, errors: &mut ErrorList) {
    if at.require(errors) {
        volume_sources::driver_name(at, errors);
    }
}

/// A pool's name: subdomains with slashes between.
pub(super) fn pool(at: &At<'_>, errors: &mut ErrorList) {
    if !at.require(errors) {
        return;
    }
    if at.text().len() > MAX_POOL {
        at.too_long(errors, MAX_POOL);
    }
    for part in at.text().split('/') {
        for message in names::dns1123_subdomain(part) {
            errors.push(Error::invalid(&at.path(), part, message));
        }
    }
}

/// A name that a domain may stand before.
pub(super) fn qualified(path: &Path, name: &str, errors: &mut ErrorList) {
    let parts = name.split('/').collect::<Vec<_>>();
    let (domain, id) = match parts[..] {
        [id] => (None, id),
        [domain, id] => (Some(domain), id),
        _ => return,
    };
    match domain {
        Some("") => errors.push(Error::invalid(path, "", "the domain must not be empty")),
        Some(domain) => {
            if domain.len() > MAX_DRIVER {
                errors.push(Error::too_long(path, "", MAX_DRIVER));
            }
            for message in names::dns1123_subdomain(&domain.to_lowercase()) {
                errors.push(Error::invalid(path, domain, message));
            }
        }
        None => {}
    }
    if domain.is_some() && id.is_empty() {
        return errors.push(Error::invalid(path, "", "the name must not be empty"));
    }
    if id.len() > MAX_ID {
        errors.push(Error::too_long(path, "", MAX_ID));
    }
    for message in names::c_identifier(id) {
        errors.push(Error::invalid(path, id, message));
    }
}

/// A name that a domain stands before.
pub(super) fn fully_qualified(at: &At<'_>, errors: &mut ErrorList) {
    qualified(&at.path(), at.text(), errors);
    if !at.text().contains('/') {
        at.invalid(errors, "a fully qualified name must be a domain and a name separated by a slash");
    }
}

/// A uid in its one form.
pub(super) fn uid(at: &At<'_>, errors: &mut ErrorList) {
    let text = at.text();
    // With dashes, in braces, as a URN, or bare.
    let problem = match text.len() {
        36 => bare_uid(text),
        38 => text.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')).map_or(Some(BAD_FORMAT), bare_uid),
        45 => text
            .get(..9)
            .filter(|urn| urn.eq_ignore_ascii_case("urn:uuid:"))
            .map_or(Some("invalid urn prefix"), |_| bare_uid(&text[9..])),
        32 => (!text.bytes().all(|c| c.is_ascii_hexdigit())).then_some(BAD_FORMAT),
        length => return at.invalid(errors, format!("error validating uid: invalid UUID length: {length}")),
    };
    if let Some(problem) = problem {
        at.invalid(errors, format!("error validating uid: {problem}"));
    } else if text.len() != 36 || text.bytes().any(|c| c.is_ascii_uppercase()) {
        at.invalid(errors, "uid must be in RFC 4122 normalized form, `xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx` with lowercase hexadecimal characters");
    }
}

const BAD_FORMAT: &str = "invalid UUID format";

fn bare_uid(text: &str) -> Option<&'static str> {
    let fits = |(index, c): (usize, u8)| match index {
        8 | 13 | 18 | 23 => c == b'-',
        _ => c.is_ascii_hexdigit(),
    };
    (!text.bytes().enumerate().all(fits)).then_some(BAD_FORMAT)
}

/// An object of no known type, of so many bytes.
pub(super) fn raw(at: &At<'_>, most: usize, errors: &mut ErrorList) {
    let Some(value) = at.value() else { return at.required(errors, "") };
    let mut text = Vec::new();
    skiff_apimachinery::json::write(value, &mut text);
    if text.len() > most {
        at.too_long(errors, most);
    } else if value.as_object().is_none() {
        errors.push(Error::invalid(&at.path(), "<value omitted>", "must be a valid JSON object"));
    }
}

/// A taint of a device.
pub(super) fn taint(at: &At<'_>, errors: &mut ErrorList) {
    taint_unless(at, None, errors);
}

/// The same, where an effect that was there before need not be known.
pub(super) fn taint_unless(at: &At<'_>, before: Option<&str>, errors: &mut ErrorList) {
    let (value, effect) = (at.child("value"), at.child("effect"));
    label_selector::label_name(&at.child("key"), errors);
    value.messages(errors, names::label_value(value.text()));
    if before != Some(effect.text()) {
        effect.one_of(errors, TAINT_EFFECTS);
    }
}

/// What tolerates taints of devices.
pub(super) fn toleration(at: &At<'_>, errors: &mut ErrorList) {
    let (key, operator, value) = (at.child("key"), at.child("operator"), at.child("value"));
    if !key.is_empty() {
        label_selector::label_name(&key, errors);
    }
    match operator.text() {
        "Exists" if !value.is_empty() => value.invalid(errors, "must be empty for operator `Exists`"),
        "Exists" => {}
        "Equal" => value.messages(errors, names::label_value(value.text())),
        _ => operator.one_of(errors, TOLERATION_OPERATORS),
    }
    at.child("effect").if_set_one_of(errors, TAINT_EFFECTS);
}

/// Conditions that a device waits for before a pod is bound, and those that end the waiting.
pub(super) fn bindings(at: &At<'_>, errors: &mut ErrorList) {
    let (good, bad) = (at.child("bindingConditions"), at.child("bindingFailureConditions"));
    for list in [&good, &bad] {
        each(list, MAX_BINDING_CONDITIONS, errors, label_selector::label_name);
    }
    let mut seen = HashSet::new();
    for condition in good.items() {
        if !seen.insert(condition.text().to_owned()) {
            condition.duplicate(errors);
        }
    }
    let mut failures = HashSet::new();
    for condition in bad.items() {
        if !failures.insert(condition.text().to_owned()) {
            condition.duplicate(errors);
        }
        if seen.contains(condition.text()) {
            condition.invalid(errors, "bindingFailureConditions must not overlap with bindingConditions");
        }
    }
    if good.is_empty() && !bad.is_empty() {
        good.or_null().invalid(errors, "bindingConditions are required to use bindingFailureConditions");
    }
    if bad.is_empty() && !good.is_empty() {
        bad.or_null().invalid(errors, "bindingFailureConditions are required to use bindingConditions");
    }
}

/// What a driver is told.
pub(super) fn configuration(at: &At<'_>, errors: &mut ErrorList) {
    let opaque = at.child("opaque");
    if !opaque.is_set() {
        return opaque.required(errors, "");
    }
    driver(&opaque.child("driver"), errors);
    raw(&opaque.child("parameters"), MAX_PARAMETERS, errors);
}

/// A name of a node.
pub(super) fn node_name(at: &At<'_>, errors: &mut ErrorList) {
    formats::subdomain(at, errors);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uids() {
        for (text, wanted) in [
            ("6d2b1f2c-1b1c-4c8e-9f0a-2b1c3d4e5f60", ""),
            ("x", "error validating uid: invalid UUID length: 1"),
            ("6d2b1f2c-1b1c-4c8e-9f0a-2b1c3d4e5f6x", "error validating uid: invalid UUID format"),
            (
                "6D2b1f2c-1b1c-4c8e-9f0a-2b1c3d4e5f60",
                "uid must be in RFC 4122 normalized form, `xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx` with lowercase hexadecimal characters",
            ),
        ] {
            let value = Value::from(text);
            let mut errors = ErrorList::default();
            uid(&At::root(&value), &mut errors);
            assert_eq!(errors.first().map_or("", |error| error.detail.as_str()), wanted, "{text}");
        }
    }

    #[test]
    fn names_with_domains() {
        for (name, count) in [("a", 0), ("d.e/a", 0), ("/a", 1), ("d/", 1), ("D_/1-", 2), ("a/b/c", 0)] {
            let mut errors = ErrorList::default();
            qualified(&Path::new("a"), name, &mut errors);
            assert_eq!(errors.len(), count, "{name}");
        }
    }
}
