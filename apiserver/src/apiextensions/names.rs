//! Which names a CustomResourceDefinition gets. Follows `controller/status/naming_controller.go`.

use std::collections::BTreeSet;

use skiff_apimachinery::value::Value;

use super::conditions::{self, Condition};

/// Names that others of the group have.
#[derive(Clone, Debug, Default)]
pub struct Taken {
    resources: BTreeSet<String>,
    kinds: BTreeSet<String>,
}

impl Taken {
    /// Adds the names that a definition was given.
    pub fn add(&mut self, definition: &Value) {
        let text = |key: &str| definition.str_at(&["status", "acceptedNames", key]).map(str::to_owned);
        let short = definition.array_at(&["status", "acceptedNames", "shortNames"]);
        let short = short.iter().filter_map(Value::as_str).map(str::to_owned);
        self.resources.extend(text("plural").into_iter().chain(text("singular")).chain(short));
        self.kinds.extend(text("kind").into_iter().chain(text("listKind")));
    }
}

/// Gives a definition the names it asks for and that are free, and says how that went.
pub fn accept(definition: &mut Value, taken: &Taken) {
    let wanted = definition.at(&["spec", "names"]).cloned().unwrap_or_default();
    let mut accepted = definition.at(&["status", "acceptedNames"]).cloned().unwrap_or_default();
    let mut conflict: Option<(&str, String)> = None;
    for (key, names, reason) in [
        ("plural", &taken.resources, "PluralConflict"),
        ("singular", &taken.resources, "SingularConflict"),
        ("shortNames", &taken.resources, "ShortNamesConflict"),
        ("kind", &taken.kinds, "KindConflict"),
        ("listKind", &taken.kinds, "ListKindConflict"),
    ] {
        let in_use = match wanted.get(key) {
            Some(Value::Array(wanted)) => short_names_in_use(wanted, accepted.array_at(&[key]), names),
            Some(Value::String(name)) if accepted.str_at(&[key]) != Some(name) && names.contains(name.as_str()) => {
                Some(format!("{name:?} is already in use"))
            }
            _ => None,
        };
        match in_use {
            Some(message) => conflict = Some((reason, message)),
            None => copy(&wanted, &mut accepted, key),
        }
    }
    copy(&wanted, &mut accepted, "categories");
    definition.set_at(&["status", "acceptedNames"], accepted);
    let (status, reason, message) = match &conflict {
        Some((reason, message)) => (false, *reason, message.as_str()),
        None => (true, "NoConflicts", "no conflicts found"),
    };
    conditions::set(definition, Condition { ty: "NamesAccepted", status, reason, message });
    if conditions::is_true(definition, "Established") {
        return;
    }
    // One server: as soon as the names are accepted, they are served.
    let (reason, message) = if status {
        ("InitialNamesAccepted", "the initial names have been accepted")
    } else {
        ("NotAccepted", "not all names are accepted")
    };
    conditions::set(definition, Condition { ty: "Established", status, reason, message });
}

fn copy(wanted: &Value, accepted: &mut Value, key: &str) {
    match wanted.get(key) {
        Some(value) => accepted.set_at(&[key], value.clone()),
        None => drop(accepted.remove_at(&[key])),
    }
}

fn short_names_in_use(wanted: &[Value], accepted: &[Value], taken: &BTreeSet<String>) -> Option<String> {
    let new = wanted.iter().filter(|name| !accepted.contains(name)).filter_map(Value::as_str);
    let errors = new.filter(|name| taken.contains(*name)).map(|name| format!("{name:?} is already in use"));
    let errors = errors.collect::<Vec<_>>();
    match errors.as_slice() {
        [] => None,
        [error] => Some(error.clone()),
        errors => Some(format!("[{}]", errors.join(", "))),
    }
}

#[cfg(test)]
mod tests {
    use skiff_apimachinery::value;

    use super::*;

    fn definition(plural: &str, kind: &str, short: &str) -> Value {
        value!({"spec": {"names": {"plural": plural, "singular": (kind.to_lowercase()), "kind": kind,
            "listKind": (format!("{kind}List")), "shortNames": [short]}}})
    }

    #[test]
    fn free_names_are_accepted_and_others_are_not() {
        let mut taken = Taken::default();
        let mut first = definition("crontabs", "CronTab", "ct");
        accept(&mut first, &taken);
        assert!(conditions::is_true(&first, "NamesAccepted") && conditions::is_true(&first, "Established"));
        assert_eq!(first.at(&["status", "acceptedNames"]), first.at(&["spec", "names"]));
        taken.add(&first);
        // Its own names are in no one's way.
        let before = first.clone();
        accept(&mut first, &taken);
        assert_eq!(first, before);
        let mut second = definition("others", "Other", "ct");
        accept(&mut second, &taken);
        let condition = conditions::find(&second, "NamesAccepted").expect("a condition");
        assert_eq!(condition.str_at(&["reason"]), Some("ShortNamesConflict"));
        assert_eq!(condition.str_at(&["message"]), Some("\"ct\" is already in use"));
        assert_eq!(second.str_at(&["status", "acceptedNames", "plural"]), Some("others"));
        assert!(second.at(&["status", "acceptedNames", "shortNames"]).is_none());
        assert!(!conditions::is_true(&second, "Established"));
    }
}
