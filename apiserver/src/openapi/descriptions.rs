//! What types and fields mean, in words.

/// Descriptions by type and field; none are known yet.
#[derive(Debug, Default)]
pub struct Descriptions {}

impl Descriptions {
    /// Of a type, by definition name.
    pub fn of_type(&self, _name: &str) -> Option<&str> {
        None
    }

    /// Of a field of a type.
    pub fn of_field(&self, _name: &str, _field: &str) -> Option<&str> {
        None
    }
}
