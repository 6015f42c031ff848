//! Clients that are programs of their own: they play their scenarios and say in a line each how it went.
//!
//! A line is `RESULT`, the name, `ok` and the number of steps or `failed` and the reason, parted by tabs.

use std::time::Duration;

use skiff_tests::table::{Outcome, Table};
use tokio::process::Command;

/// The scenarios that `CLIENT_SCENARIOS` chooses of a client's, all of them if it names none at all; nothing if it
/// names only others'.
pub(crate) fn chosen(client: &str) -> Option<Vec<String>> {
    let Ok(names) = std::env::var("CLIENT_SCENARIOS") else { return Some(Vec::new()) };
    let mine = names.split(',').filter_map(|name| name.strip_prefix(client)?.strip_prefix(' '));
    let mine: Vec<_> = mine.map(str::to_owned).collect();
    (!mine.is_empty()).then_some(mine)
}

/// Runs the program, and writes its results into the table.
pub(crate) async fn run(client: &str, mut command: Command, patience: Duration, table: &mut Table) {
    let output = tokio::time::timeout(patience, command.kill_on_drop(true).output()).await;
    let output = match output {
        Ok(output) => output.expect("the program runs"),
        Err(_) => return table.add(client, "all", Outcome::Failed(format!("not within {patience:?}"))),
    };
    let text = String::from_utf8_lossy(&output.stdout);
    let results: Vec<_> = text.lines().filter_map(result).collect();
    if results.is_empty() || !output.status.success() {
        table.add(client, "the program", Outcome::Failed(format!("it ended with {}", output.status)));
    }
    if results.iter().any(|(_, outcome)| matches!(outcome, Outcome::Failed(_))) || results.is_empty() {
        eprintln!("--- what {client} said\n{}", String::from_utf8_lossy(&output.stderr));
    }
    for (name, outcome) in results {
        table.add(client, &name, outcome);
    }
}

/// A scenario's line.
fn result(line: &str) -> Option<(String, Outcome)> {
    let mut parts = line.strip_prefix("RESULT\t")?.split('\t');
    let (name, word, rest) = (parts.next()?, parts.next()?, parts.next()?);
    let outcome = match (word, rest.parse()) {
        ("ok", Ok(steps)) => Outcome::Passed(steps),
        _ => Outcome::Failed(rest.to_owned()),
    };
    Some((name.to_owned(), outcome))
}

#[test]
fn a_line_is_a_result() {
    assert_eq!(result("RESULT\twatch\tok\t3"), Some(("watch".to_owned(), Outcome::Passed(3))));
    assert_eq!(result("RESULT\ta b\tfailed\tE: x"), Some(("a b".to_owned(), Outcome::Failed("E: x".to_owned()))));
    assert_eq!(result("something else"), None);
}
