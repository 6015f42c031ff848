//! Kinds that two group versions show in different forms but that are stored once, and forms at rest.

use skiff_apimachinery::status::Status;
use skiff_apimachinery::value::Value;
use skiff_storage::StorageError;

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
