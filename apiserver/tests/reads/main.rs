//! Reads and watches through the front door: each cell of the tables of resourceVersion × resourceVersionMatch × limit ×
//! continue × sendInitialEvents × bookmarks is a test with a name, on the embedded engine and on a real etcd.
//!
//! What is expected was observed on kube-apiserver v1.36.2 under the same history (see `history`), but for watch lists
//! with bookmarks, which that server refuses in front of the etcd that the tests use.

mod history;

mod continuing;
mod full_disk;
mod get;
mod list;
mod selectors;
mod streams;
mod watch;

/// Makes each row two tests, `embedded::NAME` and `etcd::NAME`: a check function of the module gets the engine's
/// history and the row's values.
macro_rules! cells {
    ($check:ident: $($(#[$doc:meta])* $name:ident: $($value:expr),+;)+) => {
        mod embedded {
            #[allow(unused_imports, reason = "not every table needs all")]
            use super::*;
            $($(#[$doc])* #[test] fn $name() { $check(&History::shared(Engine::Embedded), $($value),+) })+
        }
        mod etcd {
            #[allow(unused_imports, reason = "not every table needs all")]
            use super::*;
            $($(#[$doc])* #[test] fn $name() { $check(&History::shared(Engine::Etcd), $($value),+) })+
        }
    };
}
pub(crate) use cells;

/// Makes each function of the module two tests, `NAME::embedded` and `NAME::etcd`.
macro_rules! on_both_engines {
    ($($name:ident)+) => {
        $(mod $name {
            use super::*;
            #[test]
            fn embedded() { super::$name(Engine::Embedded) }
            #[test]
            fn etcd() { super::$name(Engine::Etcd) }
        })+
    };
}
pub(crate) use on_both_engines;
