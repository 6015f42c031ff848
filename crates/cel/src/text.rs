//! Functions of strings.

use crate::eval::{Outcome, no_overload};
use crate::value::Val;

/// Calls a function of strings; `None` if it is none.
pub(crate) fn call<'a>(name: &str, arguments: &[Val<'a>]) -> Option<Outcome<'a>> {
    let text = arguments.first()?.as_str()?;
    let other = arguments.get(1);
    let count = |at: usize| match arguments.get(at) {
        Some(Val::Int(n)) => Some(*n),
        _ => None,
    };
    Some(match (name, other.and_then(Val::as_str)) {
        ("contains", Some(part)) => Ok(Val::Bool(text.contains(part))),
        ("startsWith", Some(part)) => Ok(Val::Bool(text.starts_with(part))),
        ("endsWith", Some(part)) => Ok(Val::Bool(text.ends_with(part))),
        ("indexOf", Some(part)) => position(text, part, count(2), false),
        ("lastIndexOf", Some(part)) => position(text, part, count(2), true),
        ("split", Some(separator)) => Ok(split(text, separator, count(2).unwrap_or(-1))),
        ("replace", Some(from)) => match arguments.get(2).and_then(Val::as_str) {
            Some(to) => replaced(text, from, to, count(3)),
            None => Err(no_overload()),
        },
        ("lowerAscii", None) => Ok(Val::text(text.to_ascii_lowercase())),
        ("upperAscii", None) => Ok(Val::text(text.to_ascii_uppercase())),
        ("trim", None) => Ok(Val::text(text.trim().to_owned())),
        ("reverse", None) => Ok(Val::text(text.chars().rev().collect::<String>())),
        ("charAt", None) => substring(text, count(1)?, count(1)?.checked_add(1)?, true),
        ("substring", None) => {
            let length = i64::try_from(text.chars().count()).unwrap_or(i64::MAX);
            substring(text, count(1)?, count(2).unwrap_or(length), false)
        }
        ("strings.quote", None) => Ok(Val::text(quoted(text))),
        ("jsonpatch.escapeKey", None) => Ok(Val::text(text.replace('~', "~0").replace('/', "~1"))),
        ("format", None) => format(text, &other?.items()?),
        _ => return None,
    })
}

/// Bytes of a string that an expression makes.
pub(crate) const MAX_LENGTH: usize = 16 << 20;

/// The error of a string that would be longer.
pub(crate) fn too_long() -> String {
    format!("string exceeds {MAX_LENGTH} bytes")
}

/// `replace`; all are replaced unless a number says how many.
fn replaced<'a>(text: &str, from: &str, to: &str, limit: Option<i64>) -> Outcome<'a> {
    let limit = limit.and_then(|n| usize::try_from(n).ok()).unwrap_or(usize::MAX);
    let found = text.matches(from).take(limit).count();
    if found.saturating_mul(to.len()).saturating_add(text.len()) > MAX_LENGTH {
        return Err(too_long());
    }
    Ok(Val::text(text.replacen(from, to, limit)))
}

/// Where a part is, in characters; -1 if it is nowhere at or behind `bound`, or at or before it for the last one.
fn position<'a>(text: &str, part: &str, bound: Option<i64>, last: bool) -> Outcome<'a> {
    let length = text.chars().count() as i64;
    let bound = bound.unwrap_or(if last { if part.is_empty() { length } else { (length - 1).max(0) } } else { 0 });
    if part.is_empty() {
        return Ok(Val::Int(bound));
    }
    if bound < 0 {
        return Err(format!("index out of range: {bound}"));
    }
    let found = usize::try_from(bound).ok().and_then(|bound| text.char_indices().nth(bound)).and_then(|(start, _)| {
        if last {
            let end = start.saturating_add(part.len()).min(text.len());
            // The part may end within a character: it is not there then.
            let end = (end..=text.len()).find(|end| text.is_char_boundary(*end))?;
            text[..end].rmatch_indices(part).map(|(at, _)| at).find(|at| *at <= start)
        } else {
            text[start..].find(part).map(|at| start + at)
        }
    });
    Ok(Val::Int(found.map_or(-1, |at| text[..at].chars().count() as i64)))
}

fn split<'a>(text: &str, separator: &str, limit: i64) -> Val<'a> {
    let parts = if separator.is_empty() {
        text.chars().map(String::from).collect::<Vec<_>>()
    } else {
        match limit {
            0 => Vec::new(),
            n if n > 0 => text.splitn(usize::try_from(n).unwrap_or(usize::MAX), separator).map(str::to_owned).collect(),
            _ => text.split(separator).map(str::to_owned).collect(),
        }
    };
    Val::list(parts.into_iter().map(Val::text).collect())
}

fn substring<'a>(text: &str, from: i64, to: i64, past_end: bool) -> Outcome<'a> {
    let characters = text.chars().collect::<Vec<_>>();
    let bounds = (usize::try_from(from), usize::try_from(to));
    match bounds {
        (Ok(from), _) if past_end && from == characters.len() => Ok(Val::text("")),
        (Ok(from), Ok(to)) if from <= to && to <= characters.len() => {
            Ok(Val::text(characters[from..to].iter().collect::<String>()))
        }
        (_, to_end) if from > to && to_end != Ok(characters.len()) => {
            Err(format!("invalid substring range. start: {from}, end: {to}"))
        }
        _ => Err(format!(
            "index out of range: {}",
            if bounds.0.is_ok_and(|at| at <= characters.len()) { to } else { from }
        )),
    }
}

/// `format`: `%s`, `%d`, `%f`, `%e`, `%b`, `%x`, `%X`, `%o` and `%%`.
fn format<'a>(template: &str, arguments: &[Val<'a>]) -> Outcome<'a> {
    let mut out = String::new();
    let mut arguments = arguments.iter();
    let mut rest = template.chars().peekable();
    while let Some(c) = rest.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        if rest.peek() == Some(&'%') {
            rest.next();
            out.push('%');
            continue;
        }
        let mut precision = String::new();
        if rest.peek() == Some(&'.') {
            rest.next();
            while let Some(digit) = rest.next_if(char::is_ascii_digit) {
                precision.push(digit);
            }
        }
        let verb = rest.next().ok_or_else(|| "unexpected end of format string".to_owned())?;
        let value = arguments.next().ok_or_else(|| "index out of range in format".to_owned())?;
        let places = precision.parse().unwrap_or(6_usize).min(100);
        out.push_str(&clause(verb, places, value)?);
        if out.len() > MAX_LENGTH {
            return Err(too_long());
        }
    }
    Ok(Val::text(out))
}

fn clause(verb: char, places: usize, value: &Val<'_>) -> Result<String, String> {
    let wrong = || format!("error during formatting: unsupported value for %{verb}");
    Ok(match (verb, value) {
        ('s', value) => shown(value).ok_or_else(wrong)?,
        ('d', Val::Int(n)) => n.to_string(),
        ('d', Val::UInt(n)) => n.to_string(),
        ('f', value) => format!("{:.places$}", value.number().ok_or_else(wrong)?),
        ('e', value) => scientific(value.number().ok_or_else(wrong)?, places),
        ('b', Val::Int(n)) => format!("{n:b}"),
        ('b', Val::Bool(on)) => u8::from(*on).to_string(),
        ('o', Val::Int(n)) => format!("{n:o}"),
        ('x', Val::Int(n)) => format!("{n:x}"),
        ('X', Val::Int(n)) => format!("{n:X}"),
        ('X', Val::Str(text)) => text.bytes().map(|byte| format!("{byte:02X}")).collect(),
        ('x', Val::Bytes(bytes)) => bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
        ('X', Val::Bytes(bytes)) => bytes.iter().map(|byte| format!("{byte:02X}")).collect(),
        ('b' | 'o' | 'x' | 'X', Val::UInt(n)) => match verb {
            'b' => format!("{n:b}"),
            'o' => format!("{n:o}"),
            'x' => format!("{n:x}"),
            _ => format!("{n:X}"),
        },
        ('x', Val::Str(text)) => text.bytes().map(|byte| format!("{byte:02x}")).collect(),
        _ => return Err(wrong()),
    })
}

/// A value as `%s` shows it; `None` where it has no text, or more than fits: values may share parts, so that a few of
/// them make any number.
fn shown(value: &Val<'_>) -> Option<String> {
    let mut out = String::new();
    show(value, &mut out).then_some(out)
}

fn show(value: &Val<'_>, out: &mut String) -> bool {
    if out.len() > MAX_LENGTH {
        return false;
    }
    if let Some(items) = value.items() {
        out.push('[');
        for (index, item) in items.iter().enumerate() {
            out.push_str(if index > 0 { ", " } else { "" });
            if !show(item, out) {
                return false;
            }
        }
        out.push(']');
        return true;
    }
    if let Some(entries) = value.entries() {
        out.push('{');
        for (index, (key, value)) in entries.iter().enumerate() {
            out.push_str(if index > 0 { ", " } else { "" });
            if !show(key, out) {
                return false;
            }
            out.push_str(": ");
            if !show(value, out) {
                return false;
            }
        }
        out.push('}');
        return true;
    }
    match value.to_text() {
        Some(text) => out.push_str(&text),
        None => return false,
    }
    true
}

/// In quotes, with what would break them escaped.
fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{b}' => out.push_str("\\v"),
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// As upstream writes `%e`: `1.5 × 10⁰³`, with narrow spaces.
fn scientific(n: f64, places: usize) -> String {
    const RAISED: [char; 10] = ['⁰', '¹', '²', '³', '⁴', '⁵', '⁶', '⁷', '⁸', '⁹'];
    if !n.is_finite() {
        return double(n);
    }
    let text = format!("{n:.places$e}");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let (sign, digits) = exponent.strip_prefix('-').map_or(("", exponent), |digits| ("⁻", digits));
    let raised =
        format!("{digits:0>2}").bytes().map(|c| RAISED[usize::from(c.saturating_sub(b'0')) % 10]).collect::<String>();
    format!("{mantissa}\u{202f}×\u{202f}10{sign}{raised}")
}

/// A float as Go writes it in the fewest digits: with an exponent where it is very large or small.
pub(crate) fn double(n: f64) -> String {
    if n.is_nan() {
        return "NaN".to_owned();
    }
    if n.is_infinite() {
        return if n > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    let size = n.abs();
    if size == 0.0 || (1e-4..1e21).contains(&size) {
        return n.to_string();
    }
    let text = format!("{n:e}");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let (sign, digits) = exponent.strip_prefix('-').map_or(('+', exponent), |digits| ('-', digits));
    format!("{mantissa}e{sign}{digits:0>2}")
}
