//! The expressions of policies and webhooks as they are written: whether they compile
//! (`pkg/apis/admissionregistration/validation/validation.go`).

use skiff_apimachinery::field::{Error, ErrorList, Path};
use skiff_apimachinery::value::Value;
use skiff_cel::Environment;
use skiff_cel::signatures::opaque;
use skiff_cel::types::Type;

use crate::admission::expressions::compile;
use crate::admission::expressions::environment::environment;
use crate::admission::expressions::variables::Declarations;

/// What is wrong with the expressions of a ValidatingAdmissionPolicy. Conditions that stay as they were are not looked
/// at.
pub fn validating(policy: &Value, with_conditions: bool) -> ErrorList {
    let mut check = Check::of(policy, with_conditions);
    let path = Path::new("spec");
    let spec = policy.get("spec").unwrap_or(&Value::Null);
    for (index, validation) in spec.array_at(&["validations"]).iter().enumerate() {
        let place = path.child("validations").index(index);
        check.expression(validation, "expression", &place, Within::All, &[Type::Bool]);
        check.expression(validation, "messageExpression", &place, Within::Messages, &[Type::String]);
    }
    for (index, annotation) in spec.array_at(&["auditAnnotations"]).iter().enumerate() {
        let place = path.child("auditAnnotations").index(index);
        check.expression(annotation, "valueExpression", &place, Within::All, &[Type::String, Type::Null]);
    }
    check.errors
}

/// What is wrong with the expressions of a MutatingAdmissionPolicy.
pub fn mutating(policy: &Value, with_conditions: bool) -> ErrorList {
    let mut check = Check::of(policy, with_conditions);
    let place = Path::new("spec").child("mutations");
    for (index, mutation) in policy.array_at(&["spec", "mutations"]).iter().enumerate() {
        for (field, result) in
            [("applyConfiguration", opaque("Object")), ("jsonPatch", Type::list(opaque("JSONPatch")))]
        {
            let Some(patch) = mutation.get(field) else { continue };
            let place = place.index(index).child(field);
            check.expression(patch, "expression", &place, Within::Patches, &[result]);
        }
    }
    check.errors
}

/// What is wrong with the match conditions of a webhook; `path` is that of the webhook.
pub fn webhook(webhook: &Value, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let conditions = webhook.array_at(&["matchConditions"]);
    if !conditions.is_empty() {
        match_conditions(conditions, &environment(false, true), &path.child("matchConditions"), &mut errors);
    }
    errors
}

fn match_conditions(conditions: &[Value], environment: &Environment, path: &Path, errors: &mut ErrorList) {
    for (index, condition) in conditions.iter().enumerate() {
        let text = condition.str_at(&["expression"]).unwrap_or("").trim();
        if text.is_empty() {
            continue;
        }
        if let Err(why) = compile(text, environment, &[Type::Bool]) {
            errors.push(Error::invalid(&path.index(index).child("expression"), text, why));
        }
    }
}

/// Where an expression stands, which says what it may speak of.
#[derive(Clone, Copy)]
enum Within {
    All,
    /// Rights may not be asked for.
    Messages,
    /// Patches may be made.
    Patches,
}

struct Check {
    all: Environment,
    messages: Environment,
    patches: Environment,
    errors: ErrorList,
}

impl Check {
    /// Checks what both kinds of policies have.
    fn of(policy: &Value, with_conditions: bool) -> Self {
        let spec = policy.get("spec").unwrap_or(&Value::Null);
        let has_params = spec.get("paramKind").is_some_and(|kind| !kind.is_null());
        let path = Path::new("spec");
        let mut errors = ErrorList::new();
        let plain = environment(has_params, true);
        if with_conditions {
            let conditions = spec.array_at(&["matchConditions"]);
            match_conditions(conditions, &plain, &path.child("matchConditions"), &mut errors);
        }
        let variables = spec.array_at(&["variables"]);
        if variables.is_empty() {
            let messages = environment(has_params, false);
            return Self { patches: plain.clone().with_patches(), all: plain, messages, errors };
        }
        let (declarations, all) = Declarations::compile(variables, plain);
        for (index, (_, compiled)) in declarations.iter().enumerate() {
            let text = compiled.text.as_str();
            if let (Err(why), false) = (&compiled.program, text.trim().is_empty()) {
                let place = path.child("variables").index(index).child("expression");
                errors.push(Error::invalid(&place, text, why.clone()));
            }
        }
        let (_, messages) = Declarations::compile(variables, environment(has_params, false));
        Self { patches: all.clone().with_patches(), all, messages, errors }
    }

    fn expression(&mut self, holder: &Value, field: &str, place: &Path, within: Within, types: &[Type]) {
        let text = holder.str_at(&[field]).unwrap_or("");
        if text.trim().is_empty() {
            return;
        }
        let (environment, compiled) = match within {
            Within::All => (&self.all, text),
            Within::Messages => (&self.messages, text),
            Within::Patches => (&self.patches, text.trim()),
        };
        if let Err(why) = compile(compiled, environment, types) {
            self.errors.push(Error::invalid(&place.child(field), compiled, why));
        }
    }
}

#[cfg(test)]
mod tests {
    use skiff_apimachinery::value;

    use super::*;

    fn told(errors: ErrorList) -> Vec<String> {
        errors.iter().map(|error| error.to_string().lines().next().unwrap_or("").to_owned()).collect()
    }

    #[test]
    fn expressions_of_policies_must_compile() {
        let policy = value!({"spec": {
            "matchConditions": [{"name": "a", "expression": "params.x == 1"}],
            "variables": [
                {"name": "a", "expression": "object.spec.x"},
                {"name": "n", "expression": "[1, 2]"},
                {"name": "b", "expression": "variables.c"}
            ],
            "validations": [
                {"expression": "variables.a == 1 && variables.n[0] == 1"},
                {"expression": "variables.n == 'a'"},
                {"expression": "variables.z == 1"},
                {"expression": "object.x", "messageExpression": "authorizer.path('/a').check('get').reason()"},
                {"expression": "'a'"}
            ],
            "auditAnnotations": [{"key": "a", "valueExpression": "1"}, {"key": "b", "valueExpression": "'a' + variables.a"}]
        }});
        let undeclared = |name: &str| format!("undeclared reference to '{name}' (in container '')");
        let failed = |place: &str, text: &str, at: &str, why: &str| {
            format!("spec.{place}: Invalid value: {text:?}: compilation failed: ERROR: <input>:{at}: {why}")
        };
        assert_eq!(
            told(validating(&policy, true)),
            [
                failed("matchConditions[0].expression", "params.x == 1", "1:1", &undeclared("params")),
                failed("variables[2].expression", "variables.c", "1:10", "undefined field 'c'"),
                failed(
                    "validations[1].expression",
                    "variables.n == 'a'",
                    "1:13",
                    "found no matching overload for '_==_' applied to '(list(int), string)'"
                ),
                failed("validations[2].expression", "variables.z == 1", "1:10", "undefined field 'z'"),
                "spec.validations[3].expression: Invalid value: \"object.x\": must evaluate to bool but got dyn"
                    .to_owned(),
                failed(
                    "validations[3].messageExpression",
                    "authorizer.path('/a').check('get').reason()",
                    "1:1",
                    &undeclared("authorizer")
                ),
                "spec.validations[4].expression: Invalid value: \"'a'\": must evaluate to bool but got string".to_owned(),
                "spec.auditAnnotations[0].valueExpression: Invalid value: \"1\": must evaluate to one of [string null_type] but got int"
                    .to_owned(),
            ]
        );
        assert_eq!(validating(&policy, false).len(), 7);
    }

    #[test]
    fn patches_are_objects_or_lists_of_operations() {
        let policy = value!({"spec": {"mutations": [
            {"patchType": "ApplyConfiguration", "applyConfiguration": {
                "expression": "Object{metadata: Object.metadata{labels: {'a': 'b'}}, spec: Object.spec{replicas: 1}}"}},
            {"patchType": "JSONPatch", "jsonPatch": {
                "expression": "[JSONPatch{op: 'add', path: '/a/' + jsonpatch.escapeKey('b/c'), value: Object.spec{x: 1}}]"}},
            {"patchType": "JSONPatch", "jsonPatch": {"expression": "[JSONPatch{nope: 1}]"}},
            {"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": "{'a': 1}"}}
        ]}});
        assert_eq!(
            told(mutating(&policy, true)),
            [
                "spec.mutations[2].jsonPatch.expression: Invalid value: \"[JSONPatch{nope: 1}]\": compilation failed: ERROR: <input>:1:16: undefined field 'nope'",
                "spec.mutations[3].applyConfiguration.expression: Invalid value: \"{'a': 1}\": must evaluate to Object but got map(string, int)",
            ]
        );
    }
}
