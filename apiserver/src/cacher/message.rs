//! Protobuf messages of cached objects, kept with the objects that are read in that form, within a bound for the process.
//!
//! An object's bytes at rest are JSON. Its message is made when somebody first asks for it and lives as long as the
//! object does: lists, gets and watches share it. Beyond the bound it is made each time anew.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;

/// Bytes of messages that are kept in all.
const MAX_KEPT_BYTES: usize = 192 << 20;
/// What keeping a message costs beside its bytes, roughly.
const OVERHEAD_BYTES: usize = 96;

static KEPT_BYTES: AtomicUsize = AtomicUsize::new(0);

/// A message, counted while it lives.
#[derive(Debug)]
struct Kept(Bytes);

impl Kept {
    fn new(message: Bytes) -> Option<Self> {
        let cost = message.len() + OVERHEAD_BYTES;
        if KEPT_BYTES.fetch_add(cost, Ordering::Relaxed) + cost > MAX_KEPT_BYTES {
            KEPT_BYTES.fetch_sub(cost, Ordering::Relaxed);
            return None;
        }
        Some(Self(message))
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        KEPT_BYTES.fetch_sub(self.0.len() + OVERHEAD_BYTES, Ordering::Relaxed);
    }
}

/// Room for the message of one object.
#[derive(Debug, Default)]
pub(super) struct Slot(OnceLock<Box<Kept>>);

impl Slot {
    /// The message if it is kept.
    pub(super) fn get(&self) -> Option<&Bytes> {
        self.0.get().map(|kept| &kept.0)
    }

    /// Keeps a message if there is room.
    pub(super) fn put(&self, message: &Bytes) {
        if self.0.get().is_none()
            && let Some(kept) = Kept::new(message.clone())
        {
            // Somebody else may have been quicker; then this one is dropped.
            let _ = self.0.set(Box::new(kept));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_kept_within_the_bound() {
        let (small, large) = (Slot::default(), Slot::default());
        small.put(&Bytes::from_static(b"message"));
        assert_eq!(small.get().map(|message| &message[..]), Some(&b"message"[..]));
        large.put(&Bytes::from(vec![0; MAX_KEPT_BYTES]));
        assert_eq!(large.get(), None);
        let before = KEPT_BYTES.load(Ordering::Relaxed);
        drop(small);
        assert!(KEPT_BYTES.load(Ordering::Relaxed) < before + OVERHEAD_BYTES);
    }
}
