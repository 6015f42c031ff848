//! Tokens with which a new machine introduces itself: `ID.SECRET`, kept as a Secret in kube-system.
//!
//! Follows `plugin/pkg/auth/authenticator/token/bootstrap` and `k8s.io/cluster-bootstrap/token`.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use skiff_apimachinery::value::Value;

use super::UserInfo;
use crate::objects::Objects;

const NAMESPACE: &str = "kube-system";
const SECRET_TYPE: &str = "bootstrap.kubernetes.io/token";
const USER_PREFIX: &str = "system:bootstrap:";
const DEFAULT_GROUP: &str = "system:bootstrappers";
const ID_CHARS: usize = 6;
const SECRET_CHARS: usize = 16;
/// Most characters after `system:bootstrappers:` in a group.
const MAX_GROUP_SUFFIX: usize = 256;

/// The user of a bootstrap token that is valid now; `None` for anything else.
pub(super) fn authenticate(objects: &Objects, token: &str, now: Timestamp) -> Option<UserInfo> {
    let (id, secret) = parse(token)?;
    let object = objects.cached("", "secrets", NAMESPACE, &format!("bootstrap-token-{id}"))?;
    if object.at(&["metadata", "deletionTimestamp"]).is_some() || object.str_at(&["type"]) != Some(SECRET_TYPE) {
        return None;
    }
    verify_slices_are_equal(data(&object, "token-secret").as_bytes(), secret.as_bytes()).ok()?;
    if data(&object, "token-id") != id || data(&object, "usage-bootstrap-authentication") != "true" {
        return None;
    }
    let expiration = data(&object, "expiration");
    // What cannot be read has expired.
    if !expiration.is_empty() && !expiration.parse::<Timestamp>().is_ok_and(|end| now < end) {
        return None;
    }
    let groups = groups(&data(&object, "auth-extra-groups"))?;
    Some(UserInfo { name: format!("{USER_PREFIX}{id}"), groups, ..UserInfo::default() })
}

fn parse(token: &str) -> Option<(&str, &str)> {
    let (id, secret) = token.split_once('.')?;
    let plain = |text: &str| text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    (id.len() == ID_CHARS && secret.len() == SECRET_CHARS && plain(id) && plain(secret)).then_some((id, secret))
}

fn data(secret: &Value, key: &str) -> String {
    let encoded = secret.str_at(&["data", key]).unwrap_or("");
    STANDARD.decode(encoded).ok().and_then(|bytes| String::from_utf8(bytes).ok()).unwrap_or_default()
}

/// The groups, sorted; `None` when one of the extra groups is not allowed.
fn groups(extra: &str) -> Option<Vec<String>> {
    let mut groups = vec![DEFAULT_GROUP.to_owned()];
    for group in extra.split(',').filter(|_| !extra.is_empty()) {
        let suffix = group.strip_prefix("system:bootstrappers:")?;
        let letter = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        let fits = suffix.len() <= MAX_GROUP_SUFFIX
            && suffix.chars().all(|c| letter(c) || c == ':' || c == '-')
            && suffix.ends_with(letter);
        if !fits {
            return None;
        }
        groups.push(group.to_owned());
    }
    groups.sort_unstable();
    groups.dedup();
    Some(groups)
}
