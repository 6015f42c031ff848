//! Kinds that two group versions show in different forms but that are stored once.

use skiff_apimachinery::value::Value;

/// Translates between the served and the stored form, without loss.
pub trait Conversion: Send + Sync + 'static {
    /// From the served form.
    fn to_stored(&self, object: Value) -> Value;

    /// To the served form.
    fn from_stored(&self, object: Value) -> Value;

    /// The stored form's name of a field in selectors; `None` for one that only the stored form has.
    fn field_label<'a>(&self, label: &'a str) -> Option<std::borrow::Cow<'a, str>> {
        Some(label.into())
    }
}
