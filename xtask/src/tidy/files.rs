//! What a file must look like.

use std::path::Path;

/// Longest source file, in lines.
const MAX_LINES: usize = 900;

/// Places on one person's machine, which mean nothing on another. Split so that this file does not break its own rule.
const MACHINE_PATHS: [&str; 2] = [concat!("/wo", "rk/"), concat!("/ro", "ot/")];

/// The rules that a file breaks.
pub(super) fn check(path: &Path, text: &str) -> Vec<String> {
    let mut problems = Vec::new();
    let shown = path.display();
    if path.extension().is_some_and(|extension| extension == "rs") {
        let lines = text.lines().count();
        if lines > MAX_LINES {
            problems.push(format!("{shown}: {lines} lines, more than {MAX_LINES}: split it by idea"));
        }
        if !text.starts_with("//!") {
            problems.push(format!("{shown}: does not begin with what it is for (//!)"));
        }
    }
    if path.ends_with("Cargo.lock") {
        let foreign =
            |line: &&str| line.starts_with("source = ") && !line.contains("github.com/rust-lang/crates.io-index");
        problems.extend(text.lines().filter(foreign).map(|line| format!("{shown}: {line}: not from crates.io")));
    }
    for (number, line) in text.lines().enumerate() {
        for place in MACHINE_PATHS {
            if mentions(line, place) {
                problems.push(format!("{shown}:{}: names a place on one machine ({place})", number + 1));
            }
        }
    }
    problems
}

/// Whether a line holds a path that begins with `place`, rather than one that has it inside.
fn mentions(line: &str, place: &str) -> bool {
    line.match_indices(place).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        !before.is_some_and(|c| c.is_alphanumeric() || "._-$}*~/".contains(c))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn broken(path: &str, text: &str) -> usize {
        check(Path::new(path), text).len()
    }

    #[test]
    fn source_files_are_short_and_say_what_they_are_for() {
        assert_eq!(broken("a.rs", "//! It.\n"), 0);
        assert_eq!(broken("a.rs", "fn main() {}\n"), 1);
        assert_eq!(broken("a.rs", &format!("//! It.\n{}", "\n".repeat(900))), 1);
        assert_eq!(broken("a.md", &"\n".repeat(2000)), 0);
    }

    #[test]
    fn nothing_names_a_place_on_one_machine() {
        let place = MACHINE_PATHS[0];
        assert_eq!(broken("a.md", &format!("see {place}x")), 1);
        assert_eq!(broken("a.md", &format!("see frame{place}x")), 0);
    }

    #[test]
    fn crates_come_from_the_public_registry() {
        let public = "source = \"registry+https://github.com/rust-lang/crates.io-index\"\n";
        assert_eq!(broken("Cargo.lock", public), 0);
        assert_eq!(broken("Cargo.lock", "source = \"registry+https://crates.example/index\"\n"), 1);
    }
}
