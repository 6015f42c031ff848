//! Quantities (`500m`, `1Gi`, `2e3`) as whole numbers, rounded up: all that scheduling needs of them.
//!
//! The grammar is upstream's (`apimachinery/pkg/api/resource/quantity.go`). What the server stores is valid, so text
//! that is not a quantity counts as zero.

/// Thousandths.
pub fn milli_value(text: &str) -> i64 {
    scaled(text, 1000)
}

/// Units.
pub fn value(text: &str) -> i64 {
    scaled(text, 1)
}

fn scaled(text: &str, scale: i128) -> i64 {
    parse(text, scale).map_or(0, |value| i64::try_from(value).unwrap_or(i64::MAX))
}

/// `text` times `scale`, rounded away from zero.
fn parse(text: &str, scale: i128) -> Option<i128> {
    let (negative, text) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let digits = text.bytes().take_while(|byte| byte.is_ascii_digit() || *byte == b'.').count();
    let (number, suffix) = text.split_at(digits);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    // Beyond 18 digits a fraction is below anything that is counted; it still rounds up.
    let cut = fraction.len().min(18);
    let mut mantissa: i128 = 0;
    for byte in whole.bytes().chain(fraction[..cut].bytes()) {
        mantissa = mantissa.checked_mul(10)?.checked_add(i128::from(byte.checked_sub(b'0').filter(|d| *d < 10)?))?;
    }
    let rest = fraction[cut..].bytes().any(|byte| byte != b'0');
    let (numerator, denominator) = multiplier(suffix)?;
    let numerator = mantissa.checked_mul(numerator)?.checked_mul(scale)?;
    let denominator = denominator.checked_mul(10i128.pow(cut as u32))?;
    let round_up = i128::from(numerator % denominator != 0 || rest);
    let value = numerator / denominator + round_up;
    Some(if negative { -value } else { value })
}

/// A suffix as a fraction.
fn multiplier(suffix: &str) -> Option<(i128, i128)> {
    let decimal = |exponent: u32| Some((10i128.pow(exponent), 1));
    let binary = |exponent: u32| Some((1i128 << exponent, 1));
    match suffix {
        "" => Some((1, 1)),
        "n" => Some((1, 1_000_000_000)),
        "u" => Some((1, 1_000_000)),
        "m" => Some((1, 1000)),
        "k" => decimal(3),
        "M" => decimal(6),
        "G" => decimal(9),
        "T" => decimal(12),
        "P" => decimal(15),
        "E" => decimal(18),
        "Ki" => binary(10),
        "Mi" => binary(20),
        "Gi" => binary(30),
        "Ti" => binary(40),
        "Pi" => binary(50),
        "Ei" => binary(60),
        exponent => {
            let exponent: i32 = exponent.strip_prefix(['e', 'E'])?.parse().ok()?;
            let power = 10i128.checked_pow(exponent.unsigned_abs()).filter(|_| exponent.unsigned_abs() <= 18)?;
            Some(if exponent < 0 { (1, power) } else { (power, 1) })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_become_whole_numbers_rounded_up() {
        let milli =
            [("1", 1000), ("500m", 500), ("0.1", 100), ("1.5", 1500), ("1u", 1), ("100n", 1), ("2e3", 2_000_000)];
        for (text, expected) in milli {
            assert_eq!(milli_value(text), expected, "{text}");
        }
        let whole = [
            ("1Gi", 1 << 30),
            ("1.5Gi", 3 << 29),
            ("500m", 1),
            ("10k", 10_000),
            ("1E", 1_000_000_000_000_000_000),
            ("1E3", 1000),
            ("-5", -5),
            ("0", 0),
            ("100Ei", i64::MAX),
            ("99999999999999999999999999999999999999999", 0),
            ("", 0),
            ("x", 0),
            ("1x", 0),
            ("1e99", 0),
        ];
        for (text, expected) in whole {
            assert_eq!(value(text), expected, "{text}");
        }
    }
}
