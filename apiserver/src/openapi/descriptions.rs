//! What types and fields mean, in words: upstream's where there are any, ours for lists and watch events.

use std::borrow::Cow;

/// Descriptions by type and field.
pub(crate) struct Descriptions(skiff_descriptions::Descriptions);

impl Descriptions {
    /// Reads them all.
    pub(crate) fn load() -> std::io::Result<Self> {
        skiff_descriptions::Descriptions::load().map(Self)
    }

    /// Of a type, by definition name.
    pub(crate) fn of_type(&self, name: &str) -> Option<Cow<'_, str>> {
        if let Some(text) = self.0.of_type(name) {
            return Some(text.into());
        }
        let kind = name.rsplit('.').next().unwrap_or(name);
        let item = kind.strip_suffix("List")?;
        Some(format!("{kind} is a list of {item} objects.").into())
    }

    /// Of a field of a type.
    pub(crate) fn of_field(&self, name: &str, field: &str) -> Option<&str> {
        let known = self.0.of_field(name, field);
        if name.ends_with(".WatchEvent") {
            return Some(if field == "type" { "What happened." } else { "The object it happened to, as it is now." });
        }
        if known.is_some() || !name.ends_with("List") {
            return known;
        }
        match field {
            // The same for every kind.
            "apiVersion" | "kind" => self.0.of_field("io.k8s.api.core.v1.Pod", field),
            "metadata" => Some("Version of the list, and where to go on if it is not complete."),
            "items" => Some("The objects of the list."),
            _ => None,
        }
    }
}
