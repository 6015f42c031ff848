//! Acting as somebody else, for those who may.
//!
//! [`Impersonation::identity`] reads the headers and asks each of the [`modes`], the narrow ones first: a service account
//! may be allowed to act as the node that it runs on and only to list pods, while the old mode allows everything that the
//! other may do. The mode that was the right one for a user the last time is asked before the others, and its refusal is
//! the one that the user reads. Follows `k8s.io/apiserver/pkg/endpoints/filters/impersonation` (KEP 5284).

mod modes;

use std::collections::BTreeMap;

use http::{HeaderMap, HeaderName};
use quick_cache::sync::Cache;
use skiff_apimachinery::status::{self, Status};

use self::modes::Mode;
use crate::authentication::UserInfo;
use crate::authorization::{Attributes, Authorizer};
use crate::query::percent_decode;

const USER: HeaderName = HeaderName::from_static("impersonate-user");
const UID: HeaderName = HeaderName::from_static("impersonate-uid");
const GROUP: HeaderName = HeaderName::from_static("impersonate-group");
/// What all of these headers begin with.
const PREFIX: &str = "impersonate-";
const EXTRA_PREFIX: &str = "impersonate-extra-";

/// Users whose last mode is remembered.
const REMEMBERED: usize = 10_000;

/// Somebody as whom somebody else acts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Impersonated {
    /// The identity.
    pub user: UserInfo,
    /// The verb of the right by which it was taken on; empty for the old one.
    pub constraint: String,
}

/// Who may act as whom, and how they did.
#[derive(Debug)]
pub struct Impersonation {
    last: Cache<String, Mode>,
}

impl Default for Impersonation {
    fn default() -> Self {
        Self { last: Cache::new(REMEMBERED) }
    }
}

impl Impersonation {
    /// The identity that the headers ask for, `None` when they ask for none. `attributes` are those of the request, by
    /// the one who really asks. The headers are taken away: nothing behind this sees that somebody was impersonated.
    pub fn identity(
        &self,
        headers: &mut HeaderMap,
        attributes: &Attributes,
        authorizer: &dyn Authorizer,
    ) -> Result<Option<Impersonated>, Status> {
        // Nearly nobody asks for that.
        if !headers.keys().any(|name| name.as_str().starts_with(PREFIX)) {
            return Ok(None);
        }
        let Some(wanted) = wanted(headers)? else { return Ok(None) };
        strip(headers);
        let last = self.last.get(&attributes.user.name);
        let others = Mode::ALL.into_iter().filter(|mode| Some(*mode) != last);
        let mut first_refusal = None;
        for mode in last.into_iter().chain(others) {
            match mode.check(&wanted, attributes, authorizer) {
                Ok(Some(user)) => {
                    if last != Some(mode) {
                        self.last.insert(attributes.user.name.clone(), mode);
                    }
                    let constraint = if mode == Mode::Legacy { String::new() } else { mode.verb() };
                    return Ok(Some(Impersonated { user, constraint }));
                }
                Ok(None) => {}
                Err(refusal) => drop(first_refusal.get_or_insert(refusal)),
            }
        }
        Err(first_refusal.unwrap_or_else(|| status::internal_error("all impersonation modes failed")))
    }
}

/// What the headers say, as they say it.
fn wanted(headers: &HeaderMap) -> Result<Option<UserInfo>, Status> {
    let text = |name: &HeaderName| headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or("").to_owned();
    let groups = headers.get_all(&GROUP).iter().filter_map(|v| v.to_str().ok()).map(str::to_owned);
    let wanted = UserInfo { name: text(&USER), uid: text(&UID), groups: groups.collect(), extra: extras(headers) };
    if !wanted.name.is_empty() {
        return Ok(Some(wanted));
    }
    if wanted.groups.is_empty() && wanted.extra.is_empty() && wanted.uid.is_empty() {
        return Ok(None);
    }
    Err(status::bad_request(format!("requested {} without impersonating a user name", in_go(&wanted))))
}

/// The identity as upstream's message shows it.
fn in_go(user: &UserInfo) -> String {
    let list = |texts: &[String]| match texts {
        [] => "[]string(nil)".to_owned(),
        texts => {
            format!("[]string{{{}}}", texts.iter().map(|text| format!("{text:?}")).collect::<Vec<_>>().join(", "))
        }
    };
    let extra = user.extra.iter().map(|(key, values)| format!("{key:?}:{}", list(values))).collect::<Vec<_>>();
    let extra = match extra.as_slice() {
        [] => "map[string][]string(nil)".to_owned(),
        pairs => format!("map[string][]string{{{}}}", pairs.join(", ")),
    };
    let (name, uid, groups) = (&user.name, &user.uid, list(&user.groups));
    format!("&user.DefaultInfo{{Name:{name:?}, UID:{uid:?}, Groups:{groups}, Extra:{extra}}}")
}

fn extras(headers: &HeaderMap) -> BTreeMap<String, Vec<String>> {
    let mut extra: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, value) in headers {
        let Some(key) = name.as_str().strip_prefix(EXTRA_PREFIX) else {
            continue;
        };
        let key = percent_decode(key).unwrap_or_else(|| key.to_owned());
        extra.entry(key).or_default().push(value.to_str().unwrap_or("").to_owned());
    }
    extra
}

fn strip(headers: &mut HeaderMap) {
    let extra = headers.keys().filter(|name| name.as_str().starts_with(EXTRA_PREFIX)).cloned().collect::<Vec<_>>();
    for name in extra.into_iter().chain([USER, UID, GROUP]) {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests;
