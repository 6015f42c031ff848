//! What the rules of a schema may cost at most (`apis/apiextensions/validation/cel_validation.go`).

use skiff_apimachinery::field::{Error, ErrorList, Path};
use skiff_apimachinery::value::Value;
use skiff_cel::Program;
use skiff_cel::declared::Declared;
use skiff_cel::estimate::estimate;

use super::super::declared::MAX_REQUEST;

/// What one expression may cost for all values that an object can have in its place (`StaticEstimatedCostLimit`).
const EXPRESSION_LIMIT: u64 = 10_000_000;
/// What all expressions of a schema may cost (`StaticEstimatedCRDCostLimit`).
const SCHEMA_LIMIT: u64 = 100_000_000;
/// How many of the most costly are named where all cost too much.
const MAX_NAMED: usize = 4;

/// What the rules of a schema cost.
pub(super) struct Costs {
    /// Whether single expressions are let through: a schema that was taken once stays.
    lenient: bool,
    total: u64,
    most_expensive: Vec<(Path, u64)>,
}

impl Costs {
    pub(super) fn new(lenient: bool) -> Self {
        Self { lenient, total: 0, most_expensive: Vec::new() }
    }

    /// Adds an expression that is evaluated for each value of a type, so many times in an object; `what` it is called.
    pub(super) fn rule(
        &mut self,
        program: &Program,
        declared: &Declared,
        times: Option<u64>,
        path: &Path,
        errors: &mut ErrorList,
    ) {
        let once = estimate(program, declared).max;
        // Where nobody bounds a list above, as many as a request can carry.
        let times = times.unwrap_or(MAX_REQUEST / (declared.min_size + 1));
        self.add("estimated rule cost", once.saturating_mul(times), path, errors);
    }

    /// Adds an expression of a message, which is evaluated once.
    pub(super) fn message(&mut self, program: &Program, declared: &Declared, path: &Path, errors: &mut ErrorList) {
        self.add("estimated messageExpression cost", estimate(program, declared).max, path, errors);
    }

    fn add(&mut self, what: &str, cost: u64, path: &Path, errors: &mut ErrorList) {
        if cost > EXPRESSION_LIMIT && !self.lenient {
            errors.push(Error::forbidden(path, too_expensive(what, cost, EXPRESSION_LIMIT)));
        }
        self.total = self.total.saturating_add(cost);
        if cost >= SCHEMA_LIMIT / 100 {
            self.most_expensive.push((path.clone(), cost));
            self.most_expensive.sort_by_key(|(_, cost)| std::cmp::Reverse(*cost));
            self.most_expensive.truncate(MAX_NAMED);
        }
    }

    /// Says so if all together cost too much; `path` is that of the schema.
    pub(super) fn conclude(&self, path: &Path, errors: &mut ErrorList) {
        if self.total <= SCHEMA_LIMIT {
            return;
        }
        for (path, _) in &self.most_expensive {
            let why = "contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema";
            errors.push(Error::forbidden(path, why));
        }
        let what = "x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema";
        errors.push(Error::forbidden(path, too_expensive(what, self.total, SCHEMA_LIMIT)));
    }
}

fn too_expensive(what: &str, cost: u64, limit: u64) -> String {
    let factor = cost as f64 / limit as f64;
    let factor = if factor > 100.0 {
        "more than 100x".to_owned()
    } else if factor < 1.5 {
        format!("{factor:.6}x")
    } else {
        format!("{factor:.1}x")
    };
    format!(
        "{what} exceeds budget by factor of {factor} (try simplifying the rule, or adding maxItems, maxProperties, and maxLength where arrays, maps, and strings are declared)"
    )
}

/// How often a value below a schema can be there for each that the schema is about; `None` without a bound.
pub(super) fn repeated(schema: &Value) -> Option<u64> {
    let bound = |field: &str| schema.i64_at(&[field]).map(|max| u64::try_from(max).unwrap_or(0));
    match schema.str_at(&["type"]) {
        Some("object") if schema.get("additionalProperties").is_some() => bound("maxProperties"),
        Some("array") => bound("maxItems"),
        _ => Some(1),
    }
}
