//! Names under which operators are functions (`common/operators` upstream).

#![expect(missing_docs, reason = "each is what it is called")]

pub const CONDITIONAL: &str = "_?_:_";
pub const AND: &str = "_&&_";
pub const OR: &str = "_||_";
pub const NOT: &str = "!_";
pub const SUBTRACT: &str = "_-_";
pub const ADD: &str = "_+_";
pub const MULTIPLY: &str = "_*_";
pub const DIVIDE: &str = "_/_";
pub const MODULO: &str = "_%_";
pub const EQUALS: &str = "_==_";
pub const NOT_EQUALS: &str = "_!=_";
pub const GREATER_EQUALS: &str = "_>=_";
pub const LESS_EQUALS: &str = "_<=_";
pub const GREATER: &str = "_>_";
pub const LESS: &str = "_<_";
pub const NEGATE: &str = "-_";
pub const INDEX: &str = "_[_]";
pub const OPTIONAL_INDEX: &str = "_[?_]";
pub const OPTIONAL_SELECT: &str = "_?._";
pub const IN: &str = "@in";
pub const NOT_STRICTLY_FALSE: &str = "@not_strictly_false";
pub const MAP_INSERT: &str = "cel.@mapInsert";
pub const SORT_BY_KEYS: &str = "@sortByAssociatedKeys";
