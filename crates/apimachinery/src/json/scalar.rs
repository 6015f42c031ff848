//! Scalars of JSON as the types have them: checked, and in the form in which Go would write them.

use compact_str::CompactString;

use super::DecodeError;
use crate::quantity::{self, ParseError};
use crate::schema::{Scalar, Type, TypeTable};
use crate::time::{Moment, Precision};
use crate::value::Value;

/// A string; `None` where the type has none.
pub(super) fn string(text: CompactString, ty: &Type) -> Result<Option<Value>, DecodeError> {
    Ok(Some(match ty {
        Type::Any | Type::Scalar(Scalar::String | Scalar::IntOrString | Scalar::Duration) => Value::String(text),
        Type::Scalar(Scalar::Bytes) => {
            check_base64(&text)?;
            Value::String(text)
        }
        Type::Scalar(Scalar::Quantity) => quantity(&text)?,
        Type::Scalar(Scalar::Time | Scalar::MicroTime) if text.is_empty() => Value::Null,
        Type::Scalar(scalar @ (Scalar::Time | Scalar::MicroTime)) => {
            let precision = if *scalar == Scalar::MicroTime { Precision::Micros } else { Precision::Seconds };
            let moment = Moment::parse(&text, precision).map_err(DecodeError)?;
            if moment.is_zero() { Value::Null } else { Value::from(moment.text(precision)) }
        }
        _ => return Ok(None),
    }))
}

/// The complaint about what is neither a string nor a number, for types that read their text themselves.
pub(super) fn refusal(ty: &Type) -> Option<DecodeError> {
    (*ty == Type::Scalar(Scalar::Quantity)).then(|| DecodeError(ParseError::Format.to_string()))
}

/// A number; `None` where the type has none, or none so large.
pub(super) fn number(text: &str, ty: &Type) -> Result<Option<Value>, DecodeError> {
    let integer = text.parse::<i64>().ok();
    let float = || text.parse::<f64>().ok().filter(|number| number.is_finite()).map(Value::Float);
    Ok(match ty {
        Type::Any | Type::Scalar(Scalar::Double) => integer.map(Value::Int).or_else(float),
        Type::Scalar(Scalar::Int32 | Scalar::IntOrString) => {
            integer.filter(|number| i32::try_from(*number).is_ok()).map(Value::Int)
        }
        Type::Scalar(Scalar::Int64) => integer.map(Value::Int),
        Type::Scalar(Scalar::Quantity) => Some(quantity(text)?),
        _ => None,
    })
}

fn quantity(text: &str) -> Result<Value, DecodeError> {
    quantity::canonical(text).map(Value::from).map_err(|error| DecodeError(error.to_string()))
}

/// Bytes are kept as their text, which must be one that Go would write; line breaks are let pass as Go does.
fn check_base64(text: &str) -> Result<(), DecodeError> {
    use base64::DecodeError::{InvalidByte, InvalidLastSymbol, InvalidLength, InvalidPadding};
    use base64::Engine;
    let at = match base64::engine::general_purpose::STANDARD.decode(text) {
        Ok(_) => return Ok(()),
        Err(_) if text.contains(['\n', '\r']) => return check_base64(&text.replace(['\n', '\r'], "")),
        Err(InvalidByte(at, _) | InvalidLastSymbol(at, _)) => at,
        Err(InvalidLength(length)) => length / 4 * 4,
        Err(InvalidPadding) if text.contains('=') => text.len(),
        Err(InvalidPadding) => text.len() / 4 * 4,
    };
    Err(DecodeError(format!("illegal base64 data at input byte {at}")))
}

/// The type as Go's error messages name it.
pub(super) fn go_type(ty: &Type, table: &TypeTable) -> String {
    match ty {
        Type::Struct(id) => {
            let mut segments = table.def(*id).name.rsplitn(3, '.');
            let (kind, version) = (segments.next().unwrap_or(""), segments.next().unwrap_or(""));
            format!("{version}.{kind}")
        }
        Type::Map(map) => format!("map[string]{}", go_type(&map.value, table)),
        Type::List(list) => format!("[]{}", go_type(&list.item, table)),
        Type::Any => "interface {}".into(),
        Type::Scalar(scalar) => match scalar {
            Scalar::Bool => "bool",
            Scalar::Int32 => "int32",
            Scalar::Int64 => "int64",
            Scalar::Double => "float64",
            Scalar::Quantity => "resource.Quantity",
            Scalar::IntOrString => "intstr.IntOrString",
            Scalar::Time => "v1.Time",
            Scalar::MicroTime => "v1.MicroTime",
            Scalar::Bytes => "[]uint8",
            _ => "string",
        }
        .into(),
    }
}
