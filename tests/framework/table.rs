//! One table at the end of a test run: client × scenario × result, with its count.

use std::collections::BTreeMap;
use std::fmt;
use std::io::Write;

/// How a scenario went with a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All of its steps did what they should.
    Passed(usize),
    /// It failed, and how far it came or why.
    Failed(String),
    /// It was not run, and why.
    NotRun(String),
}

/// The results by client and scenario.
#[derive(Debug, Default)]
pub struct Table {
    rows: BTreeMap<(String, String), Outcome>,
}

impl Table {
    /// Nothing yet.
    pub fn new() -> Table {
        Table::default()
    }

    /// Adds a result.
    pub fn add(&mut self, client: &str, scenario: &str, outcome: Outcome) {
        self.rows.insert((client.to_owned(), scenario.to_owned()), outcome);
    }

    /// Shows it, also when the test passes: what is written like this is not captured.
    pub fn print(&self) {
        let _ = writeln!(std::io::stderr(), "\n{self}");
    }

    /// Those that failed.
    pub fn failures(&self) -> Vec<String> {
        let failed = self.rows.iter().filter_map(|((client, scenario), outcome)| match outcome {
            Outcome::Failed(why) => Some(format!("{client}, {scenario}: {why}")),
            Outcome::Passed(_) | Outcome::NotRun(_) => None,
        });
        failed.collect()
    }
}

impl fmt::Display for Table {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = |of: fn(&(String, String)) -> &String| self.rows.keys().map(|key| of(key).len()).max().unwrap_or(0);
        let (clients, scenarios) = (width(|key| &key.0), width(|key| &key.1));
        let (mut passed, mut steps, mut failed, mut not_run) = (0, 0, 0, 0);
        for ((client, scenario), outcome) in &self.rows {
            let result = match outcome {
                Outcome::Passed(count) => {
                    passed += 1;
                    steps += count;
                    format!("passed, {count} steps")
                }
                Outcome::Failed(why) => {
                    failed += 1;
                    format!("FAILED: {why}")
                }
                Outcome::NotRun(why) => {
                    not_run += 1;
                    format!("not run: {why}")
                }
            };
            writeln!(out, "| {client:clients$} | {scenario:scenarios$} | {result} |")?;
        }
        write!(out, "{passed} scenarios passed with {steps} steps, {failed} failed, {not_run} not run")
    }
}

#[test]
fn every_result_is_a_row_and_counts() {
    let mut table = Table::new();
    table.add("kubectl 1.33", "apply", Outcome::Passed(3));
    table.add("helm", "life", Outcome::NotRun("no helm here".to_owned()));
    table.add("kubectl 1.27", "apply", Outcome::Failed("2 of 3".to_owned()));
    let rows = [
        "| helm         | life  | not run: no helm here |",
        "| kubectl 1.27 | apply | FAILED: 2 of 3 |",
        "| kubectl 1.33 | apply | passed, 3 steps |",
        "1 scenarios passed with 3 steps, 1 failed, 1 not run",
    ];
    assert_eq!(table.to_string(), rows.join("\n"));
    assert_eq!(table.failures(), ["kubectl 1.27, apply: 2 of 3"]);
}
