//! Versions and named formats (`apiserver/pkg/cel/library/{semverlib,format}.go`).

use std::rc::Rc;

use skiff_apimachinery::names;

use crate::eval::Outcome;
use crate::formats;
use crate::semver::Semver;
use crate::value::Val;

/// Formats by name.
const FORMATS: [&str; 13] = [
    "dns1123Label",
    "dns1123Subdomain",
    "dns1035Label",
    "qualifiedName",
    "dns1123LabelPrefix",
    "dns1123SubdomainPrefix",
    "dns1035LabelPrefix",
    "labelValue",
    "uri",
    "uuid",
    "byte",
    "date",
    "datetime",
];

/// Calls a function; `None` if it is none of these.
pub(crate) fn call<'a>(name: &str, arguments: &[Val<'a>]) -> Option<Outcome<'a>> {
    let version =
        |text: &str, tolerant: bool| if tolerant { Semver::parse_tolerant(text) } else { Semver::parse(text) };
    Some(Ok(match (name, arguments) {
        ("semver" | "isSemver", [Val::Str(text), rest @ ..]) => {
            let found = version(text, matches!(rest, [Val::Bool(true)]));
            match (name, found) {
                ("isSemver", found) => Val::Bool(found.is_ok()),
                (_, Ok(found)) => Val::Semver(Rc::new(found)),
                (_, Err(error)) => return Some(Err(error)),
            }
        }
        ("major" | "minor" | "patch", [Val::Semver(version)]) => {
            let [major, minor, patch] = version.numbers;
            let number = match name {
                "major" => major,
                "minor" => minor,
                _ => patch,
            };
            Val::Int(i64::try_from(number).unwrap_or(i64::MAX))
        }
        ("isGreaterThan", [Val::Semver(a), Val::Semver(b)]) => Val::Bool(a > b),
        ("isLessThan", [Val::Semver(a), Val::Semver(b)]) => Val::Bool(a < b),
        ("compareTo", [Val::Semver(a), Val::Semver(b)]) => Val::Int(a.cmp(b) as i64),
        ("format.named", [Val::Str(name)]) => Val::Optional(format_of(name).map(|name| Rc::new(Val::Format(name)))),
        ("validate", [Val::Format(format), Val::Str(text)]) => {
            let problems = problems(format, text);
            let list = || Rc::new(Val::list(problems.iter().map(|text| Val::text(text.clone())).collect()));
            Val::Optional((!problems.is_empty()).then(list))
        }
        (name, []) => Val::Format(format_of(name.strip_prefix("format.")?)?),
        _ => return None,
    }))
}

fn format_of(name: &str) -> Option<&'static str> {
    FORMATS.into_iter().find(|known| *known == name)
}

/// What keeps a text from being of a format.
fn problems(format: &str, text: &str) -> Vec<String> {
    // A prefix may end in a dash, which something follows.
    let whole = |text: &str| text.strip_suffix('-').map_or(text.to_owned(), |start| format!("{start}a"));
    let accepted = |format: &str, message: &str| {
        if formats::accepts(format, text) { Vec::new() } else { vec![message.to_owned()] }
    };
    match format {
        "dns1123Label" => names::dns1123_label(text),
        "dns1123LabelPrefix" => names::dns1123_label(&whole(text)),
        "dns1123Subdomain" => names::dns1123_subdomain(text),
        "dns1123SubdomainPrefix" => names::dns1123_subdomain(&whole(text)),
        "dns1035Label" => names::dns1035_label(text),
        "dns1035LabelPrefix" => names::dns1035_label(&whole(text)),
        "qualifiedName" => names::qualified_name(text),
        "labelValue" => names::label_value(text),
        "uri" => {
            let shown = format!("parse {text:?}: invalid URI for request");
            accepted("uri", if text.is_empty() { "parse \"\": empty url" } else { &shown })
        }
        "uuid" => accepted("uuid", "does not match the UUID format"),
        "byte" => accepted("byte", "invalid base64"),
        "date" => accepted("date", "invalid date"),
        _ => accepted("datetime", "invalid datetime"),
    }
}
