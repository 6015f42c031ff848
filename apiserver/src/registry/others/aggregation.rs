//! APIService: who serves a group version.
//!
//! Follows `k8s.io/kube-aggregator/pkg/registry/apiservice` and `k8s.io/kube-aggregator/pkg/apis/apiregistration`.

use skiff_apimachinery::field::{Error, ErrorList, Path};
use skiff_apimachinery::value::Value;
use skiff_apimachinery::{meta, names, time};

use crate::aggregator::availability::Verdict;
use crate::registry::at::At;
use crate::registry::core::validation::formats;
use crate::registry::defaults::{absent, within};
use crate::registry::strategy::{NameRule, Strategy, WriteScope, path_segment};

const MAX_GROUP_PRIORITY: i64 = 20_000;
const MAX_VERSION_PRIORITY: i64 = 1000;
const STATUSES: &[&str] = &["True", "False", "Unknown"];

/// APIService: its name says which group version it is about; that of the core group ends in a dot.
pub struct ApiServiceStrategy;

impl Strategy for ApiServiceStrategy {
    fn set_defaults(&self, object: &mut Value) {
        within(object.object_at_mut(&["spec"]), "service", |service| absent(service, "port", 443));
    }

    /// What this server serves itself is available at once.
    fn prepare_for_create(&self, _scope: WriteScope<'_>, object: &mut Value) {
        if object.at(&["spec", "service"]).is_none_or(Value::is_null) {
            Verdict::local().set(object, &time::format(jiff::Timestamp::now()));
        }
    }

    fn validate(&self, object: &Value) -> ErrorList {
        let mut errors = ErrorList::default();
        let root = At::root(object);
        let spec = root.child("spec");
        let (group, version) = (spec.child("group"), spec.child("version"));
        let required = format!("{}.{}", version.text(), group.text());
        let name = meta::name(object);
        if name != required && names::path_segment(name).is_empty() {
            let detail = format!("must be `spec.version+\".\"+spec.group`: {required:?}");
            errors.push(Error::invalid(&Path::new("metadata").child("name"), name, detail));
        }
        if group.is_empty() && version.text() != "v1" {
            group.required(&mut errors, "only v1 may have an empty group and it better be legacy kube");
        }
        if !group.is_empty() {
            formats::subdomain(&group, &mut errors);
        }
        version.or_empty().messages(&mut errors, names::dns1035_label(version.text()));
        for (field, most) in [("groupPriorityMinimum", MAX_GROUP_PRIORITY), ("versionPriority", MAX_VERSION_PRIORITY)] {
            let priority = spec.child(field);
            if !(1..=most).contains(&priority.int().unwrap_or(0)) {
                priority.or_zero().invalid(&mut errors, format!("must be positive and less than {most}"));
            }
        }
        server(&spec, &mut errors);
        errors
    }

    fn validate_status_update(&self, new: &Value, _old: &Value) -> ErrorList {
        let mut errors = ErrorList::default();
        let root = At::root(new);
        for condition in root.child("status").child("conditions").items() {
            let status = condition.child("status");
            if !STATUSES.contains(&status.text()) {
                status.not_supported(&mut errors, STATUSES);
            }
        }
        errors
    }

    fn allow_unconditional_update(&self) -> bool {
        false
    }

    fn name_rule(&self) -> NameRule {
        path_segment
    }
}

/// Validates how the server is reached and known.
fn server(spec: &At<'_>, errors: &mut ErrorList) {
    let (service, bundle, unchecked) =
        (spec.child("service"), spec.child("caBundle"), spec.child("insecureSkipTLSVerify"));
    if !service.is_set() {
        if !bundle.is_empty() {
            // In base64, as it is here, three bytes are four letters, the last of which may stand for none.
            let padding = bundle.text().bytes().rev().take_while(|c| *c == b'=').count();
            let bytes = (bundle.text().len() / 4 * 3).saturating_sub(padding);
            let message = "local APIServices may not have a caBundle";
            errors.push(Error::invalid(&bundle.path(), format!("{bytes} bytes"), message));
        }
        if unchecked.flag() {
            unchecked.invalid(errors, "local APIServices may not have insecureSkipTLSVerify");
        }
        return;
    }
    for field in ["namespace", "name"] {
        service.child(field).require(errors);
    }
    let port = service.child("port");
    if port.int().is_none_or(|number| !(1..=65535).contains(&number)) {
        port.invalid(errors, "port is not valid: must be between 1 and 65535, inclusive");
    }
    if unchecked.flag() && !bundle.is_empty() {
        unchecked.invalid(errors, "may not be true if caBundle is present");
    }
}
