//! A quantity as Go prints its struct: a number with a decimal scale, or a big one, and sometimes its text.

use std::fmt::{Result, Write};

/// Digits that always fit into 64 bits.
const MAX_DIGITS: i32 = 18;

/// Digits behind the point that upstream's parser gives every big number.
const BIG_SCALE: i32 = 9;

/// Writes the struct that upstream's parser makes of a quantity in canonical form. It keeps the text only where it sees
/// at a glance that it is canonical, and takes a big number where 64 bits might not do.
pub(super) fn write(text: &str, out: &mut String) -> Result {
    let parsed = Parsed::of(text);
    match parsed.amount {
        Amount::Small { value, scale } => write!(
            out,
            "{{i:(resource.int64Amount){{value:(int64){value} scale:(resource.Scale){scale}}} \
             d:(resource.infDecAmount){{Dec:(*inf.Dec)<nil>}} "
        )?,
        Amount::Big { negative, billionths } => write!(
            out,
            "{{i:(resource.int64Amount){{value:(int64)0 scale:(resource.Scale)0}} \
             d:(resource.infDecAmount){{Dec:(*inf.Dec){{unscaled:(big.Int){{neg:(bool){negative} \
             abs:(big.nat){}}} scale:(inf.Scale){BIG_SCALE}}}}} ",
            words(billionths)
        )?,
    }
    let kept = if parsed.kept { text } else { "" };
    write!(out, "s:(string){kept} Format:(resource.Format){}}}", parsed.format)
}

enum Amount {
    Small { value: i64, scale: i32 },
    Big { negative: bool, billionths: u128 },
}

struct Parsed {
    amount: Amount,
    kept: bool,
    format: &'static str,
}

impl Parsed {
    fn of(text: &str) -> Parsed {
        if text == "0" {
            return Parsed { amount: Amount::Small { value: 0, scale: 0 }, kept: true, format: "DecimalSI" };
        }
        let (negative, unsigned) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text.strip_prefix('+').unwrap_or(text)),
        };
        let end = unsigned.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(unsigned.len());
        let (number, suffix) = unsigned.split_at(end);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        let whole = if whole.trim_start_matches('0').is_empty() { "0" } else { whole.trim_start_matches('0') };
        let digits = format!("{whole}{fraction}");
        let value: u128 = digits.parse().unwrap_or_default();
        let length = |text: &str| i32::try_from(text.len()).unwrap_or(i32::MAX);
        if let Some(exponent) = binary(suffix) {
            let room = 15 - length(whole) - exponent * 3 / 10 - 1;
            let shifted = value << exponent;
            let amount = amount(room >= 0 && fraction.is_empty(), negative, shifted, 0);
            let kept = matches!(amount, Amount::Small { .. }) && value & 7 != 0;
            return Parsed { amount, kept, format: "BinarySI" };
        }
        let (exponent, format) = decimal(suffix);
        let scale = exponent - length(fraction);
        let amount = amount(length(&digits) <= MAX_DIGITS && scale >= -9, negative, value, scale);
        let small = matches!(amount, Amount::Small { .. });
        let kept = small && scale % 3 == 0 && !digits.ends_with("000") && !digits.starts_with('0');
        Parsed { amount, kept, format }
    }
}

fn amount(fits: bool, negative: bool, value: u128, scale: i32) -> Amount {
    match i64::try_from(value) {
        Ok(value) if fits => Amount::Small { value: if negative { -value } else { value }, scale },
        _ => {
            let factor = 10_u128.saturating_pow(u32::try_from(scale + BIG_SCALE).unwrap_or_default());
            Amount::Big { negative, billionths: value.saturating_mul(factor) }
        }
    }
}

/// The power of two of a binary suffix.
fn binary(suffix: &str) -> Option<i32> {
    let at = ["Ki", "Mi", "Gi", "Ti", "Pi", "Ei"].iter().position(|known| *known == suffix)?;
    Some(10 * (i32::try_from(at).ok()? + 1))
}

/// The power of ten of any other suffix, and what upstream calls the form.
fn decimal(suffix: &str) -> (i32, &'static str) {
    const SUFFIXES: [(&str, i32); 10] =
        [("n", -9), ("u", -6), ("m", -3), ("", 0), ("k", 3), ("M", 6), ("G", 9), ("T", 12), ("P", 15), ("E", 18)];
    match SUFFIXES.iter().find(|(known, _)| *known == suffix) {
        Some((_, exponent)) => (*exponent, "DecimalSI"),
        None => (suffix.trim_start_matches(['e', 'E']).parse().unwrap_or_default(), "DecimalExponent"),
    }
}

/// A big number's words, the lowest first.
fn words(value: u128) -> String {
    const WORD: u128 = 1 << 64;
    match (value / WORD, value % WORD) {
        (0, 0) => "<nil>".to_owned(),
        (0, low) => format!("[{low}]"),
        (high, low) => format!("[{low} {high}]"),
    }
}
