//! What a quota's status should be: a pure function.

use skiff_apimachinery::quantity::Quantity;
use skiff_apimachinery::value::{Object, Value};
use skiff_quota::{Amounts, amounts};

/// What to do about a quota.
#[derive(Debug, PartialEq)]
pub(super) enum Plan {
    /// Its status is right.
    Nothing,
    /// Write this status. `falls`: less is used than the status says.
    Write { status: Value, falls: bool },
}

/// Compares the status of a quota with its limits and with what was measured. Limits about what this cluster does not
/// have keep the usage that they had, if any.
pub(super) fn plan(quota: &Value, measured: &Amounts) -> Plan {
    let of = |part: &str, field: &str| amounts(quota.at(&[part, field]));
    let (hard, known, before) = (of("spec", "hard"), of("status", "hard"), of("status", "used"));
    let used = hard.keys().filter_map(|name| {
        let amount = measured.get(name).or_else(|| before.get(name))?;
        Some((name.clone(), *amount))
    });
    let used = used.collect::<Amounts>();
    let complete = quota.at(&["status", "hard"]).is_some() && quota.at(&["status", "used"]).is_some();
    if complete && hard == known && used == before {
        return Plan::Nothing;
    }
    let nothing = Quantity::from_value(0);
    let falls = used.iter().any(|(name, amount)| *amount < before.get(name).copied().unwrap_or(nothing));
    let mut status = Object::new();
    status.insert("hard", quota.at(&["spec", "hard"]).cloned().unwrap_or_default());
    status.insert("used", texts(&used));
    Plan::Write { status: Value::Object(status), falls }
}

fn texts(amounts: &Amounts) -> Value {
    let texts = amounts.iter().map(|(name, amount)| (name.as_str(), Value::from(amount.to_string())));
    Value::Object(texts.collect())
}

#[cfg(test)]
mod tests {
    use skiff_apimachinery::value;

    use super::*;

    fn check(quota: Value, measured: Value, expected: Option<(Value, bool)>) {
        let expected = match expected {
            None => Plan::Nothing,
            Some((used, falls)) => {
                let hard = quota.at(&["spec", "hard"]).cloned().unwrap_or_default();
                Plan::Write { status: value!({"hard": hard, "used": used}), falls }
            }
        };
        assert_eq!(plan(&quota, &amounts(Some(&measured))), expected);
    }

    #[test]
    fn a_status_is_written_when_it_is_wrong() {
        let quota = |hard: Value, status: Value| value!({"spec": {"hard": hard}, "status": status});
        let two = || value!({"pods": "2"});
        check(quota(two(), value!({})), value!({"pods": "0"}), Some((value!({"pods": "0"}), false)));
        check(quota(two(), value!({"hard": {"pods": "2"}, "used": {"pods": "1"}})), value!({"pods": "1"}), None);
        let one = || value!({"hard": {"pods": "2"}, "used": {"pods": "1"}});
        check(quota(two(), one()), value!({"pods": "2"}), Some((value!({"pods": "2"}), false)));
        check(quota(two(), one()), value!({"pods": "0"}), Some((value!({"pods": "0"}), true)));
        // The limits changed, the usage did not.
        check(quota(value!({"pods": "3"}), one()), value!({"pods": "1"}), Some((value!({"pods": "1"}), false)));
        // A limit is gone, and one is about what is not there.
        let other = value!({"secrets": "1", "count/widgets.example.com": "1"});
        check(quota(other, one()), value!({"secrets": "4"}), Some((value!({"secrets": "4"}), false)));
        // The same amounts, written otherwise.
        let written = value!({"hard": {"cpu": "1000m"}, "used": {"cpu": "0.5"}});
        check(quota(value!({"cpu": "1"}), written), value!({"cpu": "500m"}), None);
    }
}
