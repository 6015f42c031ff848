//! Instructions per operation, held to two percent of those in `counts.tsv`.
//!
//! Times on a shared machine tell nothing about a change of two percent; instructions do, and are the same each time.
//! A change that moves them on purpose records them anew: `SKIFF_RECORD=1 cargo test -p skiff-counts`.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/counts.tsv");

/// How far a count may be from the recorded one.
const TOLERANCE: f64 = 0.02;

/// Operations, how often each is done, and what a round of it counts for: a change is delivered to 100 watchers.
const OPERATIONS: [(&str, u64, u64); 8] = [
    ("create", 200, 1),
    ("patch", 200, 1),
    ("apply", 200, 1),
    ("renew", 200, 1),
    ("get", 500, 1),
    ("list", 100, 1),
    ("list-protobuf", 100, 1),
    ("watch", 100, 100),
];

#[test]
fn hot_paths_take_the_instructions_that_were_recorded() {
    let program = program();
    let measured =
        OPERATIONS.map(|(operation, times, parts)| (operation, count(&program, operation, times) / (times * parts)));
    if std::env::var_os("SKIFF_RECORD").is_some() {
        let mut text = String::new();
        for (operation, instructions) in measured {
            let _ = writeln!(text, "{operation}\t{instructions}");
        }
        return std::fs::write(FILE, text).expect(FILE);
    }
    let recorded = std::fs::read_to_string(FILE).expect(FILE);
    let mut wrong = Vec::new();
    for (operation, instructions) in measured {
        let line = recorded.lines().find_map(|line| line.strip_prefix(operation)?.strip_prefix('\t'));
        let before: u64 =
            line.and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("{FILE} lacks {operation}"));
        let change = instructions as f64 / before as f64 - 1.0;
        eprintln!("{operation}: {instructions} instructions, {before} recorded, {:+.2} %", change * 100.0);
        if change.abs() > TOLERANCE {
            wrong.push(format!("{operation}: {before} → {instructions} ({:+.1} %)", change * 100.0));
        }
    }
    assert!(wrong.is_empty(), "if that is meant, record it with SKIFF_RECORD=1: {wrong:#?}");
}

/// Builds the program as users' programs are built.
fn program() -> PathBuf {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    // Beside the program that users get, so that both are built from the same parts.
    let parts = ["--package", "skiff", "--package", "skiff-counts", "--bin", "skiff-counts"];
    let built = Command::new(cargo).args(["build", "--release", "--locked"]).args(parts).status();
    assert!(built.expect("cargo").success(), "the build failed");
    // This test runs from TARGET/debug/deps.
    let test = std::env::current_exe().expect("a path");
    let target = test.ancestors().nth(3).expect("a target folder");
    target.join("release/skiff-counts")
}

/// Instructions of so many rounds.
fn count(program: &Path, operation: &str, times: u64) -> u64 {
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().join("callgrind");
    let run = Command::new("valgrind")
        .args(["--tool=callgrind", "--instr-atstart=no", "--quiet"])
        .arg(format!("--callgrind-out-file={}", out.display()))
        .arg(program)
        .args([operation, &times.to_string()])
        .output()
        .expect("valgrind: scripts/setup installs it");
    assert!(run.status.success(), "{operation}: {}", String::from_utf8_lossy(&run.stderr));
    let text = std::fs::read_to_string(&out).expect("what callgrind wrote");
    let totals = text.lines().filter_map(|line| line.strip_prefix("summary: ").or(line.strip_prefix("totals: ")));
    totals.filter_map(|totals| totals.split_whitespace().next()?.parse().ok()).max().expect("a total")
}
