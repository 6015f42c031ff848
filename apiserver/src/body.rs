//! Request bodies: read with a limit, decoded under the kind's schema, unknown and duplicate fields reported.

use axum::body::Body;
use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use skiff_api::KindInfo;
use skiff_apimachinery::json::Decoded;
use skiff_apimachinery::schema::SchemaRef;
use skiff_apimachinery::status::{self, Status};
use skiff_apimachinery::value::Value;
use skiff_apimachinery::{json, protobuf, yaml};

use crate::claim::{self, Mismatch};
use crate::context::RequestContext;
use crate::endpoints::params::FieldValidation;
use crate::negotiation::Encoding;
use crate::registry::strategy::Strategy;

/// Largest request body in bytes (upstream's `MaxRequestBodyBytes`).
pub const MAX_BODY: usize = 3 * 1024 * 1024;

/// Bytes of a body that an error message quotes.
const MAX_QUOTED: usize = 30;

/// What upstream reads first of a body, as Go prints the type.
const TYPE_META: &str =
    r#"struct { APIVersion string "json:\"apiVersion,omitempty\""; Kind string "json:\"kind,omitempty\"" }"#;

/// Reads a whole body; 413 above [`MAX_BODY`].
pub async fn read(body: Body) -> Result<Bytes, Status> {
    match Limited::new(body, MAX_BODY).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<http_body_util::LengthLimitError>() => {
            Err(status::request_entity_too_large(format!("limit is {MAX_BODY}")))
        }
        Err(error) => Err(status::bad_request(format!("unable to read the request body: {error}"))),
    }
}

/// What kind of object a body must hold.
#[derive(Clone, Copy)]
pub struct Expected<'a> {
    /// API group.
    pub group: &'a str,
    /// API version.
    pub version: &'a str,
    /// Kind.
    pub kind: &'a str,
    /// Type.
    pub schema: SchemaRef<'a>,
    /// Takes out what the schema lets pass and the kind does not know.
    pub pruning: Option<&'a dyn Strategy>,
}

impl<'a> Expected<'a> {
    /// Objects of a resource.
    pub fn of(info: &'a KindInfo, schema: SchemaRef<'a>) -> Self {
        Self { group: &info.group, version: &info.version, kind: &info.kind, schema, pruning: None }
    }

    /// `group/version`, or the version alone for core.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.to_owned() } else { format!("{}/{}", self.group, self.version) }
    }
}

/// Decodes an object. `apiVersion` and `kind` that are absent are filled in; others than expected are a 400.
pub fn decode(
    cx: &RequestContext,
    expected: Expected<'_>,
    encoding: Encoding,
    bytes: &[u8],
    validation: FieldValidation,
) -> Result<Value, Status> {
    let decoded = match encoding {
        Encoding::Json => json::decode(bytes, expected.schema),
        Encoding::Yaml => yaml::decode(bytes, expected.schema),
        Encoding::Protobuf => {
            let value = decode_protobuf(expected, bytes)?;
            sent(cx, &value);
            return Ok(value);
        }
    };
    let decoded = decoded.map_err(|error| undecodable(expected, encoding, bytes, &error.to_string()))?;
    let Decoded { mut value, unknown, duplicate, repeated_keys } = decoded;
    if expected.pruning.is_some() {
        check_custom_kind(expected, &value, bytes)?;
    }
    check_type(expected, &mut value, bytes)?;
    let fields = match expected.pruning {
        Some(strategy) => strict_errors_after_pruning(&duplicate, &unknown, &strategy.prune(&mut value)),
        None => strict_errors(&unknown, &duplicate),
    };
    let errors = StrictErrors { repeated_keys, fields };
    report_strictness(cx, expected, &value, errors, validation)?;
    sent(cx, &value);
    Ok(value)
}

/// Keeps what was sent where that is wanted.
pub fn sent(cx: &RequestContext, object: &Value) {
    if let Some(audit) = &cx.audit {
        audit.request_object(object);
    }
}

fn decode_protobuf(expected: Expected<'_>, bytes: &[u8]) -> Result<Value, Status> {
    let mut value = protobuf::decode(bytes, expected.schema)
        .map_err(|error| undecodable(expected, Encoding::Protobuf, bytes, &error.to_string()))?;
    check_type(expected, &mut value, bytes)?;
    Ok(value)
}

/// The messages for unknown and duplicate fields.
pub fn strict_errors(unknown: &[String], duplicate: &[String]) -> Vec<String> {
    let unknown = unknown.iter().map(|path| format!("unknown field {path:?}"));
    let duplicate = duplicate.iter().map(|path| format!("duplicate field {path:?}"));
    unknown.chain(duplicate).collect()
}

/// What is only wrong when it is looked at strictly.
struct StrictErrors {
    /// Keys given twice in YAML.
    repeated_keys: Vec<String>,
    /// Unknown and duplicate fields.
    fields: Vec<String>,
}

impl StrictErrors {
    fn message(self) -> String {
        repeated_keys(&self.repeated_keys).into_iter().chain(self.fields).collect::<Vec<_>>().join(", ")
    }
}

/// One message for keys given twice, as upstream's YAML library gathers them.
fn repeated_keys(keys: &[String]) -> Option<String> {
    (!keys.is_empty()).then(|| format!("yaml: unmarshal errors:\n  {}", keys.join("\n  ")))
}

/// The same for kinds that find unknown fields by pruning, after all others.
pub fn strict_errors_after_pruning(duplicate: &[String], unknown: &[String], pruned: &[String]) -> Vec<String> {
    let unknown = strict_errors(unknown, &[]).into_iter().chain(strict_errors(pruned, &[]));
    strict_errors(&[], duplicate).into_iter().chain(unknown).collect()
}

fn report_strictness(
    cx: &RequestContext,
    expected: Expected<'_>,
    value: &Value,
    errors: StrictErrors,
    validation: FieldValidation,
) -> Result<(), Status> {
    if errors.repeated_keys.is_empty() && errors.fields.is_empty() {
        return Ok(());
    }
    match validation {
        FieldValidation::Ignore => Ok(()),
        FieldValidation::Warn => {
            cx.warnings.extend(errors.repeated_keys);
            cx.warnings.extend(errors.fields);
            Ok(())
        }
        FieldValidation::Strict => {
            let kind = value.str_at(&["kind"]).unwrap_or(expected.kind);
            let error = format!("strict decoding error: {}", errors.message());
            Err(cannot_be_handled(kind, expected.version, expected, &error))
        }
    }
}

/// Fills in `apiVersion` and `kind`; 400 when they are others than expected.
fn check_type(expected: Expected<'_>, value: &mut Value, bytes: &[u8]) -> Result<(), Status> {
    let text = |field: &str| value.str_at(&[field]).unwrap_or("");
    let (api_version, kind) = (text("apiVersion"), text("kind"));
    let want = expected.api_version();
    // Custom resources are of any type that they say, as long as it is the expected one.
    let compared = match claim::compare(expected, api_version, kind) {
        Err(_) if expected.pruning.is_some() && !api_version.is_empty() && api_version != want => {
            Err(Mismatch::OtherVersion)
        }
        compared => compared,
    };
    match compared {
        Ok(()) => {}
        Err(Mismatch::Malformed(error)) => return Err(unrecognized(expected, bytes, &error)),
        Err(Mismatch::OtherVersion) => {
            return Err(status::bad_request(format!(
                "the API version in the data ({api_version}) does not match the expected API version ({want})"
            )));
        }
        Err(Mismatch::Undecodable(error)) => {
            let kind = if kind.is_empty() { expected.kind } else { kind };
            let version = api_version.rsplit('/').next().filter(|version| !version.is_empty());
            return Err(cannot_be_handled(kind, version.unwrap_or(expected.version), expected, &error));
        }
    }
    value.set_at(&["apiVersion"], want);
    value.set_at(&["kind"], expected.kind);
    Ok(())
}

fn cannot_be_handled(kind: &str, version: &str, expected: Expected<'_>, error: &str) -> Status {
    status::bad_request(format!("{kind} in version {version:?} cannot be handled as a {}: {error}", expected.kind))
}

/// Of custom resources the kind is not guessed, and a wrong one is found by validation.
fn check_custom_kind(expected: Expected<'_>, value: &Value, bytes: &[u8]) -> Result<(), Status> {
    match value.str_at(&["kind"]).unwrap_or("") {
        "" => {
            let text = String::from_utf8_lossy(bytes);
            Err(unrecognized(expected, bytes, &format!("Object 'Kind' is missing in '{text}'")))
        }
        kind if kind != expected.kind => {
            let path = skiff_apimachinery::field::Path::new("kind");
            let why = format!("must be {}", expected.kind);
            let errors = vec![skiff_apimachinery::field::Error::invalid(&path, kind, why)];
            Err(status::invalid(expected.group, kind, skiff_apimachinery::meta::name(value), errors))
        }
        _ => Ok(()),
    }
}

/// 400 for a body that cannot be decoded; names what it claims to be when that much can be read.
fn undecodable(expected: Expected<'_>, encoding: Encoding, bytes: &[u8], error: &str) -> Status {
    let claimed = match encoding {
        Encoding::Json => json::parse(bytes),
        Encoding::Yaml => yaml::parse(bytes),
        Encoding::Protobuf => return unrecognized(expected, bytes, error),
    };
    match claimed {
        Ok(claimed @ Value::Object(_)) => {
            let fields = ["apiVersion", "kind"].into_iter();
            let mut other = fields.filter_map(|field| Some((field, not_a_text(claimed.get(field)?)?)));
            if let Some((field, found)) = other.next() {
                let error = format!("json: cannot unmarshal {found} into Go struct field .{field} of type string");
                return unrecognized(expected, bytes, &no_type(&error));
            }
            let kind = claimed.str_at(&["kind"]).unwrap_or(expected.kind);
            let version = claimed.str_at(&["apiVersion"]).and_then(|v| v.rsplit('/').next());
            let version = version.unwrap_or(expected.version);
            cannot_be_handled(kind, version, expected, error)
        }
        Ok(other) => {
            let found = not_a_text(&other).unwrap_or("string");
            let error = format!("json: cannot unmarshal {found} into Go value of type {TYPE_META}");
            unrecognized(expected, bytes, &no_type(&error))
        }
        // The parser points at the place in further lines.
        Err(error) if encoding == Encoding::Yaml => {
            unrecognized(expected, bytes, error.to_string().lines().next().unwrap_or(""))
        }
        Err(error) => unrecognized(expected, bytes, &no_type(&error.to_string())),
    }
}

/// What Go calls a value that is no text.
fn not_a_text(value: &Value) -> Option<&'static str> {
    match value {
        Value::Null | Value::String(_) | Value::Raw(_) => None,
        Value::Bool(_) => Some("bool"),
        Value::Int(_) | Value::Float(_) => Some("number"),
        Value::Array(_) => Some("array"),
        Value::Object(_) => Some("object"),
    }
}

fn no_type(error: &str) -> String {
    format!("couldn't get version/kind; json parse error: {error}")
}

/// 400 for a body of which not even the kind is known.
fn unrecognized(expected: Expected<'_>, bytes: &[u8], error: &str) -> Status {
    status::bad_request(format!(
        "the object provided is unrecognized (must be of type {}): {error} ({})",
        expected.kind,
        summary(bytes)
    ))
}

/// The start of a body: as text if it looks like JSON, as hexadecimal digits otherwise (`summarizeData` upstream).
fn summary(bytes: &[u8]) -> String {
    let start = bytes.get(..MAX_QUOTED).unwrap_or(bytes);
    let mut text = match bytes.first() {
        None => return "<empty>".to_owned(),
        Some(b'{') => String::from_utf8_lossy(start).into_owned(),
        Some(_) => start.iter().map(|byte| format!("{byte:02x}")).collect(),
    };
    if bytes.len() > MAX_QUOTED {
        text.push_str(" ...");
    }
    text
}
