//! The table: rows as measured, and how they are written down.

use std::fmt::Write;
use std::path::Path;

use anyhow::Context;

use crate::process;
use crate::row::{FLOORS, Floor, Row};
use crate::sample::{Metric, Sample};

/// One row as measured.
pub struct Result {
    /// Which.
    pub row: Row,
    /// Our values.
    pub ours: Sample,
    /// The other server's, and the ratios of the pairs of runs: least, median, most.
    pub other: Option<(Sample, [f64; 3])>,
    /// Load of the machine before the first run.
    pub load: f64,
    /// Why there are no values, if it went wrong.
    pub failure: Option<String>,
}

impl Result {
    /// The bounds of this row that do not hold on a machine with so many cores.
    pub fn broken(&self, cores: usize) -> Vec<String> {
        if let Some(failure) = &self.failure {
            return vec![format!("{}: {failure}", self.row.title())];
        }
        let floors = FLOORS.iter().filter(|floor| floor.row == self.row && floor.cores <= cores);
        floors
            .filter_map(|floor| match self.ours.get(&floor.metric) {
                Some(value) if floor.holds(*value) => None,
                Some(value) => {
                    Some(format!("{}: {}, is {}", self.row.title(), floor.show(), floor.metric.show(*value)))
                }
                None => Some(format!("{}: {}, was not measured", self.row.title(), floor.show())),
            })
            .collect()
    }
}

/// The table as Markdown, with what is needed to read it.
pub fn render(results: &[Result], other: Option<&str>) -> String {
    let mut text = format!(
        "Measured by `make bench` on {} cores ({}); CPU is the server's, from /proc; peer is kube-apiserver v1.36.2 with \
         etcd 3.6.8 on another machine of four cores at 2.5 GHz.\n\n",
        process::cpus(),
        process::cpu_model()
    );
    text.push_str("| # | operation | measured | floor | peer | load before |");
    text.push_str(&other.map(|other| format!(" {other} | ratio (least–most) |")).unwrap_or_default());
    text.push_str("\n|---|---|---|---|---|---|");
    text.push_str(if other.is_some() { "---|---|\n" } else { "\n" });
    for result in results {
        let floors = FLOORS.iter().filter(|floor| floor.row == result.row);
        let broken = if result.broken(process::cpus()).is_empty() { "" } else { " **not held**" };
        let floors = floors.map(Floor::show).collect::<Vec<_>>().join(", ");
        let row = result.row;
        let measured = if result.failure.is_some() { "failed".to_owned() } else { show(row, &result.ours) };
        // Writing to a String cannot fail.
        let _ = write!(
            text,
            "| {} | {} | {measured} | {floors}{broken} | {} | {:.2} |",
            row.number(),
            row.title(),
            row.peer(),
            result.load
        );
        if let Some((sample, [least, median, most])) = &result.other {
            let _ = write!(text, " {} | {median:.1}× ({least:.1}–{most:.1}) |", show(row, sample));
        } else if other.is_some() {
            text.push_str(" | |");
        }
        text.push('\n');
    }
    text
}

fn show(row: Row, sample: &Sample) -> String {
    let shown = row.metrics().iter().filter_map(|metric| {
        let value = metric.show(*sample.get(metric)?);
        Some(match metric {
            Metric::P50 => format!("p50 {value}"),
            Metric::P99 if matches!(row, Row::Boot | Row::Restart) => format!("worst {value}"),
            Metric::P99 => format!("p99 {value}"),
            Metric::CpuPerOp => format!("{value} CPU"),
            Metric::Bytes if row == Row::Crowd => format!("+{value}"),
            Metric::Bytes if row == Row::Storm => format!("{value} per watcher"),
            _ => value,
        })
    });
    shown.collect::<Vec<_>>().join(", ")
}

/// Lines between which the table stands.
const BEGIN: &str = "<!-- bench: begin -->";
const END: &str = "<!-- bench: end -->";

/// Puts the table between the marks of a file.
pub fn write_into(path: &Path, table: &str) -> anyhow::Result<()> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let text = replace(&text, table).with_context(|| format!("{} lacks {BEGIN} and {END}", path.display()))?;
    std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

fn replace(text: &str, table: &str) -> Option<String> {
    let (before, rest) = text.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}\n{table}{END}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn result(row: Row, values: &[(Metric, f64)]) -> Result {
        Result { row, ours: values.iter().copied().collect(), other: None, load: 0.0, failure: None }
    }

    #[test]
    fn floors_bound_each_metric_on_its_bad_side() {
        let good = result(Row::CreateMany, &[(Metric::Rate, 8001.0), (Metric::CpuPerOp, 249e-6)]);
        assert!(good.broken(4).is_empty());
        let slow = result(Row::CreateMany, &[(Metric::Rate, 7999.0), (Metric::CpuPerOp, 251e-6)]);
        assert_eq!(slow.broken(4).len(), 2);
        assert_eq!(slow.broken(2).len(), 1, "the rate is promised on four cores");
    }

    #[test]
    fn what_was_not_measured_does_not_hold() {
        let missing = result(Row::Size, &[]).broken(4);
        assert_eq!(missing, ["the shipped file, all roles: bytes ≤ 60.0 MB, was not measured"]);
    }

    #[test]
    fn a_row_that_failed_is_not_held() {
        let failed = Result { failure: Some("answered 500".to_owned()), ..result(Row::ListProtobuf, &[]) };
        assert_eq!(failed.broken(4), ["list 100 000 pods of 2 KB, protobuf: answered 500"]);
        let text = render(&[failed], None);
        assert!(text.contains("| failed | CPU per operation ≤ 350 ms **not held** |"), "{text}");
    }

    #[test]
    fn only_the_text_between_the_marks_changes() {
        let text = format!("# Head\n{BEGIN}\nold\n{END}\ntail\n");
        assert_eq!(replace(&text, "new\n").unwrap(), format!("# Head\n{BEGIN}\nnew\n{END}\ntail\n"));
        assert_eq!(replace("no marks", "new"), None);
    }

    #[test]
    fn a_row_shows_values_floor_and_ratio() {
        let mut row = result(Row::CreateOne, &[(Metric::P50, 0.0005), (Metric::Rate, 1700.0)]);
        row.other = Some((Sample::from([(Metric::Rate, 217.0)]), [7.0, 7.8, 8.1]));
        let text = render(&[row], Some("other"));
        let line = text.lines().last().unwrap();
        assert!(line.contains("| 1700/s, p50 500 µs | p50 ≤ 1.10 ms |"), "{line}");
        assert!(line.ends_with("| 217/s | 7.8× (7.0–8.1) |"), "{line}");
    }
}
