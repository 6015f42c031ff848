//! One form for objects that mean the same.
//!
//! Upstream's objects pass through Go structs, where an empty string, list or map and an absent one are the same unless
//! the field is a pointer, and where structs that are no pointers are always there. Clients, no-op detection, selectors
//! and managedFields rely on that. The tables know which field is which; this is the one place that applies it.

use skiff_apimachinery::schema::{FieldDef, Scalar, SchemaRef, Type, TypeId};
use skiff_apimachinery::value::{Object, Value};

use super::disabled;

/// Brings an object into the form that Go would write, but for an absent `status` (see [`complete_status`]).
pub fn canonicalize(object: &mut Value, schema: SchemaRef<'_>) {
    let (Some(object), Type::Struct(id)) = (object.as_object_mut(), schema.ty) else {
        return;
    };
    structure(object, *id, schema, true);
}

/// Writes out what is always there in a `status`.
pub fn complete_status(object: &mut Value, schema: SchemaRef<'_>) {
    let (Some(object), Some(field)) = (object.as_object_mut(), schema.field_def("status")) else {
        return;
    };
    if !object.contains_key("status") && is_always_there(field) {
        fill(object, field, schema);
    }
}

fn structure(object: &mut Object, id: TypeId, schema: SchemaRef<'_>, top: bool) {
    let def = schema.table.def(id);
    for field in disabled::fields(id) {
        object.remove(field);
    }
    object.retain(|name, value| match def.field(name) {
        Some(field) => {
            let drops = matches!(field.ty, Type::Struct(id) if !disabled::fields(id).is_empty() && disabled::goes_when_empty(id))
                && field.wire.pointer;
            let was_empty = drops && value.as_object().is_some_and(Object::is_empty);
            nested(value, SchemaRef::new(schema.table, &field.ty));
            // What only had disabled fields goes with them.
            let emptied = drops && !was_empty && value.as_object().is_some_and(Object::is_empty);
            // Upstream's store does not tell an empty list from none.
            let is_empty = match &*value {
                Value::Array(items) => items.is_empty(),
                Value::Object(entries) => entries.is_empty(),
                _ => false,
            };
            if is_empty && is_known(field) && field.is_null_when_unset() && !field.wire.pointer {
                *value = Value::Null;
            }
            !emptied && !is_absence(field, value)
        }
        None => true,
    });
    for field in &def.fields {
        if is_always_there(field) && !object.contains_key(&field.name) && !(top && field.name == "status") {
            fill(object, field, schema);
        }
    }
}

fn nested(value: &mut Value, schema: SchemaRef<'_>) {
    match (value, schema.ty) {
        (Value::Object(object), Type::Struct(id)) => structure(object, *id, schema, false),
        (Value::Object(object), Type::Map(map)) if has_structs(&map.value) => {
            object.iter_mut().for_each(|(_, value)| nested(value, SchemaRef::new(schema.table, &map.value)));
        }
        (Value::Array(items), Type::List(list)) if has_structs(&list.item) => {
            items.iter_mut().for_each(|value| nested(value, SchemaRef::new(schema.table, &list.item)));
        }
        _ => {}
    }
}

fn has_structs(ty: &Type) -> bool {
    match ty {
        Type::Struct(_) => true,
        Type::List(list) => has_structs(&list.item),
        Type::Map(map) => has_structs(&map.value),
        Type::Scalar(_) | Type::Any => false,
    }
}

/// Whether the field is one of Go's, not of a custom resource, whose zero values mean something.
fn is_known(field: &FieldDef) -> bool {
    !field.wire.proto.numbers().is_empty()
}

/// Whether Go would leave this value out.
fn is_absence(field: &FieldDef, value: &Value) -> bool {
    let zero = match value {
        Value::Null => return !(is_known(field) && field.is_null_when_unset()),
        Value::Bool(value) => !value,
        Value::Int(value) => *value == 0 && field.ty != Type::Scalar(Scalar::IntOrString),
        Value::Float(value) => *value == 0.0,
        Value::String(text) => {
            text.is_empty() && matches!(field.ty, Type::Scalar(Scalar::String | Scalar::Time | Scalar::MicroTime))
        }
        Value::Array(items) => items.is_empty() && matches!(field.ty, Type::List(_)),
        Value::Object(object) => object.is_empty() && matches!(field.ty, Type::Map(_)),
        Value::Raw(_) => false,
    };
    zero && is_known(field) && !field.wire.pointer && !field.wire.keep_empty
}

/// Whether Go writes the field even when nothing was set: structs, and scalars without `omitempty`.
fn is_always_there(field: &FieldDef) -> bool {
    is_known(field)
        && match &field.ty {
            _ if field.is_null_when_unset() => true,
            _ if field.wire.pointer => false,
            Type::Struct(_) | Type::Scalar(Scalar::Quantity) => true,
            Type::Scalar(Scalar::Bool | Scalar::Int32 | Scalar::Int64 | Scalar::String) => field.wire.keep_empty,
            _ => false,
        }
}

fn fill(object: &mut Object, field: &FieldDef, schema: SchemaRef<'_>) {
    let zero = match &field.ty {
        _ if field.is_null_when_unset() => Value::Null,
        Type::Struct(id) => {
            let mut inner = Object::new();
            structure(&mut inner, *id, schema, false);
            Value::Object(inner)
        }
        Type::Scalar(Scalar::Bool) => Value::Bool(false),
        Type::Scalar(Scalar::Int32 | Scalar::Int64) => Value::Int(0),
        Type::Scalar(Scalar::Quantity) => Value::from("0"),
        _ => Value::from(""),
    };
    object.insert(field.name.clone(), zero);
}

#[cfg(test)]
mod tests {
    use skiff_apimachinery::value;

    use super::*;

    fn canonical(kind: &str, mut object: Value) -> Value {
        let types = &skiff_api::builtin().types;
        let id = types.lookup(&format!("io.k8s.api.{kind}")).expect("a built-in type");
        canonicalize(&mut object, types.schema(id));
        complete_status(&mut object, types.schema(id));
        object
    }

    #[test]
    fn what_go_leaves_out_goes() {
        let pod = value!({
            "metadata": {"name": "a", "labels": {}, "finalizers": []},
            "spec": {
                "containers": [{"name": "c", "env": [], "stdin": false, "command": null, "ports": [{"containerPort": 0, "hostPort": 0}]}],
                "nodeName": "",
                "hostNetwork": false,
                "automountServiceAccountToken": false,
                "volumes": [{"name": "v", "emptyDir": {}}]
            }
        });
        let wanted = value!({
            "metadata": {"name": "a"},
            "spec": {
                "containers": [{"name": "c", "ports": [{"containerPort": 0}], "resources": {}}],
                "automountServiceAccountToken": false,
                "volumes": [{"name": "v", "emptyDir": {}}]
            },
            "status": {}
        });
        assert_eq!(canonical("core.v1.Pod", pod), wanted);
    }

    #[test]
    fn what_go_always_writes_comes() {
        let service = canonical("core.v1.Service", value!({"spec": {"type": "ClusterIP"}}));
        assert_eq!(service, value!({"metadata": {}, "spec": {"type": "ClusterIP"}, "status": {"loadBalancer": {}}}));
        let deployment = canonical("apps.v1.Deployment", value!({"spec": {"replicas": 0, "template": {"spec": {}}}}));
        assert_eq!(deployment.at(&["spec", "strategy"]), Some(&value!({})));
        assert_eq!(deployment.at(&["spec", "template", "metadata"]), Some(&value!({})));
        assert_eq!(deployment.at(&["spec", "replicas"]), Some(&Value::Int(0)));
        let slice = canonical("discovery.v1.EndpointSlice", value!({"addressType": "IPv4", "endpoints": []}));
        assert_eq!(slice, value!({"metadata": {}, "addressType": "IPv4", "endpoints": null, "ports": null}));
        let reference = value!({"resource": "limits.cpu"});
        assert_eq!(canonical("core.v1.ResourceFieldSelector", reference).str_at(&["divisor"]), Some("0"));
    }

    #[test]
    fn the_form_is_stable() {
        let node = canonical("core.v1.Node", value!({"metadata": {"name": "n"}}));
        assert_eq!(node.str_at(&["status", "nodeInfo", "kubeletVersion"]), Some(""));
        assert_eq!(canonical("core.v1.Node", node.clone()), node);
    }
}
