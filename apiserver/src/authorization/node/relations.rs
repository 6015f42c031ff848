//! Which objects a node has to do with: those that the pods bound to it refer to.
//!
//! Follows `plugin/pkg/auth/authorizer/node/graph.go` and `pkg/api/v1/pod/util.go`.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use compact_str::CompactString;
use parking_lot::Mutex;
use skiff_apimachinery::value::Value;

use crate::cacher::SharedReader;
use crate::objects::Extracts;

/// What can be related to a node through its pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Related {
    ConfigMap,
    Secret,
    ServiceAccount,
    PersistentVolumeClaim,
    ResourceClaim,
}

/// A pod that is bound to a node, and the names in its namespace that it refers to.
pub(super) struct BoundPod {
    node: CompactString,
    namespace: CompactString,
    name: CompactString,
    /// Sorted.
    refers_to: Vec<(Related, CompactString)>,
}

/// A volume that is bound to a claim.
struct BoundVolume {
    name: CompactString,
    claim_namespace: CompactString,
    claim_name: CompactString,
    /// Namespace and name of Secrets that a kubelet needs to mount it.
    secrets: Vec<(CompactString, CompactString)>,
}

/// An object that belongs to one node.
struct OfNode {
    name: CompactString,
    node: CompactString,
}

/// The relations as the cache has them.
pub(super) struct Relations {
    reader: SharedReader,
    pods: Extracts<BoundPod>,
    volumes: Extracts<BoundVolume>,
    attachments: Extracts<OfNode>,
    slices: Extracts<OfNode>,
    by_node: ArcSwapOption<(u64, PodsByNode)>,
    rebuild: Mutex<()>,
}

type PodsByNode = HashMap<CompactString, Vec<Arc<BoundPod>>>;

impl Relations {
    pub(super) fn new(reader: SharedReader) -> Self {
        Self {
            reader,
            pods: Extracts::new("", "pods", bound_pod),
            volumes: Extracts::new("", "persistentvolumes", bound_volume),
            attachments: Extracts::new("storage.k8s.io", "volumeattachments", |attachment| {
                of_node(attachment, &["spec", "nodeName"])
            }),
            slices: Extracts::new("resource.k8s.io", "resourceslices", |slice| of_node(slice, &["spec", "nodeName"])),
            by_node: ArcSwapOption::empty(),
            rebuild: Mutex::new(()),
        }
    }

    fn pods_of<R>(&self, node: &str, look: impl FnOnce(&[Arc<BoundPod>]) -> R) -> R {
        let fresh = || {
            let generation = self.pods.generation(self.reader.as_ref());
            self.by_node.load_full().filter(|current| current.0 == generation)
        };
        let current = fresh().unwrap_or_else(|| {
            let _alone = self.rebuild.lock();
            fresh().unwrap_or_else(|| {
                let generation = self.pods.generation(self.reader.as_ref());
                let mut by_node = PodsByNode::new();
                for pod in self.pods.get(self.reader.as_ref()).iter() {
                    by_node.entry(pod.node.clone()).or_default().push(pod.clone());
                }
                let current = Arc::new((generation, by_node));
                self.by_node.store(Some(current.clone()));
                current
            })
        });
        look(current.1.get(node).map_or(&[], Vec::as_slice))
    }

    /// Whether this pod is bound to the node.
    pub(super) fn has_pod(&self, node: &str, namespace: &str, name: &str) -> bool {
        self.pods_of(node, |pods| pods.iter().any(|pod| pod.namespace == namespace && pod.name == name))
    }

    /// Whether a pod of the node refers to this object.
    pub(super) fn has(&self, node: &str, kind: Related, namespace: &str, name: &str) -> bool {
        let wanted = (kind, CompactString::from(name));
        self.pods_of(node, |pods| {
            pods.iter().any(|pod| pod.namespace == namespace && pod.refers_to.binary_search(&wanted).is_ok())
        })
    }

    /// Whether a pod of the node uses a claim that is bound to this volume.
    pub(super) fn has_volume(&self, node: &str, name: &str) -> bool {
        let volumes = self.volumes.get(self.reader.as_ref());
        volumes.iter().filter(|volume| volume.name == name).any(|volume| self.uses(node, volume))
    }

    /// Whether a volume that a pod of the node uses needs this Secret.
    pub(super) fn has_volume_secret(&self, node: &str, namespace: &str, name: &str) -> bool {
        let volumes = self.volumes.get(self.reader.as_ref());
        let needing = volumes.iter().filter(|v| v.secrets.iter().any(|(ns, n)| ns == namespace && n == name));
        needing.into_iter().any(|volume| self.uses(node, volume))
    }

    fn uses(&self, node: &str, volume: &BoundVolume) -> bool {
        self.has(node, Related::PersistentVolumeClaim, &volume.claim_namespace, &volume.claim_name)
    }

    /// Whether this VolumeAttachment is for the node.
    pub(super) fn has_attachment(&self, node: &str, name: &str) -> bool {
        self.attachments.get(self.reader.as_ref()).iter().any(|a| a.name == name && a.node == node)
    }

    /// Whether this ResourceSlice is the node's.
    pub(super) fn has_slice(&self, node: &str, name: &str) -> bool {
        self.slices.get(self.reader.as_ref()).iter().any(|s| s.name == name && s.node == node)
    }
}

fn text(value: &Value, path: &[&str]) -> CompactString {
    value.str_at(path).unwrap_or("").into()
}

fn of_node(object: &Value, path: &[&str]) -> Option<OfNode> {
    let node = text(object, path);
    (!node.is_empty()).then(|| OfNode { name: text(object, &["metadata", "name"]), node })
}

fn bound_pod(pod: &Value) -> Option<BoundPod> {
    let node = text(pod, &["spec", "nodeName"]);
    if node.is_empty() {
        return None;
    }
    let mut refers_to = Vec::new();
    // A node makes mirror pods itself, so they must give it nothing.
    if pod.at(&["metadata", "annotations", "kubernetes.io/config.mirror"]).is_none() {
        collect_references(pod, &mut refers_to);
    }
    refers_to.retain(|(_, name)| !name.is_empty());
    refers_to.sort_unstable();
    refers_to.dedup();
    Some(BoundPod {
        node,
        namespace: text(pod, &["metadata", "namespace"]),
        name: text(pod, &["metadata", "name"]),
        refers_to,
    })
}

fn collect_references(pod: &Value, found: &mut Vec<(Related, CompactString)>) {
    let pod_name = pod.str_at(&["metadata", "name"]).unwrap_or("");
    found.push((Related::ServiceAccount, text(pod, &["spec", "serviceAccountName"])));
    for secret in pod.array_at(&["spec", "imagePullSecrets"]) {
        found.push((Related::Secret, text(secret, &["name"])));
    }
    for list in ["containers", "initContainers", "ephemeralContainers"] {
        for container in pod.array_at(&["spec", list]) {
            collect_environment(container, found);
        }
    }
    for volume in pod.array_at(&["spec", "volumes"]) {
        collect_volume(pod_name, volume, found);
    }
    for claim in pod.array_at(&["spec", "resourceClaims"]) {
        found.push((Related::ResourceClaim, text(claim, &["resourceClaimName"])));
    }
    for claim in pod.array_at(&["status", "resourceClaimStatuses"]) {
        found.push((Related::ResourceClaim, text(claim, &["resourceClaimName"])));
    }
    found.push((Related::ResourceClaim, text(pod, &["status", "extendedResourceClaimStatus", "resourceClaimName"])));
}

fn collect_environment(container: &Value, found: &mut Vec<(Related, CompactString)>) {
    for source in container.array_at(&["envFrom"]) {
        found.push((Related::Secret, text(source, &["secretRef", "name"])));
        found.push((Related::ConfigMap, text(source, &["configMapRef", "name"])));
    }
    for variable in container.array_at(&["env"]) {
        found.push((Related::Secret, text(variable, &["valueFrom", "secretKeyRef", "name"])));
        found.push((Related::ConfigMap, text(variable, &["valueFrom", "configMapKeyRef", "name"])));
    }
}

/// Volume sources that name a Secret, and where.
const VOLUME_SECRETS: [&[&str]; 9] = [
    &["secret", "secretName"],
    &["azureFile", "secretName"],
    &["cephfs", "secretRef", "name"],
    &["cinder", "secretRef", "name"],
    &["csi", "nodePublishSecretRef", "name"],
    &["flexVolume", "secretRef", "name"],
    &["iscsi", "secretRef", "name"],
    &["rbd", "secretRef", "name"],
    &["scaleIO", "secretRef", "name"],
];

fn collect_volume(pod_name: &str, volume: &Value, found: &mut Vec<(Related, CompactString)>) {
    for path in VOLUME_SECRETS {
        found.push((Related::Secret, text(volume, path)));
    }
    found.push((Related::Secret, text(volume, &["storageos", "secretRef", "name"])));
    found.push((Related::ConfigMap, text(volume, &["configMap", "name"])));
    for source in volume.array_at(&["projected", "sources"]) {
        found.push((Related::Secret, text(source, &["secret", "name"])));
        found.push((Related::ConfigMap, text(source, &["configMap", "name"])));
    }
    found.push((Related::PersistentVolumeClaim, text(volume, &["persistentVolumeClaim", "claimName"])));
    if volume.get("ephemeral").is_some() {
        let name = volume.str_at(&["name"]).unwrap_or("");
        found.push((Related::PersistentVolumeClaim, format!("{pod_name}-{name}").into()));
    }
}

/// Volume sources that refer to Secrets which a kubelet may read (`pkg/api/v1/persistentvolume`, VisitPVSecretNames).
/// A reference without a namespace means the claim's.
const PV_SECRETS: [&str; 8] = ["cephfs", "cinder", "csi", "flexVolume", "iscsi", "rbd", "scaleIO", "storageos"];

fn bound_volume(volume: &Value) -> Option<BoundVolume> {
    let claim_name = text(volume, &["spec", "claimRef", "name"]);
    if claim_name.is_empty() {
        return None;
    }
    let claim_namespace = text(volume, &["spec", "claimRef", "namespace"]);
    let mut secrets = Vec::new();
    let mut add = |reference: &Value| {
        let name = text(reference, &["name"]);
        let namespace = text(reference, &["namespace"]);
        if !name.is_empty() {
            secrets.push((if namespace.is_empty() { claim_namespace.clone() } else { namespace }, name));
        }
    };
    for source in PV_SECRETS {
        let fields: &[&str] = match source {
            "csi" => &["nodePublishSecretRef", "nodeStageSecretRef", "nodeExpandSecretRef"],
            _ => &["secretRef"],
        };
        fields.iter().filter_map(|field| volume.at(&["spec", source, field])).for_each(&mut add);
    }
    let azure = text(volume, &["spec", "azureFile", "secretName"]);
    if !azure.is_empty() {
        let namespace = text(volume, &["spec", "azureFile", "secretNamespace"]);
        secrets.push((if namespace.is_empty() { claim_namespace.clone() } else { namespace }, azure));
    }
    Some(BoundVolume { name: text(volume, &["metadata", "name"]), claim_namespace, claim_name, secrets })
}
