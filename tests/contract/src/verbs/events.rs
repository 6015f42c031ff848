//! The events of a watch, in either encoding.

use std::time::Duration;

use anyhow::{Context, bail};
use http_body_util::BodyExt;
use serde_json::Value;

use super::codec::{Encoding, watch_event};
use crate::target::Stream;

/// Longest that is waited for an event.
const DEADLINE: Duration = Duration::from_secs(10);

/// An open watch.
pub struct Events {
    body: Stream,
    buffer: Vec<u8>,
    encoding: Encoding,
}

impl Events {
    /// Events from this body.
    pub fn new(body: Stream, encoding: Encoding) -> Self {
        Self { body, buffer: Vec::new(), encoding }
    }

    /// The next event: its type and its object.
    pub async fn next(&mut self) -> anyhow::Result<(String, Value)> {
        loop {
            if let Some(event) = self.take()? {
                return Ok(event);
            }
            let frame = tokio::time::timeout(DEADLINE, self.body.frame()).await.context("no event in time")?;
            let Some(frame) = frame else { bail!("the watch ended") };
            if let Ok(data) = frame?.into_data() {
                self.buffer.extend_from_slice(&data);
            }
        }
    }

    fn take(&mut self) -> anyhow::Result<Option<(String, Value)>> {
        match self.encoding {
            Encoding::Json => {
                let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') else { return Ok(None) };
                let line = self.buffer.drain(..=end).collect::<Vec<_>>();
                let event = serde_json::from_slice::<Value>(&line)?;
                Ok(Some((event["type"].as_str().context("a type")?.to_owned(), event["object"].clone())))
            }
            Encoding::Protobuf => {
                let Some(length) = self.buffer.first_chunk::<4>() else { return Ok(None) };
                let length = usize::try_from(u32::from_be_bytes(*length))?;
                if self.buffer.len() < length + 4 {
                    return Ok(None);
                }
                let frame = self.buffer.drain(..length + 4).skip(4).collect::<Vec<_>>();
                let (ty, object) = watch_event(&frame)?;
                Ok(Some((ty, self.encoding.decode(&object)?)))
            }
        }
    }
}
