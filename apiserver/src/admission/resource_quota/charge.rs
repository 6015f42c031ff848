//! Whether a request fits, and what the quotas' usage is afterwards: a pure function.
//!
//! Follows `CheckRequest` in `k8s.io/apiserver/pkg/admission/plugin/resourcequota/controller.go`.

use std::collections::BTreeSet;

use skiff_apimachinery::quantity::Quantity;
use skiff_apimachinery::value::{Object, Value};
use skiff_quota::{Amounts, Measured, amounts};

use super::super::Operation;

/// A request as far as quotas see it.
#[derive(Clone, Copy)]
pub(super) struct Charged<'a> {
    pub(super) operation: Operation,
    pub(super) subresource: &'a str,
    pub(super) new: Measured<'a>,
    /// As stored; null for a create.
    pub(super) old: &'a Value,
}

/// The quotas' new `status.used`, for those that change; the error is upstream's text.
pub(super) fn charge(quotas: &[Value], request: Charged<'_>) -> Result<Vec<(usize, Value)>, String> {
    let hard = |quota: &Value| amounts(quota.at(&["status", "hard"]));
    let mut interesting = Vec::new();
    for (index, quota) in quotas.iter().enumerate() {
        let names = request.new.matching(hard(quota).into_keys());
        if names.is_empty() || !request.new.is_in_scope(quota) {
            continue;
        }
        let name = name(quota);
        request.new.check_explicit(&names).map_err(|text| format!("failed quota: {name}: {text}"))?;
        let used = amounts(quota.at(&["status", "used"]));
        if !names.iter().all(|name| used.contains_key(name)) {
            return Err(format!("status unknown for quota: {name}, resources: {}", joined(&names)));
        }
        interesting.push(index);
    }
    let usage = request.new.usage();
    let negative = usage.iter().filter(|(_, amount)| amount.is_negative()).map(|(name, _)| name.clone());
    let negative = negative.collect::<BTreeSet<_>>();
    if !negative.is_empty() {
        return Err(format!("quota usage is negative for resource(s): {}", joined(&negative)));
    }
    let mut changed = Vec::new();
    for index in interesting {
        let quota = &quotas[index];
        let delta = without_zeros(delta(request, quota, &usage));
        let (hard, used) = (hard(quota), amounts(quota.at(&["status", "used"])));
        let requested = delta.into_iter().filter(|(name, _)| hard.contains_key(name)).collect::<Amounts>();
        let mut new_used = used.clone();
        for (name, amount) in &requested {
            new_used.entry(name.clone()).and_modify(|sum| *sum = sum.plus(*amount)).or_insert(*amount);
        }
        let exceeded = requested.keys().filter(|name| new_used.get(*name) > hard.get(*name)).collect::<BTreeSet<_>>();
        // What a status reports has happened; only asking for more can be refused.
        if !exceeded.is_empty() && request.subresource != "status" {
            let of = |amounts: &Amounts| {
                let shown = amounts.iter().filter(|(name, _)| exceeded.contains(name));
                shown.map(|(name, amount)| format!("{name}={amount}")).collect::<Vec<_>>().join(",")
            };
            return Err(format!(
                "exceeded quota: {}, requested: {}, used: {}, limited: {}",
                name(quota),
                of(&requested),
                of(&used),
                of(&hard)
            ));
        }
        if new_used != used {
            let texts = new_used.iter().map(|(name, amount)| (name.as_str(), Value::from(amount.to_string())));
            changed.push((index, Value::Object(texts.collect::<Object>())));
        }
    }
    Ok(changed)
}

/// What the request adds to what the quota has counted already.
fn delta(request: Charged<'_>, quota: &Value, usage: &Amounts) -> Amounts {
    let before = Measured { object: request.old, ..request.new };
    if request.operation != Operation::Update || !before.is_in_scope(quota) {
        return usage.clone();
    }
    let before = before.usage();
    let left = usage.iter().map(|(name, amount)| {
        let before = before.get(name).copied();
        (name.clone(), before.map_or(*amount, |before| amount.minus(before).max(Quantity::from_value(0))))
    });
    left.collect()
}

fn without_zeros(mut amounts: Amounts) -> Amounts {
    amounts.retain(|_, amount| !amount.is_zero());
    amounts
}

fn name(quota: &Value) -> &str {
    quota.str_at(&["metadata", "name"]).unwrap_or("")
}

fn joined(names: &BTreeSet<String>) -> String {
    names.iter().map(String::as_str).collect::<Vec<_>>().join(",")
}
