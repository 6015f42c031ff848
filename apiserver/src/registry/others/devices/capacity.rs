//! How much of a device's capacity may be asked for.

use std::collections::HashSet;

use skiff_apimachinery::field::{Error, ErrorList};
use skiff_apimachinery::quantity::Quantity;

use crate::registry::at::At;
use crate::registry::core::validation::resources::quantity;

const MAX_VALUES: usize = 10;

/// Validates a capacity; only that of a device that is `shared` has a policy.
pub(super) fn validate(capacity: &At<'_>, shared: bool, errors: &mut ErrorList) {
    let policy = capacity.child("requestPolicy");
    if !policy.is_set() {
        return;
    }
    if !shared {
        return policy.forbidden(errors, "allowMultipleAllocations must be true");
    }
    let (values, range, default) = (policy.child("validValues"), policy.child("validRange"), policy.child("default"));
    let Some(most) = quantity(&capacity.child("value")) else { return };
    match (!values.is_empty(), range.is_set()) {
        (true, true) => {
            let message = "exactly one policy can be specified, cannot specify \"validValues\" and \"validRange\" at the same time";
            policy.forbidden(errors, message);
        }
        (true, false) => match quantity(&default) {
            Some(default) => self::values(&values, default, most, errors),
            None => default.required(errors, "required when validValues is defined"),
        },
        (false, true) => match quantity(&default) {
            Some(default) => self::range(&range, default, most, errors),
            None => default.required(errors, "required when validRange is defined"),
        },
        (false, false) => {}
    }
}

fn values(list: &At<'_>, default: Quantity, most: Quantity, errors: &mut ErrorList) {
    let amounts = list.items().filter_map(|item| quantity(&item)).collect::<Vec<_>>();
    for (index, pair) in amounts.windows(2).enumerate() {
        if pair[0] > pair[1] {
            list.index(index + 1).invalid(errors, "values must be sorted in ascending order");
        }
    }
    if list.len() > MAX_VALUES {
        list.too_many(errors, MAX_VALUES);
    } else {
        for (item, amount) in list.items().zip(&amounts) {
            if *amount > most {
                item.invalid(errors, format!("option is larger than capacity value: {most}"));
            }
        }
        let mut seen = HashSet::new();
        for (item, amount) in list.items().zip(&amounts) {
            if !seen.insert(amount.value()) {
                errors.push(Error::duplicate(&item.path(), amount.value().to_string()));
            }
        }
    }
    if list.len() > MAX_VALUES || !amounts.iter().any(|amount| amount.cmp(&default).is_eq()) {
        let message = "default value is not valid according to the requestPolicy";
        errors.push(Error::invalid(&list.path(), default.to_string(), message));
    }
}

fn range(range: &At<'_>, default: Quantity, capacity: Quantity, errors: &mut ErrorList) {
    let (low, high, step) = (range.child("min"), range.child("max"), range.child("step"));
    let Some(min) = quantity(&low) else { return low.required(errors, "required when validRange is defined") };
    let mut wrong = |at: &At<'_>, shown: Quantity, message: String| {
        errors.push(Error::invalid(&at.path(), shown.to_string(), message));
    };
    if min > capacity {
        wrong(&low, min, format!("min is larger than capacity value: {capacity}"));
    }
    if default < min {
        wrong(&low, default, format!("default is less than min: {min}"));
    }
    let max = quantity(&high);
    if let Some(max) = max {
        if min > max {
            wrong(&high, min, format!("min is larger than max: {max}"));
        }
        if max > capacity {
            wrong(&high, max, format!("max is larger than capacity value: {capacity}"));
        }
        if default > max {
            wrong(&high, default, format!("default is more than max: {max}"));
        }
    }
    let Some(size) = quantity(&step) else { return };
    let next = min.plus(size);
    if next > capacity {
        wrong(&step, size, format!("one step {next} is larger than capacity value: {capacity}"));
    }
    for value in std::iter::once(default).chain(max) {
        let distance = value.value().wrapping_sub(min.value());
        // Upstream divides by a step of zero and fails; here every value is off such a step.
        if distance.checked_rem(size.value()) != Some(0) {
            wrong(&step, value, format!("value is not a multiple of a given step ({size}) from ({min})"));
        }
    }
}
