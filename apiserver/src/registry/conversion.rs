//! Kinds that two group versions show in different forms but that are stored once, and forms at rest.

use std::sync::LazyLock;

use skiff_api::KindInfo;
use skiff_apimachinery::managedfields::Versions;
use skiff_apimachinery::schema::SchemaRef;
use skiff_apimachinery::status::Status;
use skiff_apimachinery::value::Value;
use skiff_storage::StorageError;

use super::strategies;
use super::strategy::Strategy;

/// Translates between the served and the stored form, without loss.
pub trait Conversion: Send + Sync + 'static {
    /// From the served form.
    fn to_stored(&self, object: Value) -> Value;

    /// To the served form.
    fn from_stored(&self, object: Value) -> Value;

    /// Fills in what clients of this version left out of an object in the stored form; by default what the kind does.
    fn set_defaults(&self, object: &mut Value, of_kind: &dyn Strategy) {
        of_kind.set_defaults(object);
    }

    /// The stored form's name of a field in selectors; `None` for one that only the stored form has.
    fn field_label<'a>(&self, label: &'a str) -> Option<std::borrow::Cow<'a, str>> {
        Some(label.into())
    }
}

/// A version that differs from the stored one in its name only.
pub struct SameShape {
    served: String,
    stored: String,
}

/// Every such version of a kind.
static SAME_SHAPE: LazyLock<Vec<(&'static KindInfo, SameShape)>> = LazyLock::new(|| {
    let differs = |kind: &&KindInfo| {
        kind.list_kind.is_some() && (&kind.group, &kind.version) != (&kind.storage_version.0, &kind.storage_version.1)
    };
    let kinds = skiff_api::builtin().kinds.iter().filter(differs);
    kinds
        .map(|kind| {
            let (group, version) = &kind.storage_version;
            let stored = if group.is_empty() { version.to_string() } else { format!("{group}/{version}") };
            (kind, SameShape { served: kind.api_version().to_string(), stored })
        })
        .collect()
});

impl SameShape {
    /// That of a version, unless it is the stored one.
    pub fn of(group: &str, version: &str, plural: &str) -> Option<&'static dyn Conversion> {
        let mut known = SAME_SHAPE.iter();
        let found = known.find(|(kind, _)| kind.group == group && kind.version == version && kind.plural == plural);
        found.map(|(_, conversion)| conversion as &dyn Conversion)
    }
}

impl Conversion for SameShape {
    fn to_stored(&self, mut object: Value) -> Value {
        object.set_at(&["apiVersion"], self.stored.as_str());
        object
    }

    fn from_stored(&self, mut object: Value) -> Value {
        object.set_at(&["apiVersion"], self.served.as_str());
        object
    }
}

/// The versions of kinds that are not shown as they are stored: few, and asked for on every write.
static CONVERTED: LazyLock<Vec<&'static KindInfo>> = LazyLock::new(|| {
    let kinds = skiff_api::builtin().kinds.iter();
    kinds.filter(|kind| conversion_of(kind).is_some()).collect()
});

/// The versions of a built-in kind that differ in shape, for those who own fields in another one.
#[derive(Debug)]
pub struct OtherVersions {
    kind: &'static KindInfo,
}

impl OtherVersions {
    /// Those of a kind, if there are any.
    pub fn of(info: &KindInfo) -> Option<Self> {
        let kind = skiff_api::builtin().resource(&info.group, &info.version, &info.plural)?;
        let same = |other: &&KindInfo| other.plural == kind.plural && other.storage_version == kind.storage_version;
        CONVERTED.iter().copied().any(|other| same(&other)).then_some(Self { kind })
    }

    fn version(&self, api_version: &str) -> Option<&'static KindInfo> {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        let found = skiff_api::builtin().resource(group, version, &self.kind.plural)?;
        (found.storage_version == self.kind.storage_version).then_some(found)
    }
}

impl Versions for OtherVersions {
    fn convert(&self, object: &Value, api_version: &str) -> Option<(Value, SchemaRef<'_>)> {
        let from = self.version(object.str_at(&["apiVersion"])?)?;
        let to = self.version(api_version)?;
        if conversion_of(from).is_none() && conversion_of(to).is_none() {
            return None;
        }
        let object = object.clone();
        let stored = conversion_of(from).map_or_else(|| object.clone(), |own| own.to_stored(object.clone()));
        let converted = conversion_of(to).map_or_else(|| stored.clone(), |other| other.from_stored(stored.clone()));
        Some((converted, skiff_api::builtin().schema(to.type_id)))
    }
}

fn conversion_of(kind: &KindInfo) -> Option<&'static dyn Conversion> {
    strategies::conversion(&kind.group, &kind.version, &kind.plural)
}

/// How a store keeps its objects, where that differs from the form it works in: custom resources are kept in one of
/// their versions, as the schema of the day they were written allowed.
#[async_trait::async_trait]
pub trait AtRest: Send + Sync + 'static {
    /// From what was kept to the form of the store.
    fn read(&self, kept: Value) -> Result<Value, Status>;

    /// From the form of the store to what is kept.
    fn write(&self, object: &Value) -> Result<Value, Status>;

    /// Whether what is kept under a key has the form in which it would be written now, beside what `write` can tell.
    async fn is_current(&self, _key: &str) -> Result<bool, StorageError> {
        Ok(true)
    }
}
