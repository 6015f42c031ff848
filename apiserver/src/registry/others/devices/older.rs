//! resource.k8s.io/v1beta1: a request says what it asks for in itself, and a device what it has one level deeper.
//!
//! Follows `pkg/apis/resource/v1beta1/conversion.go`.

use skiff_apimachinery::value::{Object, Value};

use crate::registry::conversion::Conversion;
use crate::registry::defaults::each;

/// What v1 has under `exactly`.
const EXACTLY: &[&str] =
    &["adminAccess", "allocationMode", "capacity", "count", "deviceClassName", "selectors", "tolerations"];
const STORED: &str = "resource.k8s.io/v1";
const SERVED: &str = "resource.k8s.io/v1beta1";

/// The older form of claims and of templates for them.
pub struct OlderClaims {
    /// Where devices are asked for.
    pub devices: &'static [&'static str],
}

impl Conversion for OlderClaims {
    fn to_stored(&self, object: Value) -> Value {
        self.converted(object, STORED, |request| {
            let mut exactly = Object::new();
            for field in EXACTLY {
                // A class must be written even by a request of several kinds.
                let said = request.remove(field).filter(|value| value.as_str() != Some(""));
                if let Some(value) = said {
                    exactly.insert(*field, value);
                }
            }
            if !exactly.is_empty() {
                request.insert("exactly", Value::Object(exactly));
            }
        })
    }

    fn from_stored(&self, object: Value) -> Value {
        self.converted(object, SERVED, |request| {
            if let Some(Value::Object(exactly)) = request.remove("exactly") {
                exactly.into_iter().for_each(|(field, value)| drop(request.insert(field, value)));
            }
            request.get_or_insert_with("deviceClassName", || "".into());
        })
    }
}

impl OlderClaims {
    fn converted(&self, mut object: Value, version: &str, request: impl FnMut(&mut Object)) -> Value {
        object.set_at(&["apiVersion"], version);
        if object.at(self.devices).is_some() {
            each(object.object_at_mut(self.devices), "requests", request);
        }
        object
    }
}

/// The older form of slices.
pub struct OlderSlices;

impl Conversion for OlderSlices {
    fn to_stored(&self, object: Value) -> Value {
        devices(object, STORED, |device| {
            if let Some(Value::Object(basic)) = device.remove("basic") {
                basic.into_iter().for_each(|(field, value)| drop(device.insert(field, value)));
            }
        })
    }

    fn from_stored(&self, object: Value) -> Value {
        devices(object, SERVED, |device| {
            let mut basic = std::mem::take(device);
            if let Some(name) = basic.remove("name") {
                device.insert("name", name);
            }
            device.insert("basic", Value::Object(basic));
        })
    }
}

fn devices(mut object: Value, version: &str, device: impl FnMut(&mut Object)) -> Value {
    object.set_at(&["apiVersion"], version);
    if object.get("spec").is_some() {
        each(object.object_at_mut(&["spec"]), "devices", device);
    }
    object
}

#[cfg(test)]
mod tests {
    use skiff_apimachinery::value;

    use super::*;

    #[test]
    fn nothing_is_lost() {
        let claims = OlderClaims { devices: &["spec", "devices"] };
        let stored = value!({
            "apiVersion": "resource.k8s.io/v1",
            "spec": {"devices": {"requests": [
                {"name": "a", "exactly": {"deviceClassName": "c", "count": 1}},
                {"name": "b", "firstAvailable": [{"name": "s", "deviceClassName": "c"}]}
            ]}}
        });
        let older = claims.from_stored(stored.clone());
        assert_eq!(
            older.array_at(&["spec", "devices", "requests"])[0],
            value!({"name": "a", "deviceClassName": "c", "count": 1})
        );
        assert_eq!(claims.to_stored(older), stored);
        let stored = value!({
            "apiVersion": "resource.k8s.io/v1",
            "spec": {"devices": [{"name": "e", "allNodes": true}]}
        });
        let older = OlderSlices.from_stored(stored.clone());
        assert_eq!(older.array_at(&["spec", "devices"])[0], value!({"name": "e", "basic": {"allNodes": true}}));
        assert_eq!(OlderSlices.to_stored(older), stored);
    }
}
