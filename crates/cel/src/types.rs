//! Types of expressions, and which fit which (`checker/types.go` and `checker/format.go` upstream).

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use crate::declared::Object;

/// A type.
#[derive(Clone, Debug)]
pub enum Type {
    /// Known only when there is a value.
    Dyn,
    /// As [`Type::Dyn`], but nothing that loops can go through.
    Any,
    /// Of what is wrong.
    Error,
    /// `null`.
    Null,
    /// Booleans.
    Bool,
    /// Signed integers.
    Int,
    /// Unsigned integers.
    UInt,
    /// Floats.
    Double,
    /// Strings.
    String,
    /// Bytes.
    Bytes,
    /// Durations.
    Duration,
    /// Moments.
    Timestamp,
    /// Lists of a type.
    List(Arc<Type>),
    /// Maps from a type to a type.
    Map(Arc<(Type, Type)>),
    /// Objects with fields.
    Object(Arc<Object>),
    /// A type with parameters that has no fields, such as optionals.
    Opaque(Arc<str>, Arc<[Type]>),
    /// Types.
    Type(Option<Arc<Type>>),
    /// A parameter of a function's type.
    Param(Arc<str>),
}

/// Name of the type of optionals.
pub const OPTIONAL: &str = "optional_type";

impl Type {
    /// A list.
    pub fn list(of: Type) -> Self {
        Type::List(Arc::new(of))
    }

    /// A map.
    pub fn map(key: Type, value: Type) -> Self {
        Type::Map(Arc::new((key, value)))
    }

    /// An optional value.
    pub fn optional(of: Type) -> Self {
        Type::Opaque(OPTIONAL.into(), [of].into())
    }

    /// Whether the values are known only when they are there.
    pub fn is_dyn(&self) -> bool {
        matches!(self, Type::Dyn | Type::Any)
    }

    fn is_dyn_or_error(&self) -> bool {
        self.is_dyn() || matches!(self, Type::Error)
    }

    /// What an optional holds; `None` for anything else.
    pub fn held(&self) -> Option<&Type> {
        match self {
            Type::Opaque(name, parameters) if &**name == OPTIONAL => parameters.first(),
            _ => None,
        }
    }

    /// Whether the type has more parts than this.
    pub(crate) fn is_larger(&self, limit: usize) -> bool {
        fn counted(ty: &Type, left: &mut usize) -> bool {
            let Some(rest) = left.checked_sub(1) else { return false };
            *left = rest;
            ty.parameters().into_iter().all(|part| counted(part, left))
        }
        !counted(self, &mut { limit })
    }

    fn parameters(&self) -> Vec<&Type> {
        match self {
            Type::List(of) => vec![of],
            Type::Map(of) => vec![&of.0, &of.1],
            Type::Opaque(_, of) => of.iter().collect(),
            Type::Type(Some(of)) => vec![of],
            _ => Vec::new(),
        }
    }

    /// Whether both are the same type.
    pub fn is(&self, other: &Type) -> bool {
        let same_name = match (self, other) {
            (Type::Object(a), Type::Object(b)) => a.name == b.name,
            (Type::Opaque(a, _), Type::Opaque(b, _)) | (Type::Param(a), Type::Param(b)) => a == b,
            (a, b) => std::mem::discriminant(a) == std::mem::discriminant(b),
        };
        let (a, b) = (self.parameters(), other.parameters());
        same_name && a.len() == b.len() && a.into_iter().zip(b).all(|(a, b)| a.is(b))
    }

    /// As types are named in conversions and by their values at run time.
    pub fn value_name(&self) -> String {
        let name = match self {
            Type::Null => "null_type",
            Type::Any => "google.protobuf.Any",
            Type::Duration => "google.protobuf.Duration",
            Type::Timestamp => "google.protobuf.Timestamp",
            other => other.name(),
        };
        let parameters = self.parameters();
        if parameters.is_empty() {
            return name.to_owned();
        }
        let names = parameters.into_iter().map(Type::value_name).collect::<Vec<_>>();
        format!("{name}({})", names.join(", "))
    }

    fn name(&self) -> &str {
        match self {
            Type::Dyn => "dyn",
            Type::Any => "any",
            Type::Error => "!error!",
            Type::Null => "null",
            Type::Bool => "bool",
            Type::Int => "int",
            Type::UInt => "uint",
            Type::Double => "double",
            Type::String => "string",
            Type::Bytes => "bytes",
            Type::Duration => "duration",
            Type::Timestamp => "timestamp",
            Type::List(_) => "list",
            Type::Map(_) => "map",
            Type::Object(object) => &object.name,
            Type::Opaque(name, _) | Type::Param(name) => name,
            Type::Type(_) => "type",
        }
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())?;
        let parameters = self.parameters();
        if parameters.is_empty() {
            return Ok(());
        }
        let texts = parameters.into_iter().map(Type::to_string).collect::<Vec<_>>();
        write!(f, "({})", texts.join(", "))
    }
}

/// What parameters of types stand for.
#[derive(Clone, Debug, Default)]
pub struct Mapping {
    known: HashMap<Arc<str>, Type>,
    /// What was added since an attempt began, and what was known before: what an attempt assumed goes when it fails.
    added: Vec<(Arc<str>, Option<Type>)>,
}

impl Mapping {
    /// Remembers what a parameter stands for.
    pub fn add(&mut self, parameter: &Arc<str>, ty: Type) {
        let before = self.known.insert(parameter.clone(), ty);
        self.added.push((parameter.clone(), before));
    }

    fn find(&self, ty: &Type) -> Option<&Type> {
        match ty {
            Type::Param(name) => self.known.get(name),
            _ => None,
        }
    }

    /// A type with its parameters replaced; free ones become `dyn` where that is wanted.
    pub fn substitute(&self, ty: &Type, free_to_dyn: bool) -> Type {
        if let Some(found) = self.find(ty) {
            return self.substitute(found, free_to_dyn);
        }
        match ty {
            Type::Param(_) if free_to_dyn => Type::Dyn,
            Type::List(of) => Type::list(self.substitute(of, free_to_dyn)),
            Type::Map(of) => Type::map(self.substitute(&of.0, free_to_dyn), self.substitute(&of.1, free_to_dyn)),
            Type::Opaque(name, of) => {
                Type::Opaque(name.clone(), of.iter().map(|ty| self.substitute(ty, free_to_dyn)).collect())
            }
            Type::Type(Some(of)) => Type::Type(Some(Arc::new(self.substitute(of, free_to_dyn)))),
            other => other.clone(),
        }
    }

    /// Whether one type can stand for the other; what had to be assumed of parameters is kept if so.
    pub fn assign(&mut self, a: &Type, b: &Type) -> bool {
        self.assign_all(std::slice::from_ref(a), std::slice::from_ref(b))
    }

    /// Whether the types of one list can stand for those of the other.
    pub fn assign_all(&mut self, a: &[Type], b: &[Type]) -> bool {
        self.added.clear();
        let fits = a.len() == b.len() && a.iter().zip(b).all(|(a, b)| self.fits(a, b));
        while let (false, Some((parameter, before))) = (fits, self.added.pop()) {
            match before {
                Some(ty) => self.known.insert(parameter, ty),
                None => self.known.remove(&parameter),
            };
        }
        fits
    }

    fn fits(&mut self, a: &Type, b: &Type) -> bool {
        if matches!(b, Type::Param(_)) {
            let (valid, known) = self.stands_for(a, b);
            if valid || known {
                return valid;
            }
        }
        if matches!(a, Type::Param(_)) {
            return self.stands_for(b, a).0;
        }
        if a.is_dyn_or_error() || b.is_dyn_or_error() {
            return true;
        }
        match (a, b) {
            (Type::Null, other) | (other, Type::Null) => {
                matches!(other, Type::Null | Type::Opaque(..) | Type::Object(_) | Type::Duration | Type::Timestamp)
            }
            (Type::Type(_), Type::Type(_)) => true,
            (Type::List(a), Type::List(b)) => self.fits(a, b),
            (Type::Map(a), Type::Map(b)) => self.fits(&a.0, &b.0) && self.fits(&a.1, &b.1),
            (Type::Opaque(a, of_a), Type::Opaque(b, of_b)) => {
                a == b && of_a.len() == of_b.len() && of_a.iter().zip(of_b.iter()).all(|(a, b)| self.fits(a, b))
            }
            (a, b) => a.is(b),
        }
    }

    /// Whether parameter `b` can stand for `a`, and whether it stands for something.
    fn stands_for(&mut self, a: &Type, b: &Type) -> (bool, bool) {
        let Type::Param(name) = b else { return (false, false) };
        if a.is(b) {
            return (true, true);
        }
        if let Some(known) = self.known.get(name).cloned() {
            if a.is(&known) {
                return (true, true);
            }
            if !self.fits(a, &known) {
                return (false, true);
            }
            let general = more_general(a, &known);
            if !self.is_within(b, &general) {
                self.add(name, general);
            }
            return (true, true);
        }
        if self.is_within(b, a) {
            return (false, false);
        }
        self.add(name, a.clone());
        (true, false)
    }

    fn is_within(&self, ty: &Type, other: &Type) -> bool {
        if ty.is(other) {
            return true;
        }
        if let Type::Param(_) = other {
            return self.find(other).is_some_and(|found| self.is_within(ty, found));
        }
        other.parameters().into_iter().any(|part| self.is_within(ty, part))
    }
}

/// The more general of two types that fit each other.
pub fn more_general(a: &Type, b: &Type) -> Type {
    if is_equal_or_less_specific(a, b) { a.clone() } else { b.clone() }
}

fn is_equal_or_less_specific(a: &Type, b: &Type) -> bool {
    if a.is_dyn() || matches!(a, Type::Param(_)) {
        return true;
    }
    if b.is_dyn() || matches!(b, Type::Param(_)) {
        return false;
    }
    match (a, b) {
        (Type::Type(_), Type::Type(_)) => true,
        (Type::List(a), Type::List(b)) => is_equal_or_less_specific(a, b),
        (Type::Map(a), Type::Map(b)) => is_equal_or_less_specific(&a.0, &b.0) && is_equal_or_less_specific(&a.1, &b.1),
        (Type::Opaque(a, of_a), Type::Opaque(b, of_b)) => {
            a == b
                && of_a.len() == of_b.len()
                && of_a.iter().zip(of_b.iter()).all(|(a, b)| is_equal_or_less_specific(a, b))
        }
        (a, b) => a.is(b),
    }
}
