//! Who asked what, and what came of it: events in a log, as a policy says.
//!
//! [`policy`] decides how much of a request is kept, [`record`] gathers it on the request's way, [`answer`] adds what was
//! answered, [`log`] is the queue and [`file`] the file.
//! Follows `k8s.io/apiserver/pkg/audit` and `pkg/endpoints/filters/audit.go`; events are `audit.k8s.io/v1`.

mod answer;
mod file;
pub mod log;
pub mod policy;
pub mod record;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use http::HeaderMap;
use serde::{Deserialize, Serialize};

use self::log::{Log, LogConfig, Mode};
use self::policy::{Level, Policy};
use self::record::{Record, Request};
use crate::authentication::UserInfo;
use crate::request_info::RequestInfo;

/// A policy and the log that it fills.
#[derive(Debug)]
pub struct Audit {
    policy: Policy,
    log: Arc<Log>,
}

impl Audit {
    /// Writes to this log what this policy wants.
    pub fn new(policy: Policy, log: Log) -> Self {
        Self { policy, log: Arc::new(log) }
    }

    /// Waits until every event so far is in the file.
    pub async fn flush(&self) {
        self.log.flush().await;
    }

    /// Begins the record of a request; `None` if nothing of it is to be kept.
    pub fn begin(
        &self,
        id: &str,
        uri: &http::Uri,
        headers: &HeaderMap,
        peer: Option<std::net::IpAddr>,
        info: &RequestInfo,
        user: &UserInfo,
    ) -> Option<Arc<Record>> {
        let wanted = self.policy.decide(user, info);
        if wanted.level == Level::None {
            return None;
        }
        let request = Request { id, uri, headers, peer, info, user };
        Some(Arc::new(Record::new(self.log.clone(), wanted, &request)))
    }
}

/// Flags, as upstream's.
#[derive(Args, Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AuditOptions {
    /// File with the audit policy; nothing is audited without.
    #[arg(long)]
    pub audit_policy_file: Option<PathBuf>,
    /// Where audit events go; - for standard output. Nothing is audited without.
    #[arg(long)]
    pub audit_log_path: Option<PathBuf>,
    /// Days for which full audit logs are kept; 0 for ever.
    #[arg(long, default_value_t = 0)]
    pub audit_log_maxage: u32,
    /// Full audit logs that are kept; 0 for all.
    #[arg(long, default_value_t = 0)]
    pub audit_log_maxbackup: u32,
    /// Megabytes after which an audit log is full; 0 for 100.
    #[arg(long, default_value_t = 0)]
    pub audit_log_maxsize: u32,
    /// Whether requests wait until their audit events are written.
    #[arg(long, value_enum, default_value_t)]
    pub audit_log_mode: Mode,
}

impl AuditOptions {
    /// Reads the policy and opens the log, if both are there.
    pub fn open(&self) -> anyhow::Result<Option<Audit>> {
        let (Some(policy), Some(path)) = (&self.audit_policy_file, &self.audit_log_path) else { return Ok(None) };
        let text = std::fs::read_to_string(policy).with_context(|| format!("cannot read {}", policy.display()))?;
        let policy = Policy::parse(&text).with_context(|| policy.display().to_string())?;
        let config = LogConfig {
            path: path.clone(),
            max_bytes: u64::from(self.audit_log_maxsize) << 20,
            max_backups: usize::try_from(self.audit_log_maxbackup)?,
            max_age: Duration::from_secs(u64::from(self.audit_log_maxage) * 24 * 60 * 60),
        };
        Ok(Some(Audit::new(policy, Log::open(config, self.audit_log_mode)?)))
    }
}
