//! Keeps what libcontainer only reports by tracing, as its error values say little.

use std::fmt::Write as _;
use std::fs::File;
use std::io::Write as _;
use std::path::Path;

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

/// Bytes of the file that are quoted in an error.
const MAX_QUOTED: usize = 2_000;

/// Writes error events as lines to a file that forked processes share.
struct ErrorLines(File);

#[derive(Default)]
struct Line(String);

/// Sends error events of this process and its forks to `path` from now on.
pub(super) fn install(path: &Path) {
    if let Ok(file) = File::options().create(true).append(true).open(path) {
        // Fails only if one is installed already, which then serves as well.
        let _ = tracing::subscriber::set_global_default(ErrorLines(file));
    }
}

/// The first line of the file: the error nearest to its cause.
pub(super) fn first_error(path: &Path) -> Option<String> {
    let text = std::fs::read_to_string(path).ok()?;
    let line = text.lines().next()?;
    Some(line.chars().take(MAX_QUOTED).collect())
}

// === impl ErrorLines ===

impl Subscriber for ErrorLines {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event() && *metadata.level() == Level::ERROR
    }

    fn event(&self, event: &Event<'_>) {
        let mut line = Line::default();
        event.record(&mut line);
        line.0.push('\n');
        let _ = (&self.0).write_all(line.0.as_bytes());
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

// === impl Line ===

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        let separator = if self.0.is_empty() { "" } else { ", " };
        let _ = match field.name() {
            "message" => write!(self.0, "{separator}{value:?}"),
            name => write!(self.0, "{separator}{name}: {value:?}"),
        };
    }
}
