//! Quantities as text, of any size and precision.
//!
//! Follows `ParseQuantity` and `CanonicalizeBytes` of `k8s.io/apimachinery/pkg/api/resource` to the letter, also where they
//! are odd: a number in nearly canonical form is kept as it was written (`+1`, `1.500`), and above 10^21 there is no suffix.

use super::{Format, ParseError};

/// Digits that fit 64 bits for sure.
const SURE_DIGITS: i64 = 18;
/// The finest that is kept, as a power of ten.
const NANO: i64 = -9;
/// Most that a quantity with a binary suffix may be: 2^63 - 1.
const BINARY_MAX: &str = "9223372036854775807";

const DECIMAL: [(&str, i64); 10] =
    [("n", -9), ("u", -6), ("m", -3), ("", 0), ("k", 3), ("M", 6), ("G", 9), ("T", 12), ("P", 15), ("E", 18)];
const BINARY: [(&str, u32); 6] = [("Ki", 10), ("Mi", 20), ("Gi", 30), ("Ti", 40), ("Pi", 50), ("Ei", 60)];

/// A quantity taken apart.
pub(super) struct Parts<'a> {
    pub(super) negative: bool,
    /// Digits before the point, without leading zeros but for a lone one.
    whole: &'a str,
    /// Digits after the point.
    fraction: &'a str,
    pub(super) format: Format,
    /// Power of two of a binary suffix, of ten of any other.
    exponent: i64,
}

impl<'a> Parts<'a> {
    /// Takes a text apart.
    pub(super) fn of(text: &'a str) -> Result<Self, ParseError> {
        if text.is_empty() {
            return Err(ParseError::Format);
        }
        let negative = text.starts_with('-');
        let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
        let digits = |text: &'a str| text.split_at(text.bytes().take_while(u8::is_ascii_digit).count());
        let (whole, mut rest) = digits(unsigned.trim_start_matches('0'));
        let mut fraction = "";
        if let Some(after) = rest.strip_prefix('.') {
            (fraction, rest) = digits(after);
        }
        let letters = rest.bytes().take_while(|byte| b"eEinumkKMGTP".contains(byte)).count();
        let number = rest[letters..].strip_prefix(['-', '+']).unwrap_or(&rest[letters..]);
        if !number.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(ParseError::Format);
        }
        let (format, exponent) = suffix(rest).ok_or(ParseError::Suffix)?;
        Ok(Self { negative, whole: if whole.is_empty() { "0" } else { whole }, fraction, format, exponent })
    }

    /// All digits, and the power of ten of the last one.
    pub(super) fn amount(&self) -> Amount {
        let digits = self.whole.bytes().chain(self.fraction.bytes()).map(|digit| digit - b'0').collect();
        let places = i64::try_from(self.fraction.len()).unwrap_or(i64::MAX);
        let mut amount = Amount { digits, exponent: 0 };
        match self.format {
            Format::BinarySi => {
                amount.multiply(1 << self.exponent);
                amount.exponent = -places;
            }
            Format::DecimalSi | Format::DecimalExponent => amount.exponent = self.exponent.saturating_sub(places),
        }
        amount.trim();
        amount
    }

    /// Whether upstream keeps the text because it looks canonical.
    fn is_kept(&self) -> bool {
        let (whole, fraction) = (self.whole.len() as i64, self.fraction.len() as i64);
        let value = || format!("{}{}", self.whole, self.fraction).parse::<i64>().ok();
        match self.format {
            Format::BinarySi => {
                // Digits that the suffix adds, as upstream estimates them.
                let precision = 15 - whole - (self.exponent * 3 / 10) - 1;
                let fits = |value: i64| value.checked_mul(1 << self.exponent).is_some();
                self.fraction.is_empty() && precision >= 0 && value().is_some_and(|value| value & 7 != 0 && fits(value))
            }
            Format::DecimalSi | Format::DecimalExponent => {
                let scale = self.exponent.saturating_sub(fraction);
                whole + fraction <= SURE_DIGITS
                    && scale >= NANO
                    && scale % 3 == 0
                    && !self.whole.starts_with('0')
                    && !format!("{}{}", self.whole, self.fraction).ends_with("000")
            }
        }
    }
}

fn suffix(text: &str) -> Option<(Format, i64)> {
    if let Some((_, power)) = DECIMAL.iter().find(|(suffix, _)| *suffix == text) {
        return Some((Format::DecimalSi, *power));
    }
    if let Some((_, power)) = BINARY.iter().find(|(suffix, _)| *suffix == text) {
        return Some((Format::BinarySi, i64::from(*power)));
    }
    let exponent: i64 = text.strip_prefix(['e', 'E'])?.parse().ok()?;
    // Upstream keeps 32 bits of it.
    Some((Format::DecimalExponent, i64::from(exponent as i32)))
}

/// A decimal number without a sign.
pub(super) struct Amount {
    /// Without leading zeros; none for zero.
    pub(super) digits: Vec<u8>,
    /// Power of ten of the last digit.
    pub(super) exponent: i64,
}

impl Amount {
    fn trim(&mut self) {
        let zeros = self.digits.iter().take_while(|digit| **digit == 0).count();
        self.digits.drain(..zeros);
    }

    fn multiply(&mut self, factor: u64) {
        let mut carry = 0_u128;
        for digit in self.digits.iter_mut().rev() {
            carry += u128::from(*digit) * u128::from(factor);
            *digit = (carry % 10) as u8;
            carry /= 10;
        }
        let mut front = Vec::new();
        while carry > 0 {
            front.push((carry % 10) as u8);
            carry /= 10;
        }
        front.reverse();
        self.digits.splice(0..0, front);
    }

    /// Rounds away from zero to a power of ten.
    pub(super) fn round_up_to(&mut self, exponent: i64) {
        if self.exponent >= exponent || self.digits.is_empty() {
            return;
        }
        let dropped = usize::try_from(exponent - self.exponent).unwrap_or(usize::MAX);
        let kept = self.digits.len().saturating_sub(dropped);
        let rest = self.digits.split_off(kept);
        self.exponent = exponent;
        if rest.iter().any(|digit| *digit != 0) || rest.len() < dropped {
            self.increment();
        }
    }

    fn increment(&mut self) {
        for digit in self.digits.iter_mut().rev() {
            if *digit < 9 {
                *digit += 1;
                return;
            }
            *digit = 0;
        }
        self.digits.insert(0, 1);
    }

    /// Takes away factors of ten.
    fn shorten(&mut self) {
        let zeros = self.digits.iter().rev().take_while(|digit| **digit == 0).count();
        self.digits.truncate(self.digits.len() - zeros);
        self.exponent += zeros as i64;
    }

    fn text(&self) -> String {
        self.digits.iter().map(|digit| char::from(b'0' + digit)).collect()
    }

    /// As a whole number, if it is one of less than 2^64.
    fn whole(&self) -> Option<u64> {
        let places = usize::try_from(self.exponent).ok().filter(|places| *places < 20)?;
        (self.text() + &"0".repeat(places)).parse().ok()
    }

    fn is_below_one(&self) -> bool {
        (self.digits.len() as i64).saturating_add(self.exponent) <= 0
    }
}

/// The form in which upstream writes a quantity that it has read.
pub fn canonical(text: &str) -> Result<String, ParseError> {
    let text = text.trim_matches(|c: char| c.is_whitespace());
    let parts = Parts::of(text)?;
    if parts.is_kept() {
        return Ok(text.to_owned());
    }
    let (mut amount, mut format) = (parts.amount(), parts.format);
    amount.round_up_to(NANO);
    amount.shorten();
    if amount.digits.is_empty() {
        return Ok("0".to_owned());
    }
    if format == Format::BinarySi {
        let max = || BINARY_MAX.bytes().map(|digit| digit - b'0').collect();
        match amount.whole() {
            _ if amount.is_below_one() => format = Format::DecimalSi,
            // A fraction, or too much.
            None if amount.exponent >= 0 => amount = Amount { digits: max(), exponent: 0 },
            None if amount.digits.len() as i64 + amount.exponent > BINARY_MAX.len() as i64 => {
                amount = Amount { digits: max(), exponent: 0 };
            }
            None => format = Format::DecimalSi,
            Some(whole) if whole > i64::MAX.unsigned_abs() => amount = Amount { digits: max(), exponent: 0 },
            Some(_) => {}
        }
    }
    let sign = if parts.negative { "-" } else { "" };
    Ok(match (format, amount.whole()) {
        (Format::BinarySi, Some(whole)) if whole >= 1024 => {
            let power = (whole.trailing_zeros() / 10).min(6);
            let suffix = power.checked_sub(1).map_or("", |at| BINARY[at as usize].0);
            format!("{sign}{}{suffix}", whole >> (power * 10))
        }
        (format, _) => format!("{sign}{}", decimal(amount, format)),
    })
}

/// With an exponent that three divides.
fn decimal(mut amount: Amount, format: Format) -> String {
    let over = amount.exponent.rem_euclid(3);
    amount.digits.extend((0..over).map(|_| 0));
    amount.exponent -= over;
    let number = amount.text();
    match (format, amount.exponent) {
        (Format::DecimalExponent, 0) => number,
        (Format::DecimalExponent, exponent) => format!("{number}e{exponent}"),
        (_, exponent) => {
            let suffix = DECIMAL.iter().find(|(_, power)| *power == exponent).map_or("", |(suffix, _)| suffix);
            number + suffix
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As Go's types write it.
    #[test]
    fn canonical_forms() {
        for (text, want) in [
            ("0", "0"),
            ("1000", "1k"),
            ("1024", "1024"),
            ("1.5", "1500m"),
            ("1.500", "1.500"),
            ("1.5Ki", "1536"),
            ("0.5Ki", "512"),
            ("1024Mi", "1Gi"),
            ("1500Mi", "1500Mi"),
            ("1.1Gi", "1181116006400m"),
            ("0.0001Ki", "102400u"),
            ("1e3", "1e3"),
            ("1E3", "1E3"),
            ("1e+3", "1e+3"),
            ("1e30", "1e30"),
            ("1e100", "10e99"),
            ("12e-1", "1200e-3"),
            ("1e0", "1e0"),
            ("1234567890123456789012345678901234567890", "1234567890123456789012345678901234567890"),
            ("0.1234567891", "123456790n"),
            ("0.0000000001", "1n"),
            ("-0.0000000001", "-1n"),
            ("0.9999999999", "1"),
            ("9223372036854775807E", "9223372036854775807E"),
            ("8Ei", "9223372036854775807"),
            ("-9Ei", "-9223372036854775807"),
            ("100000000000000000000Gi", "9223372036854775807"),
            ("7Ei", "7Ei"),
            ("1000n", "1u"),
            ("00001", "00001"),
            ("+1", "+1"),
            ("1.", "1."),
            (".5", "500m"),
            (".", "0"),
            (" 1 ", "1"),
            ("1000E", "1"),
            ("0e30", "0"),
            ("-0", "0"),
            ("1e-9999999999", "1e-9"),
        ] {
            assert_eq!(canonical(text).as_deref(), Ok(want), "{text}");
        }
    }

    #[test]
    fn errors() {
        for text in ["", "1.2.3", "1 1", "0x1", "1_000", "１", "true", "1e3k"] {
            assert_eq!(canonical(text), Err(ParseError::Format), "{text}");
        }
        for text in ["1e", "+-1", "1i", "1ki", "1K", "1e99999999999999999999"] {
            assert_eq!(canonical(text), Err(ParseError::Suffix), "{text}");
        }
    }

    #[test]
    fn long_numbers_take_time_in_proportion() {
        let started = std::time::Instant::now();
        let text = "1".repeat(1 << 20);
        assert_eq!(canonical(&text).as_deref(), Ok(text.as_str()));
        assert_eq!(canonical(&(text + "Ki")).as_deref(), Ok(BINARY_MAX));
        assert!(started.elapsed() < std::time::Duration::from_secs(5));
    }
}
