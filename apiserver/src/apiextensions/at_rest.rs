//! How custom resources are kept: in one version, whatever the versions clients use.
//!
//! What is read was written under the schema of its day, so it is pruned and given defaults again. Follows
//! `crdConversionRESTOptionsGetter` and `schemaCoercingDecoder` in `apiserver/customresource_handler.go`.

use std::sync::Arc;

use skiff_apimachinery::status::Status;
use skiff_apimachinery::value::Value;
use skiff_storage::StorageError;

use super::converting::Converting;
use super::schema::Schema;
use super::{defaults, prune};
use crate::registry::conversion::AtRest;

/// A version of the objects.
#[derive(Clone)]
pub struct Form {
    /// `group/version`.
    pub api_version: String,
    /// Its schema.
    pub schema: Option<Arc<Schema>>,
}

/// Objects shown in one version and kept in another (or the same).
pub struct KeptIn {
    /// What clients of the store see.
    pub shown: Form,
    /// What is written.
    pub stored: Form,
    /// Where a webhook converts: the store under the store, which sees to it that everything is in the shown version.
    pub converting: Option<Arc<Converting>>,
}

#[async_trait::async_trait]
impl AtRest for KeptIn {
    fn read(&self, mut object: Value) -> Result<Value, Status> {
        // But for the name, versions are the same, or they have been converted.
        object.set_at(&["apiVersion"], self.shown.api_version.as_str());
        if let Some(schema) = &self.shown.schema {
            prune::prune(&mut object, schema);
            defaults::fill_in(&mut object, schema);
        }
        Ok(object)
    }

    fn write(&self, object: &Value) -> Result<Value, Status> {
        let mut object = object.clone();
        if self.converting.is_none() && self.shown.api_version != self.stored.api_version {
            object.set_at(&["apiVersion"], self.stored.api_version.as_str());
            if let Some(schema) = &self.stored.schema {
                prune::prune(&mut object, schema);
            }
        }
        Ok(object)
    }

    async fn is_current(&self, key: &str) -> Result<bool, StorageError> {
        match &self.converting {
            Some(converting) => converting.is_kept_as_written_now(key).await,
            None => Ok(true),
        }
    }
}

#[cfg(test)]
mod tests {
    use skiff_apimachinery::value;

    use super::*;

    #[test]
    fn versions_differ_in_name_schema_and_defaults() {
        let form = |version: &str, properties: Value| Form {
            api_version: format!("a.io/{version}"),
            schema: Some(Arc::new(Schema::parse(&value!({"type": "object", "properties": properties})))),
        };
        let kept = KeptIn {
            shown: form("v2", value!({"a": {"type": "string"}, "d": {"type": "string", "default": "D"}})),
            stored: form("v1", value!({"a": {"type": "string"}})),
            converting: None,
        };
        let shown = kept.read(value!({"apiVersion": "a.io/v1", "a": "x", "b": "y"})).expect("read");
        assert_eq!(shown, value!({"apiVersion": "a.io/v2", "a": "x", "d": "D"}));
        assert_eq!(kept.write(&shown).expect("written"), value!({"apiVersion": "a.io/v1", "a": "x"}));
    }
}
