//! What can go wrong, named after the event.

use std::path::PathBuf;

/// Result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A failed operation on the machine's network.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file could not be read or written.
    #[error("{action} {}: {source}", path.display())]
    File {
        /// What was tried, e.g. `create`.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: std::io::Error,
    },
    /// A system call on a namespace failed.
    #[error("{action} network namespace {}: {source}", path.display())]
    Namespace {
        /// What was tried.
        action: &'static str,
        /// Where the namespace is bound.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: std::io::Error,
    },
    /// The kernel refused a netlink request.
    #[error("{action}: {source}")]
    Netlink {
        /// What was tried, with the names involved.
        action: String,
        /// The kernel's answer.
        #[source]
        source: rtnetlink::Error,
    },
    /// A link is not there.
    #[error("link {0} not found")]
    NoLink(String),
    /// Every address of the node's pod range is taken.
    #[error("no free address in pod range {range}: {used} in use; delete pods or give the node a larger range")]
    NoAddress {
        /// The range.
        range: ipnet::Ipv4Net,
        /// Addresses in use.
        used: usize,
    },
    /// No pod range has been set yet.
    #[error("the node has no pod range yet (spec.podCIDR is empty)")]
    NoPodRange,
    /// `nft` is not installed or did not start.
    #[error("cannot run nft: {0}; install the package nftables")]
    NftMissing(#[source] std::io::Error),
    /// `nft` refused a ruleset.
    #[error("nft refused the ruleset: {message}")]
    Nft {
        /// What it printed.
        message: String,
    },
    /// A helper thread of this crate died.
    #[error("network thread panicked")]
    Thread,
}

impl Error {
    pub(crate) fn file(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { action, path, source }
    }

    pub(crate) fn netlink(action: impl Into<String>) -> impl FnOnce(rtnetlink::Error) -> Self {
        let action = action.into();
        move |source| Self::Netlink { action, source }
    }
}
