//! The Go structs that make up a pod template: names of types and fields, in order.
//!
//! `layout.txt` has a line for each struct with its type, and below it its fields: name, JSON name (`-` where the
//! fields of the field stand in the struct itself), type, and the plain type below a type with a name of its own. It was
//! listed by reflection over `PodTemplateSpec` of `k8s.io/api/core/v1` v1.36. A field that upstream adds changes every
//! hash, so that a new version of Kubernetes needs a new list.

use std::collections::HashMap;
use std::sync::LazyLock;

/// A field of a struct.
pub(super) struct Field {
    /// Its name in Go.
    pub(super) name: &'static str,
    /// Its name in JSON; none for a struct whose fields are written as if they were of the outer one.
    pub(super) json: Option<&'static str>,
    /// Its type in Go.
    pub(super) go_type: &'static str,
    /// What a value that is no struct is in the end: `string`, `bool`, `int32`, `int64`.
    pub(super) plain: &'static str,
}

/// Fields of structs by type.
static STRUCTS: LazyLock<HashMap<&str, Vec<Field>>> = LazyLock::new(|| parse(include_str!("layout.txt")));

/// The fields of a struct, if the type is one.
pub(super) fn fields(go_type: &str) -> Option<&'static [Field]> {
    STRUCTS.get(go_type).map(Vec::as_slice)
}

fn parse(text: &'static str) -> HashMap<&'static str, Vec<Field>> {
    let mut structs: HashMap<&str, Vec<Field>> = HashMap::new();
    let mut of = "";
    for line in text.lines() {
        let Some(line) = line.strip_prefix(' ') else {
            of = line;
            continue;
        };
        let mut words = line.split(' ');
        let mut word = || words.next().unwrap_or_default();
        let (name, json, go_type, plain) = (word(), word(), word(), word());
        let json = (json != "-").then_some(json);
        structs.entry(of).or_default().push(Field { name, json, go_type, plain });
    }
    structs
}

#[test]
fn every_type_is_known() {
    for (name, fields) in STRUCTS.iter() {
        for field in fields {
            let inner = field.go_type.trim_start_matches(['*', '[', ']']).trim_start_matches("map[string]");
            let special = ["resource.Quantity", "intstr.IntOrString", "v1.Time", "v1.FieldsV1", "v1.ResourceList"];
            let known = !field.plain.is_empty() || special.contains(&inner) || STRUCTS.contains_key(inner);
            assert!(known, "{name}.{}: {}", field.name, field.go_type);
        }
    }
}
