//! One connection to a shim.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rustix::event::PollFlags;

use super::protocol::{CHANNEL_STDERR, CHANNEL_STDIN, CHANNEL_STDOUT, FRAME_HEADER, MAX_MESSAGE, Request, Response};

/// Output waiting for a client, in bytes; above it the container's output is not read until the client takes some.
const MAX_OUTPUT: usize = 256 * 1024;

/// What a connection is used for.
pub(super) enum Session {
    /// The request has not arrived yet.
    New,
    /// Waits for the container's end.
    Waiting,
    /// Connected to the container's streams.
    Attached { stdin: bool, stdout: bool, stderr: bool },
    /// Only the answer has to be taken.
    Answered,
}

pub(super) struct Client {
    socket: UnixStream,
    pub(super) session: Session,
    received: Vec<u8>,
    output: VecDeque<u8>,
    /// Last time the client took something, while output waits.
    progress: Instant,
    /// The peer sends nothing more.
    read_ended: bool,
    broken: bool,
}

// === impl Client ===

impl Client {
    pub(super) fn new(socket: UnixStream) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        Ok(Self {
            socket,
            session: Session::New,
            received: Vec::new(),
            output: VecDeque::new(),
            progress: Instant::now(),
            read_ended: false,
            broken: false,
        })
    }

    pub(super) fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// What to poll for.
    pub(super) fn interest(&self, take_input: bool) -> PollFlags {
        let mut flags = PollFlags::empty();
        if !self.read_ended && (take_input || !self.attached_input()) {
            flags |= PollFlags::IN;
        }
        if self.has_output() {
            flags |= PollFlags::OUT;
        }
        flags
    }

    pub(super) fn has_output(&self) -> bool {
        !self.output.is_empty() && !self.broken
    }

    pub(super) fn full(&self) -> bool {
        self.output.len() >= MAX_OUTPUT && !self.broken
    }

    /// True if the client holds up the container's output and took nothing for `limit`.
    pub(super) fn stalled(&self, limit: Duration) -> bool {
        self.full() && self.progress.elapsed() > limit
    }

    pub(super) fn closed(&self) -> bool {
        let nothing_to_say = self.output.is_empty();
        match self.session {
            _ if self.broken => true,
            Session::Answered => nothing_to_say,
            // A peer that only closed its writing half still wants the container's output.
            Session::Attached { stdout: false, stderr: false, .. } | Session::New | Session::Waiting => self.read_ended,
            Session::Attached { .. } => false,
        }
    }

    pub(super) fn close(&mut self) {
        self.broken = true;
    }

    pub(super) fn attached_input(&self) -> bool {
        matches!(self.session, Session::Attached { stdin: true, .. })
    }

    /// Reads what has arrived; true if the peer sends nothing more.
    pub(super) fn read(&mut self) -> bool {
        let mut chunk = [0_u8; 8 * 1024];
        match self.socket.read(&mut chunk) {
            Ok(0) => self.read_ended = true,
            Ok(count) if self.received.len() + count <= MAX_MESSAGE + FRAME_HEADER => {
                self.received.extend_from_slice(&chunk[..count]);
            }
            Ok(_) => self.broken = true,
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
            Err(_) => {
                self.broken = true;
                self.read_ended = true;
            }
        }
        self.read_ended
    }

    /// The request, once its line is complete.
    pub(super) fn take_request(&mut self) -> Option<Request> {
        if !matches!(self.session, Session::New) {
            return None;
        }
        let end = self.received.iter().position(|byte| *byte == b'\n')?;
        let line: Vec<u8> = self.received.drain(..=end).collect();
        match serde_json::from_slice(&line) {
            Ok(request) => Some(request),
            Err(error) => {
                self.respond(&Response::Error(format!("bad request: {error}")));
                self.session = Session::Answered;
                None
            }
        }
    }

    /// Moves complete frames of input to `input`; true if the client closed its input with an empty frame.
    pub(super) fn take_input(&mut self, input: &mut Vec<u8>) -> bool {
        if !self.attached_input() {
            return false;
        }
        let mut ended = false;
        while let Some((header, rest)) = self.received.split_first_chunk::<FRAME_HEADER>() {
            let [channel, length @ ..] = *header;
            let length = u32::from_be_bytes(length) as usize;
            if length > MAX_MESSAGE {
                self.broken = true;
                return ended;
            }
            if rest.len() < length {
                break;
            }
            if channel == CHANNEL_STDIN {
                ended |= length == 0;
                input.extend_from_slice(&rest[..length]);
            }
            self.received.drain(..FRAME_HEADER + length);
        }
        ended
    }

    /// Queues output of the container, if the client wants it.
    pub(super) fn publish(&mut self, channel: u8, bytes: &[u8]) {
        let wanted = match self.session {
            Session::Attached { stdout, stderr, .. } => {
                (channel == CHANNEL_STDOUT && stdout) || (channel == CHANNEL_STDERR && stderr)
            }
            _ => false,
        };
        if !wanted || self.broken {
            return;
        }
        // The shim reads at most 16 KiB at a time.
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        self.queue(&[&[channel], &length.to_be_bytes()[..], bytes]);
    }

    pub(super) fn respond(&mut self, response: &Response) {
        let line = serde_json::to_vec(response).unwrap_or_default();
        self.queue(&[&line, b"\n"]);
    }

    fn queue(&mut self, parts: &[&[u8]]) {
        if self.output.is_empty() {
            self.progress = Instant::now();
        }
        for part in parts {
            self.output.extend(*part);
        }
        self.flush();
    }

    /// Writes what the socket takes now.
    pub(super) fn flush(&mut self) {
        while !self.output.is_empty() {
            match self.socket.write(self.output.as_slices().0) {
                Ok(count) => {
                    self.progress = Instant::now();
                    self.output.drain(..count);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => {
                    self.broken = true;
                    return;
                }
            }
        }
    }
}
