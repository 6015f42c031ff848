//! How webhooks are reached: the URL or the Service that a configuration names.
//!
//! Follows `k8s.io/apiserver/pkg/util/webhook/validation.go`, and Go's `net/url` in what it calls a URL.

use skiff_apimachinery::field::{Error, ErrorList};
use skiff_apimachinery::names;

use super::at::At;

const FORM: &str = "; desired format: https://host[/path]";

/// Validates `clientConfig`: a URL or a Service.
pub fn validate(client: &At<'_>, errors: &mut ErrorList) {
    let (url, service) = (client.child("url"), client.child("service"));
    if url.is_set() == service.is_set() {
        client.required(errors, "exactly one of url or service is required");
    } else if url.is_set() {
        self::url(&url, errors);
    } else {
        self::service(&service, errors);
    }
}

/// Validates a URL; messages show the part that is wrong.
pub fn url(at: &At<'_>, errors: &mut ErrorList) {
    let path = at.path();
    let parsed = match Url::parse(at.text()) {
        Ok(parsed) => parsed,
        Err(problem) => {
            let problem = format!("url must be a valid URL: parse {:?}: {problem}{FORM}", at.text());
            return errors.push(Error::required(&path, problem));
        }
    };
    if parsed.scheme != "https" {
        errors.push(Error::invalid(&path, parsed.scheme, format!("'https' is the only allowed URL scheme{FORM}")));
    }
    if parsed.host.is_empty() {
        errors.push(Error::invalid(&path, "", format!("host must be specified{FORM}")));
    }
    for (part, message) in [
        (parsed.user, "user information is not permitted in the URL"),
        (parsed.fragment, "fragments are not permitted in the URL"),
        (parsed.query, "query parameters are not permitted in the URL"),
    ] {
        if let Some(part) = part {
            errors.push(Error::invalid(&path, part, message));
        }
    }
}

/// The parts of a URL that rules are about.
#[derive(Debug, Default, PartialEq, Eq)]
struct Url<'a> {
    scheme: String,
    user: Option<&'a str>,
    host: &'a str,
    /// Not empty if there is one; likewise the fragment.
    query: Option<&'a str>,
    fragment: Option<&'a str>,
}

impl<'a> Url<'a> {
    fn parse(text: &'a str) -> Result<Self, String> {
        let (text, fragment) = text.split_once('#').map_or((text, ""), |(rest, fragment)| (rest, fragment));
        if text.bytes().any(|c| c < b' ' || c == 0x7f) {
            return Err("net/url: invalid control character in URL".to_owned());
        }
        let (scheme, rest) = scheme(text)?;
        let (rest, query) = rest.split_once('?').map_or((rest, ""), |(rest, query)| (rest, query));
        let some = |part: &'a str| (!part.is_empty()).then_some(part);
        let mut url =
            Self { scheme: scheme.to_lowercase(), query: some(query), fragment: some(fragment), ..Self::default() };
        let Some(authority) = rest.strip_prefix("//") else {
            if url.scheme.is_empty() && rest.split('/').next().is_some_and(|segment| segment.contains(':')) {
                return Err("first path segment in URL cannot contain colon".to_owned());
            }
            escapes(rest)?;
            return Ok(url);
        };
        let (authority, path) = authority.split_at(authority.find('/').unwrap_or(authority.len()));
        let host = match authority.rsplit_once('@') {
            Some((user, host)) => {
                url.user = Some(user);
                host
            }
            None => authority,
        };
        host_syntax(host)?;
        url.host = host;
        escapes(path)?;
        Ok(url)
    }
}

/// What comes before a first colon, if that can be a scheme.
fn scheme(text: &str) -> Result<(&str, &str), String> {
    for (index, c) in text.bytes().enumerate() {
        match c {
            b'a'..=b'z' | b'A'..=b'Z' => {}
            b'0'..=b'9' | b'+' | b'-' | b'.' if index > 0 => {}
            b':' if index == 0 => return Err("missing protocol scheme".to_owned()),
            b':' => return Ok((&text[..index], &text[index + 1..])),
            _ => break,
        }
    }
    Ok(("", text))
}

fn host_syntax(host: &str) -> Result<(), String> {
    let port_from = if host.starts_with('[') {
        let end = host.rfind(']').ok_or("missing ']' in host")?;
        end + 1
    } else {
        host.rfind(':').unwrap_or(host.len())
    };
    let port = &host[port_from..];
    if !port.is_empty() && !port.strip_prefix(':').is_some_and(|digits| digits.bytes().all(|c| c.is_ascii_digit())) {
        return Err(format!("invalid port {port:?} after host"));
    }
    let allowed = |c: char| !c.is_ascii() || c.is_ascii_alphanumeric() || "!$&'()*+,;=:[]<>\"-_.~%".contains(c);
    match host.chars().find(|c| !allowed(*c)) {
        Some(c) => Err(format!("invalid character {:?} in host name", c.to_string())),
        None => Ok(()),
    }
}

fn escapes(path: &str) -> Result<(), String> {
    for (index, _) in path.match_indices('%') {
        let escape = path.as_bytes().get(index..path.len().min(index + 3)).unwrap_or_default();
        if escape.len() < 3 || !escape[1..].iter().all(u8::is_ascii_hexdigit) {
            return Err(format!("invalid URL escape {:?}", String::from_utf8_lossy(escape)));
        }
    }
    Ok(())
}

/// Validates a reference to a Service.
pub fn service(service: &At<'_>, errors: &mut ErrorList) {
    for field in ["name", "namespace"] {
        service.child(field).require(errors);
    }
    let port = service.child("port");
    if port.int().is_some_and(|number| !(1..=65535).contains(&number)) {
        port.invalid(errors, "port is not valid: must be between 1 and 65535, inclusive");
    }
    let path = service.child("path");
    let text = path.text();
    if matches!(text, "" | "/") {
        return;
    }
    if text == "//" {
        return path.invalid(errors, "segment[0] may not be empty");
    }
    if !text.starts_with('/') {
        path.invalid(errors, "must start with a '/'");
    }
    // Upstream takes away the first character whatever it is.
    let mut inner = text.chars();
    inner.next();
    let inner = inner.as_str();
    let inner = inner.strip_suffix('/').unwrap_or(inner);
    for (index, segment) in inner.split('/').enumerate() {
        if segment.is_empty() {
            path.invalid(errors, format!("segment[{index}] may not be empty"));
            continue;
        }
        for message in names::dns1123_subdomain(segment) {
            path.invalid(errors, format!("segment[{index}]: {message}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn webhooks_are_called_by_https() {
        for (text, count) in
            [("https://a/b", 0), ("http://a", 1), ("https://", 1), ("https://u@a", 1), ("https://a?x#y", 2)]
        {
            let value = skiff_apimachinery::value::Value::from(text);
            let mut errors = ErrorList::default();
            url(&At::root(&value), &mut errors);
            assert_eq!(errors.len(), count, "{text}: {errors:?}");
        }
    }

    #[test]
    fn urls_as_go_reads_them() {
        let parsed = Url::parse("HTTPS://u:p@a:1/x?q=1#f").expect("a URL");
        let wanted =
            Url { scheme: "https".into(), user: Some("u:p"), host: "a:1", query: Some("q=1"), fragment: Some("f") };
        assert_eq!(parsed, wanted);
        assert_eq!(Url::parse(""), Ok(Url::default()));
        for (text, problem) in [
            ("https://a:b", "invalid port \":b\" after host"),
            ("https://a b", "invalid character \" \" in host name"),
            ("https://a/%zz", "invalid URL escape \"%zz\""),
            ("https://[a", "missing ']' in host"),
            (":a", "missing protocol scheme"),
            ("1a:b", "first path segment in URL cannot contain colon"),
            ("a\nb", "net/url: invalid control character in URL"),
        ] {
            assert_eq!(Url::parse(text), Err(problem.to_owned()), "{text}");
        }
    }
}
