//! The CRI log: one line per line of output, `TIME STREAM TAG TEXT`, with tag `P` for a part of a long line and `F`
//! for its end (upstream: `pkg/kubelet/kuberuntime/logs/logs.go`).

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Longest text of one log line, in bytes; longer lines are split.
const MAX_TEXT: usize = 16 * 1024;

/// Where lines go. Without a path everything is dropped. A full disk loses lines but never stops the container.
pub(super) struct Log {
    path: Option<PathBuf>,
    file: Option<File>,
}

/// Splits the bytes of one stream into lines.
pub(super) struct Lines {
    stream: &'static str,
    pending: Vec<u8>,
}

// === impl Log ===

impl Log {
    pub(super) fn open(path: Option<&Path>) -> io::Result<Self> {
        let mut log = Self { path: path.map(Path::to_owned), file: None };
        log.reopen()?;
        Ok(log)
    }

    /// Opens the path again, after the file there was renamed.
    pub(super) fn reopen(&mut self) -> io::Result<()> {
        let Some(path) = &self.path else {
            return Ok(());
        };
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        self.file = Some(File::options().create(true).append(true).mode(0o640).open(path)?);
        Ok(())
    }

    /// Appends formatted lines.
    pub(super) fn append(&mut self, formatted: &[u8]) {
        if let Some(file) = &mut self.file {
            let _ = file.write_all(formatted);
        }
    }
}

// === impl Lines ===

impl Lines {
    pub(super) fn new(stream: &'static str) -> Self {
        Self { stream, pending: Vec::new() }
    }

    /// Formats every line that `bytes` completes into `out`; the rest waits, at most [`MAX_TEXT`] bytes.
    pub(super) fn push(&mut self, mut bytes: &[u8], time: &str, out: &mut Vec<u8>) {
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            self.extend(&bytes[..end], time, out);
            self.emit(b'F', time, out);
            bytes = &bytes[end + 1..];
        }
        self.extend(bytes, time, out);
    }

    /// Formats what is left when the stream ends: a part of a line, so that readers add no newline that nobody wrote.
    pub(super) fn finish(&mut self, time: &str, out: &mut Vec<u8>) {
        if !self.pending.is_empty() {
            self.emit(b'P', time, out);
        }
    }

    fn extend(&mut self, mut bytes: &[u8], time: &str, out: &mut Vec<u8>) {
        while self.pending.len() + bytes.len() > MAX_TEXT {
            let (now, later) = bytes.split_at(MAX_TEXT - self.pending.len());
            self.pending.extend_from_slice(now);
            self.emit(b'P', time, out);
            bytes = later;
        }
        self.pending.extend_from_slice(bytes);
    }

    fn emit(&mut self, tag: u8, time: &str, out: &mut Vec<u8>) {
        out.extend_from_slice(time.as_bytes());
        out.push(b' ');
        out.extend_from_slice(self.stream.as_bytes());
        out.extend_from_slice(&[b' ', tag, b' ']);
        out.append(&mut self.pending);
        out.push(b'\n');
    }
}

/// The time now as the log shows it.
pub(super) fn timestamp() -> String {
    format!("{:.9}", jiff::Timestamp::now())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(chunks: &[&[u8]], expected: &str) {
        let (mut lines, mut out) = (Lines::new("stdout"), Vec::new());
        for chunk in chunks {
            lines.push(chunk, "T", &mut out);
        }
        lines.finish("T", &mut out);
        assert_eq!(String::from_utf8_lossy(&out), expected);
    }

    #[test]
    fn lines_over_chunks() {
        check(&[b"a\nb", b"c\n"], "T stdout F a\nT stdout F bc\n");
        check(&[b"\n\n"], "T stdout F \nT stdout F \n");
        check(&[b"no newline"], "T stdout P no newline\n");
        check(&[b""], "");
        check(&[b"\r\n"], "T stdout F \r\n");
    }

    #[test]
    fn long_lines_are_split() {
        let long = vec![b'x'; MAX_TEXT + 3];
        let part = "x".repeat(MAX_TEXT);
        check(&[&long, b"\n"], &format!("T stdout P {part}\nT stdout F xxx\n"));
        // Exactly the limit is one line.
        check(&[&long[..MAX_TEXT], b"\n"], &format!("T stdout F {part}\n"));
    }

    #[test]
    fn timestamps_have_nine_digits_and_utc() {
        let time = timestamp();
        assert_eq!((time.len(), time.as_bytes()[10], time.as_bytes()[29]), (30, b'T', b'Z'), "{time}");
    }
}
