//! APIService: who serves a group version.
//!
//! Follows `k8s.io/kube-aggregator/pkg/apis/apiregistration/validation`.

use skiff_apimachinery::field::{Error, ErrorList, Path};
use skiff_apimachinery::value::Value;
use skiff_apimachinery::{meta, time};

use crate::aggregator::availability::Verdict;
use crate::registry::strategy::{NameRule, Strategy, WriteScope, path_segment};

/// APIService: its name says which group version it is about; that of the core group ends in a dot.
pub struct ApiServiceStrategy;

impl Strategy for ApiServiceStrategy {
    /// What this server serves itself is available at once.
    fn prepare_for_create(&self, _scope: WriteScope<'_>, object: &mut Value) {
        if object.at(&["spec", "service"]).is_none_or(Value::is_null) {
            Verdict::local().set(object, &time::format(jiff::Timestamp::now()));
        }
    }

    fn validate(&self, object: &Value) -> ErrorList {
        let mut errors = ErrorList::default();
        let part = |field: &str| object.str_at(&["spec", field]).unwrap_or_default();
        let required = format!("{}.{}", part("version"), part("group"));
        if meta::name(object) != required {
            let detail = format!("must be `spec.version+\".\"+spec.group`: {required:?}");
            errors.push(Error::invalid(&Path::new("metadata").child("name"), meta::name(object), detail));
        }
        errors
    }

    fn name_rule(&self) -> NameRule {
        path_segment
    }
}
