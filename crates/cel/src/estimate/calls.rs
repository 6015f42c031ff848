//! What calls cost before there are values (`apiserver/pkg/cel/library/cost.go`, and the estimates of cel-go's own
//! functions and of its extensions).

use super::{CHARACTER, Call, Entries, Estimator, LIST, NOTHING, Node, OF_EXPRESSION, ONE, Range};
use crate::ast::{Expr, Kind, Literal};
use crate::operators as op;
use crate::signatures::Overload;
use crate::types::Type;

/// An authorization check: two of them fit into what an expression may cost.
const CHECK: u64 = 350_000;
/// Length of the longest regular expression of a named format.
const FORMAT_EXPRESSION: f64 = 128.0;
/// Bytes of an address.
const ADDRESS: Range = Range { min: 4, max: 16 };
/// Length of the name of a format.
const MAX_FORMAT: u64 = 64;

impl<'e> Estimator<'e> {
    /// One way to call a function.
    pub(super) fn overload(
        &mut self,
        expr: &'e Expr,
        function: &str,
        overload: &Overload,
        target: Option<&Node<'e>>,
        args: &[Node<'e>],
        costs: &[Range],
    ) -> Call {
        let sum = costs.iter().copied().fold(NOTHING, Range::plus);
        let library = self.library(function, overload, target, args);
        if let Some(call) = library.or_else(|| self.standard(function, overload, target, args)) {
            return Call { cost: call.cost.plus(sum), size: call.size };
        }
        match (function, costs) {
            (op::AND | op::OR, [left, right]) => {
                let cost = Range { min: left.min, max: left.max.saturating_add(right.max) };
                Call { cost, size: None }
            }
            (op::CONDITIONAL, [condition, yes, no]) => {
                let size = known(&args[1]).union(known(&args[2]));
                let entries = union(self.entries(args[1].expr), self.entries(args[2].expr));
                self.set_entries(expr, entries);
                Call { cost: condition.plus(yes.union(*no)), size: Some(size) }
            }
            (op::ADD, [_, _]) if matches!(overload.result, Type::String | Type::Bytes | Type::List(_)) => {
                let size = known(&args[0]).plus(known(&args[1]));
                let entries = union(self.entries(args[0].expr), self.entries(args[1].expr));
                self.set_entries(expr, entries);
                let cost = if matches!(overload.result, Type::List(_)) { ONE } else { size.by(CHARACTER) };
                Call { cost: cost.plus(sum), size: Some(size) }
            }
            _ => Call { cost: ONE.plus(sum), size: None },
        }
    }

    /// Functions of Kubernetes' libraries, of lists and of sets.
    fn library(
        &self,
        function: &str,
        overload: &Overload,
        target: Option<&Node<'e>>,
        args: &[Node<'e>],
    ) -> Option<Call> {
        let plain = |cost: Range| Some(Call { cost, size: None });
        let first = args.first();
        match function {
            "check" => plain(Range::exactly(CHECK)),
            "serviceAccount" | "path" | "group" | "resource" | "subresource" | "namespace" | "name" | "allowed"
            | "reason" | "error" | "errored" => plain(ONE),
            "fieldSelector" | "labelSelector" => {
                let size = self.of(first?);
                plain(LIST.plus(size.by(CHARACTER)).plus(size.by(0.5).by(50.0)))
            }
            "isSorted" | "sum" | "max" | "min" | "indexOf" | "lastIndexOf" => {
                let target = target?;
                let Type::List(of) = self.ty(target.expr) else { return plain(self.of(target).by(CHARACTER)) };
                let mut each = ONE;
                if matches!(**of, Type::String | Type::Bytes) {
                    each = each.plus(self.of_elements(target).by(CHARACTER));
                }
                plain(self.of(target).times(each))
            }
            "url" | "jsonpatch.escapeKey" => sized(self.of(first?)),
            "lowerAscii" | "upperAscii" | "substring" | "trim" => sized(self.of(target?)),
            "replace" => Some(replaced(self.of(target?), self.of(first?), self.of(args.get(1)?))),
            "split" => {
                let size = self.of(target?);
                let limit = args.get(1).and_then(|limit| integer(limit.expr)).map(|n| n as u64);
                let max = limit.unwrap_or(size.max);
                Some(Call { cost: size.by(2.0 * CHARACTER), size: Some(Range { min: 0, max }) })
            }
            "join" => {
                let list = self.of(target?);
                let mut size = list.times(self.of_elements(target?));
                if let Some(separator) = first {
                    let between = Range { min: list.min.saturating_sub(1), max: list.max.saturating_sub(1) };
                    size = size.plus(self.of(separator).times(between));
                }
                sized(size)
            }
            "find" | "findAll" => {
                let size = self.of(target?);
                let cost = size.plus(ONE).by(CHARACTER).times(self.of(first?).by(OF_EXPRESSION));
                Some(Call { cost, size: Some(Range { min: 0, max: size.max }) })
            }
            "ip" if overload.member => plain(ONE),
            "cidr" | "isIP" | "isCIDR" | "ip" | "quantity" | "isQuantity" | "semver" | "isSemver" => {
                plain(self.of(first?).by(CHARACTER))
            }
            "ip.isCanonical" => plain(self.of(first?).by(2.0 * CHARACTER)),
            "containsIP" | "containsCIDR" => {
                let mut cost = ADDRESS.plus(ADDRESS).by(CHARACTER);
                if function == "containsCIDR" {
                    cost = cost.plus(ADDRESS.by(CHARACTER)).plus(ONE);
                }
                if matches!(overload.arguments.get(1), Some(Type::String)) {
                    cost = cost.plus(self.of(first?).by(CHARACTER));
                }
                plain(cost)
            }
            "validate" => plain(self.of(first?).by(CHARACTER).by(FORMAT_EXPRESSION * OF_EXPRESSION)),
            op::EQUALS => self.equality(args),
            _ => self.lists(function, target, args),
        }
    }

    /// Equality of values of Kubernetes' types.
    fn equality(&self, args: &[Node<'e>]) -> Option<Call> {
        let [left, right] = args else { return None };
        let (ty, other) = (self.ty(left.expr), self.ty(right.expr));
        let Type::Object(object) = ty else { return None };
        if !ty.is(other) {
            return None;
        }
        let cost = match object.name.as_str() {
            "kubernetes.Quantity" | "kubernetes.Semver" => ONE,
            name if name.starts_with("kubernetes.authorization.") => ONE,
            "kubernetes.NamedFormat" => Range { min: 1, max: MAX_FORMAT }.by(CHARACTER),
            "kubernetes.URL" => Range { min: 1, max: right.size.map_or(1, |size| size.max) }.by(CHARACTER),
            _ => return None,
        };
        Some(Call { cost, size: None })
    }

    fn lists(&self, function: &str, target: Option<&Node<'e>>, args: &[Node<'e>]) -> Option<Call> {
        let allocated = |factor: f64, size: Range| {
            let cost = size.by(factor).plus(ONE).plus(LIST);
            Some(Call { cost, size: Some(size) })
        };
        match (function, target, args) {
            ("slice", Some(target), [from, to]) => {
                let from = integer(from.expr).map_or(0, |n| n.max(0) as u64);
                let to = integer(to.expr).map_or(self.of(target).max, |n| n.max(0) as u64);
                allocated(1.0, Range::exactly(to.wrapping_sub(from)))
            }
            ("lists.range", None, [count]) => {
                allocated(1.0, Range::exactly(integer(count.expr).map_or(u64::MAX, |n| n.max(0) as u64)))
            }
            ("reverse", Some(target), []) if matches!(self.ty(target.expr), Type::List(_)) => {
                allocated(1.0, self.of(target))
            }
            ("flatten", Some(target), depth) => {
                let depth = match depth.first() {
                    Some(depth) => integer(depth.expr).map_or(u64::MAX, |n| n.max(0) as u64),
                    None => 1,
                };
                allocated(depth as f64, self.of(target))
            }
            ("distinct", Some(target), []) => {
                let size = self.of(target);
                allocated(2.0, size.times(size))
            }
            ("sort", Some(sorted), []) | (op::SORT_BY_KEYS, Some(_), [sorted]) => {
                let size = self.of(sorted);
                let texts =
                    matches!(self.ty(sorted.expr), Type::List(of) if matches!(**of, Type::String | Type::Bytes));
                allocated(if texts { 2.0 + CHARACTER } else { 2.0 }, size.times(size))
            }
            ("sets.contains" | "sets.intersects" | "sets.equivalent", None, [a, b]) => {
                let factor = if function == "sets.equivalent" { 2.0 } else { 1.0 };
                Some(Call { cost: self.of(a).times(self.of(b)).by(factor).plus(ONE), size: None })
            }
            _ => None,
        }
    }

    /// CEL's own functions.
    fn standard(
        &self,
        function: &str,
        overload: &Overload,
        target: Option<&Node<'e>>,
        args: &[Node<'e>],
    ) -> Option<Call> {
        let plain = |cost: Range| Some(Call { cost, size: None });
        let first = || args.first().map(known);
        let given = overload.arguments.first();
        match function {
            "format" => plain(known(target?).by(CHARACTER)),
            "bytes" if matches!(given, Some(Type::String)) => {
                let size = first()?;
                let result = Range { min: size.min, max: size.max.wrapping_mul(4) };
                Some(Call { cost: size.by(CHARACTER), size: Some(result) })
            }
            "string" if matches!(given, Some(Type::Bytes)) => {
                let size = first()?;
                Some(Call { cost: size.by(CHARACTER), size: Some(Range { min: size.min / 4, max: size.max }) })
            }
            "strings.quote" => {
                let size = first()?;
                let result = Range { min: size.min + 2, max: size.max.wrapping_mul(2).wrapping_add(2) };
                Some(Call { cost: size.by(CHARACTER), size: Some(result) })
            }
            "startsWith" | "endsWith" => plain(first()?.by(CHARACTER)),
            op::IN if matches!(overload.arguments.get(1), Some(Type::List(_))) => plain(known(args.get(1)?).by(1.0)),
            "matches" => plain(known(target?).plus(ONE).by(CHARACTER).times(first()?.by(OF_EXPRESSION))),
            "contains" => plain(known(target?).by(CHARACTER).times(first()?.by(CHARACTER))),
            op::LESS | op::LESS_EQUALS | op::GREATER | op::GREATER_EQUALS
                if !matches!(given, Some(Type::String | Type::Bytes)) =>
            {
                None
            }
            op::LESS | op::LESS_EQUALS | op::GREATER | op::GREATER_EQUALS | op::EQUALS | op::NOT_EQUALS => {
                let max = first()?.max.min(known(args.get(1)?).max);
                plain(Range { min: max.min(1), max }.by(CHARACTER))
            }
            _ => None,
        }
    }

    /// The size of a part, as libraries look at it.
    fn of(&self, node: &Node<'e>) -> Range {
        node.size.or_else(|| self.declared_size(&node.path)).unwrap_or(Range::UNKNOWN)
    }

    /// The size of each element of a list.
    fn of_elements(&self, list: &Node<'e>) -> Range {
        let mut path = list.path.clone();
        if path.is_empty() {
            return Range::UNKNOWN;
        }
        path.push("@items".to_owned());
        self.declared_size(&path).unwrap_or(Range::UNKNOWN)
    }
}

/// A cost of going through characters whose number stays.
fn sized(size: Range) -> Option<Call> {
    Some(Call { cost: size.by(CHARACTER), size: Some(size) })
}

fn known(node: &Node<'_>) -> Range {
    node.size.unwrap_or(Range::UNKNOWN)
}

fn integer(expr: &Expr) -> Option<i64> {
    match expr.kind {
        Kind::Literal(Literal::Int(n)) => Some(n),
        _ => None,
    }
}

fn union(a: Option<Entries>, b: Option<Entries>) -> Option<Entries> {
    let (a, b) = (a?, b?);
    Some(Entries { is_list: a.is_list, key: a.key.union(b.key), value: a.value.union(b.value) })
}

/// `replace`: how long the result may be.
fn replaced(size: Range, from: Range, to: Range) -> Call {
    let (mut count, mut kept) = (NOTHING, NOTHING);
    if from.min == 0 {
        // Nothing is found between all characters.
        count.max = size.max.saturating_add(1);
        kept.max = size.max;
    } else if to.max <= from.min {
        kept.max = size.max;
    } else {
        count.max = (size.max as f64 / from.min as f64).ceil() as u64;
    }
    if from.max == 0 {
        count.min = size.min.saturating_add(1);
        kept.min = size.min;
    } else if from.max <= to.min {
        kept.min = size.min;
    } else {
        count.min = (size.min as f64 / from.max as f64).ceil() as u64;
    }
    Call { cost: size.by(2.0 * CHARACTER), size: Some(count.times(to).plus(kept)) }
}
