//! The shim's loop: output into the log and to attached clients, input to the container, requests, and the end.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::net::UnixListener;
use std::time::{Duration, Instant};

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, WaitOptions, kill_process, wait};
use rustix::termios::{Winsize, tcsetwinsize};

use super::client::{Client, Session};
use super::log::{Lines, Log, timestamp};
use super::protocol::{CHANNEL_STDERR, CHANNEL_STDOUT, Exit, Launch, Request, Response};
use crate::cgroup::Hierarchies;
use crate::files::{remove_dir, write_json};

/// Clients at one time; more wait to be accepted.
const MAX_CLIENTS: usize = 32;
/// Bytes read from the container at a time.
const CHUNK: usize = 16 * 1024;
/// Input waiting for the container, in bytes; above it attached clients are not read.
const MAX_STDIN: usize = 64 * 1024;
/// How long a client may take nothing while it holds up the container's output.
const STALL_LIMIT: Duration = Duration::from_secs(10);
/// How long the output of an ended container may stay open, and how long clients may take for the rest.
const DRAIN_LIMIT: Duration = Duration::from_secs(5);
const TICK: Duration = Duration::from_millis(500);

/// The shim's ends of the container's streams. With a terminal `stdout` reads it and `stdin` writes it.
#[derive(Default)]
pub(super) struct Streams {
    stdin: Option<OwnedFd>,
    stdout: Option<OwnedFd>,
    stderr: Option<OwnedFd>,
    terminal: bool,
}

/// A shim whose container runs.
pub(super) struct Serving {
    launch: Launch,
    /// Held as long as this process lives, so that the runtime can tell.
    _lock: File,
    listener: UnixListener,
    signals: SignalFd,
    log: Log,
    lines: [Lines; 2],
    streams: Streams,
    input: VecDeque<u8>,
    /// Close standard input once `input` is written.
    closing_stdin: bool,
    clients: Vec<Client>,
    pid: Pid,
    ended: Option<Ended>,
}

struct Ended {
    code: i32,
    at: i64,
    drain_until: Instant,
}

/// What a polled descriptor belongs to.
enum Source {
    Signals,
    Listener,
    Output(u8),
    Stdin,
    Client(RawFd),
}

// === impl Streams ===

impl Streams {
    pub(super) fn pipes(stdin: Option<OwnedFd>, stdout: Option<OwnedFd>, stderr: Option<OwnedFd>) -> Self {
        Self { stdin, stdout, stderr, terminal: false }
    }

    pub(super) fn terminal(terminal: OwnedFd) -> io::Result<Self> {
        let writer = rustix::io::fcntl_dupfd_cloexec(&terminal, 3)?;
        Ok(Self { stdin: Some(writer), stdout: Some(terminal), stderr: None, terminal: true })
    }

    fn output(&mut self, channel: u8) -> &mut Option<OwnedFd> {
        if channel == CHANNEL_STDOUT { &mut self.stdout } else { &mut self.stderr }
    }

    fn open(&self) -> bool {
        self.stdout.is_some() || self.stderr.is_some()
    }
}

// === impl Serving ===

impl Serving {
    pub(super) fn new(
        launch: Launch,
        lock: File,
        listener: UnixListener,
        log: Log,
        streams: Streams,
        pid: Pid,
    ) -> io::Result<Self> {
        // Blocked only now: a mask set earlier would have been inherited by the container.
        let blocked = SigSet::from(Signal::SIGCHLD);
        blocked.thread_block()?;
        let signals = SignalFd::with_flags(&blocked, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?;
        Ok(Self {
            launch,
            _lock: lock,
            listener,
            signals,
            log,
            lines: [Lines::new("stdout"), Lines::new("stderr")],
            streams,
            input: VecDeque::new(),
            closing_stdin: false,
            clients: Vec::new(),
            pid,
            ended: None,
        })
    }

    /// Serves until the container has ended and its exit is written down.
    pub(super) fn run(mut self) {
        // The container may have ended before the signal was watched.
        self.reap();
        while !self.finished() {
            self.turn();
        }
        self.finish();
    }

    fn finished(&self) -> bool {
        self.ended.as_ref().is_some_and(|ended| !self.streams.open() || Instant::now() >= ended.drain_until)
    }

    /// Waits for something to do and does it.
    fn turn(&mut self) {
        let ready = self.poll();
        for (source, flags) in ready {
            match source {
                Source::Signals => {
                    while matches!(self.signals.read_signal(), Ok(Some(_))) {}
                    self.reap();
                }
                Source::Listener => self.accept(),
                Source::Output(channel) => self.pump(channel),
                Source::Stdin => self.feed(flags),
                Source::Client(descriptor) => self.client(descriptor, flags),
            }
        }
        self.clients.retain(|client| !client.closed() && !client.stalled(STALL_LIMIT));
    }

    /// What there is to wait for, now.
    fn wanted(&self) -> Vec<(Source, BorrowedFd<'_>, PollFlags)> {
        let mut wanted = vec![(Source::Signals, self.signals.as_fd(), PollFlags::IN)];
        if self.clients.len() < MAX_CLIENTS {
            wanted.push((Source::Listener, self.listener.as_fd(), PollFlags::IN));
        }
        if !self.held_up() {
            for (channel, stream) in [(CHANNEL_STDOUT, &self.streams.stdout), (CHANNEL_STDERR, &self.streams.stderr)] {
                wanted.extend(stream.as_ref().map(|s| (Source::Output(channel), s.as_fd(), PollFlags::IN)));
            }
        }
        if let Some(stdin) = self.streams.stdin.as_ref().filter(|_| !self.input.is_empty()) {
            wanted.push((Source::Stdin, stdin.as_fd(), PollFlags::OUT));
        }
        let take_input = self.input.len() < MAX_STDIN;
        for client in &self.clients {
            wanted.push((Source::Client(client.as_fd().as_raw_fd()), client.as_fd(), client.interest(take_input)));
        }
        wanted
    }

    /// True while an attached client has to take output before more is read.
    fn held_up(&self) -> bool {
        self.clients.iter().any(Client::full)
    }

    fn poll(&self) -> Vec<(Source, PollFlags)> {
        let wanted = self.wanted();
        let mut polled: Vec<_> = wanted.iter().map(|(_, fd, flags)| PollFd::from_borrowed_fd(*fd, *flags)).collect();
        let needs_clock = self.held_up() || self.ended.is_some();
        let tick = Timespec { tv_sec: 0, tv_nsec: i64::from(TICK.subsec_nanos()) };
        // An interruption is like a turn in which nothing is ready.
        let _ = poll(&mut polled, needs_clock.then_some(&tick));
        let events: Vec<_> = polled.iter().map(PollFd::revents).collect();
        let ready = wanted.into_iter().zip(events).filter(|(_, flags)| !flags.is_empty());
        ready.map(|((source, _, _), flags)| (source, flags)).collect()
    }

    fn accept(&mut self) {
        if let Ok((socket, _)) = self.listener.accept()
            && let Ok(client) = Client::new(socket)
        {
            self.clients.push(client);
        }
    }

    /// Copies what the container printed.
    fn pump(&mut self, channel: u8) {
        let mut chunk = [0_u8; CHUNK];
        let Some(stream) = self.streams.output(channel) else {
            return;
        };
        match rustix::io::read(&*stream, &mut chunk) {
            Ok(0) => *self.streams.output(channel) = None,
            Ok(count) => self.publish(channel, &chunk[..count]),
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => {}
            // A terminal says EIO when its last user is gone.
            Err(_) => *self.streams.output(channel) = None,
        }
    }

    fn publish(&mut self, channel: u8, bytes: &[u8]) {
        let mut formatted = Vec::with_capacity(bytes.len() + 64);
        self.lines[usize::from(channel == CHANNEL_STDERR)].push(bytes, &timestamp(), &mut formatted);
        self.log.append(&formatted);
        for client in &mut self.clients {
            client.publish(channel, bytes);
        }
    }

    /// Gives the container what clients typed.
    fn feed(&mut self, flags: PollFlags) {
        let Some(stdin) = &self.streams.stdin else {
            return;
        };
        let (front, _) = self.input.as_slices();
        match rustix::io::write(stdin, front) {
            Ok(count) => drop(self.input.drain(..count)),
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) if !flags.contains(PollFlags::ERR) => {}
            // Nobody reads it any more.
            Err(_) => {
                self.input.clear();
                self.streams.stdin = None;
            }
        }
        self.close_stdin_if_due();
    }

    fn close_stdin_if_due(&mut self) {
        if self.closing_stdin && self.input.is_empty() {
            self.streams.stdin = None;
        }
    }

    fn client(&mut self, descriptor: RawFd, flags: PollFlags) {
        let Some(index) = self.clients.iter().position(|c| c.as_fd().as_raw_fd() == descriptor) else {
            return;
        };
        if flags.contains(PollFlags::OUT) {
            self.clients[index].flush();
        }
        if !flags.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR) {
            return;
        }
        let mut typed = Vec::new();
        let mut ended = self.clients[index].read() && self.clients[index].attached_input();
        if let Some(request) = self.clients[index].take_request() {
            self.answer(index, request);
        }
        ended |= self.clients[index].take_input(&mut typed);
        if self.streams.stdin.is_some() && !self.closing_stdin {
            self.input.extend(typed);
        }
        if ended && self.launch.stdin_once && !self.streams.terminal {
            self.closing_stdin = true;
            self.close_stdin_if_due();
        }
    }

    fn answer(&mut self, index: usize, request: Request) {
        let outcome = match request {
            Request::Wait => {
                self.clients[index].session = Session::Waiting;
                return;
            }
            Request::Attach { stdin, stdout, stderr } => {
                self.clients[index].respond(&Response::Ok);
                self.clients[index].session = Session::Attached { stdin, stdout, stderr };
                return;
            }
            Request::Kill { signal } => self.kill(signal),
            Request::ReopenLog => self.log.reopen(),
            Request::Resize { width, height } => self.resize(width, height),
        };
        let response = match outcome {
            Ok(()) => Response::Ok,
            Err(error) => Response::Error(error.to_string()),
        };
        self.clients[index].respond(&response);
        self.clients[index].session = Session::Answered;
    }

    fn kill(&self, signal: i32) -> io::Result<()> {
        let signal = rustix::process::Signal::from_named_raw(signal)
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, format!("no such signal: {signal}")))?;
        // Until the exit is reaped the process id cannot belong to anyone else.
        match self.ended {
            Some(_) => Ok(()),
            None => Ok(kill_process(self.pid, signal)?),
        }
    }

    fn resize(&self, width: u16, height: u16) -> io::Result<()> {
        let size = Winsize { ws_row: height, ws_col: width, ws_xpixel: 0, ws_ypixel: 0 };
        match &self.streams.stdout {
            Some(terminal) if self.streams.terminal => Ok(tcsetwinsize(terminal, size)?),
            _ => Err(io::Error::other("the container has no terminal")),
        }
    }

    /// Takes note of ended processes: the container's own, and orphans this shim adopted.
    fn reap(&mut self) {
        while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
            if pid != self.pid {
                continue;
            }
            let code = status.exit_status().or_else(|| status.terminating_signal().map(|signal| 128 + signal));
            self.ended =
                Some(Ended { code: code.unwrap_or(255), at: now(), drain_until: Instant::now() + DRAIN_LIMIT });
            // Processes that shared the pod's or the node's pid namespace end with their container.
            if let Ok(hierarchies) = Hierarchies::detect() {
                let _ = hierarchies.group(&self.launch.cgroup).kill_all();
            }
        }
    }

    /// Writes down the exit, tells who waits, and removes what only this shim knows of.
    fn finish(mut self) {
        let mut rest = Vec::new();
        for lines in &mut self.lines {
            lines.finish(&timestamp(), &mut rest);
        }
        self.log.append(&rest);
        let mut oom_killed = false;
        if let Ok(hierarchies) = Hierarchies::detect() {
            let group = hierarchies.group(&self.launch.cgroup);
            oom_killed = group.oom_kills() > 0;
            let _ = group.remove();
        }
        let _ = remove_dir(&self.launch.oci_root.join(&self.launch.id));
        let (code, finished_at) = self.ended.as_ref().map_or((255, now()), |ended| (ended.code, ended.at));
        let exit = Exit { code, finished_at, oom_killed: oom_killed && code != 0 };
        let _ = write_json(&self.launch.exit_file, &exit);
        for client in &mut self.clients {
            if matches!(client.session, Session::Waiting) {
                client.respond(&Response::Exit(exit.clone()));
            }
        }
        self.streams = Streams::default();
        self.flush_clients();
    }

    /// Gives clients some time to take what they have not read yet.
    fn flush_clients(&mut self) {
        let deadline = Instant::now() + DRAIN_LIMIT;
        while self.clients.iter().any(Client::has_output) && Instant::now() < deadline {
            for (source, flags) in self.poll() {
                if let Source::Client(descriptor) = source
                    && let Some(client) = self.clients.iter_mut().find(|c| c.as_fd().as_raw_fd() == descriptor)
                {
                    if flags.contains(PollFlags::OUT) {
                        client.flush();
                    }
                    if flags.intersects(PollFlags::HUP | PollFlags::ERR) {
                        client.close();
                    } else if flags.contains(PollFlags::IN) {
                        client.read();
                    }
                }
            }
            self.clients.retain(|client| !client.closed());
        }
    }
}

pub(super) fn now() -> i64 {
    i64::try_from(jiff::Timestamp::now().as_nanosecond()).unwrap_or(i64::MAX)
}
