//! Leader election by Lease: of several processes with the same job, one does it.
//!
//! The rules are those of client-go's `tools/leaderelection`: the holder renews each [`Config::retry_period`]; if it
//! cannot for [`Config::renew_deadline`] it stops its work; others take over when the lease has not changed for
//! [`Config::lease_duration`], measured by their own clock from when they saw the change, so clocks need not agree.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kube::Client;
use serde_json::{Value, json};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::clock::{Clock, SystemClock, format_micro_time};
use crate::errors;
use crate::objects::Objects;
use crate::resource::Kind;
use crate::types::Lease;

/// What to hold, as whom, and how fast.
#[derive(Clone, Debug)]
pub struct Config {
    /// Namespace of the lease, `kube-system` for upstream's components.
    pub namespace: String,
    /// Name of the lease, such as `kube-scheduler`.
    pub name: String,
    /// Who we are; unique among the candidates.
    pub identity: String,
    /// How long others wait after the last sign of the holder.
    pub lease_duration: Duration,
    /// How long the holder goes on without a renewal.
    pub renew_deadline: Duration,
    /// Time between tries.
    pub retry_period: Duration,
    /// Wall clock for the times in the lease.
    pub clock: Arc<dyn Clock>,
}

impl Config {
    /// Upstream's times: 15 s, 10 s, 2 s.
    pub fn new(namespace: &str, name: &str, identity: &str) -> Self {
        Self {
            namespace: namespace.into(),
            name: name.into(),
            identity: identity.into(),
            lease_duration: Duration::from_secs(15),
            renew_deadline: Duration::from_secs(10),
            retry_period: Duration::from_secs(2),
            clock: Arc::new(SystemClock),
        }
    }
}

/// Runs `work` while this process holds the lease. `work` gets a token that is cancelled when the lease is lost or
/// shutdown begins, and must return then; it is called again when the lease is won again. Returns on shutdown, after
/// giving the lease back.
pub async fn run<F, Fut>(config: Config, client: Client, shutdown: CancellationToken, mut work: F)
where
    F: FnMut(CancellationToken) -> Fut,
    Fut: Future<Output = ()>,
{
    let mut candidate = Candidate::new(config, client);
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = candidate.acquire() => {}
        }
        info!(lease = %candidate.config.name, identity = %candidate.config.identity, "became leader");
        let leading = shutdown.child_token();
        let work = work(leading.clone());
        tokio::pin!(work);
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = candidate.renew() => warn!(lease = %candidate.config.name, "lost the lease"),
            () = &mut work => {
                // Work that ended by itself is over: others may take it up.
                candidate.release().await;
                return;
            }
        }
        leading.cancel();
        work.await;
        if shutdown.is_cancelled() {
            candidate.release().await;
            return;
        }
    }
}

struct Candidate {
    config: Config,
    /// As JSON: a lease is replaced as a whole, because the roles of v1.36 let its holders update it but not patch it.
    leases: Objects<Value>,
    /// The lease as last seen, and when we saw it change.
    observed: Option<(Lease, Instant)>,
    /// The same lease in full.
    full: Value,
}

/// What to do about a lease.
#[derive(Debug, PartialEq)]
enum Step {
    Create(Value),
    /// Replace the spec of this version.
    Update {
        version: String,
        spec: Value,
    },
    /// Another one holds it.
    Wait,
}

impl Candidate {
    fn new(config: Config, client: Client) -> Self {
        let leases = Objects::of(&client, Lease::RESOURCE, &config.namespace);
        Self { config, leases, observed: None, full: Value::Null }
    }

    async fn acquire(&mut self) {
        // An answer that never comes must not end the tries.
        while !tokio::time::timeout(self.config.renew_deadline, self.attempt()).await.unwrap_or(false) {
            let pause = self.config.retry_period.mul_f64(1.0 + 0.2 * rand::random::<f64>());
            tokio::time::sleep(pause).await;
        }
    }

    /// Returns when the lease could not be renewed in time.
    async fn renew(&mut self) {
        let mut renewed = Instant::now();
        loop {
            tokio::time::sleep(self.config.retry_period).await;
            let deadline = renewed + self.config.renew_deadline;
            if tokio::time::timeout_at(deadline, self.attempt()).await.unwrap_or(false) {
                renewed = Instant::now();
            } else if Instant::now() >= deadline {
                return;
            }
        }
    }

    /// One try to take or to renew; whether we hold the lease now.
    async fn attempt(&mut self) -> bool {
        let lease = match self.leases.get_opt(&self.config.name).await.and_then(|found| found.map(read).transpose()) {
            Ok(lease) => lease.map(|(lease, full)| {
                self.full = full;
                lease
            }),
            Err(error) => {
                debug!(%error, lease = %self.config.name, "cannot read the lease");
                return false;
            }
        };
        if let Some(lease) = &lease
            && self.observed.as_ref().is_none_or(|(seen, _)| seen.spec != lease.spec)
        {
            self.observed = Some((lease.clone(), Instant::now()));
        }
        let seen_at = self.observed.as_ref().map(|(_, at)| *at);
        let expired = seen_at.is_none_or(|at| at.elapsed() >= self.config.lease_duration);
        let written = match plan(&self.config, lease.as_ref(), expired, self.config.clock.now()) {
            Step::Wait => return false,
            Step::Create(body) => self.leases.create(&body).await,
            Step::Update { version, spec } => {
                let body = replacement(self.full.clone(), &version, &spec);
                self.leases.replace(&self.config.name, "", &body).await
            }
        };
        match written.and_then(read) {
            Ok((lease, full)) => {
                self.observed = Some((lease, Instant::now()));
                self.full = full;
                true
            }
            Err(error) => {
                if !errors::is_conflict(&error) && !errors::is_already_exists(&error) {
                    debug!(%error, lease = %self.config.name, "cannot write the lease");
                }
                false
            }
        }
    }

    /// Gives the lease back, so that the next holder need not wait.
    async fn release(&mut self) {
        let Some((lease, _)) = &self.observed else { return };
        if lease.spec.holder_identity != self.config.identity {
            return;
        }
        let now = format_micro_time(self.config.clock.now());
        let spec = json!({"holderIdentity": "", "leaseDurationSeconds": 1, "renewTime": now, "acquireTime": now});
        let body = replacement(self.full.clone(), &lease.metadata.resource_version, &spec);
        let write = self.leases.replace(&self.config.name, "", &body);
        match tokio::time::timeout(Duration::from_secs(5), write).await {
            Ok(Ok(_)) => info!(lease = %self.config.name, "released the lease"),
            Ok(Err(error)) => debug!(%error, lease = %self.config.name, "cannot release the lease"),
            Err(_) => debug!(lease = %self.config.name, "cannot release the lease in time"),
        }
    }
}

/// A lease as components read it, and in full.
fn read(full: Value) -> kube::Result<(Lease, Value)> {
    let lease = serde::Deserialize::deserialize(&full).map_err(kube::Error::SerdeError)?;
    Ok((lease, full))
}

/// The lease with these fields of its spec, if it still has this version.
fn replacement(mut full: Value, version: &str, spec: &Value) -> Value {
    full["metadata"]["resourceVersion"] = json!(version);
    for (field, value) in spec.as_object().into_iter().flatten() {
        full["spec"][field] = value.clone();
    }
    full
}

/// What a candidate does about the lease that it sees.
fn plan(config: &Config, lease: Option<&Lease>, expired: bool, now: Timestamp) -> Step {
    let time = format_micro_time(now);
    let duration = config.lease_duration.as_secs();
    let Some(lease) = lease else {
        return Step::Create(json!({
            "metadata": {"name": config.name, "namespace": config.namespace},
            "spec": {"holderIdentity": config.identity, "leaseDurationSeconds": duration, "acquireTime": time,
                "renewTime": time, "leaseTransitions": 0},
        }));
    };
    let version = lease.metadata.resource_version.clone();
    let holder = &lease.spec.holder_identity;
    if *holder == config.identity {
        let spec = json!({"renewTime": time, "leaseDurationSeconds": duration});
        return Step::Update { version, spec };
    }
    if !holder.is_empty() && !expired {
        return Step::Wait;
    }
    let spec = json!({"holderIdentity": config.identity, "leaseDurationSeconds": duration, "acquireTime": time,
        "renewTime": time, "leaseTransitions": lease.spec.lease_transitions + 1});
    Step::Update { version, spec }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replacement_keeps_what_others_wrote() {
        let full = json!({"metadata": {"name": "x", "labels": {"a": "b"}, "resourceVersion": "6"},
            "spec": {"holderIdentity": "me", "strategy": "OldestEmulationVersion"}});
        let expected = json!({"metadata": {"name": "x", "labels": {"a": "b"}, "resourceVersion": "7"},
            "spec": {"holderIdentity": "", "strategy": "OldestEmulationVersion"}});
        assert_eq!(replacement(full, "7", &json!({"holderIdentity": ""})), expected);
    }

    #[test]
    fn a_candidate_takes_renews_or_waits() {
        let config = Config::new("kube-system", "x", "me");
        let now: Timestamp = "2026-01-02T03:04:05.5Z".parse().expect("a time");
        let held_by = |holder: &str| -> Lease {
            serde_json::from_value(json!({"metadata": {"name": "x", "resourceVersion": "7"},
                "spec": {"holderIdentity": holder, "leaseTransitions": 3}}))
            .expect("a lease")
        };
        assert!(matches!(plan(&config, None, true, now), Step::Create(_)));
        assert_eq!(plan(&config, Some(&held_by("other")), false, now), Step::Wait);
        let taken = plan(&config, Some(&held_by("other")), true, now);
        assert!(matches!(&taken, Step::Update { version, spec }
            if version == "7" && spec["holderIdentity"] == "me" && spec["leaseTransitions"] == 4));
        assert!(matches!(plan(&config, Some(&held_by("")), false, now), Step::Update { .. }));
        let renewed = plan(&config, Some(&held_by("me")), false, now);
        assert!(matches!(&renewed, Step::Update { spec, .. }
            if spec["renewTime"] == "2026-01-02T03:04:05.500000Z" && spec.get("leaseTransitions").is_none()));
    }
    #[tokio::test(start_paused = true)]
    async fn a_candidate_asks_again_when_no_answer_comes() {
        let script = crate::test_api::Script::default();
        let client = script.client();
        let mut candidate = Candidate::new(Config::new("kube-system", "x", "me"), client);
        let asked = || script.requests.lock().len();
        let tries = tokio::time::timeout(Duration::from_secs(60), candidate.acquire());
        assert!(tries.await.is_err(), "nobody answered");
        assert!((4..=5).contains(&asked()), "{} requests in a minute", asked());
    }
}
