//! Expressions: what they say, what is wrong with them, and what they cost.

use skiff_apimachinery::value;
use skiff_apimachinery::value::Value;
use skiff_cel::Program;
use skiff_cel::declared::{Declared, Object};
use skiff_cel::environment::Environment;
use skiff_cel::types::Type;
use skiff_cel::value::Val;

fn self_type() -> Declared {
    let int = || Declared::plain(Type::Int);
    Declared::object(Object::new(
        "Self",
        [
            ("n", int()),
            ("s", Declared::plain(Type::String)),
            ("l", Declared::list(int())),
            ("m", Declared::map(int())),
            ("any", Declared::plain(Type::Dyn)),
        ],
    ))
}

fn environment() -> Environment {
    Environment::new().declare("self", self_type())
}

fn error(text: &str) -> String {
    Program::compile(text, &environment()).expect_err(text)
}

/// The value of an expression, or its error.
fn evaluated(text: &str) -> Result<bool, String> {
    let program = Program::compile(text, &environment())?;
    let object: Value = value!({"n": 3, "s": "abc", "l": [3, 1, 2], "m": {"k": 1}, "any": {"x": [1]}});
    let ty = self_type();
    let (outcome, _) = program.evaluate([("self", Val::of(&object, Some(&ty)))]);
    match outcome? {
        Val::Bool(on) => Ok(on),
        other => Err(format!("{other:?}")),
    }
}

#[test]
fn errors_are_those_of_cel_go() {
    for (text, want) in [
        ("x", "ERROR: <input>:1:1: undeclared reference to 'x' (in container '')\n | x\n | ^"),
        (
            "self.n + 'a' == 1",
            "ERROR: <input>:1:8: found no matching overload for '_+_' applied to '(int, string)'\n | self.n + 'a' == 1\n | .......^",
        ),
        ("self.nope", "ERROR: <input>:1:5: undefined field 'nope'\n | self.nope\n | ....^"),
        (
            "self.s.startsWith(1)",
            "ERROR: <input>:1:18: found no matching overload for 'startsWith' applied to 'string.(int)'\n | self.s.startsWith(1)\n | .................^",
        ),
        (
            "self.n.all(x, x)",
            "ERROR: <input>:1:5: expression of type 'int' cannot be range of a comprehension (must be list, map, or dynamic)\n | self.n.all(x, x)\n | ....^",
        ),
        (
            "self.l.all(x, x)",
            "ERROR: <input>:1:15: expected type 'bool' but found 'int'\n | self.l.all(x, x)\n | ..............^",
        ),
        (
            "self.n ? true : false",
            "ERROR: <input>:1:8: found no matching overload for '_?_:_' applied to '(int, bool, bool)'\n | self.n ? true : false\n | .......^",
        ),
        ("has(self)", "ERROR: <input>:1:5: invalid argument to has() macro\n | has(self)\n | ....^"),
        (
            "self.s.matches('(')",
            "ERROR: <input>:1:16: invalid matches argument\n | self.s.matches('(')\n | ...............^",
        ),
        ("[1, 'a'] == []", "ERROR: <input>:1:5: expected type 'int' but found 'string'\n | [1, 'a'] == []\n | ....^"),
        (
            "self.s.x == 1",
            "ERROR: <input>:1:7: type 'string' does not support field selection\n | self.s.x == 1\n | ......^",
        ),
        ("nope(1)", "ERROR: <input>:1:5: undeclared reference to 'nope' (in container '')\n | nope(1)\n | ....^"),
        (
            "duration('x') == duration('1s')",
            "ERROR: <input>:1:10: invalid duration argument\n | duration('x') == duration('1s')\n | .........^",
        ),
    ] {
        assert_eq!(error(text), want);
    }
}

#[test]
fn expressions_say_what_they_say_upstream() {
    for (text, want) in [
        ("self.l.all(i, v, v > i - 3)", true),
        ("self.l.exists(i, v, i == 2 && v == 2)", true),
        ("self.l.transformList(i, v, v * i) == [0, 1, 4]", true),
        ("self.m.transformMap(k, v, v + 1)['k'] == 2", true),
        ("{'a': 1}.transformMapEntry(k, v, {v: k}) == {1: 'a'}", true),
        ("self.l.sort() == [1, 2, 3] && self.l.sortBy(x, -x) == [3, 2, 1]", true),
        ("self.l.slice(0, 2) == [3, 1] && lists.range(3) == [0, 1, 2]", true),
        ("[[1], [2, 3]].flatten() == [1, 2, 3] && [1, 1].distinct() == [1]", true),
        ("optional.of(2).optMap(x, x * 2).value() == 4", true),
        ("self.?any.x[0].orValue(0) == 1", true),
        ("self.any.x[?3].orValue(7) == 7", true),
        ("semver('1.2.3').isGreaterThan(semver('1.2.0')) && semver('v1', true).major() == 1", true),
        ("format.dns1123Label().validate('a.b').hasValue()", true),
        ("!format.named('uri').value().validate('http://a/b').hasValue()", true),
        ("cidr('10.0.0.0/8').ip() == ip('10.0.0.0') && ip.isCanonical('10.0.0.1')", true),
        ("self.any.x.exists_one(x, x == 1)", true),
        ("self.l.first().value() == 3 && self.l.last().value() == 2", true),
        ("type(self.n) == int && type(self.s) != int", true),
        ("strings.quote('a\"b') == '\"a\\\\\"b\"'", true),
        ("1 < 1.5 && 1u < 2", true),
        ("'é'.size() == 1 && size(b'é') == 2", true),
        ("'éaéa'.indexOf('a') == 1 && 'éaéa'.indexOf('a', 2) == 3 && 'éaéa'.indexOf('a', 9) == -1", true),
        ("'éaéa'.lastIndexOf('é') == 2 && 'éaéa'.lastIndexOf('é', 1) == 0 && 'aéa'.lastIndexOf('aé', 2) == 0", true),
        (
            "'abc'.indexOf('') == 0 && 'abc'.lastIndexOf('') == 3 && 'a'.indexOf('ab') == -1 && ''.lastIndexOf('a') == -1",
            true,
        ),
        ("timestamp('2020-01-01T00:00:00.5+01:00') < timestamp('2020-01-01T00:00:00Z')", true),
        ("self.m['k'] == 1 && 'k' in self.m && !('z' in self.m) && self.m[?'z'].orValue(2) == 2", true),
    ] {
        assert_eq!(evaluated(text), Ok(want), "{text}");
    }
    for (text, want) in [
        ("self.any.y == 1", "no such key: y"),
        ("1 / (self.n - 3) == 0", "division by zero"),
        ("self.l[9] == 1", "index out of bounds: 9"),
        ("self.any + 1 == 2", "no such overload"),
        ("'abc'.indexOf('a', -1) == 0", "index out of range: -1"),
        ("timestamp('0001-01-01T00:00:00Z') - duration('1s') < timestamp(0)", "timestamp overflow"),
        ("timestamp('9999-12-01T23:59:59Z') - timestamp('0001-01-01T00:00:00Z') > duration('1s')", "duration overflow"),
        ("duration('2000000h') + duration('2000000h') > duration('0')", "duration overflow"),
        ("timestamp(0).getHours('1:99999999') == 1", "unknown time zone 1:99999999"),
        // What an expression makes is bounded, whatever its text costs.
        ("lists.range(9000000).size() == 1", "operation cancelled: actual cost limit exceeded"),
        (
            "lists.range(9000).map(x, 'abcdefgh').join().replace('', lists.range(9000).map(x, 'abcdefgh').join()) == ''",
            "string exceeds 16777216 bytes",
        ),
    ] {
        assert_eq!(evaluated(text), Err(want.to_owned()), "{text}");
    }
}

#[test]
fn names_are_bound_only_where_the_environment_says_so() {
    let text = "cel.bind(a, self.n + 1, a == 4 && cel.bind(b, a, b > 3))";
    assert!(Program::compile(text, &environment()).is_err());
    let environment = environment().with_bindings();
    let program = Program::compile(text, &environment).expect("a program");
    let (object, ty) = (value!({"n": 3}), self_type());
    let (outcome, _) = program.evaluate([("self", Val::of(&object, Some(&ty)))]);
    assert!(matches!(outcome, Ok(Val::Bool(true))), "{outcome:?}");
    let error = Program::compile("cel.bind(a.b, 1, true)", &environment).expect_err("no name");
    assert!(error.starts_with("ERROR: <input>:1:11: cel.bind() variable names must be simple identifiers"), "{error}");
    assert!(Program::compile("", &environment).expect_err("nothing").starts_with("ERROR: <input>:1:0: Syntax error"));
}

#[test]
fn moments_are_read_as_strictly_as_go_reads_them() {
    for text in [
        "2020-01-01 00:00:00Z",
        "2020-01-01t00:00:00z",
        "2020-01-01T00:00Z",
        "2020-01-01T00:00:60Z",
        "2020-01-01T00:00:00",
        "2020-01-01T00:00:00.Z",
        "2020-01-01T00:00:00+0100",
        "0000-01-01T00:00:00Z",
        "2020-13-01T00:00:00Z",
        "2020-01-01T00:00:00Z[UTC]",
        "é020-01-01T00:00:00Z",
    ] {
        assert!(error(&format!("timestamp('{text}') > timestamp(0)")).contains("invalid timestamp argument"), "{text}");
        assert_eq!(
            evaluated(&format!("timestamp('' + '{text}') > timestamp(0)")),
            Err("type conversion error from 'string' to 'google.protobuf.Timestamp'".to_owned())
        );
    }
}
