//! Objects as rows of a table, for clients that ask for `as=Table`, and as bare metadata.
//!
//! [`printer`] finds the columns and the row function of a kind; a kind without its own has a name and the time of its
//! creation. [`table`] wraps rows into a `meta.k8s.io` Table, [`partial`] reduces objects to their metadata. What the
//! cells say follows `pkg/printers/internalversion`; objects are read by field name, so one printer serves all versions
//! of a kind.

mod apps;
mod core;
mod devices;
pub mod human;
mod networking;
mod others;
pub mod partial;
mod pod;
mod storage;
pub mod table;

use jiff::Timestamp;
use skiff_apimachinery::value::Value;

/// A column of a table (`metav1.TableColumnDefinition`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Column {
    /// Header.
    pub name: &'static str,
    /// OpenAPI type of the cells.
    pub ty: &'static str,
    /// OpenAPI format of the cells; `name` marks the object's name.
    pub format: &'static str,
    /// What the column tells.
    pub description: &'static str,
    /// 0 for columns that are always shown, 1 for those of wide output.
    pub priority: i32,
}

impl Column {
    const fn string(name: &'static str, description: &'static str) -> Self {
        Self { name, ty: "string", format: "", description, priority: 0 }
    }

    const fn integer(name: &'static str, description: &'static str) -> Self {
        Self { name, ty: "integer", format: "", description, priority: 0 }
    }

    const fn boolean(name: &'static str, description: &'static str) -> Self {
        Self { name, ty: "boolean", format: "", description, priority: 0 }
    }

    const fn wide(mut self) -> Self {
        self.priority = 1;
        self
    }
}

const NAME: Column = Column {
    name: "Name",
    ty: "string",
    format: "name",
    description: "Name of the object, unique for its kind within a namespace.",
    priority: 0,
};

const AGE: Column = Column::string("Age", "Time since the object was created.");

const CONTAINERS: Column = Column::string("Containers", "Names of the containers in the template.").wide();
const IMAGES: Column = Column::string("Images", "Images of the containers in the template.").wide();

/// What a table needs to know of a kind.
pub trait Rows: Send + Sync + 'static {
    /// The column definitions.
    fn columns(&self) -> Vec<Value>;

    /// The cells of an object, one for each column.
    fn cells(&self, object: &Value, now: Timestamp) -> Vec<Value>;

    /// The conditions of an object's row, if it has any.
    fn conditions(&self, _object: &Value) -> Option<Value> {
        None
    }
}

impl Rows for Printer {
    fn columns(&self) -> Vec<Value> {
        self.columns.iter().map(table::column).collect()
    }

    fn cells(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        let cells = (self.cells)(object, now);
        debug_assert_eq!(cells.len(), self.columns.len(), "one cell for each column of {}", self.kind);
        cells
    }

    fn conditions(&self, object: &Value) -> Option<Value> {
        if (self.group, self.kind) == ("", "Pod") { pod::conditions(object) } else { None }
    }
}

/// How a built-in kind is printed.
pub struct Printer {
    /// API group.
    pub group: &'static str,
    /// Kind.
    pub kind: &'static str,
    /// Columns of the table.
    pub columns: &'static [Column],
    /// The cells of an object, one for each column.
    cells: fn(&Value, Timestamp) -> Vec<Value>,
}

impl Printer {
    const fn new(
        group: &'static str,
        kind: &'static str,
        columns: &'static [Column],
        cells: fn(&Value, Timestamp) -> Vec<Value>,
    ) -> Self {
        Self { group, kind, columns, cells }
    }
}

/// The printer of kinds without their own: name and time of creation.
static CREATED_AT: Printer = Printer::new(
    "",
    "",
    &[
        NAME,
        Column {
            name: "Created At",
            ty: "date",
            format: "",
            description: "Time at which the server created the object.",
            priority: 0,
        },
    ],
    |object, _| vec![name(object), text(object, &["metadata", "creationTimestamp"]).into()],
);

/// The printer of custom resources that define no columns: name and age.
pub static NAME_AND_AGE: Printer =
    Printer::new("", "", &[NAME, AGE], |object, now| vec![name(object), human::age(object, now)]);

/// The printer of a built-in kind.
pub fn printer(group: &str, kind: &str) -> &'static Printer {
    let all =
        [core::PRINTERS, apps::PRINTERS, networking::PRINTERS, storage::PRINTERS, devices::PRINTERS, others::PRINTERS];
    let mut all = all.into_iter().flatten();
    all.find(|printer| printer.kind == kind && printer.group == group).unwrap_or(&CREATED_AT)
}

/// The string at a path; empty if there is none.
fn text<'a>(object: &'a Value, path: &[&str]) -> &'a str {
    object.str_at(path).unwrap_or("")
}

/// The integer at a path; 0 if there is none.
fn number(object: &Value, path: &[&str]) -> i64 {
    object.i64_at(path).unwrap_or(0)
}

/// The boolean at a path, else a default.
fn boolean(object: &Value, path: &[&str], default: bool) -> Value {
    object.bool_at(path).unwrap_or(default).into()
}

/// The length of a list or map at a path.
fn count(object: &Value, path: &[&str]) -> i64 {
    let len = match object.at(path) {
        Some(Value::Array(items)) => items.len(),
        Some(Value::Object(members)) => members.len(),
        _ => 0,
    };
    len.try_into().unwrap_or(i64::MAX)
}

fn name(object: &Value) -> Value {
    text(object, &["metadata", "name"]).into()
}

fn non_empty(text: &str, default: &str) -> Value {
    if text.is_empty() { default.into() } else { text.into() }
}

/// A scalar as people write it; `default` if there is none.
fn scalar(value: Option<&Value>, default: &str) -> Value {
    match value {
        Some(Value::String(text)) => text.clone().into(),
        Some(Value::Int(n)) => n.to_string().into(),
        Some(Value::Float(n)) => n.to_string().into(),
        _ => default.into(),
    }
}

/// Names and images of the containers at a path, each as one cell.
fn containers(object: &Value, path: &[&str]) -> [Value; 2] {
    let containers = object.array_at(path);
    let joined = |field: &str| containers.iter().map(|item| text(item, &[field])).collect::<Vec<_>>().join(",");
    [joined("name").into(), joined("image").into()]
}

/// Whether an object has a condition of this type with status True.
fn has_condition(object: &Value, wanted: &str) -> bool {
    let mut conditions = object.array_at(&["status", "conditions"]).iter();
    conditions.find(|item| text(item, &["type"]) == wanted).is_some_and(|item| text(item, &["status"]) == "True")
}

/// Strings of a list, joined.
fn joined(object: &Value, path: &[&str], separator: &str) -> String {
    object.array_at(path).iter().filter_map(Value::as_str).collect::<Vec<_>>().join(separator)
}

#[cfg(test)]
mod tests;
