//! Instructions per operation, held to two percent of those in `counts.tsv`.
//!
//! Times on a shared machine tell nothing about a change of two percent; instructions do. What the machine has to do with
//! them is kept away: the environment and the path, which move the stack; copies by one instruction that is counted byte
//! by byte; and the seeds of hash tables, by counting again what is too much. What cannot be kept away, the compiler and
//! the C library, is recorded with the counts; where others are used, the counts may be a little further off.
//!
//! A change that moves them on purpose records them anew: `SKIFF_RECORD=1 cargo test -p skiff-counts`.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/counts.tsv");

/// How far a count may be from the recorded one.
const TOLERANCE: f64 = 0.02;
/// The same with other tools than those that it was recorded with.
const TOLERANCE_ELSEWHERE: f64 = 0.1;

/// How often is counted; the least is the count.
const RUNS: usize = 3;

/// Begins the line of the tools.
const TOOLS: &str = "# ";

/// Operations, how often each is done, and what a round of it counts for: a change is delivered to 100 watchers.
const OPERATIONS: [(&str, u64, u64); 10] = [
    ("create", 200, 1),
    ("patch", 200, 1),
    ("apply", 200, 1),
    ("renew", 200, 1),
    ("get", 500, 1),
    ("list", 100, 1),
    ("list-protobuf", 100, 1),
    ("get-custom", 500, 1),
    ("list-custom", 100, 1),
    ("watch", 100, 100),
];

#[test]
fn hot_paths_take_the_instructions_that_were_recorded() {
    let program = program();
    let tools = tools();
    let count = |(operation, times, parts)| count(&program, operation, times) / (times * parts);
    if std::env::var_os("SKIFF_RECORD").is_some() {
        let mut text = format!("{TOOLS}{tools}\n");
        for operation in OPERATIONS {
            let least = (0..RUNS).map(|_| count(operation)).min().unwrap_or_default();
            let _ = writeln!(text, "{}\t{least}", operation.0);
        }
        return std::fs::write(FILE, text).expect(FILE);
    }
    let recorded = std::fs::read_to_string(FILE).expect(FILE);
    let recorded_with = recorded.lines().find_map(|line| line.strip_prefix(TOOLS)).unwrap_or_default();
    let tolerance = if tools == recorded_with { TOLERANCE } else { TOLERANCE_ELSEWHERE };
    if tools != recorded_with {
        eprintln!("recorded with {recorded_with}, not with {tools}: {} % are allowed", tolerance * 100.0);
    }
    let mut wrong = Vec::new();
    for (operation, times, parts) in OPERATIONS {
        let line = recorded.lines().find_map(|line| line.strip_prefix(operation)?.strip_prefix('\t'));
        let before: u64 =
            line.and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("{FILE} lacks {operation}"));
        let change_to = |instructions: u64| instructions as f64 / before as f64 - 1.0;
        let mut instructions = count((operation, times, parts));
        for _ in 1..RUNS {
            if change_to(instructions).abs() > tolerance {
                instructions = instructions.min(count((operation, times, parts)));
            }
        }
        let change = change_to(instructions);
        eprintln!("{operation}: {instructions} instructions, {before} recorded, {:+.2} %", change * 100.0);
        if change.abs() > tolerance {
            wrong.push(format!("{operation}: {before} → {instructions} ({:+.1} %)", change * 100.0));
        }
    }
    assert!(wrong.is_empty(), "if that is meant, record it with SKIFF_RECORD=1: {wrong:#?}");
}

/// What else than the code decides how many instructions there are.
fn tools() -> String {
    let first_line = |program: &str, argument: &str| {
        let run = Command::new(program).arg(argument).output();
        let text = run.map(|run| String::from_utf8_lossy(&run.stdout).into_owned()).unwrap_or_default();
        text.lines().next().unwrap_or("unknown").to_owned()
    };
    let parts = [("rustc", "--version"), ("valgrind", "--version"), ("getconf", "GNU_LIBC_VERSION")];
    let versions = parts.map(|(program, argument)| first_line(program, argument)).join(", ");
    // Under valgrind, processors differ in this only.
    #[cfg(target_arch = "x86_64")]
    let vectors = if std::arch::is_x86_feature_detected!("avx2") { "avx2" } else { "no avx2" };
    #[cfg(not(target_arch = "x86_64"))]
    let vectors = std::env::consts::ARCH;
    format!("{versions}, {vectors}")
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
    let path = std::env::var_os("PATH").unwrap_or_default();
    let run = Command::new("valgrind")
        .env_clear()
        .env("PATH", path)
        .env("GLIBC_TUNABLES", "glibc.cpu.hwcaps=-ERMS,-FSRM")
        .current_dir(program.parent().expect("a folder"))
        .args(["--tool=callgrind", "--instr-atstart=no", "--quiet"])
        .arg(format!("--callgrind-out-file={}", out.display()))
        .arg(Path::new(".").join(program.file_name().expect("a name")))
        .args([operation, &times.to_string()])
        .output()
        .expect("valgrind: scripts/setup installs it");
    assert!(run.status.success(), "{operation}: {}", String::from_utf8_lossy(&run.stderr));
    let text = std::fs::read_to_string(&out).expect("what callgrind wrote");
    let totals = text.lines().filter_map(|line| line.strip_prefix("summary: ").or(line.strip_prefix("totals: ")));
    totals.filter_map(|totals| totals.split_whitespace().next()?.parse().ok()).max().expect("a total")
}
