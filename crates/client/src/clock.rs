//! Wall-clock time as a parameter.

use std::fmt::Debug;

use jiff::Timestamp;

/// Where a component takes the time of day from. Waits use tokio's clock instead.
pub trait Clock: Debug + Send + Sync + 'static {
    /// The time now.
    fn now(&self) -> Timestamp;
}

/// The machine's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}

/// `metav1.Time` on the wire: RFC 3339 in UTC, whole seconds.
pub fn format_time(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// `metav1.MicroTime` on the wire: RFC 3339 in UTC, microseconds.
pub fn format_micro_time(time: Timestamp) -> String {
    format!("{}.{:06}Z", time.strftime("%Y-%m-%dT%H:%M:%S"), time.subsec_microsecond())
}

#[cfg(test)]
mod tests {
    #[test]
    fn times_have_the_wire_form() {
        let time: jiff::Timestamp = "2026-01-02T03:04:05.000607008Z".parse().expect("a time");
        assert_eq!(super::format_time(time), "2026-01-02T03:04:05Z");
        assert_eq!(super::format_micro_time(time), "2026-01-02T03:04:05.000607Z");
    }
}
