//! Schedules in cron's language, as CronJobs have them: when they are valid, and when they are due next.
//!
//! Upstream: `github.com/robfig/cron/v3`, `ParseStandard`. Five fields (minute, hour, day of month, month, day of week) of
//! numbers, names, ranges, lists and steps, or a descriptor such as `@hourly` or `@every 90m`, both after an optional
//! `TZ=Zone `. If both kinds of day are restricted, either is enough.

use std::time::Duration;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan, Zoned};

/// How far ahead a due time is looked for.
const YEARS: i16 = 5;

/// When something is due.
#[derive(Clone, Debug, PartialEq)]
pub enum Schedule {
    /// On the clock of a time zone.
    Clock(Clock),
    /// Every so often.
    Every(Duration),
}

/// The minutes of a calendar.
#[derive(Clone, Debug, PartialEq)]
pub struct Clock {
    minutes: Field,
    hours: Field,
    days: Field,
    months: Field,
    weekdays: Field,
    zone: TimeZone,
}

/// The numbers that a field allows, as bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Field {
    bits: u64,
    /// Whether it was left open.
    any: bool,
}

impl Field {
    fn has(self, number: i8) -> bool {
        u32::try_from(number).is_ok_and(|number| self.bits & (1 << number) != 0)
    }
}

/// What a field may hold.
struct Bounds {
    low: u32,
    high: u32,
    /// Names of the numbers from `low` on.
    names: &'static [&'static str],
}

const MINUTES: Bounds = Bounds { low: 0, high: 59, names: &[] };
const HOURS: Bounds = Bounds { low: 0, high: 23, names: &[] };
const DAYS: Bounds = Bounds { low: 1, high: 31, names: &[] };
const MONTHS: Bounds = Bounds {
    low: 1,
    high: 12,
    names: &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"],
};
const WEEKDAYS: Bounds = Bounds { low: 0, high: 6, names: &["sun", "mon", "tue", "wed", "thu", "fri", "sat"] };

impl Schedule {
    /// Reads a schedule; `zone` is for one that names none. The error is upstream's message.
    pub fn parse(text: &str, zone: TimeZone) -> Result<Self, String> {
        if text.is_empty() {
            return Err("empty spec string".into());
        }
        let Some(named) = text.strip_prefix("TZ=").or_else(|| text.strip_prefix("CRON_TZ=")) else {
            return Self::parse_rest(text, zone);
        };
        let (name, rest) = named.split_once(' ').ok_or_else(|| format!("provided bad location {named}"))?;
        let zone = zone_named(name).map_err(|error| format!("provided bad location {name}: {error}"))?;
        Self::parse_rest(rest.trim(), zone)
    }

    fn parse_rest(text: &str, zone: TimeZone) -> Result<Self, String> {
        if text.starts_with('@') {
            return descriptor(text, zone);
        }
        let fields: Vec<&str> = text.split_whitespace().collect();
        let [minute, hour, day, month, weekday] = fields.as_slice() else {
            return Err(format!("expected exactly 5 fields, found {}: [{}]", fields.len(), fields.join(" ")));
        };
        Ok(Self::Clock(Clock {
            minutes: field(minute, &MINUTES)?,
            hours: field(hour, &HOURS)?,
            days: field(day, &DAYS)?,
            months: field(month, &MONTHS)?,
            weekdays: field(weekday, &WEEKDAYS)?,
            zone,
        }))
    }

    /// The first due time after another; `None` if there is none within five years.
    pub fn next(&self, after: Timestamp) -> Option<Timestamp> {
        let second = Timestamp::from_second(after.as_nanosecond().div_euclid(1_000_000_000) as i64).ok()?;
        match self {
            Self::Every(delay) => second.checked_add(SignedDuration::try_from(*delay).ok()?).ok(),
            Self::Clock(clock) => clock.next(second),
        }
    }
}

impl Clock {
    /// Moves on from part to part of the calendar until everything fits. What the clock skips when it is put forward is
    /// not due; what it shows twice when it is put back is due twice.
    fn next(&self, after: Timestamp) -> Option<Timestamp> {
        let mut at = after.checked_add(1.second()).ok()?.to_zoned(self.zone.clone());
        let last_year = at.year().checked_add(YEARS)?;
        loop {
            if at.year() > last_year {
                return None;
            }
            at = if !self.months.has(at.month()) {
                let month = at.date().first_of_month().checked_add(1.month()).ok()?;
                month.to_zoned(self.zone.clone()).ok()?
            } else if !self.fits_day(&at) {
                at.date().tomorrow().ok()?.to_zoned(self.zone.clone()).ok()?
            } else if !self.hours.has(at.hour()) {
                let left = (60 - i64::from(at.minute())) * 60 - i64::from(at.second());
                at.checked_add(SignedDuration::from_secs(left)).ok()?
            } else if !self.minutes.has(at.minute()) || at.second() != 0 {
                at.checked_add(SignedDuration::from_secs(60 - i64::from(at.second()))).ok()?
            } else {
                return Some(at.timestamp());
            };
        }
    }

    fn fits_day(&self, at: &Zoned) -> bool {
        let (day, weekday) = (self.days.has(at.day()), self.weekdays.has(at.weekday().to_sunday_zero_offset()));
        if self.days.any || self.weekdays.any { day && weekday } else { day || weekday }
    }
}

/// A time zone as Go names it: empty is UTC. The error is upstream's message.
pub fn zone_named(name: &str) -> Result<TimeZone, String> {
    match name {
        "" | "UTC" => Ok(TimeZone::UTC),
        "Local" => Ok(TimeZone::system()),
        name => TimeZone::get(name).map_err(|_| format!("unknown time zone {name}")),
    }
}

fn descriptor(text: &str, zone: TimeZone) -> Result<Schedule, String> {
    let fields = match text {
        "@yearly" | "@annually" => "0 0 1 1 *",
        "@monthly" => "0 0 1 * *",
        "@weekly" => "0 0 * * 0",
        "@daily" | "@midnight" => "0 0 * * *",
        "@hourly" => "0 * * * *",
        _ => {
            let Some(every) = text.strip_prefix("@every ") else {
                return Err(format!("unrecognized descriptor: {text}"));
            };
            let seconds = go_seconds(every).map_err(|error| format!("failed to parse duration {text}: {error}"))?;
            return Ok(Schedule::Every(Duration::from_secs(seconds.max(1))));
        }
    };
    Schedule::parse_rest(fields, zone)
}

fn field(text: &str, bounds: &Bounds) -> Result<Field, String> {
    let mut field = Field { bits: 0, any: false };
    for part in text.split(',').filter(|part| !part.is_empty()) {
        let part = range(part, bounds)?;
        field.bits |= part.bits;
        field.any |= part.any;
    }
    Ok(field)
}

fn range(text: &str, bounds: &Bounds) -> Result<Field, String> {
    let (ends, step) = match text.split('/').collect::<Vec<_>>().as_slice() {
        [ends] => (*ends, None),
        [ends, step] => (*ends, Some(number(step)?)),
        _ => return Err(format!("too many slashes: {text}")),
    };
    let parts: Vec<&str> = ends.split('-').collect();
    let mut any = matches!(parts[0], "*" | "?");
    let (low, mut high) = match parts.as_slice() {
        _ if any => (bounds.low, bounds.high),
        [one] => (number_or_name(one, bounds)?, number_or_name(one, bounds)?),
        [low, high] => (number_or_name(low, bounds)?, number_or_name(high, bounds)?),
        _ => return Err(format!("too many hyphens: {text}")),
    };
    if let Some(step) = step {
        if parts.len() == 1 {
            high = bounds.high;
        }
        any &= step <= 1;
    }
    if low < bounds.low {
        return Err(format!("beginning of range ({low}) below minimum ({}): {text}", bounds.low));
    }
    if high > bounds.high {
        return Err(format!("end of range ({high}) above maximum ({}): {text}", bounds.high));
    }
    if low > high {
        return Err(format!("beginning of range ({low}) beyond end of range ({high}): {text}"));
    }
    let step = step.unwrap_or(1);
    if step == 0 {
        return Err(format!("step of range should be a positive number: {text}"));
    }
    let step = usize::try_from(step).unwrap_or(usize::MAX);
    let bits = (low..=high).step_by(step).fold(0, |bits, number| bits | (1 << number));
    Ok(Field { bits, any })
}

fn number_or_name(text: &str, bounds: &Bounds) -> Result<u32, String> {
    let lower = text.to_ascii_lowercase();
    match bounds.names.iter().position(|name| *name == lower) {
        Some(at) => Ok(bounds.low + at as u32),
        None => number(text),
    }
}

fn number(text: &str) -> Result<u32, String> {
    let quoted = format!("{text:?}");
    match text.parse::<i64>() {
        Ok(number) if number < 0 => Err(format!("negative number ({number}) not allowed: {text}")),
        Ok(number) => Ok(u32::try_from(number).unwrap_or(u32::MAX)),
        Err(error)
            if matches!(error.kind(), std::num::IntErrorKind::PosOverflow | std::num::IntErrorKind::NegOverflow) =>
        {
            Err(format!("failed to parse int from {text}: strconv.Atoi: parsing {quoted}: value out of range"))
        }
        Err(_) => Err(format!("failed to parse int from {text}: strconv.Atoi: parsing {quoted}: invalid syntax")),
    }
}

/// Whole seconds of a duration as Go writes it: `1h30m`, `90s`, `1.5h`; less than nothing is nothing.
fn go_seconds(text: &str) -> Result<u64, String> {
    let invalid = || format!("time: invalid duration {text:?}");
    let (sign, mut rest) = match text.as_bytes().first() {
        Some(b'-') => (-1.0, &text[1..]),
        Some(b'+') => (1.0, &text[1..]),
        _ => (1.0, text),
    };
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut seconds = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (count, after) = rest.split_at(digits);
        let count: f64 = count.parse().map_err(|_| invalid())?;
        let letters = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, after) = after.split_at(letters);
        seconds += count
            * match unit {
                "ns" => 1e-9,
                "us" | "µs" | "μs" => 1e-6,
                "ms" => 1e-3,
                "s" => 1.0,
                "m" => 60.0,
                "h" => 3600.0,
                "" => return Err(format!("time: missing unit in duration {text:?}")),
                unit => return Err(format!("time: unknown unit {unit:?} in duration {text:?}")),
            };
        rest = after;
    }
    // Go counts nanoseconds in 64 bits.
    if seconds > 9_223_372_036.0 {
        return Err(invalid());
    }
    Ok((sign * seconds).max(0.0) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(schedule: &str, zone: &str, after: &str) -> String {
        let schedule = Schedule::parse(schedule, zone_named(zone).expect("a zone")).expect("a schedule");
        schedule.next(after.parse().expect("a time")).map_or_else(|| "never".into(), |next| next.to_string())
    }

    #[test]
    fn due_times() {
        let cases = [
            ("* * * * *", "2026-01-02T03:04:05Z", "2026-01-02T03:05:00Z"),
            ("* * * * *", "2026-01-02T03:04:00.5Z", "2026-01-02T03:05:00Z"),
            ("*/15 * * * *", "2026-01-02T03:45:00Z", "2026-01-02T04:00:00Z"),
            ("5/20 3 * * *", "2026-01-02T03:26:00Z", "2026-01-02T03:45:00Z"),
            ("0 0 31 * *", "2026-02-01T00:00:00Z", "2026-03-31T00:00:00Z"),
            ("30 6-16/4 * * 1-5", "2026-01-02T15:00:00Z", "2026-01-05T06:30:00Z"),
            ("0 0 1 jan ?", "2026-01-02T00:00:00Z", "2027-01-01T00:00:00Z"),
            // Either kind of day, if both are restricted; both, if one is a star.
            ("0 0 13 * fri", "2026-01-02T00:00:00Z", "2026-01-09T00:00:00Z"),
            ("0 0 13 * *", "2026-01-02T00:00:00Z", "2026-01-13T00:00:00Z"),
            ("0 0 29 2 *", "2026-01-02T00:00:00Z", "2028-02-29T00:00:00Z"),
            ("59 23 31 2 *", "2026-01-02T00:00:00Z", "never"),
            ("@hourly", "2026-01-02T03:04:05Z", "2026-01-02T04:00:00Z"),
            ("@weekly", "2026-01-02T03:04:05Z", "2026-01-04T00:00:00Z"),
            ("@every 1h30m", "2026-01-02T03:04:05.7Z", "2026-01-02T04:34:05Z"),
            ("@every 1ms", "2026-01-02T03:04:05Z", "2026-01-02T03:04:06Z"),
            ("TZ=Asia/Tokyo 0 9 * * *", "2026-01-02T00:00:00Z", "2026-01-03T00:00:00Z"),
        ];
        for (schedule, after, expected) in cases {
            assert_eq!(next(schedule, "UTC", after), expected, "{schedule} after {after}");
        }
    }

    #[test]
    fn clocks_that_are_put_forward_skip_and_those_put_back_repeat() {
        let new_york = "America/New_York";
        // 2026-03-08 02:00 becomes 03:00; 2026-11-01 02:00 becomes 01:00.
        assert_eq!(next("30 2 * * *", new_york, "2026-03-08T05:00:00Z"), "2026-03-09T06:30:00Z");
        assert_eq!(next("30 1 * * *", new_york, "2026-11-01T04:00:00Z"), "2026-11-01T05:30:00Z");
        assert_eq!(next("30 1 * * *", new_york, "2026-11-01T05:30:00Z"), "2026-11-01T06:30:00Z");
        assert_eq!(next("0 3 * * *", new_york, "2026-03-08T05:00:00Z"), "2026-03-08T07:00:00Z");
        // There is no midnight on 2018-11-04 in Sao Paulo.
        assert_eq!(next("0 0 * * *", "America/Sao_Paulo", "2018-11-03T12:00:00Z"), "2018-11-05T02:00:00Z");
        assert_eq!(next("0 1 * * *", "America/Sao_Paulo", "2018-11-03T12:00:00Z"), "2018-11-04T03:00:00Z");
    }

    #[test]
    fn errors_are_upstreams() {
        let cases = [
            ("", "empty spec string"),
            ("* * * *", "expected exactly 5 fields, found 4: [* * * *]"),
            ("60 * * * *", "end of range (60) above maximum (59): 60"),
            ("* * 0 * *", "beginning of range (0) below minimum (1): 0"),
            ("5-3 * * * *", "beginning of range (5) beyond end of range (3): 5-3"),
            ("*/0 * * * *", "step of range should be a positive number: */0"),
            ("a * * * *", "failed to parse int from a: strconv.Atoi: parsing \"a\": invalid syntax"),
            ("1-2-3 * * * *", "too many hyphens: 1-2-3"),
            ("1/2/3 * * * *", "too many slashes: 1/2/3"),
            ("@never", "unrecognized descriptor: @never"),
            ("@every x", "failed to parse duration @every x: time: invalid duration \"x\""),
            ("@every 5", "failed to parse duration @every 5: time: missing unit in duration \"5\""),
            ("TZ=Nowhere 0 0 * * *", "provided bad location Nowhere: unknown time zone Nowhere"),
        ];
        for (text, expected) in cases {
            let error = Schedule::parse(text, TimeZone::UTC).expect_err(text);
            assert_eq!(error, expected, "{text}");
        }
    }
}
