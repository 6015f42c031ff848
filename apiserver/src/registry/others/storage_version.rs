//! internal.apiserver.k8s.io: StorageVersion, in which servers say how they store a resource.
//!
//! Follows `pkg/registry/apiserverinternal/storageversion` and `pkg/apis/apiserverinternal/validation`.

use std::collections::{HashMap, HashSet};

use skiff_apimachinery::field::{Error, ErrorList};
use skiff_apimachinery::names;
use skiff_apimachinery::value::Value;

use crate::registry::at::At;
use crate::registry::core::validation::{formats, label_selector};
use crate::registry::strategy::{NameRule, Strategy, WriteScope};

const NOTHING_COMMON: &str = "should be nil if servers do not agree on the same encoding version, or if there is no server reporting the supported versions yet";
const TOO_MANY_SLASHES: &str = "an apiVersion is a DNS-1035 label, which must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?') with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyVersion')";

/// StorageVersion.
pub struct StorageVersionStrategy;

impl Strategy for StorageVersionStrategy {
    fn validate_update(&self, _scope: WriteScope<'_>, _new: &Value, _old: &Value) -> ErrorList {
        ErrorList::default()
    }

    fn validate_status_update(&self, new: &Value, _old: &Value) -> ErrorList {
        let mut errors = ErrorList::default();
        let root = At::root(new);
        let status = root.child("status");
        let servers = status.child("storageVersions");
        let mut seen = HashSet::new();
        for server in servers.items() {
            let id = server.child("apiServerID");
            if !seen.insert(id.text().to_owned()) {
                id.duplicate(&mut errors);
            }
            self::server(&server, &mut errors);
        }
        common_version(&status, &mut errors);
        conditions(&status, &mut errors);
        errors
    }

    fn name_rule(&self) -> NameRule {
        |name, _prefix| {
            let Some((group, resource)) = name.rsplit_once('.') else {
                return vec!["name must be in the form of <group>.<resource>".to_owned()];
            };
            let group = names::dns1123_subdomain(group).into_iter().map(|fault| format!("the group segment {fault}"));
            let resource = names::dns1035_label(resource).into_iter();
            group.chain(resource.map(|fault| format!("the resource segment {fault}"))).collect()
        }
    }

    fn allow_unconditional_update(&self) -> bool {
        false
    }
}

/// Validates what one server says.
fn server(server: &At<'_>, errors: &mut ErrorList) {
    let (encoding, decodable) = (server.child("encodingVersion"), server.child("decodableVersions"));
    formats::subdomain(&server.child("apiServerID"), errors);
    api_version(&encoding, errors);
    for version in decodable.items() {
        api_version(&version, errors);
    }
    let known = decodable.texts();
    if !known.contains(&encoding.text()) {
        let message = format!("decodableVersions must include encodingVersion {}", encoding.text());
        decodable.or_null().invalid(errors, message);
    }
    for version in server.child("servedVersions").items() {
        api_version(&version, errors);
        if !known.contains(&version.text()) {
            let message = format!(
                "individual served version : {} must be included in decodableVersions : [{}]",
                version.text(),
                known.join(" ")
            );
            version.invalid(errors, message);
        }
    }
}

/// Validates a version with its group, if it has one.
fn api_version(at: &At<'_>, errors: &mut ErrorList) {
    let faults = api_version_faults(at.text());
    if !faults.is_empty() {
        at.invalid(errors, faults.join(","));
    }
}

fn api_version_faults(text: &str) -> Vec<String> {
    let part = |name: &str, text: &str, rule: fn(&str) -> Vec<String>| {
        let faults = if text.is_empty() { vec!["must be non-empty".to_owned()] } else { rule(text) };
        faults.into_iter().map(|fault| format!("{name} part: {fault}")).collect::<Vec<_>>()
    };
    match text.split('/').collect::<Vec<_>>()[..] {
        [version] => part("version", version, names::dns1035_label),
        [group, version] => {
            let mut faults = part("group", group, names::dns1123_subdomain);
            faults.extend(part("version", version, names::dns1035_label));
            faults
        }
        _ => vec![TOO_MANY_SLASHES.to_owned()],
    }
}

/// Checks that the version which all servers write, and only such a one, is said to be common.
fn common_version(status: &At<'_>, errors: &mut ErrorList) {
    let (servers, said) = (status.child("storageVersions"), status.child("commonEncodingVersion"));
    let mut written = servers.items().map(|server| server.child("encodingVersion").text().to_owned());
    let first = written.next();
    let common = first.filter(|first| written.all(|other| other == *first));
    match common {
        None if said.is_set() => said.invalid(errors, NOTHING_COMMON),
        Some(common) if !said.is_set() => {
            said.or_null().invalid(errors, format!("the common encoding version is {common}"));
        }
        Some(common) if said.text() != common => {
            said.invalid(errors, format!("the actual common encoding version is {common}"));
        }
        _ => {}
    }
}

/// Validates conditions, which upstream reports as if the status were their list.
fn conditions(status: &At<'_>, errors: &mut ErrorList) {
    let list = status.child("conditions").at_parent();
    let mut seen = HashMap::new();
    for (index, condition) in list.items().enumerate() {
        let kind = condition.child("type");
        if let Some(first) = seen.insert(kind.text().to_owned(), index) {
            let message = format!("the type of the condition is not unique, it also appears in conditions[{first}]");
            errors.push(Error::invalid(&kind.path(), kind.text(), message));
        }
        label_selector::label_name(&kind, errors);
        label_selector::label_name(&condition.child("status"), errors);
        condition.child("reason").require(errors);
        condition.child("message").require(errors);
    }
}

#[cfg(test)]
mod tests {
    use skiff_apimachinery::value;

    use super::*;

    #[test]
    fn names_are_groups_and_resources() {
        let rule = StorageVersionStrategy.name_rule();
        for (name, faults) in [("apps.deployments", 0), ("a.b.c", 0), ("pods", 1), ("A.Pods", 2), ("a.1", 1), (".a", 1)]
        {
            assert_eq!(rule(name, false).len(), faults, "{name}");
        }
    }

    #[test]
    fn what_is_common_is_said_and_nothing_else() {
        let faults = |said: Value, written: &[&str]| {
            let server = |(index, version): (usize, &&str)| {
                let id = format!("s{index}");
                value!({"apiServerID": (id), "encodingVersion": (*version), "decodableVersions": [(*version)]})
            };
            let servers = written.iter().enumerate().map(server);
            let mut object = value!({"status": {"commonEncodingVersion": (said)}});
            object.set_at(&["status", "storageVersions"], Value::Array(servers.collect()));
            StorageVersionStrategy.validate_status_update(&object, &object).len()
        };
        assert_eq!(faults(Value::Null, &[]), 0);
        assert_eq!(faults(Value::from("v1"), &["v1", "v1"]), 0);
        assert_eq!(faults(Value::Null, &["v1", "apps/v2"]), 0);
        assert_eq!(faults(Value::Null, &["v1"]), 1);
        assert_eq!(faults(Value::from("v1"), &[]), 1);
        assert_eq!(faults(Value::from("v1"), &["v1", "v2"]), 1);
        assert_eq!(faults(Value::from("v1"), &["v2"]), 1);
    }
}
