//! A set of plugins, and running them in order.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use skiff_client::types::Pod;

use super::{Code, CycleState, Filter, PostFilter, PreEnqueue, PreFilter, Reserve, Score, Status};
use crate::cache::{NodeInfo, Nominated, PodInfo, Snapshot};
use crate::queue::ClusterEvents;

/// The plugins of one scheduler name, by point.
#[derive(Default)]
pub struct Profile {
    /// Before a pod is queued.
    pub pre_enqueue: Vec<Arc<dyn PreEnqueue>>,
    /// Once per cycle.
    pub pre_filter: Vec<Arc<dyn PreFilter>>,
    /// Per node, cheapest first.
    pub filter: Vec<Arc<dyn Filter>>,
    /// When no node fits.
    pub post_filter: Option<Arc<dyn PostFilter>>,
    /// Per node that fits, with weights.
    pub score: Vec<(Arc<dyn Score>, i64)>,
    /// For the chosen node.
    pub reserve: Vec<Arc<dyn Reserve>>,
}

/// Why no node fits.
#[derive(Debug, Default)]
pub struct Diagnosis {
    /// Answer about each node that was asked.
    pub nodes: BTreeMap<String, Status>,
    /// Plugins that refused the pod.
    pub plugins: Vec<&'static str>,
    /// What PreFilter said against every node; empty if it said nothing.
    pub pre_filter: String,
    /// What PostFilter came to; may be empty.
    pub post_filter: String,
}

impl Diagnosis {
    /// Notes a plugin that refused.
    pub fn refused_by(&mut self, plugin: &'static str) {
        if !self.plugins.contains(&plugin) {
            self.plugins.push(plugin);
        }
    }
}

/// No node fits. Printed it is the message that users know.
#[derive(Debug)]
pub struct FitError {
    /// Nodes there are.
    pub node_count: usize,
    /// Why.
    pub diagnosis: Diagnosis,
}

impl fmt::Display for FitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.node_count == 0 {
            return f.write_str("no nodes available to schedule pods");
        }
        write!(f, "0/{} nodes are available:", self.node_count)?;
        if self.diagnosis.pre_filter.is_empty() {
            let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
            for reason in self.diagnosis.nodes.values().flat_map(|status| &status.reasons) {
                *counts.entry(reason).or_insert(0) += 1;
            }
            let mut texts: Vec<String> = counts.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
            texts.sort();
            if !texts.is_empty() {
                write!(f, " {}.", texts.join(", "))?;
            }
        } else {
            write!(f, " {}.", self.diagnosis.pre_filter)?;
        }
        if !self.diagnosis.post_filter.is_empty() {
            write!(f, " {}", self.diagnosis.post_filter)?;
        }
        Ok(())
    }
}

impl Profile {
    /// The first plugin that keeps a pod out of the queue, and what it says.
    pub fn refuses_to_enqueue(&self, pod: &Pod) -> Option<(&'static str, Status)> {
        let answers = self.pre_enqueue.iter().map(|plugin| (plugin.name(), plugin.pre_enqueue(pod)));
        answers.into_iter().find(|(_, status)| !status.is_success())
    }

    /// Runs PreFilter. `Err` refuses the pod on every node.
    pub fn run_pre_filter(
        &self,
        state: &mut CycleState,
        pod: &PodInfo,
        snapshot: &Snapshot,
    ) -> Result<(), (&'static str, Status)> {
        for plugin in &self.pre_filter {
            let status = plugin.pre_filter(state, pod, snapshot);
            match status.code {
                Code::Success => {}
                Code::Skip => state.skip_filter.push(plugin.name()),
                _ => return Err((plugin.name(), status)),
            }
        }
        Ok(())
    }

    /// Runs Filter on a node; the first refusal counts.
    pub fn run_filter(&self, state: &CycleState, pod: &PodInfo, node: &NodeInfo) -> Result<(), (&'static str, Status)> {
        for plugin in &self.filter {
            if state.skip_filter.contains(&plugin.name()) {
                continue;
            }
            let status = plugin.filter(state, pod, node);
            if !status.is_success() {
                return Err((plugin.name(), status));
            }
        }
        Ok(())
    }

    /// Runs Filter on a node as it is, and as it will be with the pods for which room was made there and which are not
    /// less important than this one: the node must fit both ways, as they may or may not come.
    pub fn run_filter_with_nominated(
        &self,
        state: &CycleState,
        pod: &PodInfo,
        node: &NodeInfo,
        nominated: &Nominated,
    ) -> Result<(), (&'static str, Status)> {
        let expected: Vec<_> = nominated
            .on(&node.name)
            .filter(|other| other.priority() >= pod.priority() && other.uid() != pod.uid())
            .cloned()
            .collect();
        if !expected.is_empty() {
            let (mut state, mut node) = (state.clone(), node.clone());
            for other in expected {
                node.add_pod(other.clone());
                self.pod_moved(&mut state, pod, &other, &node, true);
            }
            self.run_filter(&state, pod, &node)?;
        }
        self.run_filter(state, pod, node)
    }

    /// Tells PreFilter plugins of an imagined change.
    pub fn pod_moved(&self, state: &mut CycleState, pod: &PodInfo, other: &PodInfo, on: &NodeInfo, added: bool) {
        for plugin in &self.pre_filter {
            plugin.pod_moved(state, pod, other, on, added);
        }
    }

    /// Total scores of nodes that fit, in their order.
    pub fn run_score(
        &self,
        state: &mut CycleState,
        pod: &PodInfo,
        nodes: &[Arc<NodeInfo>],
        snapshot: &Snapshot,
    ) -> Vec<i64> {
        let mut totals = vec![0; nodes.len()];
        let mut scores = Vec::with_capacity(nodes.len());
        for (plugin, weight) in &self.score {
            if !plugin.pre_score(state, pod, nodes, snapshot) {
                continue;
            }
            scores.clear();
            scores.extend(nodes.iter().map(|node| plugin.score(state, pod, node)));
            plugin.normalize(state, &mut scores);
            for (total, score) in totals.iter_mut().zip(&scores) {
                *total += score * weight;
            }
        }
        totals
    }

    /// Events that could help a pod that these plugins refused.
    pub fn events_for(&self, plugins: &[&'static str]) -> ClusterEvents {
        let mut events = ClusterEvents::NONE;
        let mut add = |name: &'static str, of_plugin: ClusterEvents| {
            if plugins.contains(&name) {
                events = events.union(of_plugin);
            }
        };
        self.pre_enqueue.iter().for_each(|plugin| add(plugin.name(), plugin.events()));
        self.pre_filter.iter().for_each(|plugin| add(plugin.name(), plugin.events()));
        self.filter.iter().for_each(|plugin| add(plugin.name(), plugin.events()));
        self.reserve.iter().for_each(|plugin| add(plugin.name(), plugin.events()));
        events
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_message_counts_reasons_over_nodes() {
        let mut diagnosis = Diagnosis::default();
        diagnosis.nodes.insert("a".into(), Status::unresolvable("node(s) had untolerated taint(s)"));
        let two = Status {
            code: Code::Unschedulable,
            reasons: vec!["Insufficient cpu".into(), "Insufficient memory".into()],
        };
        diagnosis.nodes.insert("b".into(), two.clone());
        diagnosis.nodes.insert("c".into(), two);
        let mut error = FitError { node_count: 3, diagnosis };
        let expected =
            "0/3 nodes are available: 1 node(s) had untolerated taint(s), 2 Insufficient cpu, 2 Insufficient memory.";
        assert_eq!(error.to_string(), expected);
        error.diagnosis.post_filter = "preemption: not eligible due to preemptionPolicy=Never.".into();
        assert_eq!(error.to_string(), format!("{expected} preemption: not eligible due to preemptionPolicy=Never."));
        let none = FitError { node_count: 0, diagnosis: Diagnosis::default() };
        assert_eq!(none.to_string(), "no nodes available to schedule pods");
    }
}
