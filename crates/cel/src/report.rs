//! Errors of a text that is no good expression, shown as upstream's compiler shows them (`common/error.go`).

use crate::ast::Source;

/// Errors that are shown; of more, only their number.
const MAX_SHOWN: usize = 100;
/// Characters of a line that is shown with its error.
const MAX_SNIPPET: usize = 16384;

/// Errors and their places.
#[derive(Clone, Debug, Default)]
pub(crate) struct Report {
    /// Line and column, both from 1, and what is wrong there.
    errors: Vec<((usize, usize), String)>,
}

impl Report {
    /// Adds an error.
    pub(crate) fn add(&mut self, place: (usize, usize), message: impl Into<String>) {
        self.errors.push((place, message.into()));
    }

    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.errors.is_empty()
    }

    /// All of them with the lines they are in, ordered by place.
    pub(crate) fn show(mut self, source: &Source) -> String {
        self.errors.sort_by_key(|(place, _)| *place);
        let more = self.errors.len().saturating_sub(MAX_SHOWN);
        let mut lines = self.errors.iter().take(MAX_SHOWN).map(|error| show(source, error)).collect::<Vec<_>>();
        if more > 0 {
            lines.push(format!("{more} more errors were truncated"));
        }
        lines.join("\n")
    }
}

fn show(source: &Source, ((line, column), message): &((usize, usize), String)) -> String {
    if source.text.is_empty() {
        // Upstream finds neither a column nor a line to show.
        return format!("ERROR: <input>:1:0: {message}");
    }
    let mut out = format!("ERROR: <input>:{line}:{column}: {message}");
    let snippet = source.text.split('\n').nth(line - 1).unwrap_or("").replace('\t', " ");
    if snippet.len() <= MAX_SNIPPET {
        let mut characters = snippet.chars();
        out.push_str("\n | ");
        out.push_str(&snippet);
        out.push_str("\n | ");
        out.extend(characters.by_ref().take(column - 1).map(|c| if c.is_ascii() { '.' } else { '\u{ff0e}' }));
        out.push(if characters.next().is_none_or(|c| c.is_ascii()) { '^' } else { '\u{ff3e}' });
    }
    out
}
