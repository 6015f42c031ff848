//! Functions of URLs, addresses and ranges of addresses.

use std::net::IpAddr;

use crate::eval::{Outcome, no_overload};
use crate::formats;
use crate::value::Val;

/// Calls a function; `None` if it is none of these.
pub(crate) fn call<'a>(name: &str, arguments: &[Val<'a>]) -> Option<Outcome<'a>> {
    Some(match (name, arguments) {
        ("url", [Val::Str(text)]) if formats::accepts("uri", text) => Ok(Val::Url(text.as_ref().into())),
        ("url", [Val::Str(text)]) => {
            Err(format!("URL parse error during conversion from string: parse {text:?}: invalid URI for request"))
        }
        ("isURL", [Val::Str(text)]) => Ok(Val::Bool(formats::accepts("uri", text))),
        (part, [Val::Url(url)]) => return url_part(part, url),
        ("ip", [Val::Str(text)]) => address(text).map(Val::Ip).ok_or_else(|| not_address(text)),
        ("isIP", [Val::Str(text)]) => Ok(Val::Bool(address(text).is_some())),
        ("ip.isCanonical", [Val::Str(text)]) => match address(text) {
            Some(ip) => Ok(Val::Bool(ip.to_string() == text.as_ref())),
            None => Err(not_address(text)),
        },
        (question, [Val::Ip(ip)]) => return of_address(question, *ip),
        ("cidr", [Val::Str(text)]) => match range(text) {
            Some((ip, length)) => Ok(Val::Cidr(ip, length)),
            None => Err(not_range(text)),
        },
        ("isCIDR", [Val::Str(text)]) => Ok(Val::Bool(range(text).is_some())),
        (question, [Val::Cidr(ip, length), rest @ ..]) => return of_range(question, (*ip, *length), rest),
        _ => return None,
    })
}

fn not_range(text: &str) -> String {
    let failed = "network address parse error during conversion from string";
    let why = match text.split_once('/') {
        None => "no '/'".to_owned(),
        Some((ip, _)) if address(ip).is_none() => format!("ParseAddr({ip:?}): unable to parse IP"),
        Some((_, length)) if length.bytes().all(|c| c.is_ascii_digit()) => "prefix length out of range".to_owned(),
        Some((_, length)) => format!("bad bits after slash: {length:?}"),
    };
    format!("{failed}: {failed}: netip.ParsePrefix({text:?}): {why}")
}

fn not_address(text: &str) -> String {
    format!("IP Address {text:?} parse error during conversion from string: ParseAddr({text:?}): unable to parse IP")
}

/// An address without a zone, and no IPv4 address inside an IPv6 one.
fn address(text: &str) -> Option<IpAddr> {
    let ip = text.parse::<IpAddr>().ok()?;
    match ip {
        IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some() => None,
        ip => Some(ip),
    }
}

fn range(text: &str) -> Option<(IpAddr, u8)> {
    let (ip, length) = text.split_once('/')?;
    let (ip, digits) = (address(ip)?, length.bytes().all(|c| c.is_ascii_digit()));
    let length = length.parse::<u8>().ok().filter(|_| digits)?;
    (length <= bits(ip)).then_some((ip, length))
}

fn bits(ip: IpAddr) -> u8 {
    if ip.is_ipv4() { 32 } else { 128 }
}

fn number(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(ip) => u128::from(u32::from(ip)),
        IpAddr::V6(ip) => u128::from(ip),
    }
}

/// The first `length` bits of an address.
fn prefix(ip: IpAddr, length: u8) -> u128 {
    number(ip).checked_shr(u32::from(bits(ip) - length)).unwrap_or(0)
}

fn url_part<'a>(part: &str, url: &str) -> Option<Outcome<'a>> {
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let rest = rest.split('#').next().unwrap_or("");
    let (before_query, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (host, path) = match before_query.find('/') {
        Some(at) => before_query.split_at(at),
        None => (before_query, ""),
    };
    let host = host.rsplit('@').next().unwrap_or("");
    let port_at = host.rfind(':').filter(|at| !host[*at..].contains(']'));
    let (hostname, port) = port_at.map_or((host, ""), |at| (&host[..at], &host[at + 1..]));
    Some(Ok(match part {
        "getScheme" => Val::text(scheme.to_owned()),
        "getHost" => Val::text(host.to_owned()),
        "getHostname" => Val::text(hostname.trim_matches(['[', ']']).to_owned()),
        "getPort" => Val::text(port.to_owned()),
        "getEscapedPath" => Val::text(path.to_owned()),
        "getQuery" => {
            let mut found: Vec<(String, Vec<Val<'a>>)> = Vec::new();
            for pair in query.split('&').filter(|pair| !pair.is_empty()) {
                let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
                match found.iter_mut().find(|(known, _)| known == key) {
                    Some((_, values)) => values.push(Val::text(value.to_owned())),
                    None => found.push((key.to_owned(), vec![Val::text(value.to_owned())])),
                }
            }
            Val::Map(
                found.into_iter().map(|(key, values)| (Val::text(key), Val::list(values))).collect::<Vec<_>>().into(),
            )
        }
        _ => return None,
    }))
}

fn of_address<'a>(question: &str, ip: IpAddr) -> Option<Outcome<'a>> {
    let link_local = match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.segments()[0] & 0xffc0 == 0xfe80,
    };
    let link_multicast = match ip {
        IpAddr::V4(ip) => ip.octets()[..3] == [224, 0, 0],
        IpAddr::V6(ip) => ip.segments()[0] & 0xff0f == 0xff02,
    };
    let broadcast = matches!(ip, IpAddr::V4(ip) if ip.is_broadcast());
    Some(Ok(match question {
        "family" => Val::Int(if ip.is_ipv4() { 4 } else { 6 }),
        "isUnspecified" => Val::Bool(ip.is_unspecified()),
        "isLoopback" => Val::Bool(ip.is_loopback()),
        "isLinkLocalMulticast" => Val::Bool(link_multicast),
        "isLinkLocalUnicast" => Val::Bool(link_local),
        "isGlobalUnicast" => {
            let other = ip.is_unspecified() || ip.is_loopback() || ip.is_multicast() || link_local || broadcast;
            Val::Bool(!other)
        }
        "string" => Val::text(ip.to_string()),
        _ => return None,
    }))
}

fn of_range<'a>(question: &str, (ip, length): (IpAddr, u8), rest: &[Val<'a>]) -> Option<Outcome<'a>> {
    let holds = |other: IpAddr| other.is_ipv4() == ip.is_ipv4() && prefix(other, length) == prefix(ip, length);
    Some(match (question, rest) {
        ("containsIP", [Val::Ip(other)]) => Ok(Val::Bool(holds(*other))),
        ("containsIP", [Val::Str(text)]) => match address(text) {
            Some(other) => Ok(Val::Bool(holds(other))),
            None => Err(not_address(text)),
        },
        ("containsCIDR", [other]) => {
            let other = match other {
                Val::Cidr(ip, length) => Some((*ip, *length)),
                other => other.as_str().and_then(range),
            };
            other.map(|(ip, longer)| Val::Bool(holds(ip) && longer >= length)).ok_or_else(no_overload)
        }
        ("ip", []) => Ok(Val::Ip(ip)),
        ("prefixLength", []) => Ok(Val::Int(length.into())),
        ("masked", []) => {
            let kept = prefix(ip, length).checked_shl(u32::from(bits(ip) - length)).unwrap_or(0);
            let ip = if ip.is_ipv4() {
                IpAddr::V4(u32::try_from(kept).unwrap_or(0).into())
            } else {
                IpAddr::V6(kept.into())
            };
            Ok(Val::Cidr(ip, length))
        }
        _ => return None,
    })
}
