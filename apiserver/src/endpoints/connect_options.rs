//! The object that admission sees of a connection: its options, from the query (`runtime.ParameterCodec` upstream).

use skiff_apimachinery::schema::{FieldDef, Scalar, Type};
use skiff_apimachinery::value::{Object, Value};

use super::{Asked, Call};

/// A `PodExecOptions`, `PodAttachOptions`, `PodPortForwardOptions` or one of the proxies' options.
pub(super) fn of(call: &Call<'_>) -> Value {
    let (_, version, kind) = call.kind();
    let mut options = Object::new();
    options.insert("kind", kind);
    options.insert("apiVersion", version);
    let fields = Asked::schema(call).struct_def().map(|def| def.fields.as_slice()).unwrap_or_default();
    for field in fields {
        if field.name == "path" && kind.ends_with("ProxyOptions") {
            // What comes behind `/proxy`, with the slash.
            let rest = call.cx.info.rest.as_deref().map(|rest| format!("/{rest}"));
            options.insert("path", rest.unwrap_or_default());
        } else if let Some(value) = value(call, field) {
            options.insert(field.name.clone(), value);
        }
    }
    options.retain(|_, value| !matches!(value, Value::String(text) if text.is_empty()));
    Value::Object(options)
}

fn value(call: &Call<'_>, field: &FieldDef) -> Option<Value> {
    let query = &call.cx.query;
    let given = query.get(&field.name)?;
    Some(match &field.ty {
        Type::Scalar(Scalar::Bool) => Value::Bool(query.flag(&field.name)),
        Type::Scalar(Scalar::Int32 | Scalar::Int64) => Value::Int(given.parse().ok()?),
        Type::List(list) => {
            let number = matches!(list.item, Type::Scalar(Scalar::Int32 | Scalar::Int64));
            let items = query.all(&field.name).filter_map(|text| match number {
                true => text.parse().ok().map(Value::Int),
                false => Some(Value::from(text)),
            });
            items.collect::<Vec<_>>().into()
        }
        _ => Value::from(given),
    })
}
