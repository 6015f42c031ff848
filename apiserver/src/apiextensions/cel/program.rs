//! A compiled expression: parsed, its names known.

use cel::IdedExpr;
use cel::common::ast::{EntryExpr, Expr, SourceInfo, operators as op};
use cel::parser::Parser;

use super::eval::type_named;
use super::functions;

/// Nesting of expressions.
const MAX_NESTING: u16 = 96;
/// Names that the parser makes, and macros that it has taken apart.
const OPERATORS: [&str; 20] = [
    op::CONDITIONAL,
    op::LOGICAL_AND,
    op::LOGICAL_OR,
    op::LOGICAL_NOT,
    op::SUBSTRACT,
    op::ADD,
    op::MULTIPLY,
    op::DIVIDE,
    op::MODULO,
    op::EQUALS,
    op::NOT_EQUALS,
    op::GREATER_EQUALS,
    op::LESS_EQUALS,
    op::GREATER,
    op::LESS,
    op::NEGATE,
    op::INDEX,
    op::OPT_INDEX,
    op::OPT_SELECT,
    op::IN,
];

/// A compiled expression.
pub struct Program {
    /// The expression.
    pub expression: IdedExpr,
    /// Whether it looks at what was there before.
    pub uses_old_self: bool,
}

impl Program {
    /// Compiles; the error is as upstream's compiler words it.
    pub fn compile(source: &str) -> Result<Self, String> {
        let parser = Parser::new().max_recursion_depth(MAX_NESTING).enable_optional_syntax(true);
        let (expression, info) = parser.parse_with_source_info(source).map_err(|errors| {
            let texts = errors.errors.iter().map(|error| {
                shown(
                    source,
                    error.pos.0.unsigned_abs(),
                    error.pos.1.unsigned_abs(),
                    &format!("Syntax error: {}", error.msg),
                )
            });
            format!("compilation failed: {}", texts.collect::<Vec<_>>().join("\n"))
        })?;
        let mut names = Names { source, info: &info, scope: Vec::new(), uses_old_self: false, errors: Vec::new() };
        names.walk(&expression);
        let Names { uses_old_self, errors, .. } = names;
        if !errors.is_empty() {
            return Err(format!("compilation failed: {}", errors.join("\n")));
        }
        Ok(Self { expression, uses_old_self })
    }

    /// Whether the expression may be a boolean, as far as can be seen without types.
    pub fn may_be_bool(&self) -> bool {
        may_be_bool(&self.expression)
    }
}

fn may_be_bool(expression: &IdedExpr) -> bool {
    use cel::common::ast::LiteralValue;
    match &expression.expr {
        Expr::Literal(literal) => matches!(literal, LiteralValue::Boolean(_)),
        Expr::List(_) | Expr::Map(_) | Expr::Struct(_) => false,
        Expr::Call(call) => !matches!(
            call.func_name.as_str(),
            op::ADD | op::SUBSTRACT | op::MULTIPLY | op::DIVIDE | op::MODULO | op::NEGATE | "size" | "string" | "int"
        ),
        _ => true,
    }
}

/// An error with its place, as upstream's compiler shows it.
fn shown(source: &str, line: usize, column: usize, message: &str) -> String {
    let text = source.lines().nth(line.saturating_sub(1)).unwrap_or("");
    let dots = ".".repeat(column.saturating_sub(1));
    format!("ERROR: <input>:{line}:{column}: {message}\n | {text}\n | {dots}^")
}

/// Looks for names that mean nothing.
struct Names<'a> {
    source: &'a str,
    info: &'a SourceInfo,
    scope: Vec<&'a str>,
    uses_old_self: bool,
    errors: Vec<String>,
}

impl<'a> Names<'a> {
    fn undeclared(&mut self, expression: &IdedExpr, name: &str) {
        let start = self.info.offset_for(expression.id).map_or(0, |(start, _)| start as usize);
        let before = self.source.get(..start).unwrap_or("");
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or("").chars().count() + 1;
        let message = format!("undeclared reference to '{name}' (in container '')");
        self.errors.push(shown(self.source, line, column, &message));
    }

    fn walk(&mut self, expression: &'a IdedExpr) {
        match &expression.expr {
            Expr::Ident(name) if name == "oldSelf" => self.uses_old_self = true,
            Expr::Ident(name) => {
                let known = name == "self" || self.scope.contains(&name.as_str()) || type_named(name).is_some();
                if !known {
                    self.undeclared(expression, name);
                }
            }
            Expr::Select(select) => self.walk(&select.operand),
            Expr::List(list) => list.elements.iter().for_each(|element| self.walk(element)),
            Expr::Map(map) => {
                for entry in &map.entries {
                    if let EntryExpr::MapEntry(entry) = &entry.expr {
                        self.walk(&entry.key);
                        self.walk(&entry.value);
                    }
                }
            }
            Expr::Call(call) => {
                let mut name = call.func_name.clone();
                match call.target.as_deref() {
                    Some(IdedExpr { expr: Expr::Ident(namespace), .. })
                        if functions::is_namespace(namespace) && !self.scope.contains(&namespace.as_str()) =>
                    {
                        name = format!("{namespace}.{name}");
                    }
                    Some(target) => self.walk(target),
                    None => {}
                }
                let built_in = OPERATORS.contains(&name.as_str()) || name == op::NOT_STRICTLY_FALSE;
                if !built_in && !functions::is_known(&name) {
                    self.undeclared(expression, &name);
                }
                call.args.iter().for_each(|argument| self.walk(argument));
            }
            Expr::Comprehension(comprehension) => {
                self.walk(&comprehension.iter_range);
                self.walk(&comprehension.accu_init);
                let depth = self.scope.len();
                self.scope.push(&comprehension.accu_var);
                self.scope.push(&comprehension.iter_var);
                self.scope.extend(comprehension.iter_var2.as_deref());
                self.walk(&comprehension.loop_cond);
                self.walk(&comprehension.loop_step);
                self.walk(&comprehension.result);
                self.scope.truncate(depth);
            }
            Expr::Literal(_) | Expr::Struct(_) | Expr::Unspecified => {}
        }
    }
}
