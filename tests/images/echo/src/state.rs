//! What all connections share.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Probes that can be told to fail.
pub(crate) const PROBES: [&str; 3] = ["startupz", "readyz", "healthz"];

/// Who this is, and what it was told.
pub(crate) struct State {
    /// Host name, which is the pod's.
    pub(crate) name: String,
    /// Version of the image.
    pub(crate) version: String,
    draining: AtomicBool,
    /// Probes that fail, and until when; `None` is for good.
    failing: Mutex<HashMap<&'static str, Option<Instant>>>,
    /// Memory that was asked for.
    eaten: Mutex<Vec<Vec<u8>>>,
}

impl State {
    pub(crate) fn from_environment() -> Self {
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        Self {
            name: host.trim().to_owned(),
            version: std::env::var("ECHO_VERSION").unwrap_or_else(|_| "unknown".to_owned()),
            draining: AtomicBool::new(false),
            failing: Mutex::default(),
            eaten: Mutex::default(),
        }
    }

    /// From now on every answer closes its connection.
    pub(crate) fn drain(&self) {
        self.draining.store(true, Ordering::SeqCst);
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::SeqCst)
    }

    /// Makes a probe fail. `false` if there is none of this name.
    pub(crate) fn fail(&self, probe: &str, how_long: Option<Duration>) -> bool {
        let Some(probe) = PROBES.into_iter().find(|known| *known == probe) else { return false };
        let until = how_long.map(|how_long| Instant::now() + how_long);
        self.failing.lock().unwrap_or_else(PoisonError::into_inner).insert(probe, until);
        true
    }

    /// All probes succeed again.
    pub(crate) fn recover(&self) {
        self.failing.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    pub(crate) fn is_failing(&self, probe: &str) -> bool {
        let failing = self.failing.lock().unwrap_or_else(PoisonError::into_inner);
        failing.get(probe).is_some_and(|until| until.is_none_or(|until| Instant::now() < until))
    }

    /// Takes memory, page by page, so that it counts.
    pub(crate) fn eat(&self, megabytes: usize) {
        let mut block = vec![0_u8; megabytes << 20];
        block.iter_mut().step_by(4096).for_each(|byte| *byte = 1);
        self.eaten.lock().unwrap_or_else(PoisonError::into_inner).push(block);
    }
}
