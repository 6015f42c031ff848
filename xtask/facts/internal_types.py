#!/usr/bin/env python3
"""Write the fields of upstream's internal API types, in order, for messages that show them.

usage: internal_types.py KUBERNETES_SOURCE_FOLDER > apiserver/src/registry/internal/types.txt

One line for each struct: its name, then its fields as NAME:TYPE. A type is a scalar letter (s string, i number, b boolean,
q quantity, t time, o int-or-string, x bytes), the name of a struct, `*` and a type, `[` and an item type, `{` and a value
type. Embedded structs are flattened, as they are in JSON; `@metadata:ObjectMeta` stands for the fields of metadata, which
other JSON has in an object of that name.
"""
import re
import sys

GROUPS = ["core", "apps", "autoscaling", "batch", "networking", "policy", "storage", "resource", "certificates", "rbac",
          "discovery", "flowcontrol", "admissionregistration", "node"]
# Types whose values messages show, and everything in them.
ROOTS = ["PodSpec", "PodIP", "HostIP", "PersistentVolumeSpec", "PersistentVolumeSource", "VolumeNodeAffinity", "LoadBalancerIngress", "NodeAddress", "JobTemplateSpec", "PodTemplateSpec", "PersistentVolumeClaimSpec", "CertificateSigningRequestStatus",
         "MetricSpec", "MetricTarget", "HorizontalPodAutoscalerBehavior", "DeploymentStrategy", "IngressSpec", "IngressBackend",
         "NetworkPolicyPeer", "VolumeAttachmentSpec", "VolumeAttachmentSource", "CSINodeDriver", "ResourceQuotaSpec",
         "ScopedResourceSelectorRequirement", "EndpointSubset", "EndpointAddress", "JobSpec", "PolicyRule", "Endpoint",
         "EndpointPort", "ServicePort", "LimitRangeItem", "Taint", "Toleration", "NodeConfigSource", "PodFailurePolicyRule",
         "SuccessPolicyRule", "StatefulSetSpec", "DaemonSetSpec", "TopologySelectorTerm", "IngressClassSpec",
         "ServiceSpec", "StorageClass", "ResourceClaimSpec", "DeviceClassSpec", "ResourceSliceSpec", "ResourceClaimStatus",
         "ServiceCIDRSpec", "CustomResourceDefinitionVersion", "ResourceClaimTemplateSpec", "AuditAnnotation", "WebhookClientConfig", "FlowSchemaSpec", "PriorityLevelConfigurationSpec", "SecretReference", "ParentReference", "EventSource", "PodDisruptionBudgetSpec", "JobStatus", "Overhead", "Scheduling",
         "ResourcePoolStatusRequestStatus"]
SCALARS = {"string": "s", "bool": "b", "int": "i", "int32": "i", "int64": "i", "uint32": "i", "float64": "i",
           "types.UID": "s", "resource.Quantity": "q", "metav1.Time": "t", "metav1.MicroTime": "t", "apimachinerytypes.UID": "s",
           "intstr.IntOrString": "o", "[]byte": "x", "types.NodeName": "s", "runtime.RawExtension": "x", "metav1.Duration": "s", "JSON": "x"}

structs, aliases = {}, {}
EXTENSIONS = "staging/src/k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
FILES = [(group, f"pkg/apis/{group}/types.go") for group in GROUPS]
FILES += [("apiextensions", f"{EXTENSIONS}/{file}") for file in ("types.go", "types_jsonschema.go")]
for group, file in FILES:
    text = open(f"{sys.argv[1]}/{file}").read()
    text = re.sub(r"//[^\n]*", "", re.sub(r"/\*.*?\*/", "", text, flags=re.S))
    if group == "flowcontrol":
        text = re.sub(r"\bSubject\b", "FlowSubject", text)  # that of rbac is another type
    for name, body in re.findall(r"^type (\w+) struct \{\n(.*?)^\}", text, flags=re.S | re.M):
        fields = []
        for line in body.splitlines():
            line = re.sub(r"`[^`]*`", "", line).strip()
            if line:
                fields.append(line)
        structs.setdefault(name, fields)
    for name, target in re.findall(r"^(?:type )?\s*(\w+)\s+(\[\]\w+|map\[[\w.]+\][\w.]+|string|int32|int64)$", text, flags=re.M):
        aliases.setdefault(name, target)

# What the internal types take from meta/v1 has JSON names there; `?` stands for omitempty.
META = {
    "LabelSelector": "matchLabels?:{s matchExpressions?:[LabelSelectorRequirement",
    "LabelSelectorRequirement": "key:s operator:s values?:[s",
    "ObjectMeta": "name?:s generateName?:s namespace?:s selfLink?:s uid?:s resourceVersion?:s generation?:i creationTimestamp?:t"
                  " deletionTimestamp?:*t deletionGracePeriodSeconds?:*i labels?:{s annotations?:{s"
                  " ownerReferences?:[OwnerReference finalizers?:[s",
    "OwnerReference": "apiVersion:s kind:s name:s uid:s controller?:*b blockOwnerDeletion?:*b",
    # autoscaling/v1 keeps what newer versions say in annotations, in these types.
    "v1CrossVersionObjectReference": "kind:s name:s apiVersion?:s",
    "v1MetricSpec": "type:s object?:*v1ObjectMetricSource pods?:*v1PodsMetricSource resource?:*v1ResourceMetricSource"
                    " containerResource?:*v1ContainerResourceMetricSource external?:*v1ExternalMetricSource",
    "v1ObjectMetricSource": "target:v1CrossVersionObjectReference metricName:s targetValue:q selector?:*LabelSelector averageValue?:*q",
    "v1PodsMetricSource": "metricName:s targetAverageValue:q selector?:*LabelSelector",
    "v1ResourceMetricSource": "name:s targetAverageUtilization?:*i targetAverageValue?:*q",
    "v1ContainerResourceMetricSource": "name:s targetAverageUtilization?:*i targetAverageValue?:*q container:s",
    "v1ExternalMetricSource": "metricName:s metricSelector?:*LabelSelector targetValue?:*q targetAverageValue?:*q",
    "v1MetricStatus": "type:s object?:*v1ObjectMetricStatus pods?:*v1PodsMetricStatus resource?:*v1ResourceMetricStatus"
                      " containerResource?:*v1ContainerResourceMetricStatus external?:*v1ExternalMetricStatus",
    "v1ObjectMetricStatus": "target:v1CrossVersionObjectReference metricName:s currentValue:q selector?:*LabelSelector averageValue?:*q",
    "v1PodsMetricStatus": "metricName:s currentAverageValue:q selector?:*LabelSelector",
    "v1ResourceMetricStatus": "name:s currentAverageUtilization?:*i currentAverageValue:q",
    "v1ContainerResourceMetricStatus": "name:s currentAverageUtilization?:*i currentAverageValue:q container:s",
    "v1ExternalMetricStatus": "metricName:s metricSelector?:*LabelSelector currentValue:q currentAverageValue?:*q",
    "v1HorizontalPodAutoscalerCondition": "type:s status:s lastTransitionTime:t reason?:s message?:s",
    "Condition": "type:s status:s observedGeneration?:i lastTransitionTime:t reason:s message:s",
}


def encode(go):
    if go in SCALARS:
        return SCALARS[go]
    if go.startswith("*"):
        return "*" + encode(go[1:])
    if go.startswith("[]"):
        return "[" + encode(go[2:])
    if match := re.match(r"map\[[\w.]+\](.*)", go):
        return "{" + encode(match[1])
    name = go.rsplit(".", 1)[-1]
    if name in META and (go.startswith("metav1.") or name not in structs):
        return name
    if name in structs:
        return name
    if name in aliases:
        return encode(aliases[name])
    return "s"


def fields_of(name):
    if name in META and name not in structs:
        return META[name].split()
    out = []
    for line in structs[name]:
        parts = line.split()
        if len(parts) == 1:
            if parts[0] in ("metav1.TypeMeta", "metav1.ListMeta"):
                continue
            if parts[0] == "metav1.ObjectMeta":
                out.append("@metadata:ObjectMeta")
                continue
            out += fields_of(parts[0].rsplit(".", 1)[-1])
        else:
            out += [f"{field.strip()}:{encode(''.join(parts[-1:]))}" for field in " ".join(parts[:-1]).split(",")]
    return out


done, todo = {}, [root for root in ROOTS if root in structs] + [name for name in META if name.startswith("v1")]
while todo:
    name = todo.pop()
    if name in done:
        continue
    done[name] = fields_of(name)
    for field in done[name]:
        inner = field.split(":", 1)[1].lstrip("*[{")
        if inner in structs or inner in META:
            todo.append(inner)
for name in sorted(done):
    print(name, *done[name])
