//! What expressions may speak of: variables, types and functions.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::declared::{Declared, Object, Shape};
use crate::signatures::{self, Overload};
use crate::types::Type;

/// Types that expressions can name, beside those of objects.
const NAMED: [(&str, Type); 12] = [
    ("bool", Type::Bool),
    ("bytes", Type::Bytes),
    ("double", Type::Double),
    ("dyn", Type::Dyn),
    ("int", Type::Int),
    ("null_type", Type::Null),
    ("string", Type::String),
    ("type", Type::Type(None)),
    ("uint", Type::UInt),
    ("google.protobuf.Duration", Type::Duration),
    ("google.protobuf.Timestamp", Type::Timestamp),
    ("google.protobuf.Any", Type::Dyn),
];
/// Types of Kubernetes without fields that expressions can name.
const KUBERNETES: [&str; 6] =
    ["kubernetes.URL", "kubernetes.Quantity", "kubernetes.Semver", "kubernetes.NamedFormat", "net.IP", "net.CIDR"];

/// What expressions may speak of.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    variables: BTreeMap<String, Arc<Declared>>,
    objects: BTreeMap<String, Arc<Object>>,
    patches: bool,
    /// Whether `cel.bind` gives names to values.
    pub(crate) binds: bool,
}

impl Environment {
    /// With functions only.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a variable, and with it the types of the objects in it.
    pub fn declare(mut self, name: &str, ty: Declared) -> Self {
        self.add(name, Arc::new(ty));
        self
    }

    /// Adds a variable, and with it the types of the objects in it.
    pub fn add(&mut self, name: &str, ty: Arc<Declared>) {
        self.know(&ty);
        self.variables.insert(name.to_owned(), ty);
    }

    /// With `Object` and `JSONPatch`, whose fields may be anything, and the functions of patches.
    pub fn with_patches(mut self) -> Self {
        self.patches = true;
        self
    }

    /// With `cel.bind(name, value, expression)`.
    pub fn with_bindings(mut self) -> Self {
        self.binds = true;
        self
    }

    fn know(&mut self, ty: &Declared) {
        match &ty.shape {
            Shape::Plain(_) => {}
            Shape::List(of, _) | Shape::Map(of) => self.know(of),
            Shape::Object(object) => {
                if self.objects.insert(object.name.clone(), object.clone()).is_none() {
                    object.fields.values().for_each(|member| self.know(&member.ty));
                }
            }
        }
    }

    /// The declared type of a variable.
    pub fn variable(&self, name: &str) -> Option<&Arc<Declared>> {
        self.variables.get(name)
    }

    /// The type of a name: of a variable, or of the type that it names.
    pub(crate) fn type_of(&self, name: &str) -> Option<Type> {
        if let Some(variable) = self.variables.get(name) {
            return Some(variable.ty());
        }
        self.named(name).map(|ty| Type::Type(Some(Arc::new(ty))))
    }

    /// The type of this name.
    pub(crate) fn named(&self, name: &str) -> Option<Type> {
        if let Some((_, ty)) = NAMED.iter().find(|(known, _)| *known == name) {
            return Some(ty.clone());
        }
        match name {
            "list" => return Some(Type::list(Type::Dyn)),
            "map" => return Some(Type::map(Type::Dyn, Type::Dyn)),
            "optional_type" => return Some(Type::optional(Type::Dyn)),
            known if KUBERNETES.contains(&known) => return Some(signatures::opaque(known)),
            _ => {}
        }
        if self.patches && is_patched(name) {
            return Some(signatures::opaque(name));
        }
        self.objects.get(name).map(|object| Type::Object(object.clone()))
    }

    /// The type of a field of an object type: `None` if the type is not known, `Some(None)` if the field is not.
    pub(crate) fn field(&self, object: &str, field: &str) -> Option<Option<Type>> {
        if self.patches && object == "JSONPatch" {
            return Some(match field {
                "op" | "path" | "from" => Some(Type::String),
                "value" => Some(Type::Dyn),
                _ => None,
            });
        }
        if self.patches && is_patched(object) {
            return Some(Some(Type::Dyn));
        }
        let object = self.objects.get(object)?;
        Some(object.field(field).map(|member| member.ty.ty()))
    }

    /// The ways to call a function.
    pub(crate) fn function(&self, name: &str) -> Option<&'static [Overload]> {
        let found = signatures::base().get(name);
        let found = found.or_else(|| signatures::patches().get(name).filter(|_| self.patches));
        found.map(Vec::as_slice)
    }
}

/// Whether a name is that of an object in a patch: `Object`, `Object.spec`, or `JSONPatch`.
fn is_patched(name: &str) -> bool {
    name == "JSONPatch" || name == "Object" || name.starts_with("Object.")
}
