//! Conditions of CustomResourceDefinitions. Follows `apihelpers/helpers.go`.

use skiff_apimachinery::time;
use skiff_apimachinery::value;
use skiff_apimachinery::value::Value;

/// A condition to set.
#[derive(Clone, Copy, Debug)]
pub struct Condition<'a> {
    /// Its type.
    pub ty: &'a str,
    /// Whether it holds.
    pub status: bool,
    /// A word for why.
    pub reason: &'a str,
    /// A sentence for why.
    pub message: &'a str,
}

/// A condition of an object.
pub fn find<'a>(object: &'a Value, ty: &str) -> Option<&'a Value> {
    object.array_at(&["status", "conditions"]).iter().find(|condition| condition.str_at(&["type"]) == Some(ty))
}

/// Whether a condition is True.
pub fn is_true(object: &Value, ty: &str) -> bool {
    find(object, ty).is_some_and(|condition| condition.str_at(&["status"]) == Some("True"))
}

/// Sets a condition; its time moves only with its status.
pub fn set(object: &mut Value, condition: Condition<'_>) {
    let status = if condition.status { "True" } else { "False" };
    let before = find(object, condition.ty).filter(|before| before.str_at(&["status"]) == Some(status));
    let since = before.and_then(|before| before.str_at(&["lastTransitionTime"])).map(str::to_owned);
    let new = value!({
        "type": (condition.ty),
        "status": status,
        "reason": (condition.reason),
        "message": (condition.message),
        "lastTransitionTime": (since.unwrap_or_else(|| time::format(jiff::Timestamp::now())))
    });
    let mut conditions = object.array_at(&["status", "conditions"]).to_vec();
    match conditions.iter_mut().find(|other| other.str_at(&["type"]) == Some(condition.ty)) {
        Some(other) => *other = new,
        None => conditions.push(new),
    }
    object.set_at(&["status", "conditions"], conditions);
}

/// Takes a condition away.
pub fn remove(object: &mut Value, ty: &str) {
    let conditions = object.array_at(&["status", "conditions"]).iter();
    let left = conditions.filter(|other| other.str_at(&["type"]) != Some(ty)).cloned().collect::<Vec<_>>();
    object.set_at(&["status", "conditions"], left);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_moves_with_the_status() {
        let mut object = value!({"status": {"conditions": [
            {"type": "A", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}
        ]}});
        let condition = Condition { ty: "A", status: true, reason: "R", message: "M" };
        set(&mut object, condition);
        let since =
            |object: &Value| find(object, "A").and_then(|c| c.str_at(&["lastTransitionTime"])).map(str::to_owned);
        assert_eq!(since(&object).as_deref(), Some("2026-01-01T00:00:00Z"));
        assert!(is_true(&object, "A"));
        set(&mut object, Condition { status: false, ..condition });
        assert_ne!(since(&object).as_deref(), Some("2026-01-01T00:00:00Z"));
        assert!(!is_true(&object, "A"));
        remove(&mut object, "A");
        assert!(find(&object, "A").is_none());
    }
}
