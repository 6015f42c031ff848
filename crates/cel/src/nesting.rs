//! How deep a text nests, told before it is read: what reads it does so by recursion.
//!
//! Counts what upstream's parser counts while it reads (`recursionListener` in `parser/parser.go`): expressions,
//! comparisons, and sums and products, each of which may be open 250 times. Chains of `&&` and `||` are none of these,
//! however long. Texts that are no expressions are counted as well as may be; what is wrong with them the parser says.

/// Parts of a kind that may be open at once, and parts of a tree one within another (cel-go's default).
pub(crate) const MAX_DEPTH: usize = 250;

/// Why a text is not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TooDeep {
    /// The parser finds too many parts open.
    Open,
    /// The tree would be too deep.
    Tree,
}

impl TooDeep {
    /// As upstream words it.
    pub(crate) fn message(self) -> String {
        match self {
            TooDeep::Open => format!("expression recursion limit exceeded: {MAX_DEPTH}"),
            TooDeep::Tree => "max recursion depth exceeded".to_owned(),
        }
    }
}

/// What is found in a text, as far as its nesting goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token {
    /// A name or a constant.
    Operand,
    /// `(`, `[` or `{`.
    Open,
    /// `)`, `]` or `}`.
    Close,
    Dot,
    Comma,
    Question,
    Colon,
    /// `&&` or `||`.
    Logical,
    /// `==`, `<`, `in` and the like.
    Relation,
    /// `+` or `-`.
    Sum,
    /// `*`, `/` or `%`.
    Product,
}

/// What is open within one pair of brackets, or in the whole text.
#[derive(Clone, Copy, Debug, Default)]
struct Level {
    /// Expressions: one, and one for each `:` of a condition behind which another one stands.
    expressions: usize,
    /// Conditions whose `:` is to come.
    conditions: usize,
    /// Comparisons, sums and products in a row, which make a tree that leans to the left.
    relations: usize,
    sums: usize,
    products: usize,
    /// Members, indices and calls in a row.
    steps: usize,
}

impl Level {
    /// Another term begins, which shares nothing with the one before.
    fn term(&mut self) {
        (self.relations, self.sums, self.products) = (0, 0, 0);
    }

    /// Comparisons that are open while the last operand is read.
    fn open_relations(&self) -> usize {
        self.expressions.min(1) + self.relations.min(1)
    }

    /// Sums and products that are open while the last operand is read.
    fn open_sums(&self) -> usize {
        self.expressions.min(1) + self.sums.min(1) + self.products.min(1)
    }
}

/// Counts the levels around the one that is read.
#[derive(Default)]
struct Scan {
    around: Vec<Level>,
    level: Level,
    /// Expressions, comparisons and sums that are open around.
    open: [usize; 3],
    /// Whether an operand was read last: what follows goes on with it.
    after_operand: bool,
    last: Option<Token>,
}

/// Whether a text nests too deep to be read.
pub(crate) fn check(text: &str) -> Result<(), TooDeep> {
    let mut scan = Scan::default();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let (token, length) = token(rest, c);
        if let Some(token) = token {
            scan.take(token)?;
        }
        rest = rest.get(length..).unwrap_or("");
    }
    Ok(())
}

impl Scan {
    fn take(&mut self, token: Token) -> Result<(), TooDeep> {
        let follows = std::mem::replace(&mut self.after_operand, matches!(token, Token::Operand | Token::Close));
        let last = self.last.replace(token);
        let level = &mut self.level;
        match token {
            // The name of a member.
            Token::Operand if matches!(last, Some(Token::Dot)) => {}
            Token::Open if follows => {
                level.steps += 1;
                self.open();
            }
            Token::Operand => self.operand()?,
            Token::Open => {
                self.operand()?;
                self.open();
            }
            Token::Close => self.close(),
            Token::Dot if follows => level.steps += 1,
            // That of a name in no container.
            Token::Dot => self.last = None,
            // Behind these it says that what follows may be absent.
            Token::Question if matches!(last, Some(Token::Dot | Token::Open | Token::Comma)) => self.last = last,
            Token::Question => {
                level.term();
                level.conditions += 1;
            }
            Token::Colon if level.conditions > 0 => {
                level.term();
                level.conditions -= 1;
                level.expressions += 1;
            }
            Token::Comma | Token::Colon => *level = Level { expressions: level.expressions.min(1), ..Level::default() },
            Token::Logical => level.term(),
            Token::Relation => {
                (level.sums, level.products) = (0, 0);
                level.relations += 1;
            }
            Token::Sum if follows => {
                level.products = 0;
                level.sums += 1;
            }
            // A sign.
            Token::Sum => {}
            Token::Product => level.products += 1,
        }
        let level = &self.level;
        let longest = level.relations.max(level.sums).max(level.products).max(level.steps);
        if longest > MAX_DEPTH { Err(TooDeep::Tree) } else { Ok(()) }
    }

    /// An operand begins.
    fn operand(&mut self) -> Result<(), TooDeep> {
        let level = &mut self.level;
        level.expressions = level.expressions.max(1);
        level.steps = 0;
        let here = [level.expressions, level.open_relations(), level.open_sums()];
        let too_deep = self.open.iter().zip(here).any(|(around, here)| around + here > MAX_DEPTH);
        if too_deep { Err(TooDeep::Open) } else { Ok(()) }
    }

    fn open(&mut self) {
        let level = std::mem::take(&mut self.level);
        let here = [level.expressions, level.open_relations(), level.open_sums()];
        self.open.iter_mut().zip(here).for_each(|(around, here)| *around += here);
        self.around.push(level);
    }

    fn close(&mut self) {
        let Some(level) = self.around.pop() else { return };
        let here = [level.expressions, level.open_relations(), level.open_sums()];
        self.open.iter_mut().zip(here).for_each(|(around, here)| *around -= here);
        self.level = level;
    }
}

/// The token at the beginning of a text, if it is one that counts, and its length.
fn token(text: &str, first: char) -> (Option<Token>, usize) {
    let second = text.get(first.len_utf8()..).and_then(|rest| rest.chars().next()).unwrap_or(' ');
    let token = match (first, second) {
        ('(' | '[' | '{', _) => Token::Open,
        (')' | ']' | '}', _) => Token::Close,
        (',', _) => Token::Comma,
        ('?', _) => Token::Question,
        (':', _) => Token::Colon,
        ('+' | '-', _) => Token::Sum,
        ('/', '/') => return (None, text.find('\n').unwrap_or(text.len())),
        ('*' | '/' | '%', _) => Token::Product,
        ('&', '&') | ('|', '|') => return (Some(Token::Logical), 2),
        ('=' | '!' | '<' | '>', '=') => return (Some(Token::Relation), 2),
        ('<' | '>', _) => Token::Relation,
        ('.', '0'..='9') | ('0'..='9', _) => return (Some(Token::Operand), number(text)),
        ('.', _) => Token::Dot,
        ('`', _) => {
            return (Some(Token::Operand), text.get(1..).and_then(|rest| rest.find('`')).map_or(1, |at| at + 2));
        }
        ('"' | '\'', _) => return (Some(Token::Operand), string(text, first, false)),
        ('a'..='z' | 'A'..='Z' | '_', _) => return word(text),
        _ => return (None, first.len_utf8()),
    };
    (Some(token), 1)
}

/// A name, an operator that is a word, or a string with letters before its quote.
fn word(text: &str) -> (Option<Token>, usize) {
    let length = text.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(text.len());
    let (word, rest) = text.split_at(length);
    match (word.to_ascii_lowercase().as_str(), rest.chars().next()) {
        (prefix @ ("r" | "b" | "br"), Some(quote @ ('"' | '\''))) => {
            (Some(Token::Operand), length + string(rest, quote, prefix.ends_with('r')))
        }
        _ if word == "in" => (Some(Token::Relation), length),
        _ => (Some(Token::Operand), length),
    }
}

/// The length of the number at the beginning of a text.
fn number(text: &str) -> usize {
    let bytes = text.as_bytes();
    let goes_on = |at: usize| {
        let next = bytes.get(at + 1).copied().unwrap_or(b' ');
        match bytes[at] {
            b'.' => next.is_ascii_digit(),
            b'+' | b'-' => at > 0 && matches!(bytes[at - 1], b'e' | b'E') && next.is_ascii_digit(),
            c => c.is_ascii_alphanumeric(),
        }
    };
    (0..bytes.len()).find(|at| !goes_on(*at)).unwrap_or(bytes.len()).max(1)
}

/// The length of the string at the beginning of a text, with its quotes; one that nothing ends, ends with its line.
fn string(text: &str, quote: char, raw: bool) -> usize {
    let one = quote.to_string();
    let three = one.repeat(3);
    let long = text.starts_with(&three);
    let end = if long { &three } else { &one };
    let mut at = end.len();
    while let Some(c) = text.get(at..).and_then(|rest| rest.chars().next()) {
        if text[at..].starts_with(end.as_str()) {
            return at + end.len();
        }
        if c == '\n' && !long {
            return at;
        }
        at += c.len_utf8();
        if c == '\\' && !raw {
            at += text[at..].chars().next().map_or(0, char::len_utf8);
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_upstream_counts_is_counted() {
        let nested = |start: &str, end: &str, times: usize| format!("{}1{}", start.repeat(times), end.repeat(times));
        for (start, end, most) in [
            ("(", ")", 249),
            ("[", "]", 249),
            ("f(", ")", 249),
            ("{1: ", "}", 249),
            ("x[", "]", 249),
            ("true ? 1 : ", "", 249),
            ("1 + (", ")", 124),
            ("1 + 1 * (", ")", 83),
            ("1 == (", ")", 124),
            ("true || (", ")", 249),
        ] {
            assert_eq!(check(&nested(start, end, most)), Ok(()), "{start}");
            assert_eq!(check(&nested(start, end, most + 1)), Err(TooDeep::Open), "{start}");
        }
        for (operator, most) in [("+", 250), ("*", 250), ("==", 250), (".a.", 125)] {
            assert_eq!(check(&vec!["a"; most + 1].join(operator)), Ok(()), "{operator}");
            assert_eq!(check(&vec!["a"; most + 2].join(operator)), Err(TooDeep::Tree), "{operator}");
        }
    }

    #[test]
    fn what_is_only_text_nests_nothing() {
        let brackets = "(".repeat(300);
        for text in [
            vec!["true"; 9000].join(" && "),
            vec!["a.b == -1.5e-3"; 3000].join(" || "),
            format!("x in [{}]", vec!["'a.b-c:d/e?f'"; 3000].join(", ")),
            format!("'{brackets}\\'{brackets}'"),
            format!("r'{brackets}\\' + br\"\"\"{brackets}\"{brackets}\"\"\""),
            format!("1 // {brackets}\n + 1"),
            format!("x.`{brackets}`"),
            "é'".repeat(300),
            "!".repeat(300) + "true",
            "f() + g[?0].?a ? 1 : 2, ".repeat(300),
        ] {
            assert_eq!(check(&text), Ok(()), "{text:.40}");
        }
    }
}
