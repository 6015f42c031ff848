//! A ValidatingAdmissionPolicy, compiled, and what it decides (`policy/validating/validator.go`).

use skiff_apimachinery::meta;
use skiff_apimachinery::value::{Object, Value};
use skiff_cel::types::Type;
use skiff_cel::value::Val;

use crate::admission::expressions::environment::{AUTHORIZER, REQUEST_RESOURCE, environment};
use crate::admission::expressions::variables::{BUDGET, Declarations, Evaluated, Evaluator};
use crate::admission::expressions::{Compiled, Context, MatchConditions, OUT_OF_BUDGET, Variables};
use crate::admission::policy::match_resources::MatchResources;
use crate::admission::policy::params::ParamKind;

/// Bytes of a message that an expression makes.
const MAX_MESSAGE: usize = 5 * 1024;

/// Bytes of the value of an annotation; longer ones are cut.
const MAX_ANNOTATION: usize = 10 * 1024;

/// A policy.
#[derive(Debug)]
pub(in crate::admission::policy) struct Policy {
    /// Its name.
    pub(in crate::admission::policy) name: String,
    /// Which requests it is about.
    pub(in crate::admission::policy) resources: MatchResources,
    /// Kind of its parameters.
    pub(in crate::admission::policy) param_kind: Option<ParamKind>,
    /// Whether a request goes on when an expression fails.
    pub(in crate::admission::policy) fails_open: bool,
    conditions: MatchConditions,
    variables: Declarations,
    /// The same for expressions of messages, which may not ask about rights.
    message_variables: Declarations,
    validations: Vec<Validation>,
    /// By their keys.
    annotations: Vec<(String, Compiled)>,
}

#[derive(Debug)]
struct Validation {
    expression: Compiled,
    message: String,
    message_expression: Option<Compiled>,
    reason: String,
}

/// An expression that was not true.
pub(in crate::admission::policy) struct Decision {
    /// Reason of the answer, empty for the usual one.
    pub(in crate::admission::policy) reason: String,
    /// What is wrong.
    pub(in crate::admission::policy) message: String,
    /// Place of the expression among the validations.
    pub(in crate::admission::policy) index: usize,
    /// Whether the request is refused whatever the binding says.
    pub(in crate::admission::policy) always_refuses: bool,
}

/// What a policy says of a request.
#[derive(Default)]
pub(in crate::admission::policy) struct Decided {
    /// What is wrong.
    pub(in crate::admission::policy) decisions: Vec<Decision>,
    /// What the audit log is to say, by key.
    pub(in crate::admission::policy) annotations: Vec<(String, String)>,
}

impl From<Option<Decision>> for Decided {
    fn from(decision: Option<Decision>) -> Self {
        Self { decisions: decision.into_iter().collect(), annotations: Vec::new() }
    }
}

impl Policy {
    /// Of a stored object.
    pub(in crate::admission::policy) fn parse(object: &Value) -> Option<Self> {
        let spec = object.get("spec")?;
        let param_kind = spec.get("paramKind").filter(|kind| !kind.is_null()).map(ParamKind::parse);
        let has_params = param_kind.is_some();
        let list = |field: &str| spec.array_at(&[field]);
        let (variables, within) = Declarations::compile(list("variables"), environment(has_params, true));
        let (message_variables, in_messages) = Declarations::compile(list("variables"), environment(has_params, false));
        let text = |value: &Value, field: &str| value.str_at(&[field]).unwrap_or("").to_owned();
        let validations = list("validations").iter().map(|validation| Validation {
            expression: Compiled::new(&text(validation, "expression"), &within, &[Type::Bool]),
            message: text(validation, "message"),
            message_expression: Some(text(validation, "messageExpression"))
                .filter(|expression| !expression.is_empty())
                .map(|expression| Compiled::new(&expression, &in_messages, &[Type::String])),
            reason: text(validation, "reason"),
        });
        let annotations = list("auditAnnotations").iter().map(|annotation| {
            let value = Compiled::new(&text(annotation, "valueExpression"), &within, &[Type::String, Type::Null]);
            (text(annotation, "key"), value)
        });
        let everything = Object::new().into();
        Some(Self {
            name: meta::name(object).to_owned(),
            resources: MatchResources::parse(spec.get("matchConstraints").unwrap_or(&everything)),
            fails_open: spec.str_at(&["failurePolicy"]) == Some("Ignore"),
            conditions: MatchConditions::compile_in(list("matchConditions"), &within),
            validations: validations.collect(),
            annotations: annotations.collect(),
            param_kind,
            variables,
            message_variables,
        })
    }

    /// What is wrong with a request, and what is noted of it.
    pub(in crate::admission::policy) fn decide(
        &self,
        context: &Context<'_>,
        namespace: Option<&Value>,
        params: Option<&Value>,
    ) -> Decided {
        match self.conditions.matches_with(context, params, &self.variables) {
            Ok(true) => {}
            Ok(false) => return Decided::default(),
            Err(error) => return self.failed(0, error).into(),
        }
        let variables = Variables::new(context, namespace, params);
        let mut evaluator = Evaluator::new(&self.variables, variables.values(), BUDGET);
        let mut decisions = Vec::new();
        for (index, validation) in self.validations.iter().enumerate() {
            match evaluator.evaluate(&validation.expression) {
                Evaluated::Value(Val::Bool(true)) => {}
                Evaluated::Value(_) => {
                    let message = self.message(validation, &variables);
                    let reason = validation.reason.clone();
                    decisions.push(Decision { reason, message, index, always_refuses: false });
                }
                Evaluated::Failed(error) => decisions.extend(self.failed(index, error)),
                Evaluated::OutOfBudget => return self.failed(0, OUT_OF_BUDGET.to_owned()).into(),
            }
        }
        let mut evaluator = Evaluator::new(&self.variables, variables.values(), BUDGET);
        let mut annotations = Vec::new();
        for (key, expression) in &self.annotations {
            match evaluator.evaluate(expression) {
                Evaluated::Value(Val::Str(text)) if !text.trim().is_empty() => {
                    annotations.push((key.clone(), cut(text.trim()).to_owned()));
                }
                Evaluated::Value(_) => {}
                Evaluated::Failed(_) if self.fails_open => {}
                Evaluated::Failed(message) => {
                    decisions.push(Decision { reason: String::new(), message, index: 0, always_refuses: true });
                }
                Evaluated::OutOfBudget => return self.failed(0, OUT_OF_BUDGET.to_owned()).into(),
            }
        }
        Decided { decisions, annotations }
    }

    /// The decision where an expression could not be evaluated.
    fn failed(&self, index: usize, message: String) -> Option<Decision> {
        (!self.fails_open).then(|| Decision { reason: String::new(), message, index, always_refuses: false })
    }

    fn message(&self, validation: &Validation, variables: &Variables<'_>) -> String {
        let made = validation.message_expression.as_ref().and_then(|expression| {
            let mut values = variables.values();
            values.retain(|(name, _)| ![AUTHORIZER, REQUEST_RESOURCE].contains(name));
            let mut evaluator = Evaluator::new(&self.message_variables, values, BUDGET);
            let Evaluated::Value(Val::Str(text)) = evaluator.evaluate(expression) else { return None };
            let text = text.trim();
            let fits = !text.is_empty() && text.len() <= MAX_MESSAGE && !text.contains('\n');
            fits.then(|| text.to_owned())
        });
        made.unwrap_or_else(|| match validation.message.trim() {
            "" => format!("failed expression: {}", validation.expression.text.trim()),
            message => message.to_owned(),
        })
    }
}

fn cut(text: &str) -> &str {
    let mut end = text.len().min(MAX_ANNOTATION);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}
