//! Container logs in CRI format: one line per record, `TIME STREAM TAG CONTENT`, where tag `P` means that the line goes
//! on in the next record (upstream: `pkg/kubelet/kuberuntime/logs`, staging `cri-client/pkg/logs`).

pub(crate) mod read;
pub(crate) mod rotate;
pub(crate) mod tail;

/// One record of a log file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Record<'a> {
    /// RFC 3339 with nanoseconds, as written.
    pub(crate) time: &'a str,
    pub(crate) stderr: bool,
    /// The line goes on in the next record.
    pub(crate) partial: bool,
    /// Without the line end.
    pub(crate) content: &'a [u8],
}

/// Reads one line of a log file. `None` if it is not in CRI format.
pub(crate) fn parse(line: &[u8]) -> Option<Record<'_>> {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    let mut parts = line.splitn(4, |byte| *byte == b' ');
    let time = std::str::from_utf8(parts.next()?).ok()?;
    let stderr = match parts.next()? {
        b"stdout" => false,
        b"stderr" => true,
        _ => return None,
    };
    // Tags are separated by colons; the first says whether the line is complete.
    let partial = match parts.next()?.split(|byte| *byte == b':').next()? {
        b"P" => true,
        b"F" => false,
        _ => return None,
    };
    Some(Record { time, stderr, partial, content: parts.next().unwrap_or_default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_parsed() {
        let record = parse(b"2026-01-02T03:04:05.678Z stderr P:x a b\n").expect("a record");
        assert_eq!(record.time, "2026-01-02T03:04:05.678Z");
        assert!(record.stderr && record.partial);
        assert_eq!(record.content, b"a b");
        let empty = parse(b"t stdout F ").expect("an empty line");
        assert_eq!((empty.content, empty.partial), (&b""[..], false));
        assert_eq!(parse(b"t stdout F").map(|r| r.content.len()), Some(0));
        for broken in [&b""[..], b"x", b"t stdin F x", b"t stdout Q x", b"\xff stdout F x"] {
            assert_eq!(parse(broken), None, "{broken:?}");
        }
    }
}
