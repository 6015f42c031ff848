//! Amounts of resources as whole numbers. Upstream's rounding: away from zero.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

/// A list of amounts by resource name.
pub(crate) type ResourceList = BTreeMap<String, Quantity>;

/// Billionths in one.
const NANO: i128 = 1_000_000_000;

/// The amount in whole units (bytes, cores), rounded up. Zero if it cannot be read, which validation excludes.
pub(crate) fn value(quantity: &Quantity) -> i64 {
    scaled(quantity, NANO)
}

/// The amount in thousandths, rounded up.
pub(crate) fn milli_value(quantity: &Quantity) -> i64 {
    scaled(quantity, NANO / 1000)
}

/// An amount out of a list, in whole units; zero if it is not there.
pub(crate) fn value_of(list: Option<&ResourceList>, resource: &str) -> i64 {
    list.and_then(|list| list.get(resource)).map_or(0, value)
}

/// An amount out of a list, in thousandths; zero if it is not there.
pub(crate) fn milli_value_of(list: Option<&ResourceList>, resource: &str) -> i64 {
    list.and_then(|list| list.get(resource)).map_or(0, milli_value)
}

/// Bytes as `<n>Ki`, or plain if they are no multiple of 1024.
pub(crate) fn bytes(amount: u64) -> Quantity {
    if amount > 0 && amount.is_multiple_of(1024) {
        Quantity(format!("{}Ki", amount / 1024))
    } else {
        Quantity(amount.to_string())
    }
}

/// Bytes in the largest binary unit that needs no fraction: the canonical form.
pub(crate) fn binary(amount: i64) -> Quantity {
    const UNITS: [&str; 7] = ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
    let power = if amount == 0 { 0 } else { (amount.trailing_zeros() / 10) as usize };
    Quantity(format!("{}{}", amount >> (10 * power), UNITS[power.min(UNITS.len() - 1)]))
}

/// Thousandths of a core as `<n>` or `<n>m`.
pub(crate) fn millicores(amount: i64) -> Quantity {
    if amount % 1000 == 0 { Quantity((amount / 1000).to_string()) } else { Quantity(format!("{amount}m")) }
}

fn scaled(quantity: &Quantity, unit: i128) -> i64 {
    let nano = parse_nano(&quantity.0).unwrap_or(0);
    let whole = nano / unit;
    let rounded = whole + (nano % unit).signum();
    i64::try_from(rounded).unwrap_or(if rounded < 0 { i64::MIN } else { i64::MAX })
}

/// Billionths of the amount; saturates far above any real one.
fn parse_nano(text: &str) -> Option<i128> {
    let end = text.find(|c: char| !matches!(c, '0'..='9' | '.' | '+' | '-')).unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let (negative, number) = match number.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, number.strip_prefix('+').unwrap_or(number)),
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let digits: i128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let (multiplier, divisor) = factor(suffix)?;
    let mut nano = digits.saturating_mul(NANO).saturating_mul(multiplier) / divisor;
    let mut place = NANO.saturating_mul(multiplier);
    for digit in fraction.chars() {
        place /= 10;
        nano = nano.saturating_add(i128::from(digit.to_digit(10)?).saturating_mul(place) / divisor);
    }
    Some(if negative { -nano } else { nano })
}

/// Multiplier and divisor of a suffix.
fn factor(suffix: &str) -> Option<(i128, i128)> {
    let binary = |power| Some((1i128 << (10 * power), 1));
    let decimal = |power: u32| Some((10i128.checked_pow(power)?, 1));
    match suffix {
        "" => Some((1, 1)),
        "n" => Some((1, 1_000_000_000)),
        "u" => Some((1, 1_000_000)),
        "m" => Some((1, 1_000)),
        "k" => decimal(3),
        "M" => decimal(6),
        "G" => decimal(9),
        "T" => decimal(12),
        "P" => decimal(15),
        "E" => decimal(18),
        "Ki" => binary(1),
        "Mi" => binary(2),
        "Gi" => binary(3),
        "Ti" => binary(4),
        "Pi" => binary(5),
        "Ei" => binary(6),
        exponent => {
            let power: i32 = exponent.strip_prefix(['e', 'E'])?.parse().ok()?;
            let size = 10i128.checked_pow(power.unsigned_abs())?;
            Some(if power < 0 { (1, size) } else { (size, 1) })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_rounded_up() {
        for (text, units, thousandths) in [
            ("1", 1, 1000),
            ("250m", 1, 250),
            ("1500m", 2, 1500),
            ("0.1", 1, 100),
            (".5", 1, 500),
            ("2.5Gi", 2_684_354_560, 2_684_354_560_000),
            ("64Mi", 67_108_864, 67_108_864_000),
            ("1e3", 1000, 1_000_000),
            ("5E-1", 1, 500),
            ("100n", 1, 1),
            ("-1500m", -2, -1500),
            ("0", 0, 0),
            ("broken", 0, 0),
        ] {
            let quantity = Quantity(text.into());
            assert_eq!((value(&quantity), milli_value(&quantity)), (units, thousandths), "{text}");
        }
    }

    #[test]
    fn amounts_are_written_canonically() {
        assert_eq!(bytes(2048).0, "2Ki");
        assert_eq!(bytes(2049).0, "2049");
        assert_eq!(bytes(0).0, "0");
        assert_eq!([0, 1, 1536, 64 << 20, 3 << 30].map(|amount| binary(amount).0), ["0", "1", "1536", "64Mi", "3Gi"]);
        assert_eq!(millicores(4000).0, "4");
        assert_eq!(millicores(250).0, "250m");
    }
}
