//! From text to a syntax tree. The grammar is that of the crate `cel`; macros are taken apart here.

use cel::common::ast::{EntryExpr, Expr as Parsed, IdedEntryExpr, IdedExpr, LiteralValue};

use crate::ast::{Entry, Expr, Field, Kind, Literal, Source};
use crate::macros::{self, Expander};
use crate::nesting::{self, TooDeep};
use crate::operators as op;
use crate::report::Report;
use crate::walk::children;

/// Characters of an expression (cel-go's default).
const MAX_CHARACTERS: usize = 100_000;
/// Expressions one within another, for the grammar; [`nesting`] refuses what nests as deep.
const MAX_NESTING: u16 = 300;
/// Depth of a syntax tree whose macros are taken apart: what follows walks it. Beyond what anyone writes.
const MAX_DEPTH: usize = 600;
/// Stack of the thread that reads: the grammar takes a dozen calls for each level.
const STACK_BYTES: usize = 128 << 20;

/// Reads an expression, with `cel.bind` if that is a macro; the error is as upstream's compiler words it.
pub(crate) fn parse(text: &str, binds: bool) -> Result<(Expr, Source), String> {
    let characters = text.chars().count();
    if characters > MAX_CHARACTERS {
        return Err(refused(&format!(
            "expression code point size exceeds limit: size: {characters}, limit {MAX_CHARACTERS}"
        )));
    }
    nesting::check(text).map_err(|why| refused(&why.message()))?;
    std::thread::scope(|scope| {
        let reader = std::thread::Builder::new().name("cel".to_owned()).stack_size(STACK_BYTES);
        let read =
            reader.spawn_scoped(scope, || parse_here(text, binds)).map_err(|error| refused(&error.to_string()))?;
        read.join().unwrap_or_else(|_| Err(refused("the expression cannot be read")))
    })
}

/// An error of the whole expression.
fn refused(why: &str) -> String {
    format!("ERROR: <input>:-1:0: {why}")
}

fn parse_here(text: &str, binds: bool) -> Result<(Expr, Source), String> {
    let mut source = Source { text: text.to_owned(), starts: Vec::new() };
    let parser = cel::Env::default().parser().max_recursion_depth(MAX_NESTING);
    let mut report = Report::default();
    let (parsed, info) = match parser.parse_with_source_info(text) {
        Ok(parsed) => parsed,
        Err(errors) => {
            for error in errors.errors {
                let (line, mut column) = (error.pos.0.unsigned_abs().max(1), error.pos.1.unsigned_abs().max(1));
                if error.msg.starts_with("unsupported syntax: '`'") {
                    column += 1;
                }
                if !error.msg.starts_with("Incomplete ") {
                    report.add((line, column), worded(error.msg));
                }
            }
            return Err(report.show(&source));
        }
    };
    if is_too_deep(&parsed, nesting::MAX_DEPTH) {
        return Err(refused(&TooDeep::Tree.message()));
    }
    let start = |id: u64| info.offset_for(id).map_or(0, |(start, _)| start as usize);
    let mut reader = Reader { start: &start, expander: Expander { source: &mut source, report: &mut report, binds } };
    let mut expression = reader.expression(parsed);
    if depth(&mut expression) > MAX_DEPTH {
        return Err(refused(&TooDeep::Tree.message()));
    }
    if report.is_empty() { Ok((expression, source)) } else { Err(report.show(&source)) }
}

/// Whether more parts are one within another than this, of those that upstream counts when it builds the tree.
fn is_too_deep(parsed: &IdedExpr, left: usize) -> bool {
    let counts = match &parsed.expr {
        Parsed::Select(_) => true,
        Parsed::Call(call) => call.target.is_some() || is_counted(&call.func_name),
        _ => false,
    };
    let Some(left) = left.checked_sub(usize::from(counts)) else { return true };
    let below = |part: &IdedExpr| is_too_deep(part, left);
    match &parsed.expr {
        Parsed::Select(select) => below(&select.operand),
        Parsed::Call(call) => call.target.as_deref().is_some_and(below) || call.args.iter().any(below),
        Parsed::List(list) => list.elements.iter().any(below),
        Parsed::Map(map) => map.entries.iter().any(|entry| entry_is(entry, &below)),
        Parsed::Struct(object) => object.entries.iter().any(|entry| entry_is(entry, &below)),
        _ => false,
    }
}

fn entry_is(entry: &IdedEntryExpr, deep: &dyn Fn(&IdedExpr) -> bool) -> bool {
    match &entry.expr {
        EntryExpr::MapEntry(entry) => deep(&entry.key) || deep(&entry.value),
        EntryExpr::StructField(field) => deep(&field.value),
    }
}

/// Operators with more than one side, but for `&&` and `||`, which upstream balances. Names of functions are words.
fn is_counted(function: &str) -> bool {
    let is_word = function.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    !is_word && !matches!(function, op::AND | op::OR | op::NOT | op::NEGATE)
}

/// Parts one within another.
fn depth(expression: &mut Expr) -> usize {
    let mut deepest = 0;
    children(&mut expression.kind, &mut |part| deepest = deepest.max(depth(part)));
    deepest + 1
}

/// Tokens that could go on with any expression: upstream's parser does not name them when it has left it.
const GO_ON: [&str; 19] = [
    "'=='", "'!='", "'in'", "'<'", "'<='", "'>='", "'>'", "'&&'", "'||'", "'['", "'.'", "'-'", "'?'", "'+'", "'*'",
    "'/'", "'%'", "','", "'{'",
];

/// An error of the parser in upstream's words.
fn worded(message: String) -> String {
    if is_ours(&message) {
        return message;
    }
    let message = if message.starts_with("Syntax error") { message } else { format!("Syntax error: {message}") };
    let Some((start, listed)) = message.split_once(" expecting {") else { return message };
    let listed = listed.trim_end_matches('}').split(", ").collect::<Vec<_>>();
    let left = listed.iter().filter(|token| !GO_ON.contains(token)).collect::<Vec<_>>();
    match left.as_slice() {
        [token] if listed.len() > GO_ON.len() / 2 => format!("{start} expecting {token}"),
        _ => message,
    }
}

/// Errors of the parser that are not about the grammar.
fn is_ours(message: &str) -> bool {
    ["reserved identifier", "invalid ", "unsupported ", "expression recursion limit"]
        .iter()
        .any(|start| message.starts_with(start))
}

struct Reader<'s> {
    /// Where a part of the parsed tree begins.
    start: &'s dyn Fn(u64) -> usize,
    expander: Expander<'s>,
}

impl Reader<'_> {
    fn id(&mut self, id: u64) -> usize {
        self.expander.place((self.start)(id))
    }

    fn all(&mut self, parsed: Vec<IdedExpr>) -> Vec<Expr> {
        parsed.into_iter().map(|parsed| self.expression(parsed)).collect()
    }

    fn expression(&mut self, parsed: IdedExpr) -> Expr {
        let id = self.id(parsed.id);
        let kind = match parsed.expr {
            Parsed::Literal(literal) => Kind::Literal(literal_of(literal)),
            Parsed::Ident(name) => Kind::Ident(name),
            Parsed::Select(select) => Kind::Select {
                operand: Box::new(self.expression(*select.operand)),
                field: select.field,
                test: select.test,
            },
            Parsed::Call(call) => {
                let target = call.target.map(|target| self.expression(*target));
                let args = self.all(call.args);
                return macros::call(&mut self.expander, id, call.func_name, target, args);
            }
            Parsed::List(list) => Kind::List { items: self.all(list.elements), optional: list.optional_indices },
            Parsed::Map(map) => Kind::Map(map.entries.into_iter().filter_map(|entry| self.entry(entry)).collect()),
            Parsed::Struct(object) => Kind::Struct {
                name: object.type_name,
                fields: object.entries.into_iter().filter_map(|entry| self.field(entry)).collect(),
            },
            // The parser knows no macros, and what is unspecified it has reported.
            Parsed::Comprehension(_) | Parsed::Unspecified => Kind::Literal(Literal::Null),
        };
        Expr { id, kind }
    }

    fn entry(&mut self, entry: IdedEntryExpr) -> Option<Entry> {
        let EntryExpr::MapEntry(entry) = entry.expr else { return None };
        let key = self.expression(entry.key);
        Some(Entry { key, value: self.expression(entry.value), optional: entry.optional })
    }

    fn field(&mut self, entry: IdedEntryExpr) -> Option<Field> {
        let id = self.id(entry.id);
        let EntryExpr::StructField(field) = entry.expr else { return None };
        Some(Field { id, name: field.field, value: self.expression(field.value), optional: field.optional })
    }
}

fn literal_of(literal: LiteralValue) -> Literal {
    match literal {
        LiteralValue::Boolean(on) => Literal::Bool(*on.inner()),
        LiteralValue::Bytes(bytes) => Literal::Bytes(bytes.inner().to_vec()),
        LiteralValue::Double(n) => Literal::Double(*n.inner()),
        LiteralValue::Int(n) => Literal::Int(*n.inner()),
        LiteralValue::Null => Literal::Null,
        LiteralValue::String(text) => Literal::String(text.inner().to_string()),
        LiteralValue::UInt(n) => Literal::UInt(*n.inner()),
    }
}
