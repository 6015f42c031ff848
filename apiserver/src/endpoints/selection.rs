//! Which objects a list, a watch or a deletecollection means: label and field selectors, and the place in the URL.

use std::sync::Arc;

use skiff_apimachinery::status::{self, Status};
use skiff_apimachinery::{fields, labels};

use super::Call;
use super::params::ListOptions;
use crate::cacher::{FieldRequirement, LabelMatch, Predicate};

/// What the request selects.
pub fn predicate(call: &Call<'_>, options: &ListOptions) -> Result<Predicate, Status> {
    let info = &call.cx.info;
    let selector = labels::Selector::parse(&options.label_selector).map_err(status::bad_request)?;
    let labels: Option<LabelMatch> = if selector.is_everything() {
        None
    } else {
        Some(Arc::new(move |labels| selector.matches_with(|key| labels.get(key))))
    };
    let mut requirements = Vec::new();
    for term in fields::Selector::parse(&options.field_selector).map_err(status::bad_request)?.requirements() {
        let field = stored_label(call, &term.field)?;
        requirements.push(FieldRequirement { field, equal: term.equal, value: term.value.clone() });
    }
    Ok(Predicate {
        namespace: if call.resource.info.namespaced { info.namespace.clone() } else { String::new() },
        // Only the older watch paths name an object.
        name: if info.name_from_selector { String::new() } else { info.name.clone() },
        labels,
        fields: requirements,
    })
}

/// The requirements of a field selector as the authorizer sees them; unreadable selectors have none.
pub fn authorization_requirements(selector: &str) -> Vec<(String, String, String)> {
    if selector.is_empty() {
        return Vec::new();
    }
    let Ok(selector) = fields::Selector::parse(selector) else {
        return Vec::new();
    };
    let operator = |equal: bool| if equal { "=" } else { "!=" }.to_owned();
    selector.requirements().iter().map(|r| (r.field.clone(), operator(r.equal), r.value.clone())).collect()
}

/// The stored form's name of a field that a selector names, or why there is none. The words are those of the
/// kind's field label conversion upstream (`pkg/apis/*/*/conversion.go`, and for kinds that have none of their own
/// `runtime.DefaultMetaV1FieldSelectorConversion`).
fn stored_label(call: &Call<'_>, label: &str) -> Result<String, Status> {
    let info = &call.resource.info;
    if let Some(custom) = &call.resource.custom {
        let everywhere = label == "metadata.name" || (label == "metadata.namespace" && info.namespaced);
        if everywhere || custom.selectable.iter().any(|field| field == label) {
            return Ok(label.to_owned());
        }
        return Err(status::bad_request(format!("field label not supported: {label}")));
    }
    let own = !call.store()?.cache.config().fields.is_empty();
    let stored = match call.resource.conversion {
        Some(conversion) => conversion.field_label(label).map(|stored| stored.into_owned()),
        None => Some(label.to_owned()),
    };
    let known = |stored: &String| match stored.as_str() {
        "metadata.name" => true,
        "metadata.namespace" => info.namespaced || !own,
        other => call.store().is_ok_and(|store| store.cache.config().fields.has(other)),
    };
    stored.filter(known).ok_or_else(|| {
        status::bad_request(match (own, info.kind.as_str()) {
            (false, _) => {
                format!("{label:?} is not a known field selector: only \"metadata.name\", \"metadata.namespace\"")
            }
            (true, "Job") => format!("field label {label:?} not supported for Job"),
            (true, kind @ "ResourceSlice") => {
                format!("field label not supported for {}, Kind={kind}: {label}", info.api_version())
            }
            (true, _) => format!("field label not supported: {label}"),
        })
    })
}
