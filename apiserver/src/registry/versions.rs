//! The order of API versions: `v10`, `v2`, `v1`, `v2beta1`, `v1beta2`, `v1alpha1`, then all other names.
//!
//! Follows `k8s.io/apimachinery/pkg/version/helpers.go`.

use std::cmp::Ordering;

/// How versions rank; most preferred first.
pub fn compare(a: &str, b: &str) -> Ordering {
    match (parse(a), parse(b)) {
        (Some(a), Some(b)) => b.cmp(&a),
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (None, None) => a.cmp(b),
    }
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Stability {
    Alpha,
    Beta,
    Stable,
}

/// Stability, major, minor of a name such as `v1beta2`.
fn parse(name: &str) -> Option<(Stability, u64, u64)> {
    let rest = name.strip_prefix('v')?;
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    let major = number(&rest[..digits])?;
    let rest = &rest[digits..];
    if rest.is_empty() {
        return Some((Stability::Stable, major, 0));
    }
    let (stability, minor) = match (rest.strip_prefix("alpha"), rest.strip_prefix("beta")) {
        (Some(minor), _) => (Stability::Alpha, minor),
        (_, Some(minor)) => (Stability::Beta, minor),
        _ => return None,
    };
    Some((stability, major, number(minor)?))
}

/// A number without leading zeros.
fn number(text: &str) -> Option<u64> {
    let ok = !text.is_empty() && text.bytes().all(|c| c.is_ascii_digit()) && !text.starts_with('0');
    if ok { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stable_versions_lead_and_other_names_come_last() {
        let mut versions =
            ["foo1", "v1alpha1", "v1", "v11beta2", "v10", "v2", "bar", "v1beta1", "v3", "v11alpha2", "v01"];
        versions.sort_by(|a, b| compare(a, b));
        assert_eq!(
            versions,
            ["v10", "v3", "v2", "v1", "v11beta2", "v1beta1", "v11alpha2", "v1alpha1", "bar", "foo1", "v01"]
        );
    }
}
