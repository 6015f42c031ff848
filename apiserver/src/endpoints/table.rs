//! Objects as tables: what the printers need to know of a request.

use jiff::Timestamp;
use skiff_apimachinery::status::Status;
use skiff_apimachinery::value::{Object, Value};

use super::Call;
use crate::negotiation::MetaVersion;
use crate::printers::table::{self, IncludeObject, Options};
use crate::printers::{Printer, printer};

fn options(call: &Call<'_>, version: MetaVersion) -> Result<Options, Status> {
    let include = IncludeObject::parse(call.cx.query.text("includeObject"))?;
    Ok(Options { version, include, headers: true, now: Timestamp::now() })
}

fn printer_of(call: &Call<'_>) -> &'static Printer {
    let (group, kind) = match call.subresource {
        Some(subresource) => (subresource.group.as_str(), subresource.kind.as_str()),
        None => (call.resource.info.group.as_str(), call.resource.info.kind.as_str()),
    };
    printer(group, kind)
}

/// The table of one object.
pub fn of_object(call: &Call<'_>, object: &Value, version: MetaVersion) -> Result<Value, Status> {
    Ok(table::of_object(printer_of(call), object, &options(call, version)?))
}

/// The table of a list.
pub fn of_list(call: &Call<'_>, objects: &[Value], metadata: Object, version: MetaVersion) -> Result<Value, Status> {
    Ok(table::build(printer_of(call), metadata, objects, &options(call, version)?))
}

/// Tables of one row each, for a watch: only the first one carries the columns.
pub struct WatchTable {
    printer: &'static Printer,
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
        let table = table::of_object(self.printer, object, &self.options);
        self.options.headers = false;
        table
    }
}
