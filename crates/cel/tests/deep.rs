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
        let error = outcome.expect_err(&chain);
        assert!(error.contains("recursion limit exceeded") || error.contains("size exceeds limit"), "{chain}: {error}");
    }
}

#[test]
fn what_people_write_is_read() {
    for (outcome, chain) in outcomes(chains(40)).into_iter().zip(chains(2)) {
        if let Err(error) = outcome {
            assert!(!error.contains("limit"), "{chain}: {error}");
        }
    }
    let long = ["1"; 200].join("+");
    assert_eq!(outcomes(vec![long]), [Ok(())]);
}
