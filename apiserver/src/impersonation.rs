//! Acting as somebody else, for those who may.
//!
//! Follows `k8s.io/apiserver/pkg/endpoints/filters/impersonation.go`: every name, group, uid and extra value that is
//! taken on needs the verb `impersonate`.

use std::collections::BTreeMap;
use std::sync::Arc;

use http::HeaderMap;
use skiff_apimachinery::status::{self, Status};

use crate::authentication::UserInfo;
use crate::authorization::{Attributes, Authorizer, Decision};
use crate::handler_chain::forbidden;
use crate::query::percent_decode;

const SERVICE_ACCOUNT_PREFIX: &str = "system:serviceaccount:";

/// The identity that the headers ask for; `None` when they ask for none.
pub fn impersonated(
    headers: &HeaderMap,
    user: &Arc<UserInfo>,
    authorizer: &dyn Authorizer,
) -> Result<Option<UserInfo>, Status> {
    let text = |name: &str| headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or("").to_owned();
    let (name, uid) = (text("impersonate-user"), text("impersonate-uid"));
    let mut groups = headers
        .get_all("impersonate-group")
        .iter()
        .filter_map(|v| v.to_str().ok())
        .map(str::to_owned)
        .collect::<Vec<_>>();
    let extra = extras(headers);
    if name.is_empty() {
        if !groups.is_empty() || !extra.is_empty() || !uid.is_empty() {
            return Err(status::internal_error(
                "invalid impersonation request: requested impersonation without impersonating a user",
            ));
        }
        return Ok(None);
    }
    let ask = |group: &str, resource: &str, subresource: &str, namespace: &str, name: &str| {
        let attributes = Attributes {
            user: user.clone(),
            verb: "impersonate".into(),
            is_resource_request: true,
            api_group: group.into(),
            api_version: "v1".into(),
            resource: resource.into(),
            subresource: subresource.into(),
            namespace: namespace.into(),
            name: name.into(),
            ..Default::default()
        };
        match authorizer.authorize(&attributes) {
            Decision::Allow(_) => Ok(()),
            Decision::Deny(reason) | Decision::NoOpinion(reason) => Err(forbidden(&attributes, &reason)),
        }
    };
    match name.strip_prefix(SERVICE_ACCOUNT_PREFIX).and_then(|rest| rest.split_once(':')) {
        Some((namespace, account)) => {
            ask("", "serviceaccounts", "", namespace, account)?;
            if groups.is_empty() {
                groups = vec!["system:serviceaccounts".into(), format!("system:serviceaccounts:{namespace}")];
            } else {
                groups.iter().try_for_each(|group| ask("", "groups", "", "", group))?;
            }
        }
        None => {
            ask("", "users", "", "", &name)?;
            groups.iter().try_for_each(|group| ask("", "groups", "", "", group))?;
        }
    }
    const AUTHENTICATION: &str = "authentication.k8s.io";
    if !uid.is_empty() {
        ask(AUTHENTICATION, "uids", "", "", &uid)?;
    }
    for (key, values) in &extra {
        values.iter().try_for_each(|value| ask(AUTHENTICATION, "userextras", key, "", value))?;
    }
    let everybody = if name == "system:anonymous" { "system:unauthenticated" } else { "system:authenticated" };
    if !groups.iter().any(|g| g == "system:authenticated" || g == "system:unauthenticated") {
        groups.push(everybody.into());
    }
    Ok(Some(UserInfo { name, uid, groups, extra }))
}

fn extras(headers: &HeaderMap) -> BTreeMap<String, Vec<String>> {
    let mut extra: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, value) in headers {
        let Some(key) = name.as_str().strip_prefix("impersonate-extra-") else {
            continue;
        };
        let key = percent_decode(key).unwrap_or_else(|| key.to_owned());
        extra.entry(key).or_default().push(value.to_str().unwrap_or("").to_owned());
    }
    extra
}
