//! Sets of indexes as text: `0,3-5`.
//!
//! Follows `validateIndexesFormat` and the functions around it in `pkg/apis/batch/validation/validation.go`.

/// How many indexes the text names; all are below `completions` and in order.
pub(super) fn count(text: &str, completions: i64) -> Result<i64, String> {
    if text.is_empty() {
        return Ok(0);
    }
    let (mut total, mut last) = (0, None);
    for part in text.split(',') {
        let (first, end) = interval(part, completions)?;
        if let Some(last) = last.filter(|last| *last >= first) {
            return Err(format!("non-increasing order, previous: {last}, current: {first}"));
        }
        total += end - first + 1;
        last = Some(end);
    }
    Ok(total)
}

fn interval(text: &str, completions: i64) -> Result<(i64, i64), String> {
    let limits = text.split('-').collect::<Vec<_>>();
    if limits.len() > 2 {
        return Err(format!(
            "the fragment {text:?} violates the requirement that an index interval can have at most two parts separated by '-'"
        ));
    }
    let number = |text: &str| {
        let number =
            text.parse::<i64>().map_err(|_| format!("cannot convert string to integer for index: {text:?}"))?;
        if number >= completions { Err(format!("too large index: {text:?}")) } else { Ok(number) }
    };
    let first = number(limits[0])?;
    let Some(last) = limits.get(1) else { return Ok((first, first)) };
    let last = number(last)?;
    if first >= last {
        return Err(format!("non-increasing order, previous: {first}, current: {last}"));
    }
    Ok((first, last))
}

/// An index that is in both sets; what is no interval is left to [`count`].
pub(super) fn overlap(one: &str, other: &str, completions: i64) -> Option<i64> {
    let intervals =
        |text: &str| text.split(',').filter_map(|part| interval(part, completions).ok()).collect::<Vec<_>>();
    let (one, other) = (intervals(one), intervals(other));
    let (mut i, mut j) = (0, 0);
    while let (Some(a), Some(b)) = (one.get(i), other.get(j)) {
        if a.0 <= b.1 && b.0 <= a.1 {
            return Some(a.0.max(b.0));
        }
        if a.0 <= b.0 { i += 1 } else { j += 1 }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted() {
        assert_eq!(count("0,3-5,7", 8), Ok(5));
        assert_eq!(count("", 0), Ok(0));
        assert_eq!(count("1,1", 3), Err("non-increasing order, previous: 1, current: 1".to_owned()));
        assert_eq!(count("2-1", 3), Err("non-increasing order, previous: 2, current: 1".to_owned()));
        assert_eq!(count("3", 3), Err("too large index: \"3\"".to_owned()));
        assert!(count("1-2-3", 9).expect_err("two dashes").starts_with("the fragment \"1-2-3\" violates"));
        assert_eq!(overlap("0-2,5", "3,4-6", 9), Some(5));
        assert_eq!(overlap("0,2", "1,3", 9), None);
    }
}
