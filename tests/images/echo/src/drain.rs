//! The connections there are, and how they come to an end.
//!
//! After SIGTERM the server goes on accepting until nobody has come for a moment, because whoever forwards
//! connections learns only a little later that this server is about to end. Every answer then closes its connection,
//! and connections on which no request is under way are closed at once.

use std::collections::HashMap;
use std::io;
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Most connections at a time; more wait in the kernel's queue.
const MAX_CONNECTIONS: usize = 512;
/// The server stops accepting when no connection has come for so long,
const QUIET: Duration = Duration::from_millis(500);
/// or has ended for so long.
const MAX_ACCEPTING: Duration = Duration::from_secs(5);
/// How long requests under way may take after that; less than the usual 30 s of grace.
const MAX_FINISHING: Duration = Duration::from_secs(20);

/// All connections.
#[derive(Default)]
pub(crate) struct Connections {
    ending: AtomicBool,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    next: u64,
    open: HashMap<u64, Connection>,
    last_accepted: Option<Instant>,
}

struct Connection {
    /// A second handle, to wake its reader.
    stream: TcpStream,
    busy: bool,
}

/// One open connection. Dropped when it ends.
pub(crate) struct Open {
    connections: Arc<Connections>,
    id: u64,
}

// === impl Connections ===

impl Connections {
    pub(crate) fn ending(&self) -> bool {
        self.ending.load(Ordering::SeqCst)
    }

    /// Waits for a free place.
    pub(crate) fn wait_for_place(&self) {
        let full = |state: &mut State| state.open.len() >= MAX_CONNECTIONS;
        drop(self.changed.wait_while(self.lock(), full).unwrap_or_else(PoisonError::into_inner));
    }

    pub(crate) fn open(self: &Arc<Self>, stream: &TcpStream) -> io::Result<Open> {
        let stream = stream.try_clone()?;
        let mut state = self.lock();
        let id = state.next;
        state.next += 1;
        // A connection counts as busy until its first request is answered: its client surely sends one.
        state.open.insert(id, Connection { stream, busy: true });
        state.last_accepted = Some(Instant::now());
        Ok(Open { connections: Arc::clone(self), id })
    }

    /// Begins the end: no connection is kept after its answer, idle ones are closed now.
    pub(crate) fn end(&self) {
        let state = self.lock();
        self.ending.store(true, Ordering::SeqCst);
        for connection in state.open.values().filter(|connection| !connection.busy) {
            // What has already arrived is still read and answered.
            let _ = connection.stream.shutdown(Shutdown::Read);
        }
    }

    /// Waits, after [`Self::end`], until no more connections come.
    pub(crate) fn wait_until_quiet(&self) {
        let start = Instant::now();
        loop {
            let now = Instant::now();
            let last = self.lock().last_accepted.unwrap_or(start).max(start);
            let end = (last + QUIET).min(start + MAX_ACCEPTING);
            if now >= end {
                return;
            }
            std::thread::sleep(end - now);
        }
    }

    /// Waits, after accepting ended, until every request is answered. False if some were not in time.
    pub(crate) fn wait_until_finished(&self) -> bool {
        let busy = |state: &mut State| state.open.values().any(|connection| connection.busy);
        let (_state, timeout) =
            self.changed.wait_timeout_while(self.lock(), MAX_FINISHING, busy).unwrap_or_else(PoisonError::into_inner);
        !timeout.timed_out()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Open ===

impl Open {
    /// Says whether a request is under way. False if the connection is to be closed instead of idling.
    pub(crate) fn set_busy(&self, busy: bool) -> bool {
        let mut state = self.connections.lock();
        if let Some(connection) = state.open.get_mut(&self.id) {
            connection.busy = busy;
        }
        self.connections.changed.notify_all();
        busy || !self.connections.ending()
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.connections.lock().open.remove(&self.id);
        self.connections.changed.notify_all();
    }
}
