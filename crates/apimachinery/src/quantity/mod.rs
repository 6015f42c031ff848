//! `resource.Quantity`: amounts such as `100m`, `1.5Gi` or `2e3`.
//!
//! Follows `k8s.io/apimachinery/pkg/api/resource`. A [`Quantity`] is for arithmetic: exact to a billionth, and bounded. What
//! objects hold is text in [`canonical`] form, of any size.

mod text;

use std::cmp::Ordering;
use std::fmt;

use text::Parts;

pub use text::canonical;

const NANO: i128 = 1_000_000_000;

/// How a quantity is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `k`, `M`, ..., `m`, `u`, `n`.
    DecimalSi,
    /// `Ki`, `Mi`, ...
    BinarySi,
    /// `e3`.
    DecimalExponent,
}

/// An amount.
#[derive(Clone, Copy, Debug)]
pub struct Quantity {
    /// Billionths.
    nanos: i128,
    format: Format,
}

const DECIMAL: [(&str, i32); 10] =
    [("n", -9), ("u", -6), ("m", -3), ("", 0), ("k", 3), ("M", 6), ("G", 9), ("T", 12), ("P", 15), ("E", 18)];
const BINARY: [(&str, u32); 6] = [("Ki", 10), ("Mi", 20), ("Gi", 30), ("Ti", 40), ("Pi", 50), ("Ei", 60)];

/// Not a quantity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// Not a number with something after it.
    #[error("quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'")]
    Format,
    /// What stands after the number is not known.
    #[error("unable to parse quantity's suffix")]
    Suffix,
}

impl Quantity {
    /// Parses; rounds up what is finer than a billionth, and stops at what 128 bits hold.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        let parts = Parts::of(text.trim())?;
        let mut amount = parts.amount();
        amount.round_up_to(-9);
        let mut nanos = 0_i128;
        for digit in &amount.digits {
            nanos = nanos.saturating_mul(10).saturating_add(i128::from(*digit));
        }
        let places = u32::try_from(amount.exponent.saturating_add(9)).unwrap_or(u32::MAX);
        if nanos != 0 {
            nanos = nanos.saturating_mul(10_i128.checked_pow(places).unwrap_or(i128::MAX));
        }
        Ok(Self { nanos: if parts.negative { -nanos } else { nanos }, format: parts.format })
    }

    /// An amount of thousandths.
    pub fn from_milli(milli: i64) -> Self {
        Self { nanos: i128::from(milli) * (NANO / 1000), format: Format::DecimalSi }
    }

    /// A whole number.
    pub fn from_value(number: i64) -> Self {
        Self { nanos: i128::from(number) * NANO, format: Format::DecimalSi }
    }

    /// The value in whole units, rounded up.
    pub fn value(&self) -> i64 {
        clamp(div_up(self.nanos, NANO))
    }

    /// The value in thousandths, rounded up.
    pub fn milli_value(&self) -> i64 {
        clamp(div_up(self.nanos, NANO / 1000))
    }

    /// Whether it is zero.
    pub fn is_zero(&self) -> bool {
        self.nanos == 0
    }

    /// The sum, in the format of `self` unless that is zero.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        let format = if self.nanos == 0 { other.format } else { self.format };
        Self { nanos: self.nanos.saturating_add(other.nanos), format }
    }

    /// The difference, in the format of `self` unless that is zero.
    #[must_use]
    pub fn minus(self, other: Self) -> Self {
        let format = if self.nanos == 0 { other.format } else { self.format };
        Self { nanos: self.nanos.saturating_sub(other.nanos), format }
    }

    /// Whether it is below zero.
    pub fn is_negative(&self) -> bool {
        self.nanos < 0
    }

    /// Rounded up to a whole number.
    #[must_use]
    pub fn rounded_up(self) -> Self {
        Self { nanos: div_up(self.nanos, NANO).saturating_mul(NANO), format: self.format }
    }
}

fn clamp(value: i128) -> i64 {
    i64::try_from(value).unwrap_or(if value > 0 { i64::MAX } else { i64::MIN })
}

/// Division that rounds away from zero.
fn div_up(value: i128, by: i128) -> i128 {
    let quotient = value / by;
    if value % by == 0 { quotient } else { quotient + value.signum() }
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        self.nanos == other.nanos
    }
}

impl Eq for Quantity {}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Quantity {
    fn cmp(&self, other: &Self) -> Ordering {
        self.nanos.cmp(&other.nanos)
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.nanos == 0 {
            return f.write_str("0");
        }
        let whole = self.nanos % NANO == 0;
        let units = self.nanos / NANO;
        if self.format == Format::BinarySi && whole && units.abs() >= 1024 {
            let best = BINARY.iter().rev().find(|(_, shift)| units % (1i128 << shift) == 0);
            return match best {
                Some((suffix, shift)) => write!(f, "{}{suffix}", units >> shift),
                None => write!(f, "{units}"),
            };
        }
        let best = DECIMAL.iter().rev().find(|(_, power)| {
            u32::try_from(power + 9).ok().and_then(|p| 10i128.checked_pow(p)).is_some_and(|unit| self.nanos % unit == 0)
        });
        let (suffix, power) = best.copied().unwrap_or(("n", -9));
        let unit = 10i128.pow(u32::try_from(power + 9).unwrap_or(0));
        let mantissa = self.nanos / unit;
        match (self.format, power) {
            (Format::DecimalExponent, 0) => write!(f, "{mantissa}"),
            (Format::DecimalExponent, power) => write!(f, "{mantissa}e{power}"),
            _ => write!(f, "{mantissa}{suffix}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn canonical_forms() {
        for (text, want) in [
            ("0.5", "500m"),
            ("1024Mi", "1Gi"),
            ("1000m", "1"),
            ("1500m", "1500m"),
            ("1.5Gi", "1536Mi"),
            ("100Ki", "100Ki"),
            ("2000", "2k"),
            ("0", "0"),
            ("0Mi", "0"),
            ("-1.5", "-1500m"),
            ("1e3", "1e3"),
            ("512Ki", "512Ki"),
            ("0.5Gi", "512Mi"),
            ("12345", "12345"),
        ] {
            assert_eq!(Quantity::parse(text).expect(text).to_string(), want, "{text}");
        }
        for text in ["", "x", "1.2.3", "1Xi", "--1", "1 1"] {
            assert!(Quantity::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn amounts_beyond_bounds_are_the_bounds() {
        let quantity = |text: &str| Quantity::parse(text).expect(text);
        assert_eq!(quantity("1e2147483647").value(), i64::MAX);
        assert_eq!(quantity("-1e40").value(), i64::MIN);
        assert_eq!(quantity("0.1e-2147483648").value(), 1);
        assert!(quantity("0e2147483647").is_zero());
        assert!(quantity("1e29") < quantity("1e40"));
    }

    #[test]
    fn sums_keep_the_format() {
        let quantity = |text: &str| Quantity::parse(text).expect(text);
        assert_eq!(quantity("500m").plus(quantity("1.5")).to_string(), "2");
        assert_eq!(Quantity::from_value(0).plus(quantity("1Gi")).to_string(), "1Gi");
        assert_eq!(quantity("1Gi").plus(quantity("1G")).to_string(), "2073741824");
        assert_eq!(quantity("2Gi").minus(quantity("1536Mi")).to_string(), "512Mi");
        assert!(quantity("1").minus(quantity("2")).is_negative());
        assert_eq!(quantity("1.1").rounded_up().to_string(), "2");
    }

    #[test]
    fn values_round_up() {
        assert_eq!(Quantity::parse("1500m").expect("q").value(), 2);
        assert_eq!(Quantity::parse("1500u").expect("q").milli_value(), 2);
        assert!(Quantity::parse("1Gi").expect("q") > Quantity::parse("1G").expect("q"));
    }
}
