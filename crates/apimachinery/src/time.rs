//! Times as the API writes them.
//!
//! A [`Moment`] covers all years that Go's `time` reads, 0000 to 9999: people write the last second of 9999 where they
//! mean never, and that is beyond what `jiff::Timestamp` holds.

use jiff::Timestamp;

/// Seconds from year 1 to 1970: Go's zero time, which JSON writes as null and protobuf as nothing.
const ZERO_SECOND: i64 = -62_135_596_800;
const SECONDS_PER_DAY: i64 = 86_400;
/// Fewest digits of the fraction in `metav1.MicroTime`.
const MICRO_DIGITS: usize = 6;

/// RFC 3339 in UTC with whole seconds: `metav1.Time`.
pub fn format(time: Timestamp) -> String {
    Moment::from(time).text(Precision::Seconds)
}

/// RFC 3339 in UTC with six digits of a second: `metav1.MicroTime`.
pub fn format_micro(time: Timestamp) -> String {
    Moment::from(time).text(Precision::Micros)
}

/// Reads RFC 3339.
pub fn parse(text: &str) -> Option<Timestamp> {
    text.parse().ok()
}

/// What a type keeps of a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precision {
    /// `metav1.Time`.
    Seconds,
    /// `metav1.MicroTime`.
    Micros,
}

/// A point in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment {
    /// Since 1970 in UTC.
    pub second: i64,
    /// Of that second, below a thousand million.
    pub nanosecond: u32,
}

impl From<Timestamp> for Moment {
    fn from(time: Timestamp) -> Self {
        let (second, nanosecond) = (time.as_second(), time.subsec_nanosecond());
        match u32::try_from(nanosecond) {
            Ok(nanosecond) => Self { second, nanosecond },
            // Before 1970 both are negative.
            Err(_) => Self { second: second - 1, nanosecond: (nanosecond + 1_000_000_000).unsigned_abs() },
        }
    }
}

impl Moment {
    /// Whether it is Go's zero time.
    pub fn is_zero(self) -> bool {
        self.second == ZERO_SECOND && self.nanosecond == 0
    }

    /// Reads RFC 3339 as Go's `time.Parse` does for the type; the error is Go's.
    pub fn parse(text: &str, precision: Precision) -> Result<Self, String> {
        Parser { text, rest: text, precision }.moment()
    }

    /// RFC 3339 in UTC.
    pub fn text(self, precision: Precision) -> String {
        let days = self.second.div_euclid(SECONDS_PER_DAY);
        let (year, month, day) = date(days);
        let second = self.second.rem_euclid(SECONDS_PER_DAY);
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        let mut text = String::with_capacity(28);
        for (number, width, after) in
            [(year, 4, '-'), (month, 2, '-'), (day, 2, 'T'), (hour, 2, ':'), (minute, 2, ':'), (second, 2, '.')]
        {
            push_padded(&mut text, number, width);
            text.push(after);
        }
        match precision {
            Precision::Seconds => drop(text.pop()),
            Precision::Micros => push_padded(&mut text, i64::from(self.nanosecond / 1000), 6),
        }
        text.push('Z');
        text
    }
}

fn push_padded(text: &mut String, number: i64, width: u32) {
    let mut unit = 10_i64.pow(width - 1);
    while number / unit >= 10 {
        unit *= 10;
    }
    while unit > 0 {
        text.push(char::from(b'0' + (number / unit % 10) as u8));
        unit /= 10;
    }
}

/// Year, month and day of a day since 1970, in the Gregorian calendar, whose years are counted from March here so that
/// the leap day is the last of a year.
fn date(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (year + era * 400 + i64::from(month <= 2), month, day)
}

/// The opposite of [`date`].
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = year - i64::from(month <= 2);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * (if month > 2 { month - 3 } else { month + 9 }) + 2) / 5 + day - 1;
    year.div_euclid(400) * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

fn days_in(year: i64, month: i64) -> i64 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        _ => 31,
    }
}

/// Reads a time piece by piece, so that errors name the piece.
struct Parser<'a> {
    text: &'a str,
    rest: &'a str,
    precision: Precision,
}

impl Parser<'_> {
    fn moment(&mut self) -> Result<Moment, String> {
        let year = self.number(4, "2006")?;
        self.literal("-")?;
        let month = self.number(2, "01")?;
        self.in_range((1..=12).contains(&month), "month")?;
        self.literal("-")?;
        let day = self.number(2, "02")?;
        self.literal("T")?;
        let hour = self.number(2, "15")?;
        self.in_range(hour < 24, "hour")?;
        self.literal(":")?;
        let minute = self.number(2, "04")?;
        self.in_range(minute < 60, "minute")?;
        self.literal(":")?;
        let second = self.number(2, "05")?;
        self.in_range(second < 60, "second")?;
        let nanosecond = self.fraction()?;
        let offset = self.offset()?;
        if !self.rest.is_empty() {
            return Err(format!("parsing time {:?}: extra text: {:?}", self.text, self.rest));
        }
        self.in_range((1..=days_in(year, month)).contains(&day), "day")?;
        let second = days(year, month, day) * SECONDS_PER_DAY + hour * 3600 + minute * 60 + second - offset;
        Ok(Moment { second, nanosecond })
    }

    fn wrong(&self, piece: &str) -> String {
        let layout = match self.precision {
            Precision::Seconds => "2006-01-02T15:04:05Z07:00",
            Precision::Micros => "2006-01-02T15:04:05.000000Z07:00",
        };
        format!("parsing time {:?} as {layout:?}: cannot parse {:?} as {piece:?}", self.text, self.rest)
    }

    fn in_range(&self, holds: bool, what: &str) -> Result<(), String> {
        if holds { Ok(()) } else { Err(format!("parsing time {:?}: {what} out of range", self.text)) }
    }

    fn literal(&mut self, piece: &str) -> Result<(), String> {
        self.rest = self.rest.strip_prefix(piece).ok_or_else(|| self.wrong(piece))?;
        Ok(())
    }

    fn number(&mut self, digits: usize, piece: &str) -> Result<i64, String> {
        let number = self.rest.get(..digits).filter(|number| number.bytes().all(|b| b.is_ascii_digit()));
        let number = number.and_then(|number| number.parse().ok()).ok_or_else(|| self.wrong(piece))?;
        self.rest = &self.rest[digits..];
        Ok(number)
    }

    /// Nanoseconds. Seconds may have a fraction of any length, and a `MicroTime` must have one of six digits.
    fn fraction(&mut self) -> Result<u32, String> {
        let digits = match self.rest.strip_prefix(['.', ',']) {
            Some(rest) => rest.bytes().take_while(u8::is_ascii_digit).count(),
            None => 0,
        };
        let used = match self.precision {
            Precision::Seconds => digits,
            Precision::Micros if digits >= MICRO_DIGITS => MICRO_DIGITS,
            Precision::Micros => return Err(self.wrong(".000000")),
        };
        if used == 0 {
            return Ok(0);
        }
        let (fraction, rest) = (&self.rest[1..=used], &self.rest[1 + used..]);
        self.rest = rest;
        Ok(fraction.bytes().chain(std::iter::repeat(b'0')).take(9).fold(0, |n, digit| n * 10 + u32::from(digit - b'0')))
    }

    /// Seconds east of Greenwich.
    fn offset(&mut self) -> Result<i64, String> {
        if let Some(rest) = self.rest.strip_prefix('Z') {
            self.rest = rest;
            return Ok(0);
        }
        let whole = |parser: &Self| parser.wrong("Z07:00");
        let sign = match self.rest.as_bytes().first() {
            Some(b'+') => 1,
            Some(b'-') => -1,
            _ => return Err(whole(self)),
        };
        let number = |at: std::ops::Range<usize>| {
            let text = self.rest.get(at)?;
            text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse::<i64>().ok())?
        };
        let (Some(hours), Some(minutes), Some(":")) = (number(1..3), number(4..6), self.rest.get(3..4)) else {
            return Err(whole(self));
        };
        self.in_range(hours <= 24, "time zone offset hour")?;
        self.in_range(minutes <= 60, "time zone offset minute")?;
        self.rest = &self.rest[6..];
        Ok(sign * (hours * 3600 + minutes * 60))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_in_utc() {
        for (text, want) in [
            ("2026-01-02T03:04:05Z", "2026-01-02T03:04:05Z"),
            ("2026-01-02T03:04:05.999999999+02:00", "2026-01-02T01:04:05Z"),
            ("2024-02-29T23:59:59-00:01", "2024-03-01T00:00:59Z"),
            ("1969-12-31T23:59:59.5Z", "1969-12-31T23:59:59Z"),
            ("9999-12-31T23:59:59Z", "9999-12-31T23:59:59Z"),
            ("0000-03-01T00:00:00Z", "0000-03-01T00:00:00Z"),
        ] {
            let moment = Moment::parse(text, Precision::Seconds).expect(text);
            assert_eq!(moment.text(Precision::Seconds), want, "{text}");
        }
        let micro = Moment::parse("1969-12-31T23:59:59.123456Z", Precision::Micros).expect("a MicroTime");
        assert_eq!(micro.text(Precision::Micros), "1969-12-31T23:59:59.123456Z");
        assert!(Moment::parse("0001-01-01T00:00:00Z", Precision::Seconds).expect("a time").is_zero());
    }

    #[test]
    fn every_day_has_one_date() {
        let mut expected = (0, 3, 1);
        for day in days(0, 3, 1)..=days(9999, 12, 31) {
            assert_eq!(date(day), expected);
            let (year, month, of_month) = expected;
            assert_eq!(days(year, month, of_month), day);
            expected = match (month, of_month == days_in(year, month)) {
                (_, false) => (year, month, of_month + 1),
                (12, true) => (year + 1, 1, 1),
                (_, true) => (year, month + 1, 1),
            };
        }
    }

    #[test]
    fn timestamps_before_1970_round_down() {
        let time: Timestamp = "1969-12-31T23:59:59.25Z".parse().expect("a time");
        assert_eq!(format_micro(time), "1969-12-31T23:59:59.250000Z");
    }

    #[test]
    fn errors_are_those_of_go() {
        let error = |text: &str, precision| Moment::parse(text, precision).expect_err(text);
        let layout = "\"2006-01-02T15:04:05Z07:00\"";
        for (text, want) in [
            ("x", format!("parsing time \"x\" as {layout}: cannot parse \"x\" as \"2006\"")),
            ("2026-01-02", format!("parsing time \"2026-01-02\" as {layout}: cannot parse \"\" as \"T\"")),
            ("2026-13-02T00:00:00Z", "parsing time \"2026-13-02T00:00:00Z\": month out of range".to_owned()),
            ("2026-02-29T00:00:00Z", "parsing time \"2026-02-29T00:00:00Z\": day out of range".to_owned()),
            ("2026-02-28T00:00:00Zé", "parsing time \"2026-02-28T00:00:00Zé\": extra text: \"é\"".to_owned()),
        ] {
            assert_eq!(error(text, Precision::Seconds), want);
        }
        assert!(error("2026-01-02T03:04:05Z", Precision::Micros).ends_with("cannot parse \"Z\" as \".000000\""));
        assert!(
            error("2026-01-02T03:04:05.1234567Z", Precision::Micros).ends_with("cannot parse \"7Z\" as \"Z07:00\"")
        );
    }
}
