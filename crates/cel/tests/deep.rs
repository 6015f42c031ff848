//! Expressions of strangers that nest deeply or are long: refused or read, but always with an answer.

use skiff_cel::Program;
use skiff_cel::environment::Environment;

/// What `tokio` gives its workers.
const STACK_BYTES: usize = 2 << 20;

/// Long expressions of so many terms, and deep ones.
fn chains(terms: usize) -> Vec<String> {
    vec![
        vec!["1"; terms].join("+"),
        vec!["true"; terms].join("&&"),
        vec!["true"; terms].join("||"),
        format!("{}true", "!".repeat(terms)),
        format!("{}1", "-".repeat(terms)),
        format!("{}1{}", "(".repeat(terms), ")".repeat(terms)),
        format!("{}1{}", "[".repeat(terms), "]".repeat(terms)),
        format!("x{}", ".a".repeat(terms)),
        format!("x{}", "[0]".repeat(terms)),
        format!("x{}", ".a()".repeat(terms)),
        format!("{}1", "true?1:".repeat(terms)),
        format!("{}1{}", "{1:".repeat(terms), "}".repeat(terms)),
        format!("{}true{}", "[1].all(x,".repeat(terms), ")".repeat(terms)),
        vec!["'a'"; terms].join("+"),
        vec!["1"; terms].join("=="),
    ]
}

/// Reads all of them, and evaluates what can be read.
fn outcomes(chains: Vec<String>) -> Vec<Result<(), String>> {
    let reader = std::thread::Builder::new().stack_size(STACK_BYTES).spawn(move || {
        let read = chains.iter().map(|chain| {
            let program = Program::compile(chain, &Environment::new())?;
            let _ = program.evaluate([]);
            Ok(())
        });
        read.collect()
    });
    reader.expect("a thread").join().expect("an answer to each")
}

#[test]
fn what_is_too_long_or_too_deep_is_refused() {
    for (outcome, chain) in outcomes(chains(20_000)).into_iter().zip(chains(1)) {
        // Signs cancel each other out, as upstream has it.
        if chain.starts_with(['!', '-']) {
            assert_eq!(outcome, Ok(()), "{chain}");
            continue;
        }
        let error = outcome.expect_err(&chain);
        assert!(
            error.contains("recursion limit exceeded")
                || error.contains("max recursion depth exceeded")
                || error.contains("size exceeds limit"),
            "{chain}: {error}"
        );
    }
}

#[test]
fn what_people_write_is_read() {
    for (outcome, chain) in outcomes(chains(100)).into_iter().zip(chains(2)) {
        if let Err(error) = outcome {
            assert!(!error.contains("limit") && !error.contains("depth"), "{chain}: {error}");
        }
    }
    let long = [
        ["1"; 251].join("+"),
        // As many as fit into the characters that an expression may have.
        ["true"; 16_000].join("&&"),
        ["1==1"; 14_000].join("||"),
        format!("'x' in [{}]", vec!["'registry.example.com/a:b-c?d'"; 3000].join(",")),
    ];
    assert_eq!(outcomes(long.to_vec()), [Ok(()), Ok(()), Ok(()), Ok(())]);
}

#[test]
fn macros_that_copy_do_not_multiply_without_end() {
    let chain = format!("optional.of(1){}", ".optMap(x, x)".repeat(60));
    let error = outcomes(vec![chain]).remove(0).expect_err("too many parts");
    assert!(error.contains("expression count exceeds limit"), "{error}");
}

#[test]
fn the_limits_are_upstreams() {
    let environment = Environment::new();
    let nested = |start: &str, end: &str, times: usize| format!("{}1{} > 0", start.repeat(times), end.repeat(times));
    let row = |term: &str, operator: &str, times: usize| format!("{} > 0", vec![term; times + 1].join(operator));
    let open = "ERROR: <input>:-1:0: expression recursion limit exceeded: 250";
    let tree = "ERROR: <input>:-1:0: max recursion depth exceeded";
    // What kube-apiserver v1.36 takes and refuses.
    for (most, more, why) in [
        (nested("(", ")", 249), nested("(", ")", 250), open),
        (nested("1 + (", ")", 124), nested("1 + (", ")", 125), open),
        (nested("1 + 1 * (", ")", 82), nested("1 + 1 * (", ")", 84), open),
        (row("1", "+", 249), row("1", "+", 250), tree),
        (vec!["dyn({}).a == 1"; 900].join(" && "), nested("true ? 1 : ", "", 250), open),
        (format!("dyn(1){} > 0", ".a".repeat(249)), format!("dyn(1){} > 0", ".a".repeat(250)), tree),
    ] {
        let outcome = Program::compile(&most, &environment);
        assert!(outcome.as_ref().err().is_none_or(|error| !error.contains("-1:0")), "{most:.40}: {outcome:?}");
        assert_eq!(Program::compile(&more, &environment).err().as_deref(), Some(why), "{more:.40}");
    }
}

#[test]
fn values_and_types_that_double_are_stopped() {
    let twice = |times: usize| format!("[[1]]{}", ".map(a, [a, a])".repeat(times));
    let environment = Environment::new();
    let outcome = |text: &str| {
        let program = Program::compile(text, &environment)?;
        let (outcome, _) = program.evaluate([]);
        outcome.map(|_| ())
    };
    for text in [
        format!("{0} == {0}", twice(40)),
        format!("'%s'.format([{}]) == ''", twice(40)),
        format!("[[1]]{} == []", ".map(a, {a: a})".repeat(40)),
    ] {
        assert!(outcome(&text).is_err(), "{text}");
    }
    assert_eq!(outcome(&format!("{0} == {0}", twice(8))), Ok(()));
}

#[test]
fn long_lists_are_gone_through_in_time() {
    let environment = Environment::new();
    let (text, long) = ("lists.range(30000).map(i, i).filter(i, i % 2 == 0)", "'a'.matches('(b|a{100}){9}')");
    for text in [
        format!("{text}.size() == 15000"),
        format!("cel.bind(l, {text}, l.all(i, l[i / 2] == i))"),
        format!("lists.range(3000).exists(i, {long}) == false"),
    ] {
        let program = Program::compile(&text, &environment.clone().with_bindings()).expect(&text);
        let (outcome, cost) = program.evaluate([]);
        assert!(matches!(outcome, Ok(skiff_cel::value::Val::Bool(true))), "{text}: {outcome:?} {cost}");
    }
}
