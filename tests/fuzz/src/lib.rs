//! Everything that takes bytes from strangers, as functions of those bytes.
//!
//! A decoder may refuse its input; it must not panic, nor take longer than [`MAX_CPU`]. Where it accepts, what it made of
//! the input must survive the way back. `cargo xtask fuzz` drives them with libFuzzer, which also bounds memory; the
//! inputs in `corpus/NAME` are replayed by every `cargo test`.

mod expressions;
mod objects;
mod patches;
mod streams;
mod texts;

use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

/// Processor time that one input may cost.
pub const MAX_CPU: Duration = Duration::from_secs(1);

/// Bytes of the longest input that is tried.
pub const MAX_INPUT: usize = 64 << 10;

/// One of them.
#[derive(Clone, Copy, Debug)]
pub struct Decoder {
    /// Its name, which is also that of its corpus.
    pub name: &'static str,
    run: fn(&[u8]),
}

/// All of them.
pub const DECODERS: [Decoder; 15] = [
    Decoder { name: "json", run: objects::json },
    Decoder { name: "yaml", run: objects::yaml },
    Decoder { name: "protobuf", run: objects::protobuf },
    Decoder { name: "json-patch", run: patches::json_patch },
    Decoder { name: "merge-patch", run: patches::merge_patch },
    Decoder { name: "strategic-merge-patch", run: patches::strategic_merge_patch },
    Decoder { name: "apply", run: patches::apply },
    Decoder { name: "fields-v1", run: patches::fields_v1 },
    Decoder { name: "label-selector", run: texts::label_selector },
    Decoder { name: "field-selector", run: texts::field_selector },
    Decoder { name: "quantity", run: texts::quantity },
    Decoder { name: "cel", run: expressions::cel },
    Decoder { name: "spdy-frames", run: streams::spdy_frames },
    Decoder { name: "spdy-exec", run: streams::spdy_exec },
    Decoder { name: "websocket-exec", run: streams::websocket_exec },
];

/// The decoder of this name.
pub fn by_name(name: &str) -> Option<Decoder> {
    DECODERS.into_iter().find(|decoder| decoder.name == name)
}

impl Decoder {
    /// Runs it; panics if it does, or if it takes too long.
    pub fn check(&self, input: &[u8]) {
        let begun = cpu();
        (self.run)(input);
        let taken = cpu().saturating_sub(begun);
        assert!(taken <= MAX_CPU, "{} took {taken:?} of processor time for {} bytes", self.name, input.len());
    }

    /// The folder of inputs that are tried first.
    pub fn corpus(&self) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(self.name)
    }
}

/// Processor time of this thread, on which everything here runs.
fn cpu() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).expect("Linux has this clock").into()
}
