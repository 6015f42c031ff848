//! From the answer of a write until the last of many watchers has seen it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::{NAMESPACE, Settings};
use crate::client::{Call, Connection};
use crate::sample::{self, Metric, Sample};
use crate::target::Target;

/// Watches on one connection; upstream lets a client open 100 streams on one.
pub const WATCHES_PER_CONNECTION: usize = 50;

/// How long an event may take until the run is given up.
pub const SEEN_WITHIN: Duration = Duration::from_secs(10);

/// Writes that do not count.
const WARM_UP: usize = 10;

/// The object that is written, and the field that tells its writes apart.
const NAME: &str = "tick";
const MARK: &[u8] = b"\"sequence\":\"";

/// Opens the watches, writes one event after the other, and times each until all have it.
pub async fn measure(target: &Target, settings: &Settings) -> anyhow::Result<Sample> {
    let mut writer = target.endpoint.connect().await?;
    let version = prepare(&mut writer).await?;
    let events = WARM_UP + settings.events;
    let board = Arc::new(Board::new(events));
    let (complete, mut completed) = mpsc::channel(events + 1);
    let mut watchers = JoinSet::new();
    let path = watch_path(&version);
    let connections = target.endpoint.connect_many(settings.watchers.div_ceil(WATCHES_PER_CONNECTION)).await?;
    for watcher in 0..settings.watchers {
        let mut connection = connections[watcher / WATCHES_PER_CONNECTION].clone();
        let answer = connection.open(Call::new(Method::GET, &path)).await?;
        ensure!(answer.status() == StatusCode::OK, "watch: {}", answer.status());
        watchers.spawn(follow(answer.into_body(), board.clone(), settings.watchers, complete.clone()));
    }
    let (mut latencies, mut before, mut first) = (Vec::new(), None, Instant::now());
    for number in 1..=events {
        if number == WARM_UP + 1 {
            before = target.cpu()?;
            first = Instant::now();
        }
        let answered = write(&mut writer, number).await?;
        let all = tokio::time::timeout(SEEN_WITHIN, completed.recv()).await;
        let all = all.with_context(|| format!("event {number} was not seen by all within {SEEN_WITHIN:?}"))?;
        let (seen, at) = all.context("the watchers ended")?;
        ensure!(seen == number, "event {seen} was complete before event {number}");
        if number > WARM_UP {
            // Watchers may see an event before its writer has read the answer.
            latencies.push(at.saturating_duration_since(answered));
        }
    }
    let cpu = before.zip(target.cpu()?).map(|(before, after)| (after - before) / settings.watchers as u32);
    watchers.shutdown().await;
    let mut sample = sample::of_load(&mut latencies, first.elapsed(), cpu);
    sample.remove(&Metric::Rate);
    Ok(sample)
}

/// Where the written object is watched from a version on.
pub fn watch_path(version: &str) -> String {
    format!("/api/v1/namespaces/{NAMESPACE}/configmaps?watch=true&resourceVersion={version}")
}

/// Who has seen what: the number of watchers per event.
pub struct Board {
    seen: Vec<AtomicUsize>,
}

impl Board {
    /// Room for the events 1 to `events`.
    pub fn new(events: usize) -> Board {
        Board { seen: (0..=events).map(|_| AtomicUsize::new(0)).collect() }
    }
}

/// Reads one watch to its end.
pub async fn follow(mut body: Incoming, board: Arc<Board>, watchers: usize, complete: mpsc::Sender<(usize, Instant)>) {
    let (mut rest, mut last) = (Vec::new(), 0);
    while let Some(Ok(frame)) = body.frame().await {
        let Some(data) = frame.data_ref() else {
            continue;
        };
        for number in sequence_numbers(&mut rest, data) {
            if number <= last || number >= board.seen.len() {
                continue;
            }
            last = number;
            if board.seen[number].fetch_add(1, Ordering::AcqRel) + 1 == watchers {
                // The channel holds every event, so this never waits.
                let _ = complete.try_send((number, Instant::now()));
            }
        }
    }
}

/// The numbers in the complete lines so far; what is left of a line is kept for the next frame.
fn sequence_numbers(rest: &mut Vec<u8>, data: &Bytes) -> Vec<usize> {
    rest.extend_from_slice(data);
    let Some(end) = rest.iter().rposition(|byte| *byte == b'\n') else {
        return Vec::new();
    };
    let lines = rest[..end].split(|byte| *byte == b'\n');
    let numbers = lines.filter_map(|line| {
        let at = line.windows(MARK.len()).position(|window| window == MARK)? + MARK.len();
        let digits = line[at..].iter().take_while(|byte| byte.is_ascii_digit());
        Some(digits.fold(0, |number, digit| number * 10 + usize::from(digit - b'0')))
    });
    let numbers = numbers.collect();
    rest.drain(..=end);
    numbers
}

/// Makes the object anew and returns its resourceVersion.
pub async fn prepare(writer: &mut Connection) -> anyhow::Result<String> {
    let collection = format!("/api/v1/namespaces/{NAMESPACE}/configmaps");
    let path = format!("{collection}/{NAME}");
    let (status, _) = writer.send(Call::new(Method::DELETE, &path)).await?;
    ensure!(status == StatusCode::OK || status == StatusCode::NOT_FOUND, "DELETE {path}: {status}");
    let object = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": NAME},
        "data": {"sequence": "0", "text": "x".repeat(1000)},
    });
    let call = Call::new(Method::POST, &collection).json(object.to_string());
    let created: Value = serde_json::from_slice(&writer.expect(StatusCode::CREATED, call).await?)?;
    let version = created["metadata"]["resourceVersion"].as_str();
    Ok(version.context("the answer has no resourceVersion")?.to_owned())
}

/// Writes one event; returns when it was answered.
pub async fn write(writer: &mut Connection, number: usize) -> anyhow::Result<Instant> {
    let path = format!("/api/v1/namespaces/{NAMESPACE}/configmaps/{NAME}");
    let patch = json!({"data": {"sequence": number.to_string()}}).to_string();
    let call = Call { content_type: "application/merge-patch+json", ..Call::new(Method::PATCH, &path).json(patch) };
    writer.expect(StatusCode::OK, call).await?;
    Ok(Instant::now())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_from_lines_however_they_are_cut() {
        let mut rest = Vec::new();
        let frame = |text: &str| Bytes::copy_from_slice(text.as_bytes());
        assert_eq!(sequence_numbers(&mut rest, &frame("{\"sequence\":\"1\"}\n{\"seque")), [1]);
        assert!(sequence_numbers(&mut rest, &frame("nce\":\"1")).is_empty());
        assert_eq!(sequence_numbers(&mut rest, &frame("2\"}\n{}\n{\"sequence\":\"13\"}\n")), [12, 13]);
        assert!(rest.is_empty());
    }
}
