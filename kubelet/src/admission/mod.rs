//! Whether the node takes a pod that was bound to it (upstream: `pkg/kubelet/lifecycle/predicate.go`, `sysctl`). A pod
//! that is refused fails for good; its controller makes another one elsewhere.

mod preemption;
mod resources;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{ContainerPort, NodeSelectorRequirement, NodeSelectorTerm, Pod};
use parking_lot::{Mutex, MutexGuard};

use crate::actions::sidecars;
use crate::pod::PodExt;
use crate::quantity::ResourceList;
use crate::resize::allocation::{differs, with_allocation};
use crate::spec::qos::{Qos, is_critical};
use crate::status::generate::Verdicted;
use resources::{asks_for_more, shortages};

/// Reason for which a pod is refused that does not want this node.
const NODE_AFFINITY: &str = "NodeAffinity";
/// Prefix of the messages of pods that are refused.
pub(crate) const REJECTED: &str = "Pod was rejected: ";
/// Sysctls that are safe on every node: they hold for the pod's namespaces only.
const SAFE_SYSCTLS: [&str; 12] = [
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.ping_group_range",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_wmem",
];

/// What the node offers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Offer {
    pub(crate) node_name: String,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) allocatable: ResourceList,
}

/// Wakes the worker of the pod with this UID.
pub(crate) type Wake = Arc<dyn Fn(&str) + Send + Sync>;

/// The pods the node has taken, with the resources they were given. Decisions are made one after the other, so two pods
/// never share the last place.
pub(crate) struct Admission {
    state: Mutex<State>,
    wake: Wake,
}

#[derive(Default)]
struct State {
    taken: HashMap<String, Arc<Pod>>,
    /// Pods that ask for resources that are not free now, in the order in which they asked.
    pending: Vec<Arc<Pod>>,
    /// Pods whose wish was granted while their workers were not looking.
    granted: HashSet<String>,
    /// Pods that make room for critical ones.
    ending: HashSet<String>,
    /// Critical pods that wait for them.
    waiting: HashSet<String>,
}

/// Why a pod is not taken.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// For good.
    Refused(Verdicted),
    /// These pods have to end first; none if that was told before.
    Preempts(Vec<Arc<Pod>>),
}

impl Refusal {
    /// Other labels of the node would change it.
    pub(crate) fn is_for_labels(&self) -> bool {
        matches!(self, Self::Refused(verdict) if verdict.reason == NODE_AFFINITY)
    }
}

/// What became of a wish for other resources.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Resize {
    /// There is none.
    None,
    Granted,
    /// Not now; the message says why.
    Deferred(String),
}

impl Admission {
    /// `wake` is called for pods that should look again at what they were given.
    pub(crate) fn new(wake: Wake) -> Self {
        Self { state: Mutex::default(), wake }
    }

    /// Takes a pod, or says why not.
    pub(crate) fn admit(&self, pod: &Arc<Pod>, offer: &Offer) -> Result<(), Refusal> {
        let mut state = self.state.lock();
        let others = state.others(pod.uid());
        let verdict = match check(pod, &others, offer) {
            Ok(()) => {
                state.waiting.remove(pod.uid());
                state.taken.insert(pod.uid().to_owned(), pod.clone());
                return Ok(());
            }
            Err(verdict) => verdict,
        };
        if !is_critical(pod) {
            return Err(Refusal::Refused(verdict));
        }
        // Only a lack of resources can be mended.
        check_all_but_resources(pod, &others, offer).map_err(Refusal::Refused)?;
        let (ending, others): (Vec<_>, Vec<_>) =
            others.into_iter().partition(|other| state.ending.contains(other.uid()));
        let all = [ending.as_slice(), others.as_slice()].concat();
        let victims = preemption::victims(pod, &others, &ending, &shortages(pod, &all, offer));
        let victims = victims.map_err(|error| {
            let what = "Unexpected error while attempting to recover from admission failure: preemption";
            let message = format!("{what}: error finding a set of pods to preempt: {error}");
            Refusal::Refused(refused("UnexpectedAdmissionError", message))
        })?;
        state.waiting.insert(pod.uid().to_owned());
        state.ending.extend(victims.iter().map(|victim| victim.uid().to_owned()));
        Err(Refusal::Preempts(victims))
    }

    /// Takes a pod that runs already, with what it was given.
    pub(crate) fn keep(&self, given: &Arc<Pod>) {
        self.state.lock().taken.insert(given.uid().to_owned(), given.clone());
    }

    /// The pod as the API has it now, with what it was given.
    pub(crate) fn allocated(&self, pod: &Arc<Pod>) -> Arc<Pod> {
        match self.state.lock().taken.get(pod.uid()) {
            Some(given) => with_allocation(pod, given),
            None => pod.clone(),
        }
    }

    /// Gives a pod that was taken what it asks for now, if that is free. Answers the pod with what it has then.
    pub(crate) fn resize(&self, pod: &Arc<Pod>, offer: &Offer) -> (Arc<Pod>, Resize) {
        let uid = pod.uid();
        let mut state = self.state.lock();
        let Some(given) = state.taken.get(uid).cloned() else { return (pod.clone(), Resize::None) };
        let was_granted = state.granted.remove(uid);
        let place = state.pending.iter().position(|other| other.uid() == uid);
        if !differs(pod, &given) {
            if let Some(place) = place {
                state.pending.remove(place);
            }
            state.taken.insert(uid.to_owned(), pod.clone());
            return (pod.clone(), if was_granted { Resize::Granted } else { Resize::None });
        }
        match place {
            Some(place) => state.pending[place] = pod.clone(),
            None => state.pending.push(pod.clone()),
        }
        state.grant_pending(offer);
        let outcome = if state.granted.remove(uid) {
            (pod.clone(), Resize::Granted)
        } else {
            let verdict = check(pod, &state.others(uid), offer).err();
            let message = verdict.map_or_else(String::new, |verdict| bare(&verdict).to_owned());
            (with_allocation(pod, &given), Resize::Deferred(message))
        };
        self.wake_all(state);
        outcome
    }

    /// A pod has ended: what it had is free for others.
    pub(crate) fn release(&self, uid: &str, offer: &Offer) {
        let mut state = self.state.lock();
        state.forget(uid);
        state.grant_pending(offer);
        self.wake_all(state);
    }

    fn wake_all(&self, state: MutexGuard<'_, State>) {
        let uids: Vec<String> = state.granted.iter().chain(&state.waiting).cloned().collect();
        drop(state);
        for uid in uids {
            (self.wake)(&uid);
        }
    }
}

impl State {
    fn forget(&mut self, uid: &str) {
        self.taken.remove(uid);
        self.pending.retain(|pod| pod.uid() != uid);
        for set in [&mut self.granted, &mut self.ending, &mut self.waiting] {
            set.remove(uid);
        }
    }

    fn others(&self, uid: &str) -> Vec<Arc<Pod>> {
        self.taken.values().filter(|pod| pod.uid() != uid).cloned().collect()
    }

    /// Grants what is free to the pods that wait, the most important first.
    fn grant_pending(&mut self, offer: &Offer) {
        let mut pending = std::mem::take(&mut self.pending);
        // The sort is stable: of equals the one that asked first comes first.
        pending.sort_by_key(|pod| {
            let increases = self.taken.get(pod.uid()).is_some_and(|given| asks_for_more(pod, given));
            let priority = pod.pod_spec().priority.unwrap_or(0);
            (increases, std::cmp::Reverse(priority), Qos::of(pod) != Qos::Guaranteed)
        });
        for pod in pending {
            if check(&pod, &self.others(pod.uid()), offer).is_ok() {
                self.granted.insert(pod.uid().to_owned());
                self.taken.insert(pod.uid().to_owned(), pod);
            } else {
                self.pending.push(pod);
            }
        }
    }
}

/// The message of a verdict, as conditions and events have it.
pub(crate) fn bare(verdict: &Verdicted) -> &str {
    verdict.message.trim_start_matches(REJECTED)
}

fn refused(reason: impl Into<String>, message: impl std::fmt::Display) -> Verdicted {
    Verdicted { reason: reason.into(), message: format!("{REJECTED}{message}"), disruption: None }
}

fn check(pod: &Pod, others: &[Arc<Pod>], offer: &Offer) -> Result<(), Verdicted> {
    check_os(pod, offer)?;
    check_sysctls(pod)?;
    if let Some(short) = shortages(pod, others, offer).first() {
        return Err(refused(format!("OutOf{}", short.kind.name()), short));
    }
    check_all_but_resources(pod, others, offer)
}

fn check_all_but_resources(pod: &Pod, others: &[Arc<Pod>], offer: &Offer) -> Result<(), Verdicted> {
    check_os(pod, offer)?;
    check_sysctls(pod)?;
    if !matches_node(pod, offer) {
        let message = "Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector";
        return Err(refused(NODE_AFFINITY, message));
    }
    if others.iter().any(|other| ports_clash(pod, other)) {
        let message = "Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports";
        return Err(refused("NodePorts", message));
    }
    Ok(())
}

fn check_os(pod: &Pod, offer: &Offer) -> Result<(), Verdicted> {
    let label = offer.labels.get("kubernetes.io/os").map_or("linux", String::as_str);
    match &pod.pod_spec().os {
        Some(os) if os.name != label => {
            Err(refused("PodOSNotSupported", "Failed to admit pod as the OS field doesn't match node OS"))
        }
        _ => Ok(()),
    }
}

fn check_sysctls(pod: &Pod) -> Result<(), Verdicted> {
    for sysctl in pod.pod_security().sysctls.iter().flatten() {
        let name = sysctl.name.replace('/', ".");
        if !SAFE_SYSCTLS.contains(&name.as_str()) {
            return Err(refused("SysctlForbidden", format!("forbidden sysctl: {name:?} not allowlisted")));
        }
        if name.starts_with("net.") && pod.is_host_network() {
            return Err(refused(
                "SysctlForbidden",
                format!("forbidden sysctl: {name:?} not allowed with host net enabled"),
            ));
        }
    }
    Ok(())
}

fn matches_node(pod: &Pod, offer: &Offer) -> bool {
    let selector = pod.pod_spec().node_selector.iter().flatten();
    let selected = selector.into_iter().all(|(key, value)| offer.labels.get(key) == Some(value));
    let required = pod
        .pod_spec()
        .affinity
        .as_ref()
        .and_then(|affinity| affinity.node_affinity.as_ref())
        .and_then(|affinity| affinity.required_during_scheduling_ignored_during_execution.as_ref());
    selected
        && required.is_none_or(|required| required.node_selector_terms.iter().any(|term| term_matches(term, offer)))
}

fn term_matches(term: &NodeSelectorTerm, offer: &Offer) -> bool {
    let labels = term.match_expressions.as_deref().unwrap_or(&[]);
    let fields = term.match_fields.as_deref().unwrap_or(&[]);
    // A term that asks for nothing matches nothing.
    !(labels.is_empty() && fields.is_empty())
        && labels.iter().all(|r| requirement_matches(r, offer.labels.get(&r.key).map(String::as_str)))
        && fields.iter().all(|r| requirement_matches(r, (r.key == "metadata.name").then_some(&offer.node_name)))
}

fn requirement_matches(requirement: &NodeSelectorRequirement, value: Option<&str>) -> bool {
    let values = requirement.values.as_deref().unwrap_or(&[]);
    let listed = value.is_some_and(|value| values.iter().any(|v| v == value));
    let number = |text: &str| text.parse::<i64>().ok();
    let compared = |holds: fn(i64, i64) -> bool| match (value.and_then(number), values.first().and_then(|v| number(v)))
    {
        (Some(own), Some(bound)) => holds(own, bound),
        _ => false,
    };
    match requirement.operator.as_str() {
        "In" => listed,
        "NotIn" => !listed,
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        "Gt" => compared(|own, bound| own > bound),
        "Lt" => compared(|own, bound| own < bound),
        _ => false,
    }
}

fn host_ports(pod: &Pod) -> impl Iterator<Item = &ContainerPort> {
    let containers = pod.regular_containers().iter().chain(sidecars(pod));
    containers.flat_map(|c| c.ports.iter().flatten()).filter(|port| port.host_port.is_some_and(|p| p > 0))
}

fn ports_clash(a: &Pod, b: &Pod) -> bool {
    let any = |ip: &Option<String>| ip.as_deref().is_none_or(|ip| ip.is_empty() || ip == "0.0.0.0" || ip == "::");
    let protocol = |port: &ContainerPort| port.protocol.clone().unwrap_or_else(|| "TCP".into());
    host_ports(a).any(|x| {
        host_ports(b).any(|y| {
            x.host_port == y.host_port
                && protocol(x) == protocol(y)
                && (any(&x.host_ip) || any(&y.host_ip) || x.host_ip == y.host_ip)
        })
    })
}

#[cfg(test)]
mod tests;
