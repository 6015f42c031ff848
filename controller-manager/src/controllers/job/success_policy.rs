//! Whether a Job has succeeded before all of its indexes have (upstream `success_policy.go`).

use std::collections::BTreeSet;

use skiff_client::types::SuccessPolicy;

use super::indexes;

/// The message of the first rule that is met.
pub(super) fn met(policy: &SuccessPolicy, succeeded: &BTreeSet<i32>, completions: i32) -> Option<String> {
    for (at, rule) in policy.rules.iter().enumerate() {
        let count =
            |found: usize| rule.succeeded_count.is_some_and(|wanted| found >= usize::try_from(wanted).unwrap_or(0));
        let enough = match &rule.succeeded_indexes {
            Some(listed) => {
                let listed = indexes::parse(listed, completions);
                let found = listed.intersection(succeeded).count();
                found == listed.len() || count(found)
            }
            None => count(succeeded.len()),
        };
        if enough {
            return Some(format!("Matched rules at index {at}"));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn check(rules: Value, succeeded: &str, expected: Option<&str>) {
        let policy = serde_json::from_value(json!({ "rules": rules })).expect("a policy");
        assert_eq!(met(&policy, &indexes::parse(succeeded, 10), 10).as_deref(), expected);
    }

    #[test]
    fn indexes_and_counts() {
        check(json!([{"succeededIndexes": "0-2"}]), "0,1", None);
        check(json!([{"succeededIndexes": "0-2"}]), "0-2,7", Some("Matched rules at index 0"));
        check(json!([{"succeededIndexes": "0-2", "succeededCount": 2}]), "1,2", Some("Matched rules at index 0"));
        check(json!([{"succeededIndexes": "0"}, {"succeededCount": 3}]), "4-6", Some("Matched rules at index 1"));
        check(json!([{"succeededCount": 3}]), "4,5", None);
    }
}
