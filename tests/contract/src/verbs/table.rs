//! What came of it all: resource × verb × encoding.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::codec::Encoding;
use super::session::Session;

/// One thing done on one resource in one encoding.
#[derive(Debug)]
pub struct Cell {
    /// The resource.
    pub resource: String,
    /// What was done.
    pub verb: &'static str,
    /// In which encoding.
    pub encoding: Encoding,
    /// What was wrong with it.
    pub failure: Option<String>,
}

impl Cell {
    /// The cell of this outcome.
    pub fn new(session: &Session, verb: &'static str, outcome: anyhow::Result<()>) -> Self {
        let failure = outcome.err().map(|error| format!("{error:#}"));
        Self { resource: session.resource.title(), verb, encoding: session.encoding, failure }
    }
}

/// A row for each resource, a column for each verb: `jp` where both encodings passed, a capital where one failed, `-`
/// where there is nothing to do.
pub fn render(cells: &[Cell]) -> String {
    let mut verbs: Vec<&str> = Vec::new();
    let mut rows = BTreeMap::<&str, BTreeMap<&str, String>>::new();
    for cell in cells {
        if !verbs.contains(&cell.verb) {
            verbs.push(cell.verb);
        }
        let letter = match (cell.encoding, &cell.failure) {
            (Encoding::Json, None) => 'j',
            (Encoding::Json, Some(_)) => 'J',
            (Encoding::Protobuf, None) => 'p',
            (Encoding::Protobuf, Some(_)) => 'P',
        };
        rows.entry(&cell.resource).or_default().entry(cell.verb).or_default().push(letter);
    }
    let mut text = String::new();
    for (number, verb) in verbs.iter().enumerate() {
        let _ = writeln!(text, "{number:>3} {verb}");
    }
    let _ = write!(text, "{:<66}", "");
    for number in 0..verbs.len() {
        let _ = write!(text, "{number:>3}");
    }
    for (resource, row) in rows {
        let _ = write!(text, "\n{resource:<66}");
        for verb in &verbs {
            let _ = write!(text, " {:>2}", row.get(verb).map_or("-", String::as_str));
        }
    }
    text
}
