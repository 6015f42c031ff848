//! A MutatingAdmissionPolicy, compiled, and the patches that it makes (`policy/mutating/patch`).

use skiff_apimachinery::schema::SchemaRef;
use skiff_apimachinery::value::{Object, Value};
use skiff_apimachinery::{json, managedfields, meta, patch};
use skiff_cel::json::{misnamed, to_json};
use skiff_cel::signatures::opaque;
use skiff_cel::types::Type;
use skiff_cel::value::Val;

use crate::admission::expressions::environment::environment;
use crate::admission::expressions::variables::{BUDGET, Declarations, Evaluated, Evaluator};
use crate::admission::expressions::{Compiled, Context, MatchConditions, OUT_OF_BUDGET, Variables};
use crate::admission::policy::atomics;
use crate::admission::policy::match_resources::MatchResources;
use crate::admission::policy::params::ParamKind;

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
    /// Whether it is to be applied again when others change the object.
    pub(in crate::admission::policy) reinvoked: bool,
    /// What it does, in order.
    pub(in crate::admission::policy) mutations: Vec<Mutation>,
    conditions: MatchConditions,
    variables: Declarations,
}

/// A change.
#[derive(Debug)]
pub(in crate::admission::policy) struct Mutation {
    kind: Kind,
    expression: Compiled,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    /// A list of operations.
    JsonPatch,
    /// An object to merge.
    ApplyConfiguration,
}

impl Policy {
    /// Of a stored object.
    pub(in crate::admission::policy) fn parse(object: &Value) -> Option<Self> {
        let spec = object.get("spec")?;
        let param_kind = spec.get("paramKind").filter(|kind| !kind.is_null()).map(ParamKind::parse);
        let (variables, within) =
            Declarations::compile(spec.array_at(&["variables"]), environment(param_kind.is_some(), true));
        let patches = within.clone().with_patches();
        let mutations = spec.array_at(&["mutations"]).iter().filter_map(|mutation| {
            let (kind, field, result) = match mutation.str_at(&["patchType"])? {
                "JSONPatch" => (Kind::JsonPatch, "jsonPatch", Type::list(opaque("JSONPatch"))),
                "ApplyConfiguration" => (Kind::ApplyConfiguration, "applyConfiguration", opaque("Object")),
                _ => return None,
            };
            let text = mutation.str_at(&[field, "expression"])?;
            Some(Mutation { kind, expression: Compiled::new(text, &patches, &[result]) })
        });
        let everything = Object::new().into();
        Some(Self {
            name: meta::name(object).to_owned(),
            resources: MatchResources::parse(spec.get("matchConstraints").unwrap_or(&everything)),
            fails_open: spec.str_at(&["failurePolicy"]) == Some("Ignore"),
            reinvoked: spec.str_at(&["reinvocationPolicy"]) == Some("IfNeeded"),
            conditions: MatchConditions::compile_in(spec.array_at(&["matchConditions"]), &within),
            mutations: mutations.collect(),
            param_kind,
            variables,
        })
    }

    /// Whether the conditions hold.
    pub(in crate::admission::policy) fn applies(
        &self,
        context: &Context<'_>,
        params: Option<&Value>,
    ) -> Result<bool, String> {
        self.conditions.matches_with(context, params, &self.variables)
    }

    /// The object of a request after one change.
    pub(in crate::admission::policy) fn mutate(
        &self,
        mutation: &Mutation,
        object: &Value,
        schema: SchemaRef<'_>,
        variables: &Variables<'_>,
    ) -> Result<Value, String> {
        if let Err(error) = &mutation.expression.program {
            return Err(error.clone());
        }
        let mut evaluator = Evaluator::new(&self.variables, variables.values(), BUDGET);
        let made = match evaluator.evaluate(&mutation.expression) {
            Evaluated::Value(made) => made,
            Evaluated::Failed(error) => return Err(error),
            Evaluated::OutOfBudget => return Err(OUT_OF_BUDGET.to_owned()),
        };
        match mutation.kind {
            Kind::JsonPatch => apply_operations(&made, object),
            Kind::ApplyConfiguration => apply_configuration(&made, object, schema),
        }
    }
}

fn mismatch(value: &Val<'_>) -> Result<(), String> {
    let errors = misnamed(value);
    if errors.is_empty() { Ok(()) } else { Err(format!("type mismatch: {}", errors.join("\n"))) }
}

fn apply_operations(made: &Val<'_>, object: &Value) -> Result<Value, String> {
    let operations = made.items().unwrap_or_default();
    for operation in &operations {
        operation.member("value").map_or(Ok(()), |value| mismatch(&value))?;
    }
    let list = operations.iter().map(to_json).collect::<Result<Vec<_>, _>>()?;
    let mut text = Vec::with_capacity(256);
    json::write(&Value::Array(list), &mut text);
    let decoded = patch::json::decode(&text).map_err(|status| format!("JSON Patch: {}", status.message))?;
    let mut patched = object.clone();
    match decoded.patch.apply_or_explain(&mut patched) {
        Ok(()) => Ok(patched),
        // A test that fails says that the patch is not for this object.
        Err(why) if why.ends_with(patch::json::TEST_FAILED) => Ok(object.clone()),
        Err(why) => Err(format!("JSON Patch: {why}")),
    }
}

fn apply_configuration(made: &Val<'_>, object: &Value, schema: SchemaRef<'_>) -> Result<Value, String> {
    mismatch(made)?;
    let mut configuration = to_json(made)?;
    for field in ["apiVersion", "kind"] {
        if let Some(value) = object.get(field) {
            configuration.set_at(&[field], value.clone());
        }
    }
    let failed = |why: String| format!("error applying patch: {why}");
    let mut text = Vec::with_capacity(256);
    json::write(&configuration, &mut text);
    let decoded = json::decode(&text, schema)
        .map_err(|error| failed(format!("failed to convert patch object to typed object: {error}")))?;
    if let Some(field) = decoded.unknown.first() {
        let field = field.trim_start_matches("unknown field ").trim_matches('"');
        return Err(failed(format!(
            "failed to convert patch object to typed object: .{field}: field not declared in schema"
        )));
    }
    let atomic = atomics::find(schema, &configuration);
    if !atomic.is_empty() {
        let why = format!("may not mutate atomic arrays, maps or structs: {}", atomic.join(", "));
        return Err(failed(format!("invalid ApplyConfiguration: {why}")));
    }
    managedfields::merge(schema, object, &configuration).map_err(|why| failed(format!("failed to merge patch: {why}")))
}
