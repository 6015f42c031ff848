//! Roll-outs: rolling update and recreate. Each function changes the copies and says whether it did.

use super::observe::Observed;
use super::replica_sets::{Limits, Replica, ReplicaSets, new_replicas};

/// One step of a rolling update: grow the new one if there is room, else shrink the old ones as far as availability
/// allows.
pub(super) fn rolling(sets: &mut ReplicaSets, limits: &Limits) {
    if !grow_new(sets, limits) {
        shrink_old(sets, limits);
    }
}

fn grow_new(sets: &mut ReplicaSets, limits: &Limits) -> bool {
    let total = sets.total();
    let Some(new) = &mut sets.new else { return false };
    let wanted =
        if new.replicas > limits.replicas { limits.replicas } else { new_replicas(limits, total, new.replicas) };
    if wanted == new.replicas {
        return false;
    }
    new.resize(limits, wanted);
    true
}

/// Old pods that are not available go first: they cost nothing. Then available ones, as many as there are above the
/// minimum. Pods of the new one that are not yet available count as missing, or a roll-out that cannot succeed would
/// eat up the old pods.
fn shrink_old(sets: &mut ReplicaSets, limits: &Limits) {
    let Some(new) = &sets.new else { return };
    if sets.old_total() == 0 {
        return;
    }
    let new_unavailable = new.replicas - new.available();
    let mut spare = sets.total() - limits.min_available() - new_unavailable;
    if spare <= 0 {
        return;
    }
    sets.old.sort_by(Replica::by_age);
    for old in sets.old.iter_mut().filter(|old| old.replicas > old.available()) {
        let unhealthy = spare.min(old.replicas - old.available());
        if unhealthy > 0 {
            old.resize(limits, old.replicas - unhealthy);
            spare -= unhealthy;
        }
    }
    let mut above_minimum = sets.available() - limits.min_available();
    for old in sets.old.iter_mut().filter(|old| old.replicas > 0) {
        let fewer = above_minimum.min(old.replicas);
        if fewer > 0 {
            old.resize(limits, old.replicas - fewer);
            above_minimum -= fewer;
        }
    }
}

/// Whether the new pods must still wait: old ReplicaSets have pods, or are to lose them now.
pub(super) fn recreate_must_wait(sets: &mut ReplicaSets, limits: &Limits, observed: &Observed) -> bool {
    let mut shrunk = false;
    for old in sets.old.iter_mut().filter(|old| old.replicas != 0) {
        old.resize(limits, 0);
        shrunk = true;
    }
    let reported = sets.old.iter().any(|old| old.source.status.replicas > 0);
    // Terminating pods still hold what the new ones may need, a port or a volume.
    let there =
        sets.old.iter().any(|old| observed.unfinished_pods.get(&old.source.metadata.uid).is_some_and(|n| *n > 0));
    shrunk || reported || there
}

/// Gives the new one its full size.
pub(super) fn grow_fully(sets: &mut ReplicaSets, limits: &Limits) {
    if let Some(new) = &mut sets.new
        && new.replicas != limits.replicas
    {
        new.resize(limits, limits.replicas);
    }
}
