//! Requests whose answers were recorded from a real kube-apiserver, and their comparison with ours.
//!
//! `cases/AREA/FILE.yaml` says what is asked ([`case`] has the format), `answers/AREA/FILE.json` what kube-apiserver
//! v1.36 answered, with everything that no two servers share replaced ([`normal`]). The binary `record` asks a real
//! server again; the test `replay` asks ours and shows each difference.

pub mod case;
pub mod change;
pub mod diff;
pub mod normal;
pub mod run;
pub mod server;
pub mod steps;
pub mod store;
