//! Counts given as a number or as a percentage.

use skiff_client::types::IntOrString;

/// The count that a value means for a whole of `total`; `None` if the text is not a percentage. Percentages round up
/// or down as asked (upstream `intstr.GetScaledValueFromIntOrPercent`).
pub fn scaled(value: &IntOrString, total: i32, round_up: bool) -> Option<i32> {
    match value {
        IntOrString::Int(count) => Some(*count),
        IntOrString::String(text) => {
            let percent: i64 = text.strip_suffix('%')?.parse().ok()?;
            let hundredfold = percent.checked_mul(i64::from(total))?;
            let up = i64::from(round_up && hundredfold.rem_euclid(100) != 0);
            i32::try_from(hundredfold.div_euclid(100) + up).ok()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentages_round_as_asked() {
        let percent = |text: &str, total, up| scaled(&IntOrString::String(text.into()), total, up);
        assert_eq!((percent("25%", 3, true), percent("25%", 3, false)), (Some(1), Some(0)));
        assert_eq!((percent("25%", 4, true), percent("100%", 7, false)), (Some(1), Some(7)));
        assert_eq!((percent("x", 4, true), percent("5", 4, true)), (None, None));
        assert_eq!(scaled(&IntOrString::Int(3), 1, true), Some(3));
    }
}
