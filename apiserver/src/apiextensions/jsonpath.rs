//! JSONPath as printer columns use it: `.spec.a`, `['b']`, `[0]`, `[-1]`, `[*]`, `[1:3]`, `..c` and `[?(@.d=="e")]`.
//!
//! Follows `k8s.io/client-go/util/jsonpath`, without the template around it.

use skiff_apimachinery::value::Value;

/// Steps of a path.
const MAX_STEPS: usize = 64;

/// A parsed path.
#[derive(Clone, Debug, PartialEq)]
pub struct JsonPath(Vec<Step>);

#[derive(Clone, Debug, PartialEq)]
enum Step {
    Member(String),
    /// Every member or element.
    All,
    Index(i64),
    Slice(Option<i64>, Option<i64>, Option<i64>),
    /// Every value below, the current one included.
    Descend,
    Filter {
        left: Operand,
        comparison: Option<(Comparison, Operand)>,
    },
    Union(Vec<Vec<Step>>),
}

#[derive(Clone, Debug, PartialEq)]
enum Operand {
    Path(Vec<Step>),
    Literal(Value),
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl JsonPath {
    /// Parses a path such as `.spec.replicas`; the error says what is wrong.
    pub fn parse(text: &str) -> Result<Self, String> {
        let steps = steps(text.strip_prefix('$').unwrap_or(text))?;
        Ok(Self(steps))
    }

    /// The values at the path; empty where there is none.
    pub fn find<'a>(&self, value: &'a Value) -> Vec<&'a Value> {
        walk(&self.0, vec![value])
    }
}

fn steps(text: &str) -> Result<Vec<Step>, String> {
    let mut steps = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        if steps.len() >= MAX_STEPS {
            return Err("path is too long".into());
        }
        match first {
            '.' if rest.starts_with("..") => {
                steps.push(Step::Descend);
                rest = &rest[1..];
                if rest[1..].starts_with('[') {
                    rest = &rest[1..];
                }
            }
            '.' => {
                let (name, after) = member(&rest[1..]);
                rest = after;
                match name.as_str() {
                    "" if rest.starts_with('[') || steps.is_empty() => {}
                    "" => return Err(format!("unexpected end of path in {text:?}")),
                    "*" => steps.push(Step::All),
                    _ => steps.push(Step::Member(name)),
                }
            }
            '[' => {
                let end = closing(rest).ok_or_else(|| "unterminated array".to_owned())?;
                steps.push(bracket(&rest[1..end])?);
                rest = &rest[end + 1..];
            }
            '@' if steps.is_empty() => rest = &rest[1..],
            _ if steps.is_empty() => {
                let (name, after) = member(rest);
                steps.push(Step::Member(name));
                rest = after;
            }
            other => return Err(format!("unrecognized character in action: U+{:04X} {other:?}", other as u32)),
        }
    }
    Ok(steps)
}

/// A name up to the next step; a backslash takes the next character as it is.
fn member(text: &str) -> (String, &str) {
    let mut name = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => {
                if let Some((_, escaped)) = chars.next() {
                    name.push(escaped);
                }
            }
            '.' | '[' | ' ' | '@' | ',' | '=' | '!' | '<' | '>' | '(' | ')' => return (name, &text[at..]),
            other => name.push(other),
        }
    }
    (name, "")
}

/// Where the bracket that opens the text closes; quotes hide brackets.
fn closing(text: &str) -> Option<usize> {
    let (mut depth, mut quote) = (0, None);
    for (at, c) in text.char_indices() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (Some(_), _) => {}
            (None, '\'' | '"') => quote = Some(c),
            (None, '[' | '(') => depth += 1,
            (None, ']' | ')') => {
                depth -= 1;
                if depth == 0 {
                    return Some(at);
                }
            }
            _ => {}
        }
    }
    None
}

fn bracket(text: &str) -> Result<Step, String> {
    let text = text.trim();
    let invalid = || format!("invalid array index {text}");
    if text == "*" {
        return Ok(Step::All);
    }
    if let Some(filter) = text.strip_prefix("?(").and_then(|filter| filter.strip_suffix(')')) {
        return filtered(filter.trim());
    }
    let parts = split(text, ',');
    if parts.len() > 1 {
        let union = parts.into_iter().map(|part| Ok(vec![bracket(part)?])).collect::<Result<_, String>>()?;
        return Ok(Step::Union(union));
    }
    if let Some(name) = quoted(text) {
        return Ok(Step::Member(name));
    }
    if text.contains(':') {
        let number = |part: Option<&str>| match part.map(str::trim) {
            None | Some("") => Ok(None),
            Some(part) => part.parse().map(Some).map_err(|_| invalid()),
        };
        let mut parts = text.split(':');
        let slice = Step::Slice(number(parts.next())?, number(parts.next())?, number(parts.next())?);
        return if parts.next().is_none() { Ok(slice) } else { Err(invalid()) };
    }
    text.parse().map(Step::Index).map_err(|_| invalid())
}

/// Splits outside of quotes.
fn split(text: &str, separator: char) -> Vec<&str> {
    let (mut parts, mut start, mut quote) = (Vec::new(), 0, None);
    for (at, c) in text.char_indices() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (None, '\'' | '"') => quote = Some(c),
            (None, c) if c == separator => {
                parts.push(text[start..at].trim());
                start = at + c.len_utf8();
            }
            _ => {}
        }
    }
    parts.push(text[start..].trim());
    parts
}

fn quoted(text: &str) -> Option<String> {
    let quote = text.chars().next().filter(|c| matches!(c, '\'' | '"'))?;
    let inner = text.strip_prefix(quote)?.strip_suffix(quote)?;
    Some(inner.replace("\\'", "'").replace("\\\"", "\"").replace("\\.", "."))
}

fn filtered(text: &str) -> Result<Step, String> {
    let operators = [
        ("==", Comparison::Equal),
        ("!=", Comparison::NotEqual),
        ("<=", Comparison::LessOrEqual),
        (">=", Comparison::GreaterOrEqual),
        ("<", Comparison::Less),
        (">", Comparison::Greater),
    ];
    let mut quote = None;
    for (at, c) in text.char_indices() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (None, '\'' | '"') => quote = Some(c),
            (None, _) => {
                if let Some((word, comparison)) = operators.iter().find(|(word, _)| text[at..].starts_with(word)) {
                    let right = operand(&text[at + word.len()..])?;
                    return Ok(Step::Filter { left: operand(&text[..at])?, comparison: Some((*comparison, right)) });
                }
            }
            _ => {}
        }
    }
    Ok(Step::Filter { left: operand(text)?, comparison: None })
}

fn operand(text: &str) -> Result<Operand, String> {
    let text = text.trim();
    if let Some(literal) = quoted(text) {
        return Ok(Operand::Literal(literal.into()));
    }
    match text {
        "true" | "false" => return Ok(Operand::Literal((text == "true").into())),
        "" => return Err("unrecognized filter".into()),
        _ => {}
    }
    if let Ok(number) = text.parse::<i64>() {
        return Ok(Operand::Literal(number.into()));
    }
    if let Ok(number) = text.parse::<f64>() {
        return Ok(Operand::Literal(Value::Float(number)));
    }
    Ok(Operand::Path(steps(text.strip_prefix('@').unwrap_or(text))?))
}

fn walk<'a>(steps: &[Step], start: Vec<&'a Value>) -> Vec<&'a Value> {
    let mut current = start;
    for step in steps {
        current = current.into_iter().flat_map(|value| take(step, value)).collect();
    }
    current
}

fn take<'a>(step: &Step, value: &'a Value) -> Vec<&'a Value> {
    match (step, value) {
        (Step::Member(name), value) => value.get(name).into_iter().collect(),
        (Step::All, Value::Object(members)) => members.iter().map(|(_, value)| value).collect(),
        (Step::All, Value::Array(items)) => items.iter().collect(),
        (Step::Index(index), Value::Array(items)) => {
            place(*index, items.len()).and_then(|i| items.get(i)).into_iter().collect()
        }
        (Step::Slice(from, to, by), Value::Array(items)) => {
            let bound = |bound: i64| if bound < 0 { bound + items.len() as i64 } else { bound };
            let from = usize::try_from(bound(from.unwrap_or(0))).unwrap_or(0).min(items.len());
            let to = usize::try_from(to.map_or(items.len() as i64, bound)).unwrap_or(0).min(items.len());
            let by = usize::try_from(by.unwrap_or(1)).unwrap_or(1).max(1);
            items.get(from..to).unwrap_or(&[]).iter().step_by(by).collect()
        }
        (Step::Descend, value) => {
            let mut all = vec![value];
            let below = match value {
                Value::Object(members) => members.iter().map(|(_, value)| value).collect::<Vec<_>>(),
                Value::Array(items) => items.iter().collect(),
                _ => Vec::new(),
            };
            all.extend(below.into_iter().flat_map(|value| take(step, value)));
            all
        }
        (Step::Filter { left, comparison }, Value::Array(items)) => {
            items.iter().filter(|item| holds(left, comparison.as_ref(), item)).collect()
        }
        (Step::Union(parts), value) => parts.iter().flat_map(|steps| walk(steps, vec![value])).collect(),
        _ => Vec::new(),
    }
}

fn place(index: i64, length: usize) -> Option<usize> {
    let index = if index < 0 { index + i64::try_from(length).ok()? } else { index };
    usize::try_from(index).ok()
}

fn holds(left: &Operand, comparison: Option<&(Comparison, Operand)>, item: &Value) -> bool {
    fn value_of<'a>(operand: &'a Operand, item: &'a Value) -> Option<&'a Value> {
        match operand {
            Operand::Literal(literal) => Some(literal),
            Operand::Path(steps) => walk(steps, vec![item]).first().copied(),
        }
    }
    let Some(left) = value_of(left, item) else { return false };
    let Some((comparison, right)) = comparison else { return true };
    let Some(right) = value_of(right, item) else { return false };
    let number = |value: &Value| super::schema::number(Some(value));
    let order = match (number(left), number(right), left.as_str(), right.as_str()) {
        (Some(left), Some(right), _, _) => left.partial_cmp(&right),
        (_, _, Some(left), Some(right)) => Some(left.cmp(right)),
        _ if left == right => Some(std::cmp::Ordering::Equal),
        _ => return *comparison == Comparison::NotEqual,
    };
    order.is_some_and(|order| match comparison {
        Comparison::Equal => order.is_eq(),
        Comparison::NotEqual => order.is_ne(),
        Comparison::Less => order.is_lt(),
        Comparison::LessOrEqual => order.is_le(),
        Comparison::Greater => order.is_gt(),
        Comparison::GreaterOrEqual => order.is_ge(),
    })
}

#[cfg(test)]
mod tests {
    use skiff_apimachinery::value;

    use super::*;

    #[test]
    fn paths_find_values() {
        let object = value!({
            "metadata": {"annotations": {"a.b/c": "x"}},
            "spec": {"n": 1, "l": [{"t": "A", "v": 1}, {"t": "B", "v": 2}], "e": []}
        });
        for (path, want) in [
            (".spec.n", value!([1])),
            (".metadata.annotations.a\\.b/c", value!(["x"])),
            (".metadata.annotations['a.b/c']", value!(["x"])),
            (".spec.l[0].v", value!([1])),
            (".spec.l[-1].v", value!([2])),
            (".spec.l[*].v", value!([1, 2])),
            (".spec.l[?(@.t==\"B\")].v", value!([2])),
            (".spec.l[?(@.v>=1)].t", value!(["A", "B"])),
            (".spec.l[0:1].t", value!(["A"])),
            ("..v", value!([1, 2])),
            (".spec.none.x", value!([])),
            (".spec.l[9].v", value!([])),
        ] {
            let found = JsonPath::parse(path).expect(path);
            assert_eq!(Value::Array(found.find(&object).into_iter().cloned().collect()), want, "{path}");
        }
        for path in [".a[", ".a[x]", ".spec.l[?(@.t", ".a..", ".a[1:2:3:4]"] {
            assert!(JsonPath::parse(path).is_err(), "{path}");
        }
    }
}
