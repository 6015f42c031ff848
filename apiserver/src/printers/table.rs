//! The Table that rows are sent in.

use jiff::Timestamp;
use skiff_apimachinery::status::Status;
use skiff_apimachinery::value::{Object, Value};

use super::partial::{self, MetaVersion};
use super::{Column, Rows};

/// What a row carries of its object.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IncludeObject {
    /// Nothing.
    None,
    /// Its metadata.
    #[default]
    Metadata,
    /// All of it.
    Object,
}

impl IncludeObject {
    /// The value of the query parameter `includeObject`; empty means the default.
    pub fn parse(text: &str) -> Result<Self, Status> {
        match text {
            "" | "Metadata" => Ok(Self::Metadata),
            "None" => Ok(Self::None),
            "Object" => Ok(Self::Object),
            other => Err(Status::new(
                400,
                "BadRequest",
                format!(
                    "Unable to convert to Table as requested: includeObject: Invalid value: {other:?}: must be \
                     'Metadata', 'Object', 'None', or empty"
                ),
            )),
        }
    }
}

/// How a client wants its table.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Version of the Table.
    pub version: MetaVersion,
    /// What rows carry of their objects.
    pub include: IncludeObject,
    /// Whether the column definitions are sent; in a watch only the first event has them.
    pub headers: bool,
    /// The moment that ages are reckoned to.
    pub now: Timestamp,
}

/// The table of one object.
pub fn of_object(printer: &dyn Rows, object: &Value, options: &Options) -> Value {
    let mut metadata = Object::new();
    if let Some(version) = object.str_at(&["metadata", "resourceVersion"]) {
        metadata.insert("resourceVersion", version);
    }
    build(printer, metadata, [object], options)
}

/// The table of a list's items, with the list's metadata.
pub fn of_list(printer: &dyn Rows, list: &Value, options: &Options) -> Value {
    let metadata = list.get("metadata").and_then(Value::as_object).cloned().unwrap_or_default();
    build(printer, metadata, list.array_at(&["items"]), options)
}

/// The table of some objects. Use this where there is no list object, e.g. with objects straight from a cache.
pub fn build<'a>(
    printer: &dyn Rows,
    metadata: Object,
    objects: impl IntoIterator<Item = &'a Value>,
    options: &Options,
) -> Value {
    let rows: Vec<Value> = objects.into_iter().map(|object| row(printer, object, options)).collect();
    let columns = if options.headers { printer.columns() } else { Vec::new() };
    let mut table = Object::with_capacity(5);
    table.insert("apiVersion", options.version.api_version());
    // Without headers the field is null, as upstream sends a list that was never made.
    table.insert("columnDefinitions", if options.headers { Value::Array(columns) } else { Value::Null });
    table.insert("kind", "Table");
    table.insert("metadata", metadata);
    table.insert("rows", Value::Array(rows));
    Value::Object(table)
}

/// One row of a table.
pub fn row(printer: &dyn Rows, object: &Value, options: &Options) -> Value {
    let mut row = Object::with_capacity(3);
    row.insert("cells", Value::Array(printer.cells(object, options.now)));
    if let Some(conditions) = printer.conditions(object) {
        row.insert("conditions", conditions);
    }
    let carried = match options.include {
        IncludeObject::None => Value::Null,
        IncludeObject::Metadata => partial::object(object, options.version),
        IncludeObject::Object => object.clone(),
    };
    row.insert("object", carried);
    Value::Object(row)
}

/// A column as a `metav1.TableColumnDefinition`.
pub fn column(column: &Column) -> Value {
    let members = [
        ("description", Value::from(column.description)),
        ("format", Value::from(column.format)),
        ("name", Value::from(column.name)),
        ("priority", Value::from(column.priority)),
        ("type", Value::from(column.ty)),
    ];
    Value::Object(members.into_iter().collect())
}
