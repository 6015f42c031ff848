//! Expressions about requests: what they may speak of, and how they are evaluated.
//!
//! [`environment`] declares the variables, [`Context`] has their values, [`match_conditions`] are the conditions of
//! webhooks and policies, [`variables`] the expressions of a policy that have names. Follows `k8s.io/apiserver/pkg/admission/plugin/cel`.

pub mod authorizer;
pub mod match_conditions;
mod request;
pub mod variables;

use std::sync::Arc;

use skiff_apimachinery::value::Value;
use skiff_cel::Program;
use skiff_cel::authz::Authz;
use skiff_cel::types::Type;
use skiff_cel::value::Val;

use self::environment::{AUTHORIZER, NAMESPACE, OBJECT, OLD_OBJECT, PARAMS, REQUEST, REQUEST_RESOURCE};
use super::Operation;
use crate::authentication::UserInfo;
use crate::authorization::Authorizer;

pub use self::match_conditions::MatchConditions;
pub use skiff_cel::requests as environment;

/// The error of expressions that together cost more than they may.
pub const OUT_OF_BUDGET: &str =
    "validation failed due to running out of cost budget, no further validation rules will be run";

/// Group, version, and kind or resource.
pub type Versioned<'a> = (&'a str, &'a str, &'a str);

/// A request, as expressions see it.
pub struct Context<'a> {
    /// What happens.
    pub operation: Operation,
    /// Kind in the version that the webhook or policy knows.
    pub kind: Versioned<'a>,
    /// Resource in that version.
    pub resource: Versioned<'a>,
    /// Kind that the client sent.
    pub request_kind: Versioned<'a>,
    /// Resource that the client asked for.
    pub request_resource: Versioned<'a>,
    /// Subresource, empty for none.
    pub subresource: &'a str,
    /// Name; empty while it has not been generated.
    pub name: &'a str,
    /// Namespace, empty for cluster scope.
    pub namespace: &'a str,
    /// Who asks.
    pub user: &'a Arc<UserInfo>,
    /// Whether nothing will be stored.
    pub dry_run: bool,
    /// The options of the operation; null for none.
    pub options: &'a Value,
    /// The object; `None` for deletes.
    pub object: Option<&'a Value>,
    /// The object as it was; `None` for creates.
    pub old_object: Option<&'a Value>,
    /// Asked by expressions about rights.
    pub authorizer: &'a dyn Authorizer,
}

/// The values of the variables of one request; built once for all expressions.
pub struct Variables<'a> {
    context: &'a Context<'a>,
    request: Value,
    namespace: Option<&'a Value>,
    params: Option<&'a Value>,
}

impl<'a> Variables<'a> {
    /// Of a request, the namespace it is in, and the parameters of a policy, where there are some.
    pub fn new(context: &'a Context<'a>, namespace: Option<&'a Value>, params: Option<&'a Value>) -> Self {
        Self { context, request: request::of(context), namespace, params }
    }

    /// The variables by name.
    pub fn values(&self) -> Vec<(&'static str, Val<'_>)> {
        let plain = |value: Option<&'a Value>| value.map_or(Val::Null, |value| Val::of(value, None));
        let asked = || authorizer::of(self.context);
        vec![
            (OBJECT, plain(self.context.object)),
            (OLD_OBJECT, plain(self.context.old_object)),
            (REQUEST, Val::of(&self.request, Some(environment::request_type()))),
            (NAMESPACE, self.namespace.map_or(Val::Null, |value| Val::of(value, Some(environment::namespace_type())))),
            (PARAMS, plain(self.params)),
            (AUTHORIZER, Val::Authz(Authz::new(asked()))),
            (REQUEST_RESOURCE, Val::Authz(Authz::about(asked(), authorizer::resource_of(self.context)))),
        ]
    }
}

/// An expression that has been compiled, or that cannot be.
#[derive(Debug)]
pub struct Compiled {
    /// Its text.
    pub text: String,
    /// The program, or what is wrong with the text.
    pub program: Result<Program, String>,
}

impl Compiled {
    /// Compiles an expression that must have one of these types; any will do where none is named.
    pub fn new(text: &str, environment: &skiff_cel::Environment, types: &[Type]) -> Self {
        Self { text: text.to_owned(), program: compile(text, environment, types) }
    }
}

/// Compiles an expression; the error is as upstream words it.
pub fn compile(text: &str, environment: &skiff_cel::Environment, types: &[Type]) -> Result<Program, String> {
    let program = Program::compile(text, environment).map_err(|error| format!("compilation failed: {error}"))?;
    let result = program.result();
    if types.is_empty() || types.iter().any(|ty| ty.is(result)) {
        return Ok(program);
    }
    let names = types.iter().map(Type::value_name).collect::<Vec<_>>();
    let (wanted, found) = (names.join(" "), result.value_name());
    Err(match names.len() {
        1 => format!("must evaluate to {wanted} but got {found}"),
        _ => format!("must evaluate to one of [{wanted}] but got {found}"),
    })
}
