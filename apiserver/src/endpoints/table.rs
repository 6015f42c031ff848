//! Objects as tables: what the printers need to know of a request.

use std::sync::Arc;

use jiff::Timestamp;
use skiff_apimachinery::status::Status;
use skiff_apimachinery::value::{Object, Value};

use super::Call;
use crate::negotiation::MetaVersion;
use crate::printers::table::{self, IncludeObject, Options};
use crate::printers::{Printer, Rows, printer};

fn options(call: &Call<'_>, version: MetaVersion) -> Result<Options, Status> {
    let include = IncludeObject::parse(call.cx.query.text("includeObject"))?;
    Ok(Options { version, include, headers: true, now: Timestamp::now() })
}

fn printer_of(call: &Call<'_>) -> Printing {
    if let (Some(custom), None) = (&call.resource.custom, call.subresource.filter(|s| s.foreign_kind)) {
        return Printing::Custom(custom.rows.clone());
    }
    let (group, kind) = match call.subresource {
        Some(subresource) => (subresource.group.as_str(), subresource.kind.as_str()),
        None => (call.resource.info.group.as_str(), call.resource.info.kind.as_str()),
    };
    Printing::Static(printer(group, kind))
}

/// The columns and cells of a kind.
enum Printing {
    Static(&'static Printer),
    Custom(Arc<dyn Rows>),
}

impl std::ops::Deref for Printing {
    type Target = dyn Rows;

    fn deref(&self) -> &Self::Target {
        match self {
            Printing::Static(printer) => *printer,
            Printing::Custom(rows) => &**rows,
        }
    }
}

/// The table of one object.
pub fn of_object(call: &Call<'_>, object: &Value, version: MetaVersion) -> Result<Value, Status> {
    Ok(table::of_object(&*printer_of(call), object, &options(call, version)?))
}

/// The table of a list.
pub fn of_list(call: &Call<'_>, objects: &[Value], metadata: Object, version: MetaVersion) -> Result<Value, Status> {
    Ok(table::build(&*printer_of(call), metadata, objects, &options(call, version)?))
}

/// Tables of one row each, for a watch: only the first one carries the columns.
pub struct WatchTable {
    printer: Printing,
    options: Options,
}

impl WatchTable {
    /// Tables for this watch.
    pub fn new(call: &Call<'_>, version: MetaVersion) -> Result<Self, Status> {
        Ok(Self { printer: printer_of(call), options: options(call, version)? })
    }

    /// The table of an event's object.
    pub fn row(&mut self, object: &Value) -> Value {
        self.options.now = Timestamp::now();
        let table = table::of_object(&*self.printer, object, &self.options);
        self.options.headers = false;
        table
    }
}
