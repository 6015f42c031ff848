//! `matchConditions`: expressions that must all be true of a request that a webhook or policy is asked about
//! (`admission/plugin/webhook/matchconditions/matcher.go`).

use skiff_apimachinery::value::Value;
use skiff_cel::Environment;
use skiff_cel::types::Type;
use skiff_cel::value::Val;

use super::environment::environment;
use super::variables::{Declarations, Evaluated, Evaluator};
use super::{Compiled, Context, OUT_OF_BUDGET, Variables};

/// What the conditions of one webhook or policy may cost together (`RuntimeCELCostBudgetMatchConditions`).
const BUDGET: u64 = 2_500_000;

/// The conditions of a webhook or policy, compiled.
#[derive(Debug, Default)]
pub struct MatchConditions(Vec<Compiled>);

impl MatchConditions {
    /// Of a webhook: the list `matchConditions`.
    pub fn compile(conditions: &[Value]) -> Self {
        if conditions.is_empty() {
            return Self::default();
        }
        Self::compile_in(conditions, &environment(false, true))
    }

    /// Compiles where other variables are declared, such as parameters.
    pub fn compile_in(conditions: &[Value], environment: &Environment) -> Self {
        let text = |condition: &Value| condition.str_at(&["expression"]).unwrap_or("").to_owned();
        Self(conditions.iter().map(|condition| Compiled::new(&text(condition), environment, &[Type::Bool])).collect())
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether all conditions hold. One that is false decides, whatever fails besides; the error, if some fail and
    /// none is false, is for the failure policy: with `Fail` the request is refused, with `Ignore` it goes on
    /// unasked.
    pub fn matches(&self, context: &Context<'_>) -> Result<bool, String> {
        self.matches_with(context, None, &Declarations::default())
    }

    /// The same with the parameters and variables of a policy.
    pub fn matches_with(
        &self,
        context: &Context<'_>,
        params: Option<&Value>,
        declarations: &Declarations,
    ) -> Result<bool, String> {
        if self.0.is_empty() {
            return Ok(true);
        }
        let variables = Variables::new(context, None, params);
        let mut evaluator = Evaluator::new(declarations, variables.values(), BUDGET);
        let mut errors = Vec::new();
        for condition in &self.0 {
            match evaluator.evaluate(condition) {
                Evaluated::Value(Val::Bool(true)) => {}
                Evaluated::Value(_) => return Ok(false),
                Evaluated::Failed(error) => errors.push(error),
                Evaluated::OutOfBudget => return Err(OUT_OF_BUDGET.to_owned()),
            }
        }
        match errors.as_slice() {
            [] => Ok(true),
            [error] => Err(error.clone()),
            several => Err(format!("[{}]", several.join(", "))),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use skiff_apimachinery::value;

    use super::*;
    use crate::admission::Operation;
    use crate::admission::expressions::Context;
    use crate::authentication::UserInfo;
    use crate::authorization::{Attributes, Authorizer, Decision, RulesReview};

    /// Lets nobody do anything.
    struct Nobody;

    impl Authorizer for Nobody {
        fn authorize(&self, _attributes: &Attributes) -> Decision {
            Decision::NoOpinion(String::new())
        }

        fn rules_for(&self, _user: &UserInfo, _namespace: &str) -> RulesReview {
            RulesReview::default()
        }
    }

    fn check(expressions: &[&str]) -> Result<bool, String> {
        let conditions = expressions.iter().map(|text| value!({"name": "c", "expression": (*text)}));
        let conditions = MatchConditions::compile(&conditions.collect::<Vec<_>>());
        let user = Arc::new(UserInfo { name: "alice".into(), groups: vec!["dev".into()], ..UserInfo::default() });
        let (object, options) = (value!({"metadata": {"name": "a", "labels": {"x": "y"}}}), Value::Null);
        conditions.matches(&Context {
            operation: Operation::Create,
            kind: ("apps", "v1", "Deployment"),
            resource: ("apps", "v1", "deployments"),
            request_kind: ("apps", "v1", "Deployment"),
            request_resource: ("apps", "v1", "deployments"),
            subresource: "",
            name: "a",
            namespace: "demo",
            user: &user,
            dry_run: false,
            options: &options,
            object: Some(&object),
            old_object: None,
            authorizer: &Nobody,
        })
    }

    #[test]
    fn conditions_speak_of_the_request() {
        for holds in [
            "object.metadata.labels.x == 'y' && oldObject == null",
            "request.userInfo.username == 'alice' && 'dev' in request.userInfo.groups",
            "request.operation == 'CREATE' && request.namespace == 'demo' && !request.dryRun",
            "request.resource.group == 'apps' && request.kind.kind == 'Deployment' && !has(request.subResource)",
            "!authorizer.group('').resource('pods').namespace('demo').check('get').allowed()",
            "!authorizer.requestResource.check('delete').allowed() && !authorizer.path('/healthz').check('get').allowed()",
            "namespaceObject == null",
        ] {
            assert_eq!(check(&[holds]), Ok(true), "{holds}");
        }
    }

    #[test]
    fn one_that_is_false_decides() {
        assert_eq!(check(&[]), Ok(true));
        assert_eq!(check(&["true", "false"]), Ok(false));
        assert_eq!(check(&["object.spec.x == 1", "false"]), Ok(false));
        let failed = "expression 'object.spec.x == 1' resulted in error: no such key: spec";
        assert_eq!(check(&["object.spec.x == 1"]), Err(failed.to_owned()));
        assert_eq!(check(&["object.spec.x == 1", "true", "1 / 0 == 1"]).map_err(|e| e.starts_with('[')), Err(true));
        let untyped = check(&["params == 1"]).expect_err("undeclared");
        assert!(untyped.starts_with("compilation error: compilation failed: ERROR: <input>:1:1: undeclared reference"));
        let text = check(&["'a'"]).expect_err("no boolean");
        assert_eq!(text, "compilation error: must evaluate to bool but got string");
    }
}
