//! Times as the API writes them.

use jiff::Timestamp;

/// RFC 3339 in UTC with whole seconds: `metav1.Time`.
pub fn format(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// RFC 3339 in UTC with six digits of a second: `metav1.MicroTime`.
pub fn format_micro(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string()
}

/// Reads RFC 3339.
pub fn parse(text: &str) -> Option<Timestamp> {
    text.parse().ok()
}
