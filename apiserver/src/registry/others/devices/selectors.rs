//! The expressions by which devices are selected: whether they compile, and what they may cost
//! (`staging/src/k8s.io/dynamic-resource-allocation/cel`).

use std::sync::LazyLock;

use skiff_apimachinery::field::{Error, ErrorList};
use skiff_cel::declared::{Declared, Object};
use skiff_cel::estimate::{Range, estimate_with};
use skiff_cel::signatures::opaque;
use skiff_cel::types::Type;
use skiff_cel::{Environment, Program};

use crate::registry::at::At;

/// What the evaluation of one expression may cost.
const MAX_COST: u64 = 1_000_000;
/// Attributes or capacities of a device, and domains of their names.
const MAX_MEMBERS: u64 = 32;
/// Bytes of the domain of a name.
const MAX_DOMAIN: u64 = 63;
/// Bytes of a name in its domain.
const MAX_NAME: u64 = 32;
/// Bytes of the name of a driver.
const MAX_DRIVER: u64 = 63;
/// Bytes of the value of an attribute.
const MAX_VALUE: u64 = 64;

/// What expressions may speak of.
static ENVIRONMENT: LazyLock<Environment> = LazyLock::new(|| {
    let named = |ty: Type| Declared::map(Declared::map(Declared::plain(ty)));
    let device = Object::new(
        "kubernetes.DRADevice",
        [
            ("driver", Declared::plain(Type::String)),
            ("allowMultipleAllocations", Declared::plain(Type::Bool)),
            ("attributes", named(Type::Any)),
            ("capacity", named(opaque("kubernetes.Quantity"))),
        ],
    );
    Environment::new().declare("device", Declared::object(device)).with_bindings()
});

/// Validates the expression of a selector.
pub(super) fn expression(at: &At<'_>, errors: &mut ErrorList) {
    let program = match Program::compile(at.text(), &ENVIRONMENT) {
        Ok(program) => program,
        Err(why) => return at.invalid(errors, format!("compilation failed: {why}")),
    };
    let result = program.result();
    if !matches!(result, Type::Bool | Type::Any) {
        let result = result.value_name();
        return at.invalid(errors, format!("must evaluate to bool or the unknown type, not {result}"));
    }
    if estimate_with(&program, &|path| size_at(path)).max > MAX_COST {
        errors.push(Error::forbidden(&at.path(), "too complex, exceeds cost limit"));
    }
}

/// The size of what is reached on a path from a device.
fn size_at(path: &[String]) -> Option<Range> {
    let steps = path.iter().map(String::as_str).collect::<Vec<_>>();
    let [_, steps @ ..] = steps.as_slice() else { return None };
    let is_values = |step: &str| matches!(step, "@items" | "@values");
    let max = match steps {
        // Nobody says how many fields a device has.
        [] => 0,
        ["driver"] => MAX_DRIVER,
        ["allowMultipleAllocations"] => 1,
        ["attributes" | "capacity"] => MAX_MEMBERS,
        ["attributes" | "capacity", "@keys"] => MAX_DOMAIN,
        ["attributes" | "capacity", values] if is_values(values) => MAX_MEMBERS,
        ["attributes" | "capacity", values, "@keys"] if is_values(values) => MAX_NAME,
        // Attributes may be named as if they were fields.
        ["attributes", values, name] if is_values(values) && *name != "@keys" => MAX_VALUE,
        ["capacity", values, value] if is_values(values) && is_values(value) => 0,
        _ => return None,
    };
    Some(Range { min: 0, max })
}
