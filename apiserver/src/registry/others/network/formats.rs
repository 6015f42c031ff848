//! IP addresses and address ranges as Go reads them, and what is asked of them.
//!
//! Follows `k8s.io/apimachinery/pkg/util/validation/ip.go` and `k8s.io/utils/net`. Go's older parser takes zeros before a
//! number of IPv4, which others read as octal; what it takes and newer rules do not has a message of its own.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;
use skiff_apimachinery::field::ErrorList;

use crate::registry::at::At;

const NO_ADDRESS: &str = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
const NO_RANGE: &str = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)";

/// An address, with or without zeros before its numbers.
pub fn parse_address(text: &str) -> Option<IpAddr> {
    text.parse().ok().or_else(|| parse_padded(text).map(IpAddr::V4))
}

/// A range as it is written, with or without zeros before its numbers.
pub fn parse_range(text: &str) -> Option<IpNet> {
    let (address, bits) = text.split_once('/')?;
    let digits = !bits.is_empty() && bits.bytes().all(|c| c.is_ascii_digit());
    IpNet::new(parse_address(address)?, digits.then(|| bits.parse().ok())??).ok()
}

fn parse_padded(text: &str) -> Option<Ipv4Addr> {
    let mut bytes = [0; 4];
    let mut parts = text.split('.');
    for byte in &mut bytes {
        let part = parts.next().filter(|part| part.bytes().all(|c| c.is_ascii_digit()))?;
        *byte = part.parse().ok()?;
    }
    parts.next().is_none().then_some(bytes.into())
}

/// An IPv4 address written as one of IPv6.
fn is_mapped(ip: IpAddr) -> bool {
    matches!(ip, IpAddr::V6(ip) if ip.to_ipv4_mapped().is_some())
}

/// What is wrong with an address, its form aside; with the address.
fn address_problem(text: &str) -> Result<IpAddr, &'static str> {
    let ip = parse_address(text).ok_or(NO_ADDRESS)?;
    if text.parse::<IpAddr>().is_err() {
        return Err("must not have leading 0s");
    }
    if is_mapped(ip) {
        return Err("must not be an IPv4-mapped IPv6 address");
    }
    Ok(ip)
}

/// What is wrong with an address that must be in its one form.
pub fn address_messages(text: &str) -> Vec<String> {
    match address_problem(text) {
        Err(problem) => vec![problem.to_owned()],
        Ok(ip) if ip.to_string() != text => vec![format!("must be in canonical form ({:?})", ip.to_string())],
        Ok(_) => Vec::new(),
    }
}

/// Checks an address, unless it is one of those that were there before.
pub fn legacy_address(at: &At<'_>, before: &[&str], errors: &mut ErrorList) {
    if !before.contains(&at.text())
        && let Err(problem) = address_problem(at.text())
    {
        at.invalid(errors, problem);
    }
}

/// Whether a range has zeros before a number of its address or before its length.
fn has_padding(range: &str) -> bool {
    range
        .split_once('/')
        .is_some_and(|(address, bits)| address.parse::<IpAddr>().is_err() || bits.len() > 1 && bits.starts_with('0'))
}

fn range_problem(text: &str) -> Result<IpNet, &'static str> {
    let range = parse_range(text).ok_or(NO_RANGE)?;
    if has_padding(text) {
        return Err("must not have leading 0s in IP or prefix length");
    }
    if is_mapped(range.addr()) {
        return Err("must not have an IPv4-mapped IPv6 address");
    }
    if range.addr() != range.network() {
        return Err("must not have bits set beyond the prefix length");
    }
    Ok(range)
}

/// Checks a range, unless it is one of those that were there before.
pub fn legacy_range(at: &At<'_>, before: &[&str], errors: &mut ErrorList) {
    if !before.contains(&at.text())
        && let Err(problem) = range_problem(at.text())
    {
        at.invalid(errors, problem);
    }
}

/// Checks a range that must be in its one form.
pub fn range(at: &At<'_>, errors: &mut ErrorList) {
    match range_problem(at.text()) {
        Err(problem) => at.invalid(errors, problem),
        Ok(range) if range.to_string() != at.text() => {
            at.invalid(errors, format!("must be in canonical form ({:?})", range.to_string()));
        }
        Ok(_) => {}
    }
}

/// What to tell about an address that is taken but not in its one form.
pub fn address_warning(at: &At<'_>) -> Option<String> {
    let (text, path) = (at.text(), at.path());
    let ip = parse_address(text)?;
    if text.parse::<IpAddr>().is_err() || is_mapped(ip) {
        let plain = match ip {
            IpAddr::V6(six) => six.to_ipv4_mapped().map_or(ip, IpAddr::V4),
            IpAddr::V4(_) => ip,
        };
        return Some(format!("{path}: non-standard IP address {text:?} is invalid: use {:?}", plain.to_string()));
    }
    let canonical = ip.to_string();
    (ip.is_ipv6() && canonical != text)
        .then(|| format!("{path}: IPv6 address {text:?} should be in RFC 5952 canonical format ({canonical:?})"))
}

/// What to tell about a range that is taken but not in its one form.
pub fn range_warnings(at: &At<'_>) -> Vec<String> {
    let (text, path) = (at.text(), at.path());
    let Some(range) = parse_range(text) else { return Vec::new() };
    let mut warnings = Vec::new();
    let proper = range.trunc();
    if range.addr() != range.network() {
        let single = IpNet::from(range.addr());
        warnings.push(format!(
            "{path}: CIDR value {text:?} is ambiguous in this context (should be {:?} or {:?}?)",
            proper.to_string(),
            single.to_string()
        ));
    }
    if has_padding(text) || is_mapped(range.addr()) {
        warnings.push(format!("{path}: non-standard CIDR value {text:?} is invalid: use {:?}", proper.to_string()));
    }
    if warnings.is_empty() && range.addr().is_ipv6() && range.to_string() != text {
        let canonical = range.to_string();
        warnings
            .push(format!("{path}: IPv6 CIDR value {text:?} should be in RFC 5952 canonical format ({canonical:?})"));
    }
    warnings
}

#[cfg(test)]
mod tests {
    use skiff_apimachinery::value::Value;

    use super::*;

    #[test]
    fn addresses() {
        for (text, message) in [
            ("10.1.2.3", None),
            ("fd00::1", None),
            ("x", Some(NO_ADDRESS)),
            ("1.2.3", Some(NO_ADDRESS)),
            ("010.1.2.3", Some("must not have leading 0s")),
            ("::ffff:1.2.3.4", Some("must not be an IPv4-mapped IPv6 address")),
            ("FD00::1", Some("must be in canonical form (\"fd00::1\")")),
        ] {
            assert_eq!(address_messages(text), message.map(str::to_owned).into_iter().collect::<Vec<_>>(), "{text}");
        }
    }

    #[test]
    fn ranges() {
        for (text, message) in [
            ("10.0.0.0/8", None),
            ("10.0.0.0", Some(NO_RANGE)),
            ("10.0.0.0/33", Some(NO_RANGE)),
            ("10.0.0.0/+8", Some(NO_RANGE)),
            ("10.0.0.0/08", Some("must not have leading 0s in IP or prefix length")),
            ("10.0.0.1/8", Some("must not have bits set beyond the prefix length")),
            ("FD00::/8", Some("must be in canonical form (\"fd00::/8\")")),
        ] {
            let value = Value::from(text);
            let mut errors = ErrorList::default();
            range(&At::root(&value), &mut errors);
            assert_eq!(errors.first().map(|error| error.detail.as_str()), message, "{text}");
        }
    }

    #[test]
    fn warnings() {
        let value = Value::from("10.1.2.3/8");
        let wanted = "<nil>: CIDR value \"10.1.2.3/8\" is ambiguous in this context (should be \"10.0.0.0/8\" or \"10.1.2.3/32\"?)";
        assert_eq!(range_warnings(&At::root(&value)), [wanted]);
    }
}
