//! A change of the Deployment's size: applied to its only active ReplicaSet, or spread over all of them in proportion
//! when it comes in the middle of a roll-out, so that a bad template is not given more weight by a scale-up.

use super::replica_sets::{DESIRED_REPLICAS, Limits, MAX_REPLICAS, Replica, ReplicaSets};

/// Whether the size changed since the ReplicaSets were last sized.
pub(super) fn is_scaling_event(sets: &ReplicaSets, limits: &Limits) -> bool {
    let active = sets.all().filter(|set| set.replicas > 0);
    active.filter_map(|set| set.annotated_count(DESIRED_REPLICAS)).any(|desired| desired != limits.replicas)
}

pub(super) fn scale(sets: &mut ReplicaSets, limits: &Limits, deployment_replicas: i32) {
    let active = sets.all().filter(|set| set.replicas > 0).count();
    if active <= 1 {
        if let Some(only) = only_active_or_newest(sets)
            && only.replicas != limits.replicas
        {
            only.resize(limits, limits.replicas);
        }
        return;
    }
    if sets.new.as_ref().is_some_and(|new| is_saturated(new, limits)) {
        for old in sets.old.iter_mut().filter(|old| old.replicas > 0) {
            old.resize(limits, 0);
        }
        return;
    }
    if limits.rolling {
        spread(sets, limits, deployment_replicas);
    }
}

fn only_active_or_newest(sets: &mut ReplicaSets) -> Option<&mut Replica> {
    if sets.old.iter().any(|old| old.replicas > 0) {
        return sets.old.iter_mut().find(|old| old.replicas > 0);
    }
    if sets.new.is_some() {
        return sets.new.as_mut();
    }
    sets.old.sort_by(Replica::by_age);
    sets.old.last_mut()
}

fn is_saturated(new: &Replica, limits: &Limits) -> bool {
    new.replicas == limits.replicas
        && new.annotated_count(DESIRED_REPLICAS) == Some(limits.replicas)
        && new.available() == limits.replicas
}

/// Shares what is to be added or removed in proportion to size, largest first; what rounding leaves over goes to the
/// largest. Of equal ones, newer grow first and older shrink first.
fn spread(sets: &mut ReplicaSets, limits: &Limits, deployment_replicas: i32) {
    let allowed = if limits.replicas > 0 { limits.replicas + limits.max_surge } else { 0 };
    let to_add = allowed - sets.total();
    let mut active: Vec<&mut Replica> =
        sets.old.iter_mut().chain(&mut sets.new).filter(|set| set.replicas > 0).collect();
    active.sort_by(|a, b| {
        let age = Replica::by_age(a, b);
        b.replicas.cmp(&a.replicas).then(if to_add > 0 { age.reverse() } else { age })
    });
    let mut added = 0;
    let mut sizes: Vec<i32> = Vec::with_capacity(active.len());
    for set in &active {
        let share = share(set, limits, deployment_replicas, to_add, added);
        added += share;
        sizes.push(set.replicas + share);
    }
    if let Some(largest) = sizes.first_mut() {
        *largest = (*largest + to_add - added).max(0);
    }
    for (set, size) in active.into_iter().zip(sizes) {
        // Also without a change of size: the annotations must show that this scaling was done.
        set.resize(limits, size);
    }
}

fn share(set: &Replica, limits: &Limits, deployment_replicas: i32, to_add: i32, added: i32) -> i32 {
    if set.replicas == 0 || to_add == 0 || to_add == added {
        return 0;
    }
    let fraction = fraction(set, limits, deployment_replicas);
    let left = to_add - added;
    if to_add > 0 { fraction.min(left) } else { fraction.max(left) }
}

fn fraction(set: &Replica, limits: &Limits, deployment_replicas: i32) -> i32 {
    if limits.replicas == 0 {
        return -set.replicas;
    }
    let before = set.annotated_count(MAX_REPLICAS).filter(|count| *count != 0).unwrap_or(deployment_replicas);
    if before == 0 {
        return 0;
    }
    let scaled = f64::from(set.replicas) * f64::from(limits.replicas + limits.max_surge) / f64::from(before);
    scaled.round() as i32 - set.replicas
}
