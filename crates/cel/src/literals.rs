//! Constants that could never work: durations, timestamps and regular expressions that cannot be read, and lists and
//! maps of mixed types (`cel/validator.go` upstream).

use crate::ast::{Expr, Kind, Literal, Source};
use crate::check::Types;
use crate::pattern;
use crate::report::Report;
use crate::types::Type;
use crate::value;
use crate::walk::deeper;

/// Adds what is wrong with the constants of an expression.
pub(crate) fn check(expression: &mut Expr, source: &Source, types: &Types, report: &mut Report) {
    Check { source, types, report, formats: 0 }.part(expression);
}

struct Check<'c> {
    source: &'c Source,
    types: &'c Types,
    report: &'c mut Report,
    /// Calls of `format` around the part: what they are given may be mixed.
    formats: usize,
}

impl Check<'_> {
    fn error(&mut self, id: usize, message: String) {
        let place = self.source.place(self.source.starts[id]);
        self.report.add(place, message);
    }

    fn part(&mut self, expression: &mut Expr) {
        let mut in_format = false;
        match &expression.kind {
            Kind::Call { function, args, .. } => {
                in_format = function == "format";
                let Some(Expr { id, kind: Kind::Literal(Literal::String(text)) }) = args.first() else {
                    return self.below(expression, in_format);
                };
                let wrong = match function.as_str() {
                    "duration" => value::duration(text).is_none(),
                    "timestamp" => value::rfc3339(text).is_none(),
                    "matches" => pattern::compile(text).is_err(),
                    _ => false,
                };
                if wrong {
                    self.error(*id, format!("invalid {function} argument"));
                }
            }
            Kind::List { items, optional } if self.formats == 0 => {
                let of = |(index, item): (usize, &Expr)| (item.id, self.held(item.id, optional.contains(&index)));
                let types = items.iter().enumerate().map(of).collect::<Vec<_>>();
                self.same(types);
            }
            Kind::Map(entries) if self.formats == 0 => {
                let keys = entries.iter().map(|entry| (entry.key.id, self.held(entry.key.id, false)));
                let keys = keys.collect::<Vec<_>>();
                let values = entries.iter().map(|entry| (entry.value.id, self.held(entry.value.id, entry.optional)));
                let values = values.collect::<Vec<_>>();
                self.same(keys);
                self.same(values);
            }
            _ => {}
        }
        self.below(expression, in_format);
    }

    fn below(&mut self, expression: &mut Expr, in_format: bool) {
        self.formats += usize::from(in_format);
        crate::walk::children(&mut expression.kind, &mut |child| deeper(|| self.part(child)));
        self.formats -= usize::from(in_format);
    }

    fn held(&self, id: usize, optional: bool) -> Type {
        let ty = &self.types.of[id];
        if optional { ty.held().unwrap_or(ty).clone() } else { ty.clone() }
    }

    fn same(&mut self, types: Vec<(usize, Type)>) {
        let Some((_, first)) = types.first().cloned() else { return };
        if let Some((id, other)) = types.iter().find(|(_, ty)| !ty.is(&first)) {
            self.error(*id, format!("expected type '{first}' but found '{other}'"));
        }
    }
}
