//! What calls cost when they are made (`interpreter/runtimecost.go`, `apiserver/pkg/cel/library/cost.go`).

use crate::operators as op;
use crate::value::Val;

/// An authorization check: two of them fit into what an expression may cost.
const CHECK: u64 = 350_000;
/// Characters per unit of cost where a string is gone through.
const CHARACTERS: u64 = 10;
/// Characters of a regular expression per unit of cost.
const OF_EXPRESSION: u64 = 4;
/// Length of the longest regular expression of a named format.
const FORMAT_EXPRESSION: u64 = 60;

/// Characters, elements or entries; 1 of what has none.
fn size(value: Option<&Val<'_>>) -> u64 {
    match value {
        Some(Val::Optional(Some(held))) => size(Some(held)),
        Some(value) => value.size().map_or(1, |size| size as u64),
        None => 1,
    }
}

fn traversal(length: u64) -> u64 {
    length.div_ceil(CHARACTERS)
}

fn expression(text: u64, pattern: u64) -> u64 {
    traversal(text + 1) * pattern.div_ceil(OF_EXPRESSION)
}

/// The sizes of all strings of a list, and one for each element.
fn elements(list: Option<&Val<'_>>) -> u64 {
    match list.and_then(Val::items) {
        Some(items) => items.iter().map(|item| size(Some(item))).sum(),
        None => size(list),
    }
}

/// What a call costs, as far as its arguments tell.
pub(crate) fn before_call(function: &str, arguments: &[Val<'_>]) -> u64 {
    let (first, second) = (arguments.first(), arguments.get(1));
    match function {
        "check" => CHECK,
        "fieldSelector" | "labelSelector" => {
            let length = size(second);
            10 + traversal(length) + length.div_ceil(2) * 50
        }
        "isSorted" | "sum" | "max" | "min" | "indexOf" | "lastIndexOf" => elements(first),
        "url"
        | "lowerAscii"
        | "upperAscii"
        | "substring"
        | "trim"
        | "jsonpatch.escapeKey"
        | "isURL"
        | "cidr"
        | "isIP"
        | "isCIDR"
        | "quantity"
        | "isQuantity"
        | "semver"
        | "isSemver"
        | "startsWith"
        | "endsWith"
        | "format" => traversal(size(first)),
        "bytes" | "string" if matches!(first, Some(Val::Str(_) | Val::Bytes(_))) => traversal(size(first)).max(1),
        "ip" if matches!(first, Some(Val::Str(_))) => traversal(size(first)),
        "ip.isCanonical" | "replace" | "split" => (size(first) * 2).div_ceil(CHARACTERS),
        "find" | "findAll" | "matches" => expression(size(first), size(second)),
        "validate" => expression(size(second), FORMAT_EXPRESSION),
        "contains" => traversal(size(first)) * traversal(size(second)),
        "containsIP" => traversal(size(first) * 2) + of_text(second),
        "containsCIDR" => traversal(size(first) * 2) + traversal(size(first)) + 1 + of_text(second),
        "join" => 0,
        "lists.range" => match first {
            Some(Val::Int(n)) => u64::try_from(*n).unwrap_or(0).saturating_add(11),
            _ => 1,
        },
        "slice" | "flatten" | "reverse" => size(first).max(1),
        "sort" | "distinct" | op::SORT_BY_KEYS => size(first).saturating_mul(size(first)).max(1),
        "sets.contains" | "sets.equivalent" | "sets.intersects" => size(first).saturating_mul(size(second)) + 1,
        op::IN if second.is_some_and(|within| within.items().is_some()) => size(second),
        op::LESS | op::LESS_EQUALS | op::GREATER | op::GREATER_EQUALS
            if matches!(first, Some(Val::Str(_) | Val::Bytes(_))) =>
        {
            traversal(size(first).min(size(second)))
        }
        op::EQUALS | op::NOT_EQUALS => traversal(size(first).min(size(second))),
        op::ADD if matches!(first, Some(Val::Str(_) | Val::Bytes(_))) => traversal(size(first) + size(second)),
        _ => 1,
    }
}

fn of_text(value: Option<&Val<'_>>) -> u64 {
    if matches!(value, Some(Val::Str(_))) { traversal(size(value)) } else { 0 }
}

/// What a call costs beyond, as its result tells.
pub(crate) fn after_call(function: &str, result: &Val<'_>) -> u64 {
    if function == "join" { (size(Some(result)) * 2).div_ceil(CHARACTERS) } else { 0 }
}
