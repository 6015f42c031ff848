//! Types as schemas declare them: with the fields of objects, and how large values may be.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use skiff_apimachinery::schema::ListKind;

use crate::escape::escape;
use crate::types::Type;

/// The type of a value under a schema.
#[derive(Clone, Debug)]
pub struct Declared {
    /// Its shape.
    pub shape: Shape,
    /// Elements, entries, or bytes of a string, at most; `None` where nobody says.
    pub max_elements: Option<u64>,
    /// Bytes of the smallest value in JSON.
    pub min_size: u64,
}

/// Shapes of values.
#[derive(Clone, Debug)]
pub enum Shape {
    /// A type without parts, or one that is known from elsewhere.
    Plain(Type),
    /// A list, and whether the order of its elements means something.
    List(Arc<Declared>, ListKind),
    /// A map from strings.
    Map(Arc<Declared>),
    /// An object with fields.
    Object(Arc<Object>),
}

/// A type of objects.
#[derive(Clone)]
pub struct Object {
    /// Its name in messages.
    pub name: String,
    /// Its fields by the names that expressions use.
    pub fields: BTreeMap<String, Member>,
}

/// A field.
#[derive(Clone, Debug)]
pub struct Member {
    /// Its name in the object.
    pub key: String,
    /// Its type.
    pub ty: Arc<Declared>,
}

/// Only the name: types are told apart by their names.
impl fmt::Debug for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl Object {
    /// An object with these fields.
    pub fn new(name: impl Into<String>, fields: impl IntoIterator<Item = (&'static str, Declared)>) -> Arc<Self> {
        let fields = fields.into_iter().map(|(name, ty)| {
            let key = name.to_owned();
            (name.to_owned(), Member { key, ty: Arc::new(ty) })
        });
        Arc::new(Self { name: name.into(), fields: fields.collect() })
    }

    /// The field that an expression names; reserved words may be written as they are.
    pub fn field(&self, name: &str) -> Option<&Member> {
        self.fields.get(name).or_else(|| self.fields.get(&escape(name)?))
    }
}

impl Declared {
    /// A type without parts.
    pub fn plain(ty: Type) -> Self {
        Self { shape: Shape::Plain(ty), max_elements: None, min_size: 1 }
    }

    /// An object.
    pub fn object(object: Arc<Object>) -> Self {
        Self { shape: Shape::Object(object), max_elements: None, min_size: 2 }
    }

    /// A list whose elements have an order.
    pub fn list(of: Declared) -> Self {
        Self { shape: Shape::List(Arc::new(of), ListKind::Atomic), max_elements: None, min_size: 2 }
    }

    /// A map from strings.
    pub fn map(of: Declared) -> Self {
        Self { shape: Shape::Map(Arc::new(of)), max_elements: None, min_size: 2 }
    }

    /// The type of expressions that have such values.
    pub fn ty(&self) -> Type {
        match &self.shape {
            Shape::Plain(ty) => ty.clone(),
            Shape::List(of, _) => Type::list(of.ty()),
            Shape::Map(of) => Type::map(Type::String, of.ty()),
            Shape::Object(object) => Type::Object(object.clone()),
        }
    }

    /// The type of the elements of a list.
    pub fn items(&self) -> Option<&Declared> {
        match &self.shape {
            Shape::List(of, _) => Some(of),
            _ => None,
        }
    }

    /// The type of a member, by its name in the object.
    pub fn member(&self, key: &str) -> Option<&Declared> {
        match &self.shape {
            Shape::Map(of) => Some(of),
            Shape::Object(object) => {
                // Nearly all names are the same in expressions.
                let found = object.fields.get(key).filter(|member| member.key == key);
                let found = found.or_else(|| object.fields.values().find(|member| member.key == key));
                found.map(|member| &*member.ty)
            }
            _ => None,
        }
    }
}
