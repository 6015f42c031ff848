//! The parts that an expression is made of.

use crate::ast::{Expr, Kind};

/// Stack that must be left for one step of a walk, and what is added where there is less: walks go as deep as
/// expressions do, on the stacks of workers.
const STACK_LEFT: usize = 128 << 10;
const STACK_ADDED: usize = 1 << 20;

/// Goes one level deeper, on more stack if there is little left.
pub(crate) fn deeper<T>(step: impl FnOnce() -> T) -> T {
    stacker::maybe_grow(STACK_LEFT, STACK_ADDED, step)
}

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
