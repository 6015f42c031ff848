//! Compiles `crates/api/facts/*.json` to the tables that `skiff-api` embeds and parses at start.
//!
//! The tables are text, one record per line, tab-separated, so that a change shows in a diff and parsing needs no JSON.
//! Their reader, `crates/api/src/tables.rs`, documents the format.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context, bail};
use serde::Deserialize;
use serde_json::Value;

/// Writes the tables, or with `check` fails if those on disk are stale.
pub(crate) fn run(root: &Path, check: bool) -> anyhow::Result<()> {
    let api = root.join("crates/api");
    let read = |name: &str| {
        let path = api.join("facts").join(name);
        fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))
    };
    let mut types: BTreeMap<String, TypeFact> = serde_json::from_str(&read("types.json")?).context("types.json")?;
    let enums: BTreeMap<String, BTreeMap<String, Vec<String>>> =
        serde_json::from_str(&read("enums.json")?).context("enums.json")?;
    add_enums(&mut types, enums)?;
    tell_empty_lists(&mut types)?;
    let groups: Vec<GroupFact> = serde_json::from_str(&read("resources.json")?).context("resources.json")?;
    emit(&api.join("src/tables/types.tsv"), &type_table(&types)?, check)?;
    emit(&root.join("crates/descriptions/types.in"), &described_types(&types), check)?;
    emit(&api.join("src/tables/resources.tsv"), &resource_table(&groups, &types)?, check)
}

/// Tells the fields whose values are listed.
fn add_enums(
    types: &mut BTreeMap<String, TypeFact>,
    enums: BTreeMap<String, BTreeMap<String, Vec<String>>>,
) -> anyhow::Result<()> {
    for (name, fields) in enums {
        for (field, values) in fields {
            let fact = types.get_mut(&name).and_then(|ty| ty.fields.get_mut(&field));
            fact.with_context(|| format!("enums.json: no field {name}.{field}"))?.values = values;
        }
    }
    Ok(())
}

/// Lists of which an empty one is not the same as none, as where it is a pointer: defaulting fills in what was left out
/// and validation refuses what is empty (`SetDefaults_*` functions that ask whether a list is nil).
const EMPTY_LISTS: &[(&str, &str)] = &[("io.k8s.api.autoscaling.v2.HPAScalingRules", "policies")];

fn tell_empty_lists(types: &mut BTreeMap<String, TypeFact>) -> anyhow::Result<()> {
    for (name, field) in EMPTY_LISTS {
        let fact = types.get_mut(*name).and_then(|ty| ty.fields.get_mut(*field));
        fact.with_context(|| format!("no field {name}.{field}"))?.pointer = true;
    }
    Ok(())
}

fn emit(path: &Path, text: &str, check: bool) -> anyhow::Result<()> {
    if check {
        if fs::read_to_string(path).ok().as_deref() != Some(text) {
            bail!("{} is stale: run `cargo xtask codegen`", path.display());
        }
        return Ok(());
    }
    fs::create_dir_all(path.parent().context("table folder")?)?;
    fs::write(path, text).with_context(|| format!("writing {}", path.display()))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct TypeFact {
    #[serde(default)]
    atomic: bool,
    #[serde(default)]
    gvk: Vec<(String, String, String)>,
    #[serde(default)]
    unpublished: bool,
    #[serde(default)]
    unions: Value,
    fields: BTreeMap<String, FieldFact>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct FieldFact {
    #[serde(rename = "type")]
    ty: String,
    #[serde(default)]
    required: bool,
    list: Option<String>,
    #[serde(default)]
    keys: Vec<String>,
    map: Option<String>,
    merge_key: Option<String>,
    strategy: Option<String>,
    default: Option<Value>,
    #[serde(default)]
    zero_default: bool,
    proto: Option<String>,
    wrapped: Option<String>,
    #[serde(default)]
    pointer: bool,
    #[serde(default)]
    keep_empty: bool,
    #[serde(default)]
    #[expect(dead_code, reason = "a fact that the tables do not need: creationTimestamp is handled with the times")]
    omit_zero: bool,
    go: Option<String>,
    /// Values that are listed in `enums.json`.
    #[serde(skip)]
    values: Vec<String>,
}

#[derive(Deserialize)]
struct GroupFact {
    group: String,
    versions: Vec<VersionFact>,
}

#[derive(Deserialize)]
struct VersionFact {
    version: String,
    resources: Vec<ResourceFact>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ResourceFact {
    name: String,
    kind: String,
    kind_group_version: Option<(String, String)>,
    definition: Option<String>,
    verbs: Vec<String>,
    #[serde(default)]
    cluster: bool,
    singular: Option<String>,
    #[serde(default)]
    short_names: Vec<String>,
    #[serde(default)]
    categories: Vec<String>,
    storage_version_hash: Option<String>,
    storage: Option<(String, String)>,
    list: Option<String>,
}

fn type_table(types: &BTreeMap<String, TypeFact>) -> anyhow::Result<String> {
    let ids: HashMap<&str, usize> = types.keys().zip(0..).map(|(name, id)| (name.as_str(), id)).collect();
    let mut out = String::new();
    for (name, fact) in types {
        let mut flags = String::new();
        for (on, flag) in [(fact.atomic, 'a'), (fact.unpublished, 'x')] {
            if on {
                flags.push(flag);
            }
        }
        let gvk = fact.gvk.iter().map(|(g, v, k)| format!("{g}/{v}/{k}")).collect::<Vec<_>>().join(",");
        let unions = if fact.unions.is_null() { String::new() } else { fact.unions.to_string() };
        record(&mut out, &[&format!("={name}"), &flags, &gvk, &unions]);
        for (field, fact) in &fact.fields {
            field_record(&mut out, field, fact, &ids).with_context(|| format!("{name}.{field}"))?;
        }
    }
    Ok(out)
}

/// Types that JSON writes as scalars or as anything: they have descriptions, but no fields in the facts.
const SCALARS: &[&str] = &[
    "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSON",
    "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrArray",
    "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrBool",
    "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrStringArray",
    "io.k8s.apimachinery.pkg.api.resource.Quantity",
    "io.k8s.apimachinery.pkg.apis.meta.v1.FieldsV1",
    "io.k8s.apimachinery.pkg.apis.meta.v1.MicroTime",
    "io.k8s.apimachinery.pkg.apis.meta.v1.Patch",
    "io.k8s.apimachinery.pkg.apis.meta.v1.Time",
    "io.k8s.apimachinery.pkg.runtime.RawExtension",
    "io.k8s.apimachinery.pkg.util.intstr.IntOrString",
];

/// The types whose descriptions k8s-openapi has, as Rust paths: all that are published, but for lists, which it writes
/// as one generic type, and for the events of watches, which are generic, too.
fn described_types(types: &BTreeMap<String, TypeFact>) -> String {
    let is_list = |name: &str, fact: &TypeFact| name.ends_with("List") && fact.fields.contains_key("items");
    let generic = |name: &str| name.ends_with(".WatchEvent");
    let published = types.iter().filter(|(name, fact)| !fact.unpublished && !is_list(name, fact) && !generic(name));
    let mut names = published.map(|(name, _)| name.as_str()).chain(SCALARS.iter().copied()).collect::<Vec<_>>();
    names.sort_unstable();
    names.dedup();
    let mut out = String::from("types! {\n");
    for name in names {
        let path = name.trim_start_matches("io.k8s.").replace('-', "_").replace('.', "::");
        let _ = writeln!(out, "    k8s_openapi::{path},");
    }
    out.push_str("}\n");
    out
}

fn field_record(out: &mut String, name: &str, fact: &FieldFact, ids: &HashMap<&str, usize>) -> anyhow::Result<()> {
    let mut flags = String::new();
    for strategy in fact.strategy.iter().flat_map(|s| s.split(',')) {
        flags.push(match strategy {
            "merge" => 'm',
            "replace" => 'p',
            "retainKeys" => 'k',
            other => bail!("patch strategy {other}"),
        });
    }
    for (on, flag) in [
        (fact.required, 'r'),
        (fact.pointer, '*'),
        (fact.keep_empty, 'e'),
        (fact.zero_default, 'z'),
        // Bytes are a list to Go, and one field says how that merges.
        ((fact.ty.starts_with("[]") || fact.ty == "bytes") && fact.list.is_none(), 'u'),
        (fact.map.as_deref() == Some("atomic"), 'a'),
        (fact.map.as_deref() == Some("granular"), 'g'),
    ] {
        if on {
            flags.push(flag);
        }
    }
    match fact.wrapped.as_deref() {
        None => {}
        Some("items") => flags.push('I'),
        Some("schemaOrArray") => flags.push('A'),
        Some("schemaOrBool") => flags.push('B'),
        Some("schemaOrStringArray") => flags.push('S'),
        Some(other) => bail!("wrapped {other}"),
    }
    let default = fact.default.as_ref().map(Value::to_string).unwrap_or_default();
    record(
        out,
        &[
            name,
            &type_expression(&fact.ty, Some(fact), ids)?,
            &flags,
            fact.proto.as_deref().unwrap_or_default(),
            fact.merge_key.as_deref().unwrap_or_default(),
            &default,
            fact.go.as_deref().unwrap_or_default(),
            &fact.values.join(","),
        ],
    );
    Ok(())
}

/// The type as the table spells it; list and map kinds belong to the outermost list or map.
fn type_expression(ty: &str, fact: Option<&FieldFact>, ids: &HashMap<&str, usize>) -> anyhow::Result<String> {
    if let Some(item) = ty.strip_prefix("[]") {
        let kind = match fact.and_then(|f| f.list.as_deref()) {
            None | Some("atomic") => "a".to_owned(),
            Some("set") => "s".to_owned(),
            Some("map") => format!("m{}", fact.map(|f| f.keys.join(",")).unwrap_or_default()),
            Some(other) => bail!("list type {other}"),
        };
        return Ok(format!("[{kind}]{}", type_expression(item, None, ids)?));
    }
    if let Some(value) = ty.strip_prefix("{}") {
        return Ok(format!("{{{}", type_expression(value, None, ids)?));
    }
    if let Some(definition) = ty.strip_prefix('#') {
        return Ok(format!("#{}", ids.get(definition).with_context(|| format!("no definition {definition}"))?));
    }
    let code = match ty {
        "bool" => "b",
        "int32" => "i",
        "int64" => "l",
        "double" => "d",
        "string" => "s",
        "bytes" => "y",
        "quantity" => "q",
        "intOrString" => "o",
        "time" => "t",
        "microTime" => "u",
        "duration" => "n",
        "fieldsV1" => "f",
        "any" => "*",
        other => bail!("type {other}"),
    };
    Ok(code.to_owned())
}

fn resource_table(groups: &[GroupFact], types: &BTreeMap<String, TypeFact>) -> anyhow::Result<String> {
    let mut out = String::new();
    for group in groups {
        for version in &group.versions {
            record(&mut out, &[&format!("={}/{}", group.group, version.version)]);
            for resource in &version.resources {
                resource_record(&mut out, resource, types)
                    .with_context(|| format!("{}/{} {}", group.group, version.version, resource.name))?;
            }
        }
    }
    Ok(out)
}

fn resource_record(
    out: &mut String,
    resource: &ResourceFact,
    types: &BTreeMap<String, TypeFact>,
) -> anyhow::Result<()> {
    // The options kinds of proxy subresources are not published; all of them are core/v1.
    let definition = resource.definition.clone().unwrap_or_else(|| format!("io.k8s.api.core.v1.{}", resource.kind));
    if !types.contains_key(&definition) {
        bail!("no definition {definition}");
    }
    let pair = |p: &Option<(String, String)>| p.as_ref().map(|(g, v)| format!("{g}/{v}")).unwrap_or_default();
    record(
        out,
        &[
            &resource.name,
            &resource.kind,
            &definition,
            &pair(&resource.kind_group_version),
            if resource.cluster { "c" } else { "n" },
            &resource.verbs.join(","),
            resource.singular.as_deref().unwrap_or_default(),
            &resource.short_names.join(","),
            &resource.categories.join(","),
            resource.list.as_deref().unwrap_or_default(),
            resource.storage_version_hash.as_deref().unwrap_or_default(),
            &pair(&resource.storage),
        ],
    );
    Ok(())
}

/// Appends one line, without the empty columns at its end.
fn record(out: &mut String, columns: &[&str]) {
    let used = columns.iter().rposition(|c| !c.is_empty()).map_or(0, |i| i + 1);
    let _ = writeln!(out, "{}", columns[..used].join("\t"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_fresh() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        run(&root, true).expect("tables match the facts");
    }
}
