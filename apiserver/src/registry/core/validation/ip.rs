//! IP addresses and CIDRs in fields.
//!
//! Follows `k8s.io/apimachinery/pkg/util/validation/ip.go`. Fields older than the strict rules accept addresses that are
//! not in canonical form, and whatever they had before; clients are warned of the former.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use skiff_apimachinery::field::{Error, ErrorList, Path};

use crate::registry::at::At;

const NOT_IP: &str = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
const NOT_CIDR: &str = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)";

/// Reads an address as upstream always did: IPv4 numbers may begin with zeros.
pub fn sloppy(text: &str) -> Option<IpAddr> {
    if let Ok(ip) = text.parse() {
        return Some(ip);
    }
    if let Some((head, tail)) = text.rsplit_once(':') {
        let tail = sloppy_v4(tail)?;
        return format!("{head}:{tail}").parse::<Ipv6Addr>().ok().map(IpAddr::V6);
    }
    sloppy_v4(text).map(IpAddr::V4)
}

fn sloppy_v4(text: &str) -> Option<Ipv4Addr> {
    let numbers = text.split('.').map(decimal).collect::<Option<Vec<u8>>>()?;
    <[u8; 4]>::try_from(numbers).ok().map(Ipv4Addr::from)
}

/// A number with any zeros before it.
fn decimal(text: &str) -> Option<u8> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let significant = text.trim_start_matches('0');
    if !digits {
        None
    } else if significant.is_empty() {
        Some(0)
    } else {
        significant.parse().ok()
    }
}

/// An address with what Go makes of an IPv4 address written as one of IPv6.
fn as_go(ip: IpAddr) -> IpAddr {
    ip.to_canonical()
}

fn is_mapped(ip: IpAddr) -> bool {
    matches!(ip, IpAddr::V6(six) if six.to_ipv4_mapped().is_some())
}

/// What is wrong with an address under the strict rules, canonical form aside.
fn faults(text: &str) -> Result<IpAddr, &'static str> {
    let ip = sloppy(text).ok_or(NOT_IP)?;
    if text.parse::<IpAddr>().is_err() {
        Err("must not have leading 0s")
    } else if is_mapped(ip) {
        Err("must not be an IPv4-mapped IPv6 address")
    } else {
        Ok(ip)
    }
}

/// Checks an address in an older field; those in `before` are accepted as they are. Says whether it is valid.
pub fn legacy(at: &At<'_>, before: &[&str], errors: &mut ErrorList) -> bool {
    if before.contains(&at.text()) {
        return true;
    }
    let fault = faults(at.text()).err();
    if let Some(fault) = fault {
        errors.push(Error::invalid(&at.path(), at.text(), fault));
    }
    fault.is_none()
}

/// Checks an address of an element that has it as a field, and that is where it is reported.
pub fn legacy_of_element(element: &At<'_>, before: &[&str], errors: &mut ErrorList) {
    let text = element.child("ip").text();
    if let Some(fault) = faults(text).err().filter(|_| !before.contains(&text)) {
        errors.push(Error::invalid(&element.path(), text, fault));
    }
}

/// Checks an address in a newer field: it must be in canonical form. Says whether it is valid.
pub fn strict(at: &At<'_>, errors: &mut ErrorList) -> bool {
    let fault = strict_fault(at.text());
    errors.extend(fault.as_deref().map(|fault| Error::invalid(&at.path(), at.text(), fault)));
    fault.is_none()
}

/// What is wrong with an address that must be in canonical form.
pub fn strict_fault(text: &str) -> Option<String> {
    match faults(text) {
        Err(fault) => Some(fault.to_owned()),
        Ok(ip) if ip.to_string() != text => Some(format!("must be in canonical form (\"{ip}\")")),
        Ok(_) => None,
    }
}

/// Reads address and prefix length, either with any zeros before numbers: the address, and the network that it is in.
pub fn sloppy_cidr(text: &str) -> Option<(IpAddr, IpNet)> {
    let (ip, length) = text.split_once('/')?;
    let written_as_six = ip.contains(':');
    let (ip, mut length) = (sloppy(ip)?, decimal(length)?);
    if length > if written_as_six { 128 } else { 32 } {
        return None;
    }
    let ip = match (is_mapped(ip), length) {
        (true, 96..) => {
            length -= 96;
            as_go(ip)
        }
        _ => ip,
    };
    Some((ip, IpNet::new(ip, length).ok()?.trunc()))
}

/// Whether a list of CIDRs has both families; the position of the first that is none otherwise.
pub fn both_families(cidrs: &[&str]) -> Result<bool, usize> {
    let families =
        cidrs.iter().enumerate().map(|(index, text)| sloppy_cidr(text).map(|(ip, _)| ip.is_ipv4()).ok_or(index));
    let families = families.collect::<Result<Vec<_>, _>>()?;
    Ok(families.contains(&true) && families.contains(&false))
}

/// Whether Go's strict parser takes it: no zeros before numbers.
fn strict_cidr(text: &str) -> Option<(IpAddr, IpNet)> {
    let (ip, length) = text.split_once('/')?;
    let ip = ip.parse::<IpAddr>().ok()?;
    if length.len() > 1 && length.starts_with('0') {
        return None;
    }
    sloppy_cidr(text).map(|(_, net)| (ip, net))
}

/// Checks a CIDR in an older field; `text` is the value without what the field ignores around it, and what is in
/// `before` is accepted as it is.
pub fn legacy_cidr(path: &Path, text: &str, before: &[&str], errors: &mut ErrorList) {
    if before.contains(&text) {
        return;
    }
    if let Err(fault) = cidr_faults(text) {
        errors.push(Error::invalid(path, text, fault));
    }
}

/// Checks a CIDR in a newer field: it must be in canonical form.
pub fn cidr(at: &At<'_>, errors: &mut ErrorList) {
    let fault = match cidr_faults(at.text()) {
        Err(fault) => fault.to_owned(),
        Ok(net) if net.to_string() != at.text() => format!("must be in canonical form (\"{net}\")"),
        Ok(_) => return,
    };
    errors.push(Error::invalid(&at.path(), at.text(), fault));
}

fn cidr_faults(text: &str) -> Result<IpNet, &'static str> {
    sloppy_cidr(text).ok_or(NOT_CIDR)?;
    match strict_cidr(text) {
        None => Err("must not have leading 0s in IP or prefix length"),
        Some((ip, _)) if is_mapped(ip) => Err("must not have an IPv4-mapped IPv6 address"),
        Some((ip, net)) if net.addr() != ip => Err("must not have bits set beyond the prefix length"),
        Some((_, net)) => Ok(net),
    }
}

/// Checks an address of an interface with the length of its network's prefix, in canonical form.
pub fn interface_address(at: &At<'_>, errors: &mut ErrorList) {
    let Some((ip, net)) = sloppy_cidr(at.text()) else {
        return at.invalid(errors, "must be a valid address in CIDR form, (e.g. 10.9.8.7/24 or 2001:db8::1/64)");
    };
    let canonical = format!("{ip}/{}", net.prefix_len());
    if canonical != at.text() {
        at.invalid(errors, format!("must be in canonical form ({canonical:?})"));
    }
}

/// What to tell a client that wrote an address of an older field in another than its canonical form.
pub fn warning(path: &Path, text: &str) -> Option<String> {
    let ip = sloppy(text)?;
    if text.parse::<IpAddr>().is_err() || is_mapped(ip) {
        let usual = as_go(ip);
        return Some(format!("{path}: non-standard IP address {text:?} is invalid: use \"{usual}\""));
    }
    (ip.is_ipv6() && ip.to_string() != text)
        .then(|| format!("{path}: IPv6 address {text:?} should be in RFC 5952 canonical format (\"{ip}\")"))
}

/// The same for a CIDR.
pub fn cidr_warnings(path: &Path, text: &str) -> Vec<String> {
    let Some((ip, net)) = sloppy_cidr(text) else { return Vec::new() };
    let mut warnings = Vec::new();
    if ip != net.addr() {
        let single = format!("{ip}/{}", net.max_prefix_len());
        warnings.push(format!(
            "{path}: CIDR value {text:?} is ambiguous in this context (should be \"{net}\" or \"{single}\"?)"
        ));
    }
    let strict = strict_cidr(text);
    if strict.is_none_or(|(ip, _)| is_mapped(ip)) {
        warnings.push(format!("{path}: non-standard CIDR value {text:?} is invalid: use \"{net}\""));
    }
    if warnings.is_empty() && ip.is_ipv6() && net.to_string() != text {
        warnings.push(format!("{path}: IPv6 CIDR value {text:?} should be in RFC 5952 canonical format (\"{net}\")"));
    }
    warnings
}

/// Checks that traffic is not led to the node itself or to link-local places (`ValidateNonSpecialIP` upstream).
pub fn not_special(at: &At<'_>, errors: &mut ErrorList) {
    let Some(ip) = sloppy(at.text()).map(as_go) else {
        return at.invalid(errors, "must be a valid IP address");
    };
    if ip.is_unspecified() {
        at.invalid(errors, format!("may not be unspecified ({})", at.text()));
    }
    if ip.is_loopback() {
        at.invalid(errors, "may not be in the loopback range (127.0.0.0/8, ::1/128)");
    }
    let (local, local_multicast) = match ip {
        IpAddr::V4(ip) => (ip.is_link_local(), ip.octets()[..3] == [224, 0, 0]),
        IpAddr::V6(ip) => (ip.is_unicast_link_local(), ip.segments()[0] & 0xff0f == 0xff02),
    };
    if local {
        at.invalid(errors, "may not be in the link-local range (169.254.0.0/16, fe80::/10)");
    }
    if local_multicast {
        at.invalid(errors, "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        assert_eq!(sloppy("010.002.003.004"), "10.2.3.4".parse().ok());
        assert_eq!(sloppy("::ffff:01.2.3.4"), "::ffff:1.2.3.4".parse().ok());
        for bad in ["", "1.2.3", "1.2.3.256", "1.2.3.x", "fe80::1%eth0", "1.2.3.4.5"] {
            assert_eq!(sloppy(bad), None, "{bad}");
        }
        assert_eq!(faults("01.2.3.4"), Err("must not have leading 0s"));
        assert_eq!(faults("::ffff:1.2.3.4"), Err("must not be an IPv4-mapped IPv6 address"));
        assert!(faults("FD00:0::1").is_ok());
        let path = Path::new("ip");
        let warned = warning(&path, "FD00:0::1").expect("a warning");
        assert_eq!(warned, r#"ip: IPv6 address "FD00:0::1" should be in RFC 5952 canonical format ("fd00::1")"#);
        assert_eq!(warning(&path, "10.0.0.1"), None);
    }

    #[test]
    fn cidrs() {
        for (text, fault) in [
            ("x", Some(NOT_CIDR)),
            ("1.2.3.0/33", Some(NOT_CIDR)),
            ("1.2.3.0/024", Some("must not have leading 0s in IP or prefix length")),
            ("01.2.3.0/24", Some("must not have leading 0s in IP or prefix length")),
            ("1.2.3.4/24", Some("must not have bits set beyond the prefix length")),
            ("::ffff:1.2.3.0/120", Some("must not have an IPv4-mapped IPv6 address")),
            ("1.2.3.0/24", None),
            ("fd00::/64", None),
        ] {
            assert_eq!(cidr_faults(text).err(), fault, "{text}");
        }
        let path = Path::new("c");
        let warned = cidr_warnings(&path, "1.2.3.4/24");
        let want =
            r#"c: CIDR value "1.2.3.4/24" is ambiguous in this context (should be "1.2.3.0/24" or "1.2.3.4/32"?)"#;
        assert_eq!(warned, [want]);
        assert_eq!(cidr_warnings(&path, "FD00::/64").len(), 1);
    }
}
