//! The variables of a policy: expressions that are evaluated when they are first spoken of, each once per request
//! (`admission/plugin/cel/composition.go`).

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::{Rc, Weak};

use skiff_apimachinery::value::Value;
use skiff_cel::Environment;
use skiff_cel::types::Type;
use skiff_cel::value::{Lazy, Val};

use super::environment::{VARIABLES, with_variables};
use super::{Compiled, OUT_OF_BUDGET};

/// What all expressions of a policy may cost for one request (`RuntimeCELCostBudget`).
pub const BUDGET: u64 = 10_000_000;

/// The variables of a policy in order.
#[derive(Debug, Default)]
pub struct Declarations(Vec<(String, Compiled)>);

impl Declarations {
    /// Compiles the list `variables`; each may speak of those before it. Also returns the environment with all.
    pub fn compile(variables: &[Value], environment: Environment) -> (Self, Environment) {
        let mut types = BTreeMap::new();
        let mut environment = with_variables(&environment, &types);
        let mut declared = Vec::new();
        for variable in variables {
            let text = |field: &str| variable.str_at(&[field]).unwrap_or("");
            let compiled = Compiled::new(text("expression"), &environment, &[]);
            let ty = compiled.program.as_ref().map_or(Type::Dyn, |program| program.result().clone());
            let name = text("name").to_owned();
            types.insert(name.clone(), ty);
            environment = with_variables(&environment, &types);
            declared.push((name, compiled));
        }
        (Self(declared), environment)
    }

    /// The variables with their names.
    pub fn iter(&self) -> impl Iterator<Item = &(String, Compiled)> {
        self.0.iter()
    }
}

/// An evaluation of the expressions of one policy for one request and one set of parameters.
pub struct Evaluator<'a> {
    values: Vec<(&'static str, Val<'a>)>,
    spent: Rc<Spent<'a>>,
    left: u64,
}

/// Values that have been computed, and what that cost.
struct Spent<'a> {
    declarations: &'a Declarations,
    values: Vec<(&'static str, Val<'a>)>,
    known: RefCell<BTreeMap<String, Result<Val<'a>, String>>>,
    cost: Cell<u64>,
    this: Weak<Spent<'a>>,
}

impl<'a> Lazy<'a> for Spent<'a> {
    fn get(&self, name: &str) -> Result<Val<'a>, String> {
        if let Some(known) = self.known.borrow().get(name) {
            return known.clone();
        }
        let Some((_, compiled)) = self.declarations.0.iter().find(|(known, _)| known == name) else {
            return Err(format!("no such key: {name}"));
        };
        let outcome = match &compiled.program {
            Err(error) => Err(format!("composited variable {name:?} fails to compile: {error}")),
            Ok(program) => {
                let this = self.this.upgrade().map(|this| (VARIABLES, Val::Lazy(this as Rc<dyn Lazy<'a> + 'a>)));
                let (outcome, cost) = program.evaluate(self.values.iter().cloned().chain(this));
                self.cost.set(self.cost.get().saturating_add(cost));
                outcome.map_err(|error| format!("composited variable {name:?} fails to evaluate: {error}"))
            }
        };
        self.known.borrow_mut().insert(name.to_owned(), outcome.clone());
        outcome
    }
}

/// What came of an expression.
pub enum Evaluated<'a> {
    /// A value.
    Value(Val<'a>),
    /// An error in it.
    Failed(String),
    /// All expressions together cost too much: no other is evaluated.
    OutOfBudget,
}

impl<'a> Evaluator<'a> {
    /// With these variables of the request; all expressions together may cost this much.
    pub fn new(declarations: &'a Declarations, values: Vec<(&'static str, Val<'a>)>, budget: u64) -> Self {
        let spent = Rc::new_cyclic(|this| Spent {
            declarations,
            values: values.clone(),
            known: RefCell::default(),
            cost: Cell::new(0),
            this: this.clone(),
        });
        Self { values, spent, left: budget }
    }

    /// Evaluates one expression.
    pub fn evaluate(&mut self, compiled: &'a Compiled) -> Evaluated<'a> {
        let program = match &compiled.program {
            Ok(program) => program,
            Err(error) => return Evaluated::Failed(format!("compilation error: {error}")),
        };
        let fields = Val::Lazy(self.spent.clone() as Rc<dyn Lazy<'a> + 'a>);
        let (outcome, cost) = program.evaluate(self.values.iter().cloned().chain([(VARIABLES, fields)]));
        let cost = cost.saturating_add(self.spent.cost.replace(0));
        if cost > self.left {
            self.left = 0;
            return Evaluated::OutOfBudget;
        }
        self.left -= cost;
        match outcome {
            Ok(value) => Evaluated::Value(value),
            Err(error) => Evaluated::Failed(format!("expression '{}' resulted in error: {error}", compiled.text)),
        }
    }
}

impl Evaluated<'_> {
    /// The error, if it is one.
    pub fn error(&self) -> Option<&str> {
        match self {
            Evaluated::Value(_) => None,
            Evaluated::Failed(error) => Some(error),
            Evaluated::OutOfBudget => Some(OUT_OF_BUDGET),
        }
    }
}
