//! What does not fit in the expressions of a policy.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;
use skiff_cel::declared::Declared;
use skiff_cel::requests::{AUTHORIZER, typed, with_variables};
use skiff_cel::signatures::opaque;
use skiff_cel::types::Type;
use skiff_cel::{Environment, Program};
use skiff_client::types::ValidatingAdmissionPolicySpec;

use super::kinds::GroupVersionKind;

/// `admissionregistration.k8s.io/v1 ExpressionWarning`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Warning {
    /// Where the expression stands.
    pub field_ref: String,
    /// What does not fit, by kind.
    pub warning: String,
}

/// The warnings about a policy that is about these kinds, as far as their types are known.
pub(super) fn warnings(
    spec: &ValidatingAdmissionPolicySpec,
    kinds: &[GroupVersionKind],
    params: Option<&GroupVersionKind>,
    types: &BTreeMap<GroupVersionKind, Arc<Declared>>,
) -> Vec<Warning> {
    let anything = Arc::new(Declared::plain(Type::Dyn));
    let params = params.map(|kind| types.get(kind).unwrap_or(&anything));
    let described = kinds.iter().filter_map(|kind| Some((kind, types.get(kind)?)));
    let environments = described.map(|(kind, object)| (kind, environment(spec, object, params))).collect::<Vec<_>>();
    let check = |field_ref: String, expression: &str| {
        let problems = environments.iter().filter_map(|(kind, environment)| {
            let why = Program::compile(expression, environment).err()?;
            Some(format!("{kind}: {why}\n"))
        });
        let problems = problems.collect::<Vec<_>>();
        (!problems.is_empty()).then(|| Warning { field_ref, warning: problems.join("\n") })
    };
    let mut warnings = Vec::new();
    for (index, validation) in spec.validations.iter().enumerate() {
        let place = |field: &str| format!("spec.validations[{index}].{field}");
        warnings.extend(check(place("expression"), &validation.expression));
        if !validation.message_expression.is_empty() {
            warnings.extend(check(place("messageExpression"), &validation.message_expression));
        }
    }
    warnings
}

/// What the expressions of a policy may speak of where they are about objects of a type.
fn environment(
    spec: &ValidatingAdmissionPolicySpec,
    object: &Arc<Declared>,
    params: Option<&Arc<Declared>>,
) -> Environment {
    let authorizer = Declared::plain(opaque("kubernetes.authorization.Authorizer"));
    let plain = typed(object, params).declare(AUTHORIZER, authorizer);
    let mut types = BTreeMap::new();
    let mut environment = with_variables(&plain, &types);
    for variable in &spec.variables {
        let program = Program::compile(&variable.expression, &environment);
        // One that does not fit may be anything: it is the expressions that use it that are told of.
        types.insert(variable.name.clone(), program.map_or(Type::Dyn, |program| program.result().clone()));
        environment = with_variables(&plain, &types);
    }
    environment
}
