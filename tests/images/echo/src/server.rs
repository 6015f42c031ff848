//! Accepting connections: a thread each, within a bound.

use std::net::{Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::connection;
use crate::state::State;

/// Connections at a time; further ones wait in the listen queue.
const MAX_CONNECTIONS: usize = 512;
/// Stack of a connection's thread.
const STACK_BYTES: usize = 128 << 10;
/// How long connections are accepted after SIGTERM.
const DRAIN: Duration = Duration::from_millis(500);
/// How long running answers may take after that.
const LAST_ANSWERS: Duration = Duration::from_secs(20);
/// How often the state is looked at while nothing comes.
const TICK: Duration = Duration::from_millis(20);

/// A server that accepts.
pub(crate) struct Server {
    open: Arc<AtomicUsize>,
}

impl Server {
    /// Listens, and serves on threads of its own.
    pub(crate) fn start(port: u16, state: &Arc<State>) -> std::io::Result<Self> {
        // Dual-stack where there is IPv6.
        let listener = TcpListener::bind((Ipv6Addr::UNSPECIFIED, port))
            .or_else(|_| TcpListener::bind(SocketAddr::from(([0, 0, 0, 0], port))))?;
        let open = Arc::new(AtomicUsize::new(0));
        let (state, counted) = (state.clone(), open.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                while counted.load(Ordering::SeqCst) >= MAX_CONNECTIONS {
                    std::thread::sleep(TICK);
                }
                spawn(stream, &state, &counted);
            }
        });
        Ok(Self { open })
    }

    /// Goes on accepting for a moment, and waits for the last answers. The state must say that it ends.
    pub(crate) fn finish(self) {
        std::thread::sleep(DRAIN);
        let deadline = Instant::now() + LAST_ANSWERS;
        while self.open.load(Ordering::SeqCst) > 0 && Instant::now() < deadline {
            std::thread::sleep(TICK);
        }
    }
}

fn spawn(stream: TcpStream, state: &Arc<State>, open: &Arc<AtomicUsize>) {
    let (state, counted) = (state.clone(), open.clone());
    open.fetch_add(1, Ordering::SeqCst);
    let started = std::thread::Builder::new().stack_size(STACK_BYTES).spawn(move || {
        // A caller that goes away is not our problem.
        let _ = connection::serve(&stream, &state);
        counted.fetch_sub(1, Ordering::SeqCst);
    });
    if started.is_err() {
        open.fetch_sub(1, Ordering::SeqCst);
    }
}
