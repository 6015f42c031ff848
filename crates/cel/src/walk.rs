//! The parts that an expression is made of.

use crate::ast::{Expr, Kind};

/// Does something with each part right below.
pub(crate) fn children(kind: &mut Kind, visit: &mut dyn FnMut(&mut Expr)) {
    match kind {
        Kind::Literal(_) | Kind::Ident(_) => {}
        Kind::Select { operand, .. } => visit(operand),
        Kind::Call { target, args, .. } => {
            target.iter_mut().for_each(|target| visit(target));
            args.iter_mut().for_each(visit);
        }
        Kind::List { items, .. } => items.iter_mut().for_each(visit),
        Kind::Map(entries) => entries.iter_mut().for_each(|entry| {
            visit(&mut entry.key);
            visit(&mut entry.value);
        }),
        Kind::Struct { fields, .. } => fields.iter_mut().for_each(|field| visit(&mut field.value)),
        Kind::Fold(fold) => {
            let fold = fold.as_mut();
            for part in [&mut fold.range, &mut fold.init, &mut fold.condition, &mut fold.step, &mut fold.result] {
                visit(part);
            }
        }
    }
}
