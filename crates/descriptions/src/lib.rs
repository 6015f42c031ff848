//! What types and fields of the built-in API mean, in upstream's words as k8s-openapi carries them.
//!
//! OpenAPI documents and `kubectl explain` show them. The build script takes them out of the dependency, so that none of
//! the text is in this project. Only the API server needs this crate.

use std::collections::HashMap;
use std::io::Read;

const COMPRESSED: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptions.json.gz"));

/// Descriptions by definition name and field.
#[derive(Debug, Default)]
pub struct Descriptions(HashMap<String, (Option<String>, HashMap<String, String>)>);

impl Descriptions {
    /// Reads them all: a few milliseconds and half a megabyte, so not to be kept.
    pub fn load() -> std::io::Result<Self> {
        let mut text = Vec::new();
        flate2::read::GzDecoder::new(COMPRESSED).read_to_end(&mut text)?;
        Ok(Self(serde_json::from_slice(&text)?))
    }

    /// Of a type, by definition name such as `io.k8s.api.core.v1.Pod`.
    pub fn of_type(&self, name: &str) -> Option<&str> {
        self.0.get(name)?.0.as_deref()
    }

    /// Of a field of a type.
    pub fn of_field(&self, name: &str, field: &str) -> Option<&str> {
        self.0.get(name)?.1.get(field).map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_and_fields_are_described() {
        let all = Descriptions::load().expect("descriptions");
        let pod = all.of_type("io.k8s.api.core.v1.Pod").expect("Pod");
        assert!(pod.starts_with("Pod is"), "{pod}");
        assert!(all.of_field("io.k8s.api.core.v1.Container", "image").is_some());
        assert!(all.of_type("io.k8s.apimachinery.pkg.api.resource.Quantity").is_some());
        assert_eq!(all.of_field("io.k8s.api.core.v1.Container", "nothing"), None);
        assert!(all.0.len() > 650, "{}", all.0.len());
    }
}
