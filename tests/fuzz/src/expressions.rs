//! Expressions in CEL, as definitions, webhooks and policies carry them.

use std::sync::LazyLock;

use skiff_apimachinery::value;
use skiff_apimachinery::value::Value;
use skiff_cel::declared::{Declared, Object};
use skiff_cel::environment::Environment;
use skiff_cel::program::Program;
use skiff_cel::types::Type;
use skiff_cel::value::Val;

/// What expressions speak of.
static DECLARED: LazyLock<Declared> = LazyLock::new(|| {
    let int = || Declared::plain(Type::Int);
    let members = [
        ("n", int()),
        ("s", Declared::plain(Type::String)),
        ("l", Declared::list(int())),
        ("m", Declared::map(int())),
        ("any", Declared::plain(Type::Dyn)),
    ];
    Declared::object(Object::new("Self", members))
});

static OBJECT: LazyLock<Value> =
    LazyLock::new(|| value!({"n": 3, "s": "abc", "l": [3, 1, 2], "m": {"k": 1}, "any": {"x": [1]}}));

static ENVIRONMENT: LazyLock<Environment> = LazyLock::new(|| Environment::new().declare("self", DECLARED.clone()));

/// Reads and checks an expression, and evaluates it if it is one.
pub(crate) fn cel(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    if let Ok(program) = Program::compile(text, &ENVIRONMENT) {
        let _ = program.evaluate([("self", Val::of(&*OBJECT, Some(&*DECLARED)))]);
    }
}
