//! Takes the descriptions of all kinds out of k8s-openapi's schemas and compresses them: 150 KB in the program, where
//! linking the schemas themselves would take 5 MB.

use std::borrow::Cow;
use std::io::Write;
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::{Map, Value, json};

/// Makes [`schemas`] of the types in `types.in`, which `cargo xtask codegen` writes.
macro_rules! types {
    ($($path:path,)*) => {
        fn schemas() -> Vec<(Cow<'static, str>, Schema)> {
            let mut generator = SchemaGenerator::default();
            let mut all = Vec::new();
            $(all.push((<$path as JsonSchema>::schema_name(), <$path as JsonSchema>::json_schema(&mut generator)));)*
            all
        }
    };
}

include!("types.in");

fn main() -> std::io::Result<()> {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=types.in");
    let all = schemas().into_iter().map(|(name, schema)| (name.into_owned(), described(&schema)));
    let text = Value::Object(all.collect()).to_string();
    let mut out = GzEncoder::new(Vec::new(), Compression::best());
    out.write_all(text.as_bytes())?;
    let folder = std::env::var_os("OUT_DIR").unwrap_or_default();
    std::fs::write(Path::new(&folder).join("descriptions.json.gz"), out.finish()?)
}

/// `[DESCRIPTION, {FIELD: DESCRIPTION}]`.
fn described(schema: &Schema) -> Value {
    let text = |value: Option<&Value>| value.and_then(|value| value.get("description")).cloned().unwrap_or_default();
    let properties = schema.get("properties").and_then(Value::as_object);
    let fields = properties.into_iter().flatten().map(|(name, property)| (name.clone(), text(Some(property))));
    let fields = fields.filter(|(_, text)| text.is_string()).collect::<Map<_, _>>();
    json!([schema.get("description"), fields])
}
