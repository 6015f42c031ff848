//! Reading a container's log for `kubectl logs` (upstream: staging `cri-client/pkg/logs/logs.go`).

use std::fs::File;
use std::io::{self, BufRead, BufReader, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use tokio::sync::mpsc;

use super::{Record, parse};
use crate::logs::tail::tail_offset;
use crate::runtime::Runtime;

/// How often a followed log is looked at.
const POLL: Duration = Duration::from_millis(100);
/// How often it is checked whether the container still runs.
const CHECK_RUNNING: Duration = Duration::from_secs(1);
/// Bytes gathered before they are sent.
const CHUNK: usize = 32 * 1024;
/// Longest record that is read as one; a longer one is cut.
const RECORD_MAX: u64 = 1 << 20;

/// Which streams are wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Wanted {
    #[default]
    All,
    Stdout,
    Stderr,
}

/// What of a log is wanted (`v1.PodLogOptions`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct LogOptions {
    pub(crate) follow: bool,
    pub(crate) previous: bool,
    pub(crate) timestamps: bool,
    /// Only lines written at this time or later.
    pub(crate) since: Option<Timestamp>,
    pub(crate) tail_lines: Option<usize>,
    /// Bytes, exactly.
    pub(crate) limit_bytes: Option<usize>,
    pub(crate) wanted: Wanted,
}

impl LogOptions {
    /// Reads them from a query. The error is a message for users.
    pub(crate) fn parse(query: &[(String, String)], now: Timestamp) -> Result<Self, String> {
        let get = |name: &str| query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
        let flag = |name: &str| get(name).is_some_and(|value| !matches!(value, "false" | "0"));
        let number = |name: &str, least: i64| match get(name).filter(|value| !value.is_empty()) {
            None => Ok(None),
            Some(value) => match value.parse::<i64>() {
                Ok(number) if number >= least => Ok(Some(number)),
                _ => Err(format!("invalid value {value:?} for {name}")),
            },
        };
        let since_seconds = number("sinceSeconds", 1)?;
        let since_time = match get("sinceTime").filter(|value| !value.is_empty()) {
            None => None,
            Some(value) => {
                Some(value.parse::<Timestamp>().map_err(|_| format!("invalid value {value:?} for sinceTime"))?)
            }
        };
        if since_seconds.is_some() && since_time.is_some() {
            return Err("at most one of `sinceTime` or `sinceSeconds` may be specified".into());
        }
        let before = |seconds: i64| now.saturating_sub(SignedDuration::from_secs(seconds)).unwrap_or(Timestamp::MIN);
        let size = |number: Option<i64>| number.and_then(|number| usize::try_from(number).ok());
        Ok(Self {
            follow: flag("follow"),
            previous: flag("previous"),
            timestamps: flag("timestamps"),
            since: since_time.or(since_seconds.map(before)),
            tail_lines: size(match get("tail") {
                Some("all") => None,
                Some(_) => number("tail", 0)?,
                None => number("tailLines", 0)?,
            }),
            limit_bytes: size(number("limitBytes", 1)?),
            wanted: match get("stream") {
                None | Some("" | "All") => Wanted::All,
                Some("Stdout") => Wanted::Stdout,
                Some("Stderr") => Wanted::Stderr,
                Some(other) => return Err(format!("invalid stream type {other:?}")),
            },
        })
    }
}

/// Sends a log until its end; with `follow`, until the container has ended and everything was read. Ends early when
/// nobody listens any more.
pub(crate) async fn send(
    runtime: Runtime,
    container_id: String,
    path: PathBuf,
    options: LogOptions,
    output: mpsc::Sender<Bytes>,
) -> io::Result<()> {
    let mut reader = Reader::open(path, &options)?;
    let mut filter = Filter::new(options.clone());
    let mut checked = tokio::time::Instant::now();
    let mut is_running = true;
    let mut is_rotated = false;
    loop {
        let (chunk, at_end) = read_chunk(&mut reader, &mut filter)?;
        if !chunk.is_empty() && output.send(chunk.into()).await.is_err() {
            return Ok(());
        }
        if filter.is_full() || (at_end && !is_rotated && (!options.follow || !is_running)) {
            return Ok(());
        }
        if !at_end {
            continue;
        }
        if std::mem::take(&mut is_rotated) {
            reader.reopen()?;
            continue;
        }
        tokio::select! {
            () = output.closed() => return Ok(()),
            () = tokio::time::sleep(POLL) => {}
        }
        // What was written into the old file before the new one was opened comes first.
        is_rotated = reader.rotated()?;
        if checked.elapsed() >= CHECK_RUNNING {
            checked = tokio::time::Instant::now();
            // One more round is read after it ended, for what it wrote last.
            is_running = runs(&runtime, &container_id).await;
        }
    }
}

async fn runs(runtime: &Runtime, container_id: &str) -> bool {
    match runtime.container_status(container_id).await {
        Ok(status) => status.state() == skiff_cri::v1::ContainerState::ContainerRunning,
        Err(error) => !error.is_not_found(),
    }
}

/// Reads records until a chunk is full or the file ends. True at the end of what is there.
fn read_chunk(reader: &mut Reader, filter: &mut Filter) -> io::Result<(Vec<u8>, bool)> {
    let mut chunk = Vec::new();
    while chunk.len() < CHUNK && !filter.is_full() {
        let Some(line) = reader.next_line()? else {
            return Ok((chunk, true));
        };
        if let Some(record) = parse(line) {
            filter.push(&record, &mut chunk);
        }
    }
    Ok((chunk, false))
}

/// Reads whole lines of a file that may grow.
struct Reader {
    path: PathBuf,
    file: BufReader<File>,
    line: Vec<u8>,
    /// The line is complete and was handed out.
    taken: bool,
}

impl Reader {
    fn open(path: PathBuf, options: &LogOptions) -> io::Result<Self> {
        let mut file = File::open(&path)?;
        // A time limit may drop lines of the tail, so upstream counts the tail first, too.
        let offset = match options.tail_lines {
            Some(lines) => tail_offset(&mut file, lines)?,
            None => 0,
        };
        file.seek(SeekFrom::Start(offset))?;
        Ok(Self { path, file: BufReader::new(file), line: Vec::new(), taken: false })
    }

    /// The next complete line; `None` if there is none yet.
    fn next_line(&mut self) -> io::Result<Option<&[u8]>> {
        if std::mem::take(&mut self.taken) {
            self.line.clear();
        }
        let left = RECORD_MAX.saturating_sub(self.line.len() as u64);
        io::Read::take(&mut self.file, left).read_until(b'\n', &mut self.line)?;
        let complete = self.line.ends_with(b"\n") || self.line.len() as u64 >= RECORD_MAX;
        self.taken = complete;
        Ok(complete.then_some(self.line.as_slice()))
    }

    /// Whether another file has taken the place of the one that is read.
    fn rotated(&self) -> io::Result<bool> {
        let own = self.file.get_ref().metadata()?;
        match std::fs::metadata(&self.path) {
            Ok(there) => Ok(there.ino() != own.ino()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn reopen(&mut self) -> io::Result<()> {
        self.file = BufReader::new(File::open(&self.path)?);
        self.line.clear();
        self.taken = false;
        Ok(())
    }
}

/// Chooses records and writes their content.
struct Filter {
    options: LogOptions,
    written: usize,
    /// The record before was partial: this one goes on with its line.
    in_line: bool,
}

impl Filter {
    fn new(options: LogOptions) -> Self {
        Self { options, written: 0, in_line: false }
    }

    fn is_full(&self) -> bool {
        self.options.limit_bytes.is_some_and(|limit| self.written >= limit)
    }

    fn push(&mut self, record: &Record<'_>, output: &mut Vec<u8>) {
        let wanted = match self.options.wanted {
            Wanted::All => true,
            Wanted::Stdout => !record.stderr,
            Wanted::Stderr => record.stderr,
        };
        let recent =
            self.options.since.is_none_or(|since| record.time.parse::<Timestamp>().is_ok_and(|time| time >= since));
        if !wanted || !recent {
            return;
        }
        let start = output.len();
        if self.options.timestamps && !self.in_line {
            output.extend_from_slice(record.time.as_bytes());
            output.push(b' ');
        }
        output.extend_from_slice(record.content);
        if !record.partial {
            output.push(b'\n');
        }
        self.in_line = record.partial;
        if let Some(limit) = self.options.limit_bytes {
            output.truncate(output.len().min(start + limit - self.written));
        }
        self.written += output.len() - start;
    }
}

/// Where a log is; for messages.
pub(crate) fn missing(path: &Path) -> String {
    format!(
        "failed to try resolving symlinks in path {:?}: lstat {}: no such file or directory",
        path.display().to_string(),
        path.display()
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use skiff_cri::fake::FakeRuntime;
    use std::io::Write;

    const LOG: &str = "2026-01-01T00:00:01Z stdout F one\n\
                       2026-01-01T00:00:02Z stderr F two\n\
                       2026-01-01T00:00:03Z stdout P thr\n\
                       2026-01-01T00:00:03Z stdout F ee\n\
                       not a record\n";

    fn options(query: &[(&str, &str)]) -> Result<LogOptions, String> {
        let query: Vec<(String, String)> = query.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        LogOptions::parse(&query, "2026-01-01T00:00:04Z".parse().expect("a time"))
    }

    async fn read(query: &[(&str, &str)]) -> String {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("0.log");
        std::fs::write(&path, LOG).expect("a log");
        let runtime = Runtime::new(FakeRuntime::new().connect().await.expect("a client"));
        let (sender, mut receiver) = mpsc::channel(8);
        send(runtime, "c".into(), path, options(query).expect("options"), sender).await.expect("read");
        let mut text = Vec::new();
        while let Some(chunk) = receiver.recv().await {
            text.extend_from_slice(&chunk);
        }
        String::from_utf8(text).expect("text")
    }

    #[tokio::test]
    async fn options_choose_what_is_read() {
        assert_eq!(read(&[]).await, "one\ntwo\nthree\n");
        assert_eq!(read(&[("stream", "Stderr")]).await, "two\n");
        assert_eq!(read(&[("tailLines", "3")]).await, "three\n");
        assert_eq!(read(&[("tailLines", "0")]).await, "");
        assert_eq!(read(&[("limitBytes", "6")]).await, "one\ntw");
        assert_eq!(read(&[("sinceSeconds", "2")]).await, "two\nthree\n");
        assert_eq!(read(&[("sinceTime", "2026-01-01T00:00:03Z")]).await, "three\n");
        assert_eq!(
            read(&[("timestamps", "true")]).await,
            "2026-01-01T00:00:01Z one\n2026-01-01T00:00:02Z two\n2026-01-01T00:00:03Z three\n"
        );
    }

    #[test]
    fn bad_options_are_refused() {
        for query in [
            ("tailLines", "-1"),
            ("limitBytes", "0"),
            ("sinceSeconds", "x"),
            ("sinceTime", "yesterday"),
            ("stream", "x"),
        ] {
            assert!(options(&[query]).is_err(), "{query:?}");
        }
        assert!(options(&[("sinceSeconds", "1"), ("sinceTime", "2026-01-01T00:00:00Z")]).is_err());
        assert!(options(&[("follow", "true")]).expect("options").follow);
        assert!(!options(&[("follow", "false")]).expect("options").follow);
    }

    #[tokio::test]
    async fn a_followed_log_goes_on_over_a_rotation_until_the_container_ends() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("0.log");
        let mut file = File::create(&path).expect("a log");
        // The runtime does not know the container: it has ended, which is noticed after a second.
        let runtime = Runtime::new(FakeRuntime::new().connect().await.expect("a client"));
        let (sender, mut receiver) = mpsc::channel(8);
        let options = LogOptions { follow: true, ..Default::default() };
        let task = tokio::spawn(send(runtime, "c".into(), path.clone(), options, sender));
        file.write_all(b"t stdout F half").expect("written");
        file.write_all(b" and half\n").expect("written");
        assert_eq!(receiver.recv().await.as_deref(), Some(&b"half and half\n"[..]));
        std::fs::rename(&path, dir.path().join("0.log.old")).expect("rotated");
        std::fs::write(&path, "t stdout F next\n").expect("a new log");
        assert_eq!(receiver.recv().await.as_deref(), Some(&b"next\n"[..]));
        assert_eq!(receiver.recv().await, None);
        task.await.expect("a task").expect("read");
    }
}
