//! How custom resources are kept: in one version, whatever the versions clients use.
//!
//! What is read was written under the schema of its day, so it is pruned and given defaults again. Follows
//! `crdConversionRESTOptionsGetter` and `schemaCoercingDecoder` in `apiserver/customresource_handler.go`.

use std::sync::Arc;

use skiff_apimachinery::status::{self, Status};
use skiff_apimachinery::value::Value;

use super::schema::Schema;
use super::{defaults, prune};
use crate::registry::conversion::AtRest;

/// A version of the objects.
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
    /// Whether versions differ in more than their name.
    pub by_webhook: bool,
}

impl KeptIn {
    /// Brings an object into another version; but for the name they are the same.
    fn convert(&self, object: &mut Value, to: &Form) -> Result<(), Status> {
        let from = object.str_at(&["apiVersion"]).unwrap_or("");
        if from == to.api_version {
            return Ok(());
        }
        if self.by_webhook {
            let kind = object.str_at(&["kind"]).unwrap_or("");
            let message = format!("conversion of {kind} from {from} to {} by webhook is not built yet", to.api_version);
            return Err(status::internal_error(message));
        }
        object.set_at(&["apiVersion"], to.api_version.as_str());
        Ok(())
    }
}

impl AtRest for KeptIn {
    fn read(&self, mut object: Value) -> Result<Value, Status> {
        self.convert(&mut object, &self.shown)?;
        if let Some(schema) = &self.shown.schema {
            prune::prune(&mut object, schema);
            defaults::fill_in(&mut object, schema);
        }
        Ok(object)
    }

    fn write(&self, object: &Value) -> Result<Value, Status> {
        let mut object = object.clone();
        if self.shown.api_version != self.stored.api_version {
            self.convert(&mut object, &self.stored)?;
            if let Some(schema) = &self.stored.schema {
                prune::prune(&mut object, schema);
            }
        }
        Ok(object)
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
            by_webhook: false,
        };
        let shown = kept.read(value!({"apiVersion": "a.io/v1", "a": "x", "b": "y"})).expect("read");
        assert_eq!(shown, value!({"apiVersion": "a.io/v2", "a": "x", "d": "D"}));
        assert_eq!(kept.write(&shown).expect("written"), value!({"apiVersion": "a.io/v1", "a": "x"}));
    }
}
