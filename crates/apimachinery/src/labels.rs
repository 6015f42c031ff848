//! Label selectors in their text form.
//!
//! Follows `k8s.io/apimachinery/pkg/labels`: `a=b`, `a==b`, `a!=b`, `a in (b,c)`, `a notin (b)`, `a`, `!a`, `a>1`, `a<1`,
//! joined by commas. Errors are upstream's, word for word.

use std::collections::BTreeSet;

use crate::names;

/// What one term asks of a label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operator {
    /// The label has one of these values.
    In(Vec<String>),
    /// The label is absent or has none of these values.
    NotIn(Vec<String>),
    /// The label is there.
    Exists,
    /// The label is not there.
    DoesNotExist,
    /// The label is a greater integer.
    GreaterThan(i64),
    /// The label is a lesser integer.
    LessThan(i64),
}

/// One term of a selector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requirement {
    /// The label.
    pub key: String,
    /// What is asked of it.
    pub operator: Operator,
}

impl Requirement {
    fn matches(&self, value: Option<&str>) -> bool {
        let number = || value.and_then(|value| value.parse::<i64>().ok());
        match &self.operator {
            Operator::In(values) => value.is_some_and(|v| values.iter().any(|w| w == v)),
            Operator::NotIn(values) => !value.is_some_and(|v| values.iter().any(|w| w == v)),
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
            Operator::GreaterThan(bound) => number().is_some_and(|number| number > *bound),
            Operator::LessThan(bound) => number().is_some_and(|number| number < *bound),
        }
    }
}

/// All terms must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector {
    requirements: Vec<Requirement>,
}

impl Selector {
    /// Parses the text form; the error says what is wrong.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut tokens = Tokens { rest: text };
        let mut requirements = Vec::new();
        loop {
            match tokens.peek() {
                Token::End => break,
                Token::Word(_) | Token::Not => {}
                other => return Err(format!("found '{}', expected: !, identifier, or 'end of string'", other.text())),
            }
            let requirement = term(&mut tokens).map_err(|error| format!("unable to parse requirement: {error}"))?;
            requirements.push(requirement);
            match tokens.next() {
                Token::End => break,
                Token::Comma => match tokens.peek() {
                    Token::Word(_) | Token::Not => {}
                    other => return Err(format!("found '{}', expected: identifier after ','", other.text())),
                },
                other => return Err(format!("found '{}', expected: ',' or 'end of string'", other.text())),
            }
        }
        Ok(Self { requirements })
    }

    /// The terms.
    pub fn requirements(&self) -> &[Requirement] {
        &self.requirements
    }

    /// Whether it selects everything.
    pub fn is_everything(&self) -> bool {
        self.requirements.is_empty()
    }

    /// Whether it selects an object whose labels `get` reads.
    pub fn matches_with<'a>(&self, get: impl Fn(&str) -> Option<&'a str>) -> bool {
        self.requirements.iter().all(|requirement| requirement.matches(get(&requirement.key)))
    }
}

/// A piece of a selector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token<'a> {
    End,
    /// A label, a value, or one of the words `in` and `notin`.
    Word(&'a str),
    Comma,
    Open,
    Close,
    Not,
    Equal,
    DoubleEqual,
    NotEqual,
    Greater,
    Less,
}

impl<'a> Token<'a> {
    fn text(self) -> &'a str {
        match self {
            Token::End => "",
            Token::Word(word) => word,
            Token::Comma => ",",
            Token::Open => "(",
            Token::Close => ")",
            Token::Not => "!",
            Token::Equal => "=",
            Token::DoubleEqual => "==",
            Token::NotEqual => "!=",
            Token::Greater => ">",
            Token::Less => "<",
        }
    }
}

/// The longest first.
const SYMBOLS: [Token<'static>; 9] = [
    Token::DoubleEqual,
    Token::NotEqual,
    Token::Equal,
    Token::Not,
    Token::Comma,
    Token::Open,
    Token::Close,
    Token::Greater,
    Token::Less,
];

struct Tokens<'a> {
    rest: &'a str,
}

impl<'a> Tokens<'a> {
    fn next(&mut self) -> Token<'a> {
        let is_space = |c| matches!(c, ' ' | '\t' | '\r' | '\n');
        self.rest = self.rest.trim_start_matches(is_space);
        if let Some(symbol) = SYMBOLS.iter().find(|symbol| self.rest.starts_with(symbol.text())) {
            self.rest = &self.rest[symbol.text().len()..];
            return *symbol;
        }
        let is_symbol = |c| matches!(c, '=' | '!' | '(' | ')' | ',' | '>' | '<');
        let end = self.rest.find(|c| is_space(c) || is_symbol(c)).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        if word.is_empty() { Token::End } else { Token::Word(word) }
    }

    fn peek(&self) -> Token<'a> {
        Tokens { rest: self.rest }.next()
    }
}

fn term(tokens: &mut Tokens<'_>) -> Result<Requirement, String> {
    let mut token = tokens.next();
    let absent = token == Token::Not;
    if absent {
        token = tokens.next();
    }
    let Token::Word(key) = token else {
        return Err(format!("found '{}', expected: identifier", token.text()));
    };
    let wrong_key = names::qualified_name(key);
    if !wrong_key.is_empty() {
        return Err(format!("<nil>: Invalid value: {key:?}: {}", wrong_key.join("; ")));
    }
    let requirement = |operator| Ok(Requirement { key: key.to_owned(), operator });
    if absent {
        return requirement(Operator::DoesNotExist);
    }
    if matches!(tokens.peek(), Token::End | Token::Comma) {
        return requirement(Operator::Exists);
    }
    let operator = tokens.next();
    let values: Vec<String> = match operator {
        Token::Word("in" | "notin") => list(tokens)?.into_iter().map(str::to_owned).collect(),
        Token::Equal | Token::DoubleEqual | Token::NotEqual | Token::Greater | Token::Less => {
            vec![exact(tokens)?.to_owned()]
        }
        other => return Err(format!("found '{}', expected: in, notin, =, ==, !=, gt, lt", other.text())),
    };
    let mut bound = 0;
    if matches!(operator, Token::Greater | Token::Less) {
        bound = values[0].parse().map_err(|_| {
            let value = &values[0];
            format!("values[0]: Invalid value: {value:?}: for 'Gt', 'Lt' operators, the value must be an integer")
        })?;
    }
    for (index, value) in values.iter().enumerate() {
        let wrong = names::label_value(value);
        if !wrong.is_empty() {
            return Err(format!("values[{index}][{key}]: Invalid value: {value:?}: {}", wrong.join("; ")));
        }
    }
    requirement(match operator {
        Token::Greater => Operator::GreaterThan(bound),
        Token::Less => Operator::LessThan(bound),
        Token::NotEqual | Token::Word("notin") => Operator::NotIn(values),
        _ => Operator::In(values),
    })
}

/// The value after a comparison; none is the empty value.
fn exact<'a>(tokens: &mut Tokens<'a>) -> Result<&'a str, String> {
    if matches!(tokens.peek(), Token::End | Token::Comma) {
        return Ok("");
    }
    match tokens.next() {
        Token::Word(word) => Ok(word),
        other => Err(format!("found '{}', expected: identifier", other.text())),
    }
}

/// The values in brackets, sorted. A missing value is the empty one.
fn list<'a>(tokens: &mut Tokens<'a>) -> Result<BTreeSet<&'a str>, String> {
    let open = tokens.next();
    if open != Token::Open {
        return Err(format!("found '{}' expected: '('", open.text()));
    }
    let mut values = BTreeSet::new();
    match tokens.peek() {
        Token::Word(_) | Token::Comma => {}
        Token::Close => {
            tokens.next();
            return Ok(BTreeSet::from([""]));
        }
        other => return Err(format!("found '{}', expected: ',', ')' or identifier", other.text())),
    }
    loop {
        match tokens.next() {
            Token::Word(word) => {
                values.insert(word);
                match tokens.peek() {
                    Token::Comma => {}
                    Token::Close => break,
                    other => return Err(format!("found '{}', expected: ',' or ')'", other.text())),
                }
            }
            Token::Comma => {
                if values.is_empty() {
                    values.insert("");
                }
                match tokens.peek() {
                    Token::Close => {
                        values.insert("");
                        break;
                    }
                    Token::Comma => {
                        tokens.next();
                        values.insert("");
                    }
                    _ => {}
                }
            }
            other => return Err(format!("found '{}', expected: ',', or identifier", other.text())),
        }
    }
    tokens.next();
    Ok(values)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors() {
        let labels = [("app", "web"), ("tier", "front"), ("n", "7"), ("in", "x"), ("empty", "")];
        let get = |key: &str| labels.iter().find(|(k, _)| *k == key).map(|(_, v)| *v);
        for (text, want) in [
            ("", true),
            ("app=web", true),
            ("app==web,tier!=back", true),
            ("app in (web, db),tier", true),
            ("app notin (web)", false),
            ("!missing", true),
            ("! missing", true),
            ("missing", false),
            ("missing!=x", true),
            ("n>6,n < 8", true),
            ("n>7", false),
            ("app>1", false),
            ("in in (x)", true),
            ("empty=", true),
            ("empty in ()", true),
            ("app in (a,)", false),
            ("empty in (a,)", true),
            ("empty in (,a)", true),
        ] {
            assert_eq!(Selector::parse(text).expect(text).matches_with(get), want, "{text}");
        }
    }

    /// What kube-apiserver v1.36.2 answers.
    #[test]
    fn errors_are_upstreams() {
        let gt = "for 'Gt', 'Lt' operators, the value must be an integer";
        for (text, want) in [
            ("n>a", format!("unable to parse requirement: values[0]: Invalid value: \"a\": {gt}")),
            ("n>", format!("unable to parse requirement: values[0]: Invalid value: \"\": {gt}")),
            ("n>=5", "unable to parse requirement: found '=', expected: identifier".into()),
            (">5", "found '>', expected: !, identifier, or 'end of string'".into()),
            ("n in", "unable to parse requirement: found '' expected: '('".into()),
            ("n in (a", "unable to parse requirement: found '', expected: ',' or ')'".into()),
            ("!n=3", "found '=', expected: ',' or 'end of string'".into()),
            ("a,", "found '', expected: identifier after ','".into()),
            ("a,,b", "found ',', expected: identifier after ','".into()),
            (",", "found ',', expected: !, identifier, or 'end of string'".into()),
            ("a b", "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt".into()),
            ("a in (b) c", "found 'c', expected: ',' or 'end of string'".into()),
            ("a=(b)", "unable to parse requirement: found '(', expected: identifier".into()),
            ("a==b==c", "found '==', expected: ',' or 'end of string'".into()),
            ("!!a", "unable to parse requirement: found '!', expected: identifier".into()),
            ("n<<5", "unable to parse requirement: found '<', expected: identifier".into()),
        ] {
            assert_eq!(Selector::parse(text), Err(want), "{text}");
        }
        let error = Selector::parse("é").expect_err("no label");
        assert!(
            error.starts_with("unable to parse requirement: <nil>: Invalid value: \"é\": name part must"),
            "{error}"
        );
        let error = Selector::parse("n>-1").expect_err("no label value");
        assert!(
            error.starts_with("unable to parse requirement: values[0][n]: Invalid value: \"-1\": a valid"),
            "{error}"
        );
    }
}
