//! Durations, ages and label selectors as people read them.
//!
//! Follows `k8s.io/apimachinery/pkg/util/duration` and the selector texts of `pkg/labels`.

use jiff::Timestamp;
use skiff_apimachinery::value::{Object, Value};

/// Shown where nothing is set.
pub(super) const NONE: &str = "<none>";
/// Shown where an optional field is not set.
pub(super) const UNSET: &str = "<unset>";
/// Shown where something is not known.
pub(super) const UNKNOWN: &str = "<unknown>";

/// A duration in seconds with two or three significant figures, e.g. `3m20s`, `2d3h`, `45d`.
pub fn duration(seconds: i64) -> String {
    const MINUTE: i64 = 60;
    const HOUR: i64 = 60 * MINUTE;
    const DAY: i64 = 24;
    const YEAR: i64 = 365;
    let pair = |large: i64, unit: &str, small: i64, small_unit: &str| match small {
        0 => format!("{large}{unit}"),
        small => format!("{large}{unit}{small}{small_unit}"),
    };
    // Clocks may differ by a second between machines.
    match seconds {
        ..-1 => return "<invalid>".into(),
        -1 => return "0s".into(),
        0..120 => return format!("{seconds}s"),
        _ => {}
    }
    let (minutes, hours) = (seconds / MINUTE, seconds / HOUR);
    let days = hours / DAY;
    match (minutes, hours) {
        (..10, _) => pair(minutes, "m", seconds % MINUTE, "s"),
        (..180, _) => format!("{minutes}m"),
        (_, ..8) => pair(hours, "h", minutes % 60, "m"),
        (_, ..48) => format!("{hours}h"),
        (_, ..192) => pair(days, "d", hours % DAY, "h"),
        _ if hours < DAY * YEAR * 2 => format!("{days}d"),
        _ if hours < DAY * YEAR * 8 => pair(days / YEAR, "y", days % YEAR, "d"),
        _ => format!("{}y", days / YEAR),
    }
}

/// Seconds from one time to another, rounded towards zero.
fn seconds_between(from: Timestamp, to: Timestamp) -> i64 {
    ((to.as_nanosecond() - from.as_nanosecond()) / 1_000_000_000).try_into().unwrap_or(i64::MAX)
}

/// A time as it stands in an object.
pub(super) fn timestamp(value: Option<&Value>) -> Option<Timestamp> {
    value?.as_str()?.parse().ok()
}

/// How long ago a time is.
pub(super) fn since(value: Option<&Value>, now: Timestamp) -> String {
    timestamp(value).map_or_else(|| UNKNOWN.into(), |time| duration(seconds_between(time, now)))
}

/// How much later one time is than another.
pub(super) fn between(from: Timestamp, to: Timestamp) -> String {
    duration(seconds_between(from, to))
}

/// An object's age.
pub(super) fn age(object: &Value, now: Timestamp) -> Value {
    since(object.at(&["metadata", "creationTimestamp"]), now).into()
}

/// A map of labels as `a=1,b=2`; [`NONE`] if empty.
pub(super) fn labels(map: Option<&Value>) -> String {
    match map.and_then(Value::as_object) {
        Some(map) if !map.is_empty() => equalities(map).join(","),
        _ => NONE.into(),
    }
}

fn equalities(map: &Object) -> Vec<String> {
    map.iter().map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or(""))).collect()
}

/// A `metav1.LabelSelector` as text; empty for one that selects everything or nothing, `None` for an invalid one.
pub(super) fn selector(selector: Option<&Value>) -> Option<String> {
    let Some(selector) = selector else {
        return Some(String::new());
    };
    let mut requirements: Vec<(&str, String)> = Vec::new();
    if let Some(map) = selector.get("matchLabels").and_then(Value::as_object) {
        requirements.extend(map.keys().zip(equalities(map)));
    }
    for expression in selector.array_at(&["matchExpressions"]) {
        let key = expression.str_at(&["key"])?;
        let mut values: Vec<&str> = expression.array_at(&["values"]).iter().filter_map(Value::as_str).collect();
        values.sort_unstable();
        let values = values.join(",");
        let text = match expression.str_at(&["operator"])? {
            "In" => format!("{key} in ({values})"),
            "NotIn" => format!("{key} notin ({values})"),
            "Exists" => key.into(),
            "DoesNotExist" => format!("!{key}"),
            _ => return None,
        };
        requirements.push((key, text));
    }
    requirements.sort_by_key(|(key, _)| *key);
    Some(requirements.into_iter().map(|(_, text)| text).collect::<Vec<_>>().join(","))
}

/// A `metav1.LabelSelector` as text, with words for the special cases.
pub(super) fn selector_or_none(value: Option<&Value>) -> Value {
    Value::from(match selector(value) {
        None => "<error>".into(),
        Some(text) if text.is_empty() => NONE.into(),
        Some(text) => text,
    })
}

/// The first few of a list, and how many more there are.
pub(super) fn some_of(shown: &[String], count: usize, max: usize) -> String {
    let text = shown.join(",");
    if count > max { format!("{text} + {} more...", count - max) } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;
    use skiff_apimachinery::value;

    #[test]
    fn durations() {
        let cases = [
            (-2, "<invalid>"),
            (-1, "0s"),
            (0, "0s"),
            (5, "5s"),
            (119, "119s"),
            (120, "2m"),
            (200, "3m20s"),
            (599, "9m59s"),
            (600, "10m"),
            (10_799, "179m"),
            (10_800, "3h"),
            (10_860, "3h1m"),
            (28_799, "7h59m"),
            (28_800, "8h"),
            (172_799, "47h"),
            (172_800, "2d"),
            (183_600, "2d3h"),
            (691_199, "7d23h"),
            (691_200, "8d"),
            (63_071_999, "729d"),
            (63_072_000, "2y"),
            (63_158_400, "2y1d"),
            (252_287_999, "7y364d"),
            (252_288_000, "8y"),
        ];
        for (seconds, text) in cases {
            assert_eq!(duration(seconds), text, "{seconds}");
        }
    }

    #[test]
    fn selectors() {
        let cases = [
            (value!({}), Some("")),
            (value!({"matchLabels": {"b": "2", "a": "1"}}), Some("a=1,b=2")),
            (
                value!({"matchLabels": {"m": "x"}, "matchExpressions": [
                    {"key": "z", "operator": "Exists"},
                    {"key": "c", "operator": "In", "values": ["y", "x"]},
                    {"key": "n", "operator": "NotIn", "values": ["1"]},
                    {"key": "a", "operator": "DoesNotExist"},
                ]}),
                Some("!a,c in (x,y),m=x,n notin (1),z"),
            ),
            (value!({"matchExpressions": [{"key": "a", "operator": "Like"}]}), None),
        ];
        for (value, text) in cases {
            assert_eq!(selector(Some(&value)).as_deref(), text);
        }
        assert_eq!(selector(None).as_deref(), Some(""));
        assert_eq!(labels(Some(&value!({}))), "<none>");
    }
}
