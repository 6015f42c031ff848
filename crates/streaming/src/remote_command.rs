//! Exec and attach: the streams of a command, whatever the client speaks.

use std::time::Duration;

use http::{Request, Response};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::channels::{self, ChannelWriter, Closer, Codec, Use};
use crate::negotiate::{
    TextResponse, UpgradeKind, not_an_upgrade, spdy_protocol, spdy_switch, upgrade_kind, websocket_protocol,
    websocket_switch,
};
use crate::spdy::{Connection, Stream};
use crate::{BoxRead, BoxWrite, Error, STREAM_CREATION_TIMEOUT, status, websocket};

/// SPDY protocols, best first. v5 changes nothing for SPDY, whose streams can be half-closed anyway, and upstream does
/// not offer it there.
const SPDY_PROTOCOLS: [&str; 4] = ["v4.channel.k8s.io", "v3.channel.k8s.io", "v2.channel.k8s.io", "channel.k8s.io"];
const WEBSOCKET_PROTOCOLS: [&str; 5] =
    ["v5.channel.k8s.io", "v4.channel.k8s.io", "v4.base64.channel.k8s.io", "channel.k8s.io", "base64.channel.k8s.io"];
/// Terminal sizes that wait to be applied.
const QUEUED_SIZES: usize = 8;
/// Longest description of a terminal size, in bytes.
const MAX_SIZE_TEXT: usize = 1_024;

const STDIN: usize = 0;
const STDOUT: usize = 1;
const STDERR: usize = 2;
const ERROR: usize = 3;
const RESIZE: usize = 4;

/// Which streams the command has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// The client sends input.
    pub stdin: bool,
    /// The client takes output.
    pub stdout: bool,
    /// The client takes error output.
    pub stderr: bool,
    /// The command has a terminal, whose size the client may change.
    pub tty: bool,
}

/// The size of a terminal, in characters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct TerminalSize {
    /// Columns.
    #[serde(default)]
    pub width: u16,
    /// Rows.
    #[serde(default)]
    pub height: u16,
}

/// The client's ends of a command's streams.
pub struct RemoteCommand {
    /// What the client types. Ends when the client closes its input, or goes away.
    pub stdin: Option<BoxRead>,
    /// To the client.
    pub stdout: Option<BoxWrite>,
    /// To the client.
    pub stderr: Option<BoxWrite>,
    /// New sizes of the terminal.
    pub resize: mpsc::Receiver<TerminalSize>,
    /// Says how it ended.
    pub status: StatusWriter,
}

/// Writes the outcome of a command, and ends the connection.
pub struct StatusWriter {
    stream: BoxWrite,
    json: bool,
    end: End,
}

enum End {
    Spdy(Connection),
    Channels(Closer),
}

/// How long nothing is said to a client that may not have made its streams yet.
const HEAD_START: Duration = Duration::from_millis(25);

/// An accepted request, whose connection is there once the response has been sent.
pub struct Pending {
    upgrade: OnUpgrade,
    protocol: Protocol,
    options: Options,
}

#[derive(Clone, Copy, Debug)]
enum Protocol {
    Spdy(&'static str),
    WebSocket(&'static str),
}

/// Accepts a request to run a command or attach to one. The response must be sent as it is; then [`Pending::connect`]
/// gives the streams. An error is the response to a request that cannot be accepted.
pub fn accept<B>(request: &mut Request<B>, options: Options) -> Result<(TextResponse, Pending), Box<TextResponse>> {
    let headers = request.headers();
    let (response, protocol): (Response<_>, _) = match upgrade_kind(headers) {
        Some(UpgradeKind::Spdy) => {
            let protocol = spdy_protocol(headers, &SPDY_PROTOCOLS)?;
            (spdy_switch(protocol), Protocol::Spdy(protocol))
        }
        Some(UpgradeKind::WebSocket) => {
            let protocol = websocket_protocol(headers, &WEBSOCKET_PROTOCOLS)?;
            (websocket_switch(headers, protocol)?, Protocol::WebSocket(protocol))
        }
        None => return Err(Box::new(not_an_upgrade())),
    };
    Ok((response, Pending { upgrade: hyper::upgrade::on(request), protocol, options }))
}

// === impl Pending ===

impl Pending {
    /// Waits for the connection and for the streams that the client has to open.
    pub async fn connect(self) -> Result<RemoteCommand, Error> {
        let io = TokioIo::new(self.upgrade.await?);
        match self.protocol {
            Protocol::Spdy(protocol) => over_spdy(io, protocol, self.options).await,
            Protocol::WebSocket(protocol) => Ok(over_websocket(io, protocol, self.options).await),
        }
    }
}

async fn over_spdy(io: websocket::Upgraded, protocol: &'static str, options: Options) -> Result<RemoteCommand, Error> {
    let mut connection = Connection::server(io).map_err(|error| Error::Protocol(error.to_string()))?;
    let resizes = matches!(protocol, "v4.channel.k8s.io" | "v3.channel.k8s.io");
    let wanted = [
        ("stdin", options.stdin),
        ("stdout", options.stdout),
        ("stderr", options.stderr),
        ("error", true),
        ("resize", options.tty && resizes),
    ];
    let mut streams: [Option<Stream>; 5] = Default::default();
    let collect = async {
        while wanted.iter().zip(&streams).any(|((_, wanted), stream)| *wanted && stream.is_none()) {
            let stream = connection.accept().await.ok_or_else(|| Error::Protocol("the client went away".to_owned()))?;
            let kind = stream.headers().get("streamtype").unwrap_or_default();
            match wanted.iter().position(|(name, _)| *name == kind) {
                Some(index) => streams[index] = Some(stream),
                // Dropping it tells the client that it is not wanted.
                None => tracing::debug!(kind, "a client opened an unexpected stream"),
            }
        }
        Ok::<(), Error>(())
    };
    timeout(STREAM_CREATION_TIMEOUT, collect).await.map_err(|_| Error::Timeout)??;
    let [stdin, stdout, stderr, error, resize] = streams;
    let error = error.ok_or(Error::Timeout)?;
    Ok(RemoteCommand {
        stdin: stdin.filter(|_| options.stdin).map(|stream| Box::new(stream) as BoxRead),
        stdout: stdout.filter(|_| options.stdout).map(|stream| Box::new(stream) as BoxWrite),
        stderr: stderr.filter(|_| options.stderr).map(|stream| Box::new(stream) as BoxWrite),
        resize: sizes(resize),
        status: StatusWriter {
            stream: Box::new(error),
            json: protocol == "v4.channel.k8s.io",
            end: End::Spdy(connection),
        },
    })
}

async fn over_websocket(io: websocket::Upgraded, protocol: &'static str, options: Options) -> RemoteCommand {
    let codec = if protocol.contains("base64") { Codec::Base64 } else { Codec::Binary };
    let read = |wanted: bool| if wanted { Use::Read } else { Use::Ignored };
    let write = |wanted: bool| if wanted { Use::Write } else { Use::Ignored };
    let mut uses = [Use::Ignored; 5];
    uses[STDIN] = read(options.stdin);
    uses[STDOUT] = write(options.stdout);
    uses[STDERR] = write(options.stderr);
    uses[ERROR] = Use::Write;
    uses[RESIZE] = Use::Read;
    let mut channels = channels::serve(websocket::server(io).await, codec, &uses);
    // Clients of this protocol before v1.36 read as soon as the connection is there, and throw away what comes before they
    // have made their streams a moment later. They have no way to say when that is.
    if protocol == "v5.channel.k8s.io" {
        tokio::time::sleep(HEAD_START).await;
    }
    // Clients wait for a first message, on the first channel that they read.
    if let Some(first) = channels.writers.iter().flatten().next() {
        first.announce().await;
    }
    let mut writer = |index: usize| channels.writers[index].take();
    let boxed = |writer: ChannelWriter| Box::new(writer) as BoxWrite;
    let (stdout, stderr, error) = (writer(STDOUT).map(boxed), writer(STDERR).map(boxed), writer(ERROR).map(boxed));
    RemoteCommand {
        stdin: channels.readers[STDIN].take().map(|reader| Box::new(reader) as BoxRead),
        stdout,
        stderr,
        resize: sizes(channels.readers[RESIZE].take()),
        status: StatusWriter {
            stream: error.unwrap_or_else(|| Box::new(tokio::io::sink())),
            json: protocol.starts_with("v4.") || protocol.starts_with("v5."),
            end: End::Channels(channels.closer),
        },
    }
}

/// The sizes in a stream of JSON objects, in the background.
fn sizes(stream: Option<impl AsyncRead + Send + Unpin + 'static>) -> mpsc::Receiver<TerminalSize> {
    let (sender, receiver) = mpsc::channel(QUEUED_SIZES);
    if let Some(mut stream) = stream {
        tokio::spawn(async move {
            let mut text = Vec::new();
            while let Ok(1..) = (&mut stream).take(MAX_SIZE_TEXT as u64).read_buf(&mut text).await {
                let mut sizes = serde_json::Deserializer::from_slice(&text).into_iter::<TerminalSize>();
                let mut latest = Vec::new();
                let mut broken = false;
                for size in &mut sizes {
                    match size {
                        Ok(size) => latest.push(size),
                        Err(error) => broken |= !error.is_eof(),
                    }
                }
                let used = sizes.byte_offset();
                if broken || text.len() - used > MAX_SIZE_TEXT {
                    return;
                }
                text.drain(..used);
                for size in latest {
                    if sender.send(size).await.is_err() {
                        return;
                    }
                }
            }
        });
    }
    receiver
}

// === impl StatusWriter ===

impl StatusWriter {
    /// Resolves when the client is gone.
    pub fn client_gone(&self) -> impl Future<Output = ()> + Send + use<> {
        let closed: CancellationToken = match &self.end {
            End::Spdy(connection) => connection.closed_token(),
            End::Channels(closer) => closer.closed.clone(),
        };
        closed.cancelled_owned()
    }

    /// Reports the exit code, or why the command could not be run, and ends the connection. Output has to be written
    /// and shut down before.
    pub async fn finish(mut self, outcome: Result<i32, String>) {
        let text = if self.json { status::as_json(&outcome) } else { status::as_text(&outcome) };
        // A client that is gone needs no status.
        let _ = self.stream.write_all(&text).await;
        let _ = self.stream.shutdown().await;
        drop(self.stream);
        match self.end {
            End::Spdy(connection) => connection.close().await,
            End::Channels(closer) => closer.close().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn sizes_in_any_pieces() {
        let (mut write, read) = tokio::io::duplex(64);
        let mut receiver = sizes(Some(read));
        for piece in ["{\"Width\":80,\"Hei", "ght\":24}\n{\"Width\":100,\"Height\":50}", "{\"Width\":1}"] {
            write.write_all(piece.as_bytes()).await.expect("write");
        }
        let mut next = async || receiver.recv().await.expect("a size");
        assert_eq!(next().await, TerminalSize { width: 80, height: 24 });
        assert_eq!(next().await, TerminalSize { width: 100, height: 50 });
        assert_eq!(next().await, TerminalSize { width: 1, height: 0 });
        write.write_all(b"nonsense").await.expect("write");
        assert_eq!(receiver.recv().await, None);
    }
}
