//! Rows of the kinds of storage.k8s.io.

use jiff::Timestamp;
use skiff_apimachinery::value::Value;

use super::human::{NONE, UNSET, age};
use super::{AGE, Column, NAME, Printer, boolean, count, joined, name, non_empty, text};

pub(super) static PRINTERS: &[Printer] = &[
    Printer::new("storage.k8s.io", "StorageClass", &STORAGE_CLASS, storage_class),
    Printer::new("storage.k8s.io", "VolumeAttributesClass", &ATTRIBUTES_CLASS, |object, now| {
        vec![name(object), text(object, &["driverName"]).into(), age(object, now)]
    }),
    Printer::new("storage.k8s.io", "VolumeAttachment", &VOLUME_ATTACHMENT, |object, now| {
        vec![
            name(object),
            text(object, &["spec", "attacher"]).into(),
            text(object, &["spec", "source", "persistentVolumeName"]).into(),
            text(object, &["spec", "nodeName"]).into(),
            boolean(object, &["status", "attached"], false),
            age(object, now),
        ]
    }),
    Printer::new("storage.k8s.io", "CSINode", &CSI_NODE, |object, now| {
        vec![name(object), count(object, &["spec", "drivers"]).into(), age(object, now)]
    }),
    Printer::new("storage.k8s.io", "CSIDriver", &CSI_DRIVER, csi_driver),
];

static STORAGE_CLASS: [Column; 6] = [
    NAME,
    Column::string("Provisioner", "What makes the volumes."),
    Column::string("ReclaimPolicy", "What happens to a volume when its claim is gone."),
    Column::string("VolumeBindingMode", "When volumes are made and bound."),
    Column::string("AllowVolumeExpansion", "Whether volumes can grow."),
    AGE,
];

fn storage_class(object: &Value, now: Timestamp) -> Vec<Value> {
    let annotation = |key: &str| object.str_at(&["metadata", "annotations", key]) == Some("true");
    let is_default = annotation("storageclass.kubernetes.io/is-default-class")
        || annotation("storageclass.beta.kubernetes.io/is-default-class");
    let mark = if is_default { " (default)" } else { "" };
    vec![
        format!("{}{mark}", text(object, &["metadata", "name"])).into(),
        text(object, &["provisioner"]).into(),
        object.str_at(&["reclaimPolicy"]).unwrap_or("Delete").into(),
        object.str_at(&["volumeBindingMode"]).unwrap_or("Immediate").into(),
        boolean(object, &["allowVolumeExpansion"], false),
        age(object, now),
    ]
}

static ATTRIBUTES_CLASS: [Column; 3] = [NAME, Column::string("DriverName", "Driver that the class is for."), AGE];

static VOLUME_ATTACHMENT: [Column; 6] = [
    NAME,
    Column { format: "name", ..Column::string("Attacher", "Driver that attaches the volume.") },
    Column::string("PV", "Volume that is attached."),
    Column::string("Node", "Node that the volume is attached to."),
    Column::boolean("Attached", "Whether the volume is attached."),
    AGE,
];

static CSI_NODE: [Column; 3] = [NAME, Column::integer("Drivers", "Drivers on the node."), AGE];

static CSI_DRIVER: [Column; 8] = [
    NAME,
    Column::boolean("AttachRequired", "Whether volumes have to be attached."),
    Column::boolean("PodInfoOnMount", "Whether the driver is told about the pod."),
    Column::boolean("StorageCapacity", "Whether the driver publishes its capacity."),
    Column::string("TokenRequests", "Audiences of the tokens that the driver gets."),
    Column::boolean("RequiresRepublish", "Whether the driver is called again from time to time."),
    Column::string("Modes", "Life cycles of volumes that the driver knows."),
    AGE,
];

fn csi_driver(object: &Value, now: Timestamp) -> Vec<Value> {
    let audiences = object.at(&["spec", "tokenRequests"]).and_then(Value::as_array).map_or(UNSET.into(), |requests| {
        requests.iter().map(|request| text(request, &["audience"])).collect::<Vec<_>>().join(",")
    });
    vec![
        name(object),
        boolean(object, &["spec", "attachRequired"], true),
        boolean(object, &["spec", "podInfoOnMount"], false),
        boolean(object, &["spec", "storageCapacity"], false),
        audiences.into(),
        boolean(object, &["spec", "requiresRepublish"], false),
        non_empty(&joined(object, &["spec", "volumeLifecycleModes"], ","), NONE),
        age(object, now),
    ]
}
