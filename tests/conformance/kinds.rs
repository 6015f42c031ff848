//! The kinds whose scenario is the common life, with an object of each.

use serde_json::{Value, json};

use crate::life::{Kind, no_status};

/// A cluster-wide kind without a status of its own.
const CLUSTER: Kind = Kind {
    group: "",
    version: "v1",
    plural: "",
    kind: "",
    namespaced: false,
    object: |_, _| json!({}),
    status: no_status,
};

/// A namespaced one.
const NAMESPACED: Kind = Kind { namespaced: true, ..CLUSTER };

fn condition(kind: &str) -> Value {
    json!({"type": kind, "status": "True", "reason": "Test", "message": "by the suite",
        "lastTransitionTime": "2026-01-02T03:04:05Z"})
}

pub(crate) const FLOW_SCHEMA: Kind = Kind {
    group: "flowcontrol.apiserver.k8s.io",
    plural: "flowschemas",
    kind: "FlowSchema",
    object: |_, _| {
        json!({"spec": {
            "matchingPrecedence": 10000,
            "priorityLevelConfiguration": {"name": "global-default"},
            "rules": [{
                "subjects": [{"kind": "User", "user": {"name": "example-e2e-flow-schema"}}],
                "nonResourceRules": [{"nonResourceURLs": ["*"], "verbs": ["*"]}]}]}})
    },
    status: || json!({"status": {"conditions": [condition("Dangling")]}}),
    ..CLUSTER
};

pub(crate) const PRIORITY_LEVEL: Kind = Kind {
    group: "flowcontrol.apiserver.k8s.io",
    plural: "prioritylevelconfigurations",
    kind: "PriorityLevelConfiguration",
    object: |_, _| {
        json!({"spec": {"type": "Limited", "limited": {
            "nominalConcurrencyShares": 2, "limitResponse": {"type": "Reject"}}}})
    },
    status: || json!({"status": {"conditions": [condition("FlowSchemas")]}}),
    ..CLUSTER
};

pub(crate) const CRON_JOB: Kind = Kind {
    group: "batch",
    plural: "cronjobs",
    kind: "CronJob",
    object: |_, _| {
        json!({"spec": {"schedule": "* */1 * * *", "concurrencyPolicy": "Allow", "suspend": true,
            "jobTemplate": {"spec": {"template": {"spec": {
                "restartPolicy": "OnFailure", "containers": [{"name": "c", "image": "example/image"}]}}}}}})
    },
    status: || json!({"status": {"lastScheduleTime": "2026-01-02T03:04:05Z"}}),
    ..NAMESPACED
};

pub(crate) const ENDPOINT_SLICE: Kind = Kind {
    group: "discovery.k8s.io",
    plural: "endpointslices",
    kind: "EndpointSlice",
    object: |_, number| {
        json!({"addressType": "IPv4", "ports": [{"name": "http", "port": 80, "protocol": "TCP"}],
            "endpoints": [{"addresses": [format!("10.1.2.{number}")], "conditions": {"ready": true}}]})
    },
    ..NAMESPACED
};

pub(crate) const INGRESS: Kind = Kind {
    group: "networking.k8s.io",
    plural: "ingresses",
    kind: "Ingress",
    object: |_, _| {
        json!({"spec": {
            "defaultBackend": {"service": {"name": "default-backend", "port": {"number": 80}}},
            "rules": [{"host": "foo.example.com", "http": {"paths": [{
                "path": "/", "pathType": "Prefix",
                "backend": {"service": {"name": "test-backend", "port": {"number": 8080}}}}]}}],
            "tls": [{"hosts": ["foo.example.com"]}]}})
    },
    status: || json!({"status": {"loadBalancer": {"ingress": [{"ip": "169.1.1.1"}]}}}),
    ..NAMESPACED
};

pub(crate) const INGRESS_CLASS: Kind = Kind {
    group: "networking.k8s.io",
    plural: "ingressclasses",
    kind: "IngressClass",
    object: |_, _| json!({"spec": {"controller": "example.com/controller"}}),
    ..CLUSTER
};

pub(crate) const IP_ADDRESS: Kind = Kind {
    group: "networking.k8s.io",
    plural: "ipaddresses",
    kind: "IPAddress",
    object: |_, number| {
        json!({"metadata": {"name": format!("192.168.7.{}", number + 1)},
            "spec": {"parentRef": {"group": "", "resource": "services", "name": "foo", "namespace": "default"}}})
    },
    ..CLUSTER
};

pub(crate) const SERVICE_CIDR: Kind = Kind {
    group: "networking.k8s.io",
    plural: "servicecidrs",
    kind: "ServiceCIDR",
    object: |_, number| json!({"spec": {"cidrs": [format!("10.2{number}.0.0/24")]}}),
    status: || json!({"status": {"conditions": [condition("StatusUpdated")]}}),
    ..CLUSTER
};

pub(crate) const RUNTIME_CLASS: Kind = Kind {
    group: "node.k8s.io",
    plural: "runtimeclasses",
    kind: "RuntimeClass",
    object: |_, _| json!({"handler": "valid-handler"}),
    ..CLUSTER
};

pub(crate) const POD_TEMPLATE: Kind = Kind {
    plural: "podtemplates",
    kind: "PodTemplate",
    object: |_, _| json!({"template": {"spec": {"containers": [{"name": "nginx", "image": "nginx"}]}}}),
    ..NAMESPACED
};

pub(crate) const CONFIG_MAP: Kind = Kind {
    plural: "configmaps",
    kind: "ConfigMap",
    object: |_, _| json!({"data": {"valueName": "value"}}),
    ..NAMESPACED
};

pub(crate) const SECRET: Kind = Kind {
    plural: "secrets",
    kind: "Secret",
    object: |_, _| json!({"data": {"key": "dmFsdWU="}, "type": "Opaque"}),
    ..NAMESPACED
};

pub(crate) const SERVICE_ACCOUNT: Kind = Kind {
    plural: "serviceaccounts",
    kind: "ServiceAccount",
    object: |_, _| json!({"automountServiceAccountToken": true}),
    ..NAMESPACED
};

pub(crate) const EVENT: Kind = Kind {
    plural: "events",
    kind: "Event",
    object: |namespace, _| {
        json!({"involvedObject": {"namespace": namespace}, "reason": "Test", "message": "This is a test event", "type": "Normal",
            "source": {"component": "suite"}, "count": 1,
            "firstTimestamp": "2026-01-02T03:04:05Z", "lastTimestamp": "2026-01-02T03:04:05Z"})
    },
    ..NAMESPACED
};

pub(crate) const NEW_EVENT: Kind = Kind {
    group: "events.k8s.io",
    plural: "events",
    kind: "Event",
    object: |namespace, _| {
        json!({"regarding": {"namespace": namespace}, "reason": "Test", "note": "This is event", "type": "Normal", "action": "Do",
            "eventTime": "2026-01-02T03:04:05.000001Z", "reportingController": "test-controller",
            "reportingInstance": "test-node"})
    },
    ..NAMESPACED
};

pub(crate) const LEASE: Kind = Kind {
    group: "coordination.k8s.io",
    plural: "leases",
    kind: "Lease",
    object: |_, _| {
        json!({"spec": {"holderIdentity": "holder", "leaseDurationSeconds": 30, "leaseTransitions": 0,
            "acquireTime": "2026-01-02T03:04:05.000001Z", "renewTime": "2026-01-02T03:04:06.000001Z"}})
    },
    ..NAMESPACED
};

pub(crate) const ENDPOINTS: Kind = Kind {
    plural: "endpoints",
    kind: "Endpoints",
    object: |_, _| {
        json!({"subsets": [{"addresses": [{"ip": "10.0.0.24"}],
            "ports": [{"name": "http", "port": 80, "protocol": "TCP"}]}]})
    },
    ..NAMESPACED
};

pub(crate) const LIMIT_RANGE: Kind = Kind {
    plural: "limitranges",
    kind: "LimitRange",
    object: |_, _| {
        json!({"spec": {"limits": [{"type": "Container", "min": {"cpu": "50m"}, "max": {"cpu": "500m"},
            "default": {"cpu": "500m"}, "defaultRequest": {"cpu": "50m"}}]}})
    },
    ..NAMESPACED
};

pub(crate) const DEVICE_CLASS: Kind = Kind {
    group: "resource.k8s.io",
    plural: "deviceclasses",
    kind: "DeviceClass",
    object: |_, _| json!({"spec": {"selectors": [{"cel": {"expression": "device.driver == \"dra.example.com\""}}]}}),
    ..CLUSTER
};

fn claim() -> Value {
    json!({"devices": {"requests": [{"name": "gpu", "exactly": {
        "deviceClassName": "gpu.example.com", "allocationMode": "ExactCount", "count": 1}}]}})
}

pub(crate) const RESOURCE_CLAIM: Kind = Kind {
    group: "resource.k8s.io",
    plural: "resourceclaims",
    kind: "ResourceClaim",
    object: |_, _| json!({"spec": claim()}),
    ..NAMESPACED
};

pub(crate) const RESOURCE_CLAIM_TEMPLATE: Kind = Kind {
    group: "resource.k8s.io",
    plural: "resourceclaimtemplates",
    kind: "ResourceClaimTemplate",
    object: |_, _| json!({"spec": {"spec": claim()}}),
    ..NAMESPACED
};

pub(crate) const RESOURCE_SLICE: Kind = Kind {
    group: "resource.k8s.io",
    plural: "resourceslices",
    kind: "ResourceSlice",
    object: |_, number| {
        json!({"spec": {"driver": "dra.example.com", "nodeName": "some-node", "devices": [{"name": "gpu-0"}],
            "pool": {"name": format!("pool-{number}"), "generation": 1, "resourceSliceCount": 1}}})
    },
    ..CLUSTER
};

pub(crate) const CSI_DRIVER: Kind = Kind {
    group: "storage.k8s.io",
    plural: "csidrivers",
    kind: "CSIDriver",
    object: |_, _| {
        json!({"spec": {"attachRequired": false, "podInfoOnMount": true,
            "volumeLifecycleModes": ["Persistent", "Ephemeral"]}})
    },
    ..CLUSTER
};

pub(crate) const CSI_NODE: Kind = Kind {
    group: "storage.k8s.io",
    plural: "csinodes",
    kind: "CSINode",
    object: |_, _| json!({"spec": {"drivers": []}}),
    ..CLUSTER
};

pub(crate) const CSI_STORAGE_CAPACITY: Kind = Kind {
    group: "storage.k8s.io",
    plural: "csistoragecapacities",
    kind: "CSIStorageCapacity",
    object: |_, _| json!({"storageClassName": "example", "capacity": "1Gi", "nodeTopology": {}}),
    ..NAMESPACED
};

pub(crate) const STORAGE_CLASS: Kind = Kind {
    group: "storage.k8s.io",
    plural: "storageclasses",
    kind: "StorageClass",
    object: |_, _| json!({"provisioner": "kubernetes.io/e2e-provisioner", "reclaimPolicy": "Delete"}),
    ..CLUSTER
};

pub(crate) const VOLUME_ATTACHMENT: Kind = Kind {
    group: "storage.k8s.io",
    plural: "volumeattachments",
    kind: "VolumeAttachment",
    object: |_, number| {
        json!({"spec": {"attacher": "e2e-test", "nodeName": "some-node",
            "source": {"persistentVolumeName": format!("pv-{number}")}}})
    },
    ..CLUSTER
};

pub(crate) const ATTACHED: Kind = Kind {
    status: || json!({"status": {"attached": true, "attachmentMetadata": {"foo": "bar"}}}),
    ..VOLUME_ATTACHMENT
};

pub(crate) const VOLUME_ATTRIBUTES_CLASS: Kind = Kind {
    group: "storage.k8s.io",
    plural: "volumeattributesclasses",
    kind: "VolumeAttributesClass",
    object: |_, _| json!({"driverName": "e2e.example.com", "parameters": {"foo": "bar"}}),
    ..CLUSTER
};

fn matches_nothing() -> Value {
    json!({
        "namespaceSelector": {"matchLabels": {"scene": "of-nobody"}},
        "resourceRules": [{"apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"],
            "resources": ["deployments"]}]})
}

pub(crate) const VALIDATING_POLICY: Kind = Kind {
    group: "admissionregistration.k8s.io",
    plural: "validatingadmissionpolicies",
    kind: "ValidatingAdmissionPolicy",
    object: |_, _| {
        json!({"spec": {"matchConstraints": matches_nothing(),
            "validations": [{"expression": "object.spec.replicas <= 100"}]}})
    },
    status: || json!({"status": {"conditions": [condition("StatusUpdated")]}}),
    ..CLUSTER
};

pub(crate) const VALIDATING_BINDING: Kind = Kind {
    group: "admissionregistration.k8s.io",
    plural: "validatingadmissionpolicybindings",
    kind: "ValidatingAdmissionPolicyBinding",
    object: |_, _| json!({"spec": {"policyName": "replicalimit-policy.example.com", "validationActions": ["Deny"]}}),
    ..CLUSTER
};

pub(crate) const MUTATING_POLICY: Kind = Kind {
    group: "admissionregistration.k8s.io",
    plural: "mutatingadmissionpolicies",
    kind: "MutatingAdmissionPolicy",
    object: |_, _| {
        json!({"spec": {"matchConstraints": matches_nothing(), "reinvocationPolicy": "Never",
            "mutations": [{"patchType": "ApplyConfiguration", "applyConfiguration": {
                "expression": "Object{metadata: Object.metadata{annotations: {\"my-foo-annotation\": \"myfoo\"}}}"}}]}})
    },
    ..CLUSTER
};

pub(crate) const MUTATING_BINDING: Kind = Kind {
    group: "admissionregistration.k8s.io",
    plural: "mutatingadmissionpolicybindings",
    kind: "MutatingAdmissionPolicyBinding",
    object: |_, _| json!({"spec": {"policyName": "mutate-policy.example.com"}}),
    ..CLUSTER
};
