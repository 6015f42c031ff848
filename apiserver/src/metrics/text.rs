//! The format in which Prometheus is told.

use std::fmt::Write;

/// OpenMetrics text in the older format of Prometheus, in which a counter is called what its samples are called and
/// bounds are written as Go writes numbers.
pub(super) fn as_prometheus(open_metrics: &str) -> String {
    let mut out = String::with_capacity(open_metrics.len());
    let mut help = None;
    for line in open_metrics.lines() {
        let mut words = line.splitn(4, ' ');
        match (words.next(), words.next(), words.next(), words.next()) {
            (Some("#"), Some("HELP"), Some(name), text) => help = Some((name, text.unwrap_or_default())),
            (Some("#"), Some("TYPE"), Some(name), Some(ty)) => {
                let total = if ty == "counter" { "_total" } else { "" };
                if let Some((_, text)) = help.take().filter(|(known, _)| *known == name) {
                    let _ = writeln!(out, "# HELP {name}{total} {text}");
                }
                let _ = writeln!(out, "# TYPE {name}{total} {ty}");
            }
            (Some("#"), ..) => {}
            _ => {
                with_bound(line, &mut out);
                out.push('\n');
            }
        }
    }
    out
}

/// A sample with the bound of its bucket, if it is one, in Go's form: `1` instead of `1.0`. Clients select by that text.
fn with_bound(line: &str, out: &mut String) {
    const LABEL: &str = "le=\"";
    let bound = line.find(LABEL).map(|at| at + LABEL.len());
    let parts = bound.and_then(|start| Some((start, start + line[start..].find('"')?)));
    match parts.and_then(|(start, end)| Some((start, end, line[start..end].parse::<f64>().ok()?))) {
        Some((start, end, bound)) if bound.is_finite() => {
            out.push_str(&line[..start]);
            out.push_str(&in_go(bound));
            out.push_str(&line[end..]);
        }
        _ => out.push_str(line),
    }
}

/// `strconv.FormatFloat(x, 'g', -1, 64)`.
fn in_go(number: f64) -> String {
    let scientific = format!("{number:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent = exponent.parse::<i32>().unwrap_or(0);
    if (-4..21).contains(&exponent) && !(6..21).contains(&exponent) {
        return number.to_string();
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", exponent.abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_and_bounds() {
        let given = "# HELP a Text.\n# TYPE a counter\na_total 1\n# TYPE b histogram\nb_bucket{x=\"y\",le=\"1.0\"} 0\n\
                     b_bucket{le=\"1000000.0\"} 2\nb_bucket{le=\"+Inf\"} 2\n# EOF\n";
        let wanted = "# HELP a_total Text.\n# TYPE a_total counter\na_total 1\n# TYPE b histogram\n\
                      b_bucket{x=\"y\",le=\"1\"} 0\nb_bucket{le=\"1e+06\"} 2\nb_bucket{le=\"+Inf\"} 2\n";
        assert_eq!(as_prometheus(given), wanted);
        assert_eq!([0.005, 1.25, 100_000.0, 1e-8, 1e9].map(in_go), ["0.005", "1.25", "100000", "1e-08", "1e+09"]);
    }
}
