//! From a CustomResourceDefinition to what is served: a [`Resource`] for each version.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use base64::Engine;
use compact_str::{CompactString, format_compact};
use sha2::{Digest, Sha256};
use skiff_api::{KindInfo, Subresource};
use skiff_apimachinery::status::{self, Status};
use skiff_apimachinery::value::Value;
use skiff_storage::Storage;

use super::at_rest::{Form, KeptIn};
use super::columns::Columns;
use super::conversion::Converter;
use super::converting::Converting;
use super::rules::Rules;
use super::schema::Schema;
use super::strategy::CustomStrategy;
use super::types;
use crate::cacher::{Cacher, FieldSpec, Format, ResourceConfig, SelectableFields};
use crate::endpoints::watch::FORMATS_PER_RESOURCE;
use crate::registry::hook::{Hook, Reservation};
use crate::registry::store::Store;
use crate::registry::strategy::Behaviour;
use crate::registry::versions;
use crate::registry::{Custom, Resource, ScalePaths, Types};
use crate::webhook::Client;

const VERBS: [&str; 8] = ["delete", "deletecollection", "get", "list", "patch", "create", "update", "watch"];
const SUBRESOURCE_VERBS: [&str; 3] = ["get", "patch", "update"];

/// Where the numbers begin under which watchers of custom resources share encodings: behind those of built-in kinds.
/// Every version that is made gets numbers of its own, so that nobody is sent what an earlier schema made.
static NEXT_FORMAT: AtomicU32 = AtomicU32::new(1 << 20);

/// A CustomResourceDefinition, as far as serving needs it.
pub struct Definition<'a> {
    object: &'a Value,
}

impl<'a> Definition<'a> {
    /// Of this object.
    pub fn new(object: &'a Value) -> Self {
        Self { object }
    }

    fn text(&self, path: &[&str]) -> &'a str {
        self.object.str_at(path).unwrap_or("")
    }

    /// API group.
    pub fn group(&self) -> &'a str {
        self.text(&["spec", "group"])
    }

    /// Resource name.
    pub fn plural(&self) -> &'a str {
        self.text(&["status", "acceptedNames", "plural"])
    }

    /// Kind.
    pub fn kind(&self) -> &'a str {
        self.text(&["status", "acceptedNames", "kind"])
    }

    /// Whether objects live in namespaces.
    pub fn namespaced(&self) -> bool {
        self.text(&["spec", "scope"]) == "Namespaced"
    }

    /// Whether it is going away.
    pub fn is_terminating(&self) -> bool {
        self.has_condition("Terminating")
    }

    /// Whether a condition is True.
    pub fn has_condition(&self, ty: &str) -> bool {
        super::conditions::is_true(self.object, ty)
    }

    fn versions(&self) -> &'a [Value] {
        self.object.array_at(&["spec", "versions"])
    }

    fn storage_version(&self) -> &'a str {
        let stored = self.versions().iter().find(|version| version.bool_at(&["storage"]) == Some(true));
        stored.and_then(|version| version.str_at(&["name"])).unwrap_or("")
    }

    /// What clients may select by, in any version.
    pub fn selectable(&self) -> Vec<FieldSpec> {
        let mut fields = self.versions().iter().flat_map(selectable_of).collect::<Vec<_>>();
        fields.sort();
        fields.dedup();
        fields.iter().map(|field| FieldSpec::new(field)).collect()
    }

    /// Whether a webhook converts between versions.
    pub fn is_converted_by_webhook(&self) -> bool {
        self.text(&["spec", "conversion", "strategy"]) == "Webhook"
    }

    /// The resources of all served versions; that of the stored one first. Webhooks are called with `client`.
    pub fn resources(&self, cacher: &Cacher, client: &Arc<Client>) -> Vec<Arc<Resource>> {
        let stored = self.versions().iter().find(|version| version.bool_at(&["storage"]) == Some(true));
        let stored_schema = stored.and_then(schema_of).map(|schema| Arc::new(Schema::parse(schema)));
        let served = self.versions().iter().filter(|version| version.bool_at(&["served"]) == Some(true));
        let converter = Converter::of(self.object.at(&["spec", "conversion"]), client);
        let mut resources = served
            .map(|version| Arc::new(self.resource(version, cacher, stored_schema.clone(), &converter)))
            .collect::<Vec<_>>();
        resources.sort_by_key(|resource| resource.info.version != self.storage_version());
        resources
    }

    fn resource(
        &self,
        version: &Value,
        cacher: &Cacher,
        stored_schema: Option<Arc<Schema>>,
        converter: &Converter,
    ) -> Resource {
        let name = version.str_at(&["name"]).unwrap_or("");
        let schema = schema_of(version).map(|schema| Arc::new(Schema::parse(schema)));
        let types = types::of(&type_name(self.group(), name, self.kind()), schema.as_deref());
        let scale = version.at(&["subresources", "scale"]).map(|scale| self.scale(scale));
        let info = self.info(version, &types);
        let strategy = CustomStrategy {
            rules: schema.as_deref().map(Rules::compile).unwrap_or_default(),
            schema: schema.clone(),
            scale: scale.clone(),
            selectable: self.selectable(),
        };
        let fields = SelectableFields::new(self.selectable());
        let config = ResourceConfig::new(self.group(), self.plural(), self.namespaced(), fields);
        let shown = Form { api_version: format!("{}/{name}", self.group()), schema };
        let stored =
            Form { api_version: format!("{}/{}", self.group(), self.storage_version()), schema: stored_schema };
        let converting = converter.is_webhook().then(|| {
            let (inner, stored) = (cacher.storage().clone(), stored.clone());
            Arc::new(Converting::new(inner, converter.clone(), &shown.api_version, stored))
        });
        let (storage, cache) = match &converting {
            Some(converting) => {
                let variant = if name == self.storage_version() { String::new() } else { name.to_owned() };
                let config = ResourceConfig { variant, ..config };
                (converting.clone() as Arc<dyn Storage>, cacher.add_over(converting.clone(), config))
            }
            None => (cacher.storage().clone(), cacher.add(config)),
        };
        let kept = KeptIn { shown, stored, converting };
        let store = Store {
            group: self.group().into(),
            resource: self.plural().into(),
            kind: self.kind().into(),
            namespaced: self.namespaced(),
            has_status: version.at(&["subresources", "status"]).is_some(),
            schema: types::envelope(),
            strategy: Behaviour::Made(Arc::new(strategy)),
            at_rest: Some(Arc::new(kept)),
            storage,
            cache,
            hook: self.is_terminating().then(|| Arc::new(NoMore::of(self)) as Arc<dyn Hook>),
        };
        Resource {
            info: Arc::new(info),
            types: Types::Custom(Arc::new(types.table)),
            store: Some(Arc::new(store)),
            conversion: None,
            format_base: NEXT_FORMAT.fetch_add(FORMATS_PER_RESOURCE, Ordering::Relaxed) as Format,
            custom: Some(Custom {
                published: schema_of(version).map(|schema| Arc::new(schema.clone())),
                rows: Arc::new(Columns::new(version.array_at(&["additionalPrinterColumns"]))),
                scale,
                selectable: selectable_of(version).collect(),
                warning: self.warning(version),
                converter: converter.clone(),
            }),
        }
    }

    fn info(&self, version: &Value, types: &types::Types) -> KindInfo {
        let names = |key: &str| {
            let names = self.object.array_at(&["status", "acceptedNames", key]);
            names.iter().filter_map(Value::as_str).map(CompactString::from).collect::<Vec<_>>()
        };
        let name = version.str_at(&["name"]).unwrap_or("");
        let subresources = version.get("subresources");
        let has = |sub: &str| subresources.is_some_and(|subresources| subresources.get(sub).is_some());
        let mut found = Vec::new();
        if has("status") {
            found.push(self.subresource("status", (self.group(), name, self.kind()), types.object));
        }
        if has("scale")
            && let Some(scale) = skiff_api::builtin().type_id("autoscaling", "v1", "Scale")
        {
            found.push(self.subresource("scale", ("autoscaling", "v1", "Scale"), scale));
        }
        KindInfo {
            group: self.group().into(),
            version: name.into(),
            kind: self.kind().into(),
            list_kind: Some(self.text(&["status", "acceptedNames", "listKind"]).into()),
            plural: self.plural().into(),
            singular: self.text(&["status", "acceptedNames", "singular"]).into(),
            short_names: names("shortNames"),
            categories: names("categories"),
            namespaced: self.namespaced(),
            verbs: VERBS.map(CompactString::from).to_vec(),
            subresources: found,
            type_id: types.object,
            list_type_id: Some(types.list),
            storage_version: (self.group().into(), self.storage_version().into()),
            storage_version_hash: storage_version_hash(self.group(), self.storage_version(), self.kind()),
            served_by_default: true,
        }
    }

    fn subresource(
        &self,
        name: &str,
        (group, version, kind): (&str, &str, &str),
        type_id: skiff_apimachinery::schema::TypeId,
    ) -> Subresource {
        Subresource {
            name: name.into(),
            group: group.into(),
            version: version.into(),
            foreign_kind: name == "scale",
            kind: kind.into(),
            verbs: SUBRESOURCE_VERBS.map(CompactString::from).to_vec(),
            type_id,
        }
    }

    fn scale(&self, scale: &Value) -> ScalePaths {
        let path = |of: &Value, key: &str| {
            let path = of.str_at(&[key])?;
            Some(path.strip_prefix('.').unwrap_or(path).split('.').map(str::to_owned).collect::<Vec<_>>())
        };
        let of_versions = self.versions().iter().filter_map(|version| {
            let name = format!("{}/{}", self.group(), version.str_at(&["name"])?);
            Some((name, path(version.at(&["subresources", "scale"])?, "specReplicasPath")?))
        });
        ScalePaths {
            replicas_of_versions: of_versions.collect(),
            replicas: path(scale, "specReplicasPath").unwrap_or_default(),
            status_replicas: path(scale, "statusReplicasPath").unwrap_or_default(),
            selector: path(scale, "labelSelectorPath"),
        }
    }

    /// What users of a deprecated version are told.
    fn warning(&self, version: &Value) -> Option<String> {
        if version.bool_at(&["deprecated"]) != Some(true) {
            return None;
        }
        if let Some(warning) = version.str_at(&["deprecationWarning"]) {
            return Some(warning.to_owned());
        }
        let name = version.str_at(&["name"]).unwrap_or("");
        let kind = self.text(&["spec", "names", "kind"]);
        let newer = self
            .versions()
            .iter()
            .filter(|other| other.bool_at(&["served"]) == Some(true) && other.bool_at(&["deprecated"]) != Some(true));
        let newer = newer.filter_map(|other| other.str_at(&["name"]));
        let newer = newer.filter(|other| versions::compare(other, name).is_lt());
        let instead = newer.min_by(|a, b| versions::compare(a, b));
        let deprecated = format!("{}/{name} {kind} is deprecated", self.group());
        Some(match instead {
            Some(other) => format!("{deprecated}; use {}/{other} {kind}", self.group()),
            None => deprecated,
        })
    }
}

fn schema_of(version: &Value) -> Option<&Value> {
    version.at(&["schema", "openAPIV3Schema"])
}

fn selectable_of(version: &Value) -> impl Iterator<Item = String> + '_ {
    let fields = version.array_at(&["selectableFields"]).iter();
    fields.filter_map(|field| field.str_at(&["jsonPath"])).map(|path| path.trim_start_matches('.').to_owned())
}

/// OpenAPI definition name, e.g. `com.example.stable.v1.CronTab`.
fn type_name(group: &str, version: &str, kind: &str) -> String {
    let mut parts = group.split('.').rev().collect::<Vec<_>>();
    parts.extend([version, kind]);
    parts.join(".")
}

/// What discovery shows so that clients notice another storage version (`discovery.StorageVersionHash`).
fn storage_version_hash(group: &str, version: &str, kind: &str) -> CompactString {
    let digest = Sha256::digest(format_compact!("{group}/{version}/{kind}").as_bytes());
    base64::engine::general_purpose::STANDARD.encode(&digest[..8]).into()
}

/// Lets nothing be created while the definition is going away.
struct NoMore {
    group: String,
    resource: String,
}

impl NoMore {
    fn of(definition: &Definition<'_>) -> Self {
        Self { group: definition.group().to_owned(), resource: definition.plural().to_owned() }
    }
}

#[async_trait::async_trait]
impl Hook for NoMore {
    async fn begin(&self, new: &mut Value, old: Option<&Value>, _dry_run: bool) -> Result<Reservation, Status> {
        if old.is_some() {
            return Ok(Reservation::default());
        }
        let name = skiff_apimachinery::meta::name(new);
        let why = "create not allowed while custom resource definition is terminating";
        Err(status::forbidden(&self.group, &self.resource, name, why))
    }

    async fn after_delete(&self, _old: &Value) {}
}

#[cfg(test)]
mod tests {
    use skiff_apimachinery::value;

    use super::*;

    #[test]
    fn names_and_hashes_are_upstreams() {
        assert_eq!(type_name("stable.example.com", "v1", "CronTab"), "com.example.stable.v1.CronTab");
        assert_eq!(storage_version_hash("stable.example.com", "v1", "CronTab"), "EdX2FP+L0js=");
    }

    #[test]
    fn a_deprecated_version_names_the_best_other() {
        let object = value!({"spec": {"group": "g.io", "names": {"kind": "A"}, "versions": [
            {"name": "v1beta1", "served": true, "deprecated": true},
            {"name": "v1", "served": true}, {"name": "v2", "served": true}, {"name": "v3", "served": false},
            {"name": "v4", "served": true, "deprecated": true, "deprecationWarning": "gone"}
        ]}});
        let definition = Definition::new(&object);
        let warnings = definition.versions().iter().map(|version| definition.warning(version)).collect::<Vec<_>>();
        assert_eq!(warnings[0].as_deref(), Some("g.io/v1beta1 A is deprecated; use g.io/v2 A"));
        assert_eq!(warnings[1], None);
        assert_eq!(warnings[4].as_deref(), Some("gone"));
    }
}
