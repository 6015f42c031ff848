//! Rows of objects as users read them.

use skiff_apimachinery::value;

use super::partial::MetaVersion;
use super::table::{IncludeObject, Options};
use super::*;

const NOW: &str = "2026-01-02T00:00:00Z";
const YESTERDAY: &str = "2026-01-01T00:00:00Z";
const RECENTLY: &str = "2026-01-01T23:55:00Z";

fn now() -> Timestamp {
    NOW.parse().expect("a time")
}

/// The cells of an object as text, joined by `|`. Name and age are filled in.
fn row(group: &str, kind: &str, mut object: Value) -> String {
    object.set_at(&["metadata", "name"], "x");
    object.set_at(&["metadata", "creationTimestamp"], YESTERDAY);
    let printer = printer(group, kind);
    let cells = printer.cells(&object, now());
    assert_eq!(cells.len(), printer.columns.len(), "{kind}");
    let text = |cell: &Value| match cell {
        Value::Bool(b) => b.to_string(),
        other => scalar(Some(other), "?").as_str().unwrap_or("?").to_owned(),
    };
    cells.iter().map(text).collect::<Vec<_>>().join("|")
}

#[test]
fn rows() {
    let containers = || value!([{"name": "a", "image": "i1"}, {"name": "b", "image": "i2"}]);
    let template = || value!({"spec": {"containers": (containers())}});
    let selector = || value!({"matchLabels": {"app": "w"}});
    let cases = [
        ("", "Namespace", value!({"status": {"phase": "Active"}}), "x|Active|24h"),
        ("", "ConfigMap", value!({"data": {"a": "1", "b": "2"}, "binaryData": {"c": "3"}}), "x|3|24h"),
        ("", "Secret", value!({"type": "Opaque", "data": {"a": "1"}}), "x|Opaque|1|24h"),
        ("", "ServiceAccount", value!({}), "x|24h"),
        ("", "LimitRange", value!({}), "x|2026-01-01T00:00:00Z"),
        ("rbac.authorization.k8s.io", "ClusterRole", value!({}), "x|2026-01-01T00:00:00Z"),
        (
            "",
            "Service",
            value!({"spec": {"type": "NodePort", "clusterIPs": ["10.96.0.1"], "selector": {"app": "w"}, "ports": [
                {"port": 80, "protocol": "TCP", "nodePort": 30080}, {"port": 53, "protocol": "UDP"}]}}),
            "x|NodePort|10.96.0.1|<none>|80:30080/TCP,53/UDP|24h|app=w",
        ),
        (
            "",
            "Service",
            value!({"spec": {"type": "ExternalName", "externalName": "e.com"}}),
            "x|ExternalName|<none>|e.com|<none>|24h|<none>",
        ),
        (
            "",
            "Service",
            value!({"spec": {"type": "LoadBalancer"}}),
            "x|LoadBalancer|<none>|<pending>|<none>|24h|<none>",
        ),
        (
            "",
            "Service",
            value!({"spec": {"type": "LoadBalancer", "externalIPs": ["9.9.9.9"]},
                "status": {"loadBalancer": {"ingress": [{"hostname": "h"}, {"ip": "1.1.1.1"}]}}}),
            "x|LoadBalancer|<none>|1.1.1.1,h,9.9.9.9|<none>|24h|<none>",
        ),
        (
            "",
            "Node",
            value!({"metadata": {"labels": {"node-role.kubernetes.io/control-plane": "", "kubernetes.io/role": "a"}},
                "spec": {"unschedulable": true},
                "status": {"conditions": [{"type": "Ready", "status": "True"}],
                    "addresses": [{"type": "InternalIP", "address": "10.0.0.1"}],
                    "nodeInfo": {"kubeletVersion": "v1", "kernelVersion": "6.1", "architecture": "amd64", "osImage": "Debian"}}}),
            "x|Ready,SchedulingDisabled|a,control-plane|24h|v1|10.0.0.1|<none>|Debian|6.1 (amd64)|<unknown>",
        ),
        (
            "",
            "Node",
            value!({"status": {"conditions": [{"type": "Ready", "status": "Unknown"}]}}),
            "x|NotReady|<none>|24h||<none>|<none>|<unknown>|<unknown>|<unknown>",
        ),
        ("", "Node", value!({}), "x|Unknown|<none>|24h||<none>|<none>|<unknown>|<unknown>|<unknown>"),
        (
            "",
            "Endpoints",
            value!({"subsets": [{"addresses": [{"ip": "1"}, {"ip": "2"}], "ports": [{"port": 80}, {"port": 90}]}]}),
            "x|1:80,2:80,1:90 + 1 more...|24h",
        ),
        ("", "Endpoints", value!({}), "x|<none>|24h"),
        (
            "",
            "PersistentVolume",
            value!({"spec": {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteMany", "ReadWriteOnce"],
                "persistentVolumeReclaimPolicy": "Retain", "claimRef": {"namespace": "n", "name": "c"},
                "storageClassName": "s", "volumeMode": "Filesystem"}, "status": {"phase": "Bound"}}),
            "x|1Gi|RWO,RWX|Retain|Bound|n/c|s|<unset>||24h|Filesystem",
        ),
        (
            "",
            "PersistentVolumeClaim",
            value!({"spec": {"volumeName": "v"}, "status": {"phase": "Bound", "capacity": {"storage": "1Gi"}, "accessModes": ["ReadOnlyMany"]}}),
            "x|Bound|v|1Gi|ROX||<unset>|24h|<unset>",
        ),
        ("", "PersistentVolumeClaim", value!({"status": {"phase": "Pending"}}), "x|Pending|||||<unset>|24h|<unset>"),
        (
            "",
            "ResourceQuota",
            value!({"status": {"hard": {"pods": "10", "limits.cpu": "2", "cpu": "1"}, "used": {"pods": "3"}}}),
            "x|cpu: 0/1, pods: 3/10|limits.cpu: 0/2|24h",
        ),
        (
            "apps",
            "Deployment",
            value!({"spec": {"replicas": 3, "selector": (selector()), "template": (template())},
                "status": {"readyReplicas": 2, "updatedReplicas": 1, "availableReplicas": 2}}),
            "x|2/3|1|2|24h|a,b|i1,i2|app=w",
        ),
        (
            "apps",
            "ReplicaSet",
            value!({"spec": {"replicas": 3, "selector": (selector()), "template": (template())}, "status": {"replicas": 2}}),
            "x|3|2|0|24h|a,b|i1,i2|app=w",
        ),
        ("apps", "StatefulSet", value!({"spec": {"replicas": 3, "template": (template())}}), "x|0/3|24h|a,b|i1,i2"),
        (
            "apps",
            "DaemonSet",
            value!({"spec": {"selector": (selector()), "template": (template())}, "status": {"desiredNumberScheduled": 1, "numberReady": 1}}),
            "x|1|0|1|0|0|<none>|24h|a,b|i1,i2|app=w",
        ),
        (
            "apps",
            "ControllerRevision",
            value!({"metadata": {"ownerReferences": [{"apiVersion": "apps/v1", "kind": "DaemonSet", "name": "d", "controller": true}]}, "revision": 4}),
            "x|daemonset.apps/d|4|24h",
        ),
        (
            "batch",
            "Job",
            value!({"spec": {"completions": 2, "selector": (selector()), "template": (template())},
                "status": {"succeeded": 1, "startTime": RECENTLY}}),
            "x|Running|1/2|5m|24h|a,b|i1,i2|app=w",
        ),
        (
            "batch",
            "Job",
            value!({"spec": {"parallelism": 3}, "status": {"startTime": YESTERDAY, "completionTime": "2026-01-01T00:00:07Z",
                "conditions": [{"type": "Suspended", "status": "False"}, {"type": "Complete", "status": "True"}]}}),
            "x|Complete|0/1 of 3|7s|24h|||<none>",
        ),
        (
            "batch",
            "CronJob",
            value!({"spec": {"schedule": "* * * * *", "suspend": false}, "status": {"active": [{}], "lastScheduleTime": RECENTLY}}),
            "x|* * * * *|<none>|False|1|5m|24h|||<none>",
        ),
        (
            "autoscaling",
            "HorizontalPodAutoscaler",
            value!({"spec": {"scaleTargetRef": {"kind": "Deployment", "name": "d"}, "minReplicas": 1, "maxReplicas": 5, "metrics": [
                    {"type": "Resource", "resource": {"name": "cpu", "target": {"averageUtilization": 80}}},
                    {"type": "Pods", "pods": {"target": {"averageValue": "10"}}},
                    {"type": "External", "external": {"target": {"value": "1"}}}]},
                "status": {"currentReplicas": 2, "currentMetrics": [{"resource": {"current": {"averageUtilization": 30}}}]}}),
            "x|Deployment/d|cpu: 30%/80%, <unknown>/10 + 1 more...|1|5|2|24h",
        ),
        (
            "autoscaling",
            "HorizontalPodAutoscaler",
            value!({"spec": {"scaleTargetRef": {"kind": "D", "name": "d"}, "maxReplicas": 5, "targetCPUUtilizationPercentage": 50}}),
            "x|D/d|cpu: <unknown>/50%|<unset>|5|0|24h",
        ),
        (
            "policy",
            "PodDisruptionBudget",
            value!({"spec": {"minAvailable": "50%"}, "status": {"disruptionsAllowed": 1}}),
            "x|50%|N/A|1|24h",
        ),
        ("policy", "PodDisruptionBudget", value!({"spec": {"maxUnavailable": 1}}), "x|N/A|1|0|24h"),
        (
            "discovery.k8s.io",
            "EndpointSlice",
            value!({"addressType": "IPv4", "ports": [{"port": 80}, {"name": "p"}, {}], "endpoints": [
                {"addresses": ["1", "2"]}, {"addresses": ["3", "4"]}]}),
            "x|IPv4|80,p,*|1,2,3 + 1 more...|24h",
        ),
        ("discovery.k8s.io", "EndpointSlice", value!({"addressType": "IPv6"}), "x|IPv6|<unset>|<unset>|24h"),
        (
            "networking.k8s.io",
            "Ingress",
            value!({"spec": {"ingressClassName": "c", "tls": [{}], "rules": [{"host": "a"}, {"host": "b"}, {"host": "c"}, {"host": "d"}]}}),
            "x|c|a,b,c + 1 more...||80, 443|24h",
        ),
        ("networking.k8s.io", "Ingress", value!({"spec": {"rules": [{}]}}), "x|<none>|*||80|24h"),
        (
            "networking.k8s.io",
            "IngressClass",
            value!({"metadata": {"annotations": {"ingressclass.kubernetes.io/is-default-class": "true"}},
                "spec": {"controller": "c", "parameters": {"kind": "K", "apiGroup": "g", "name": "n"}}}),
            "x (default)|c|K.g/n|24h",
        ),
        ("networking.k8s.io", "NetworkPolicy", value!({"spec": {"podSelector": {}}}), "x|<none>|24h"),
        (
            "networking.k8s.io",
            "IPAddress",
            value!({"spec": {"parentRef": {"resource": "services", "namespace": "n", "name": "s"}}}),
            "x|services/n/s",
        ),
        ("networking.k8s.io", "ServiceCIDR", value!({"spec": {"cidrs": ["10.0.0.0/8"]}}), "x|10.0.0.0/8|24h"),
        (
            "rbac.authorization.k8s.io",
            "RoleBinding",
            value!({"roleRef": {"kind": "Role", "name": "r"}, "subjects": [{"kind": "User", "name": "u"}, {"kind": "User", "name": "v"},
                {"kind": "Group", "name": "g"}, {"kind": "ServiceAccount", "namespace": "n", "name": "s"}]}),
            "x|Role/r|24h|u, v|g|n/s",
        ),
        ("coordination.k8s.io", "Lease", value!({"spec": {"holderIdentity": "h"}}), "x|h|24h"),
        (
            "certificates.k8s.io",
            "CertificateSigningRequest",
            value!({"spec": {"signerName": "s", "username": "u", "expirationSeconds": 3600}, "status": {"certificate": "c",
                "conditions": [{"type": "Approved", "status": "True"}]}}),
            "x|24h|s|u|60m|Approved,Issued",
        ),
        (
            "scheduling.k8s.io",
            "PriorityClass",
            value!({"value": 7, "preemptionPolicy": "Never"}),
            "x|7|false|24h|Never",
        ),
        ("node.k8s.io", "RuntimeClass", value!({"handler": "h"}), "x|h|24h"),
        (
            "storage.k8s.io",
            "StorageClass",
            value!({"metadata": {"annotations": {"storageclass.kubernetes.io/is-default-class": "true"}}, "provisioner": "p"}),
            "x (default)|p|Delete|Immediate|false|24h",
        ),
        (
            "storage.k8s.io",
            "VolumeAttachment",
            value!({"spec": {"attacher": "a", "nodeName": "n", "source": {"persistentVolumeName": "v"}}}),
            "x|a|v|n|false|24h",
        ),
        ("storage.k8s.io", "CSINode", value!({"spec": {"drivers": [{}, {}]}}), "x|2|24h"),
        (
            "storage.k8s.io",
            "CSIDriver",
            value!({"spec": {"attachRequired": false, "tokenRequests": [{"audience": "a"}]}}),
            "x|false|false|false|a|false|<none>|24h",
        ),
        (
            "flowcontrol.apiserver.k8s.io",
            "FlowSchema",
            value!({"spec": {"priorityLevelConfiguration": {"name": "p"}, "matchingPrecedence": 100, "distinguisherMethod": {"type": "ByUser"}},
                "status": {"conditions": [{"type": "Dangling", "status": "False"}]}}),
            "x|p|100|ByUser|24h|False",
        ),
        (
            "flowcontrol.apiserver.k8s.io",
            "PriorityLevelConfiguration",
            value!({"spec": {"type": "Exempt"}}),
            "x|Exempt|<none>|<none>|<none>|<none>|24h",
        ),
        ("admissionregistration.k8s.io", "ValidatingWebhookConfiguration", value!({"webhooks": [{}]}), "x|1|24h"),
        (
            "resource.k8s.io",
            "ResourceClaim",
            value!({"status": {"allocation": {}, "reservedFor": [{}]}}),
            "x|allocated,reserved|24h",
        ),
        (
            "resource.k8s.io",
            "DeviceTaintRule",
            value!({"spec": {"taint": {"key": "k", "value": "v", "effect": "None", "timeAdded": RECENTLY}}}),
            "x|k|v|None|5m|24h",
        ),
        (
            "resource.k8s.io",
            "ResourcePoolStatusRequest",
            value!({"spec": {"driver": "d"}, "status": {"poolCount": 3,
                "pools": [{"totalDevices": 4, "availableDevices": 1, "validationError": "e"}, {"totalDevices": 2, "allocatedDevices": 2}],
                "conditions": [{"type": "Complete", "status": "True", "lastTransitionTime": RECENTLY}]}}),
            "x|d|6|1|2|0|1|3|Complete (2/3 pools)|5m",
        ),
        (
            "internal.apiserver.k8s.io",
            "StorageVersion",
            value!({"status": {"storageVersions": [{"apiServerID": "a", "encodingVersion": "v1"}]}}),
            "x|<unset>|a=v1|24h",
        ),
    ];
    for (group, kind, object, expected) in cases {
        assert_eq!(row(group, kind, object), expected, "{kind}");
    }
}

#[test]
fn events() {
    let core = value!({"type": "Warning", "reason": "R", "message": " m\n", "count": 3, "firstTimestamp": YESTERDAY, "lastTimestamp": RECENTLY,
        "involvedObject": {"kind": "Pod", "name": "p", "fieldPath": "f"}, "source": {"component": "c", "host": "h"}});
    assert_eq!(row("", "Event", core), "5m|Warning|R|pod/p|f|c, h|m|24h|3|x");
    let new = value!({"type": "Normal", "reason": "R", "note": "m", "eventTime": "2026-01-01T23:59:30.000000Z",
        "regarding": {"kind": "Node"}, "reportingController": "c", "series": {"count": 9, "lastObservedTime": RECENTLY}});
    assert_eq!(row("events.k8s.io", "Event", new), "5m|Normal|R|node||c|m|30s|9|x");
    assert_eq!(row("", "Event", value!({"involvedObject": {}})), "<unknown>||||||| <unknown>|1|x".replace(" ", ""));
}

/// The pod's ready, status and restarts cells.
fn pod(object: Value) -> String {
    row("", "Pod", object).split('|').skip(1).take(3).collect::<Vec<_>>().join("|")
}

#[test]
fn pods() {
    let running = || value!({"name": "a", "ready": true, "restartCount": 0, "state": {"running": {}}});
    let ended = |code: i64, reason: &str| value!({"name": "b", "restartCount": 0, "state": {"terminated": {"exitCode": code, "reason": reason}}});
    let waiting = |reason: &str| value!({"name": "a", "restartCount": 2, "state": {"waiting": {"reason": reason}}});
    let spec = || value!({"containers": [{"name": "a"}, {"name": "b"}]});
    let with =
        |statuses: Value| value!({"spec": (spec()), "status": {"phase": "Running", "containerStatuses": statuses}});
    let init = |statuses: Value| {
        value!({"spec": {"containers": [{"name": "a"}], "initContainers": [{"name": "i"}, {"name": "s", "restartPolicy": "Always"}]},
            "status": {"phase": "Pending", "initContainerStatuses": statuses}})
    };
    let ready = || value!([{"type": "Ready", "status": "True"}]);
    let cases = [
        (value!({"spec": (spec()), "status": {"phase": "Pending"}}), "0/2|Pending|0"),
        (value!({"spec": (spec()), "status": {"phase": "Failed", "reason": "Evicted"}}), "0/2|Evicted|0"),
        (
            value!({"spec": (spec()), "status": {"phase": "Pending", "conditions": [{"type": "PodScheduled", "reason": "SchedulingGated"}]}}),
            "0/2|SchedulingGated|0",
        ),
        (with(value!([(running()), (running())])), "2/2|Running|0"),
        (with(value!([(waiting("CrashLoopBackOff")), (running())])), "1/2|CrashLoopBackOff|2"),
        (with(value!([(waiting("ContainerCreating"))])), "0/2|ContainerCreating|2"),
        (with(value!([(ended(0, "Completed"))])), "0/2|Completed|0"),
        (with(value!([(ended(0, "Completed")), (running())])), "1/2|NotReady|0"),
        (with(value!([(ended(0, "Completed")), (ended(1, "Error"))])), "0/2|Error|0"),
        (
            value!({"spec": (spec()), "status": {"phase": "Running", "conditions": (ready()), "containerStatuses": [(ended(0, "Completed")), (running())]}}),
            "1/2|Running|0",
        ),
        (with(value!([(ended(137, ""))])), "0/2|ExitCode:137|0"),
        (with(value!([{"name": "a", "state": {"terminated": {"signal": 9}}}])), "0/2|Signal:9|0"),
        (
            with(
                value!([{"name": "a", "ready": true, "restartCount": 3, "state": {"running": {}}, "lastState": {"terminated": {"finishedAt": RECENTLY}}}]),
            ),
            "1/2|Running|3 (5m ago)",
        ),
        (
            value!({"metadata": {"deletionTimestamp": NOW}, "spec": (spec()), "status": {"phase": "Running", "containerStatuses": [(running())]}}),
            "1/2|Terminating|0",
        ),
        (
            value!({"metadata": {"deletionTimestamp": NOW}, "spec": (spec()), "status": {"phase": "Running", "reason": "NodeLost"}}),
            "0/2|Unknown|0",
        ),
        (
            value!({"metadata": {"deletionTimestamp": NOW}, "spec": (spec()), "status": {"phase": "Succeeded"}}),
            "0/2|Succeeded|0",
        ),
        (init(value!([{"name": "i", "restartCount": 1, "state": {"running": {}}}])), "0/2|Init:0/2|1"),
        (init(value!([{"name": "i", "state": {"waiting": {"reason": "PodInitializing"}}}])), "0/2|Init:0/2|0"),
        (init(value!([{"name": "i", "state": {"waiting": {"reason": "ErrImagePull"}}}])), "0/2|Init:ErrImagePull|0"),
        (
            init(value!([{"name": "i", "state": {"terminated": {"exitCode": 1, "reason": "Error"}}}])),
            "0/2|Init:Error|0",
        ),
        (init(value!([{"name": "i", "state": {"terminated": {"exitCode": 3}}}])), "0/2|Init:ExitCode:3|0"),
        (init(value!([{"name": "i", "state": {"terminated": {"signal": 9, "exitCode": 137}}}])), "0/2|Init:Signal:9|0"),
        (
            init(
                value!([{"name": "i", "restartCount": 4, "state": {"terminated": {"exitCode": 0}}}, {"name": "s", "started": true, "ready": true, "restartCount": 1, "state": {"running": {}}}]),
            ),
            "1/2|Pending|1",
        ),
    ];
    for (object, expected) in cases {
        assert_eq!(pod(object.clone()), expected, "{object:?}");
    }
    let wide = value!({"spec": {"nodeName": "n", "readinessGates": [{"conditionType": "g"}, {"conditionType": "h"}]},
        "status": {"podIPs": [{"ip": "1"}], "conditions": [{"type": "g", "status": "True"}]}});
    assert_eq!(row("", "Pod", wide), "x|0/0||0|24h|1|n|<none>|1/2");
    assert_eq!(row("", "Pod", value!({})), "x|0/0||0|24h|<none>|<none>|<none>|<none>");
}

#[test]
fn every_printer_gives_a_cell_for_each_column() {
    for printers in [core::PRINTERS, apps::PRINTERS, networking::PRINTERS, storage::PRINTERS, others::PRINTERS] {
        for printer in printers {
            assert_eq!(printer.cells(&value!({}), now()).len(), printer.columns.len(), "{}", printer.kind);
            assert_eq!(super::printer(printer.group, printer.kind).columns, printer.columns);
        }
    }
}

#[test]
fn tables() {
    let pod = value!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "resourceVersion": "7", "creationTimestamp": YESTERDAY},
        "status": {"phase": "Succeeded"}});
    let mut options = Options { version: MetaVersion::V1, include: IncludeObject::Metadata, headers: true, now: now() };
    let printer = printer("", "Pod");
    let table = table::of_object(printer, &pod, &options);
    assert_eq!(table.str_at(&["apiVersion"]), Some("meta.k8s.io/v1"));
    assert_eq!(table.str_at(&["kind"]), Some("Table"));
    assert_eq!(table.str_at(&["metadata", "resourceVersion"]), Some("7"));
    let columns = table.array_at(&["columnDefinitions"]);
    assert_eq!(columns.len(), 9);
    assert_eq!(columns[0].str_at(&["format"]), Some("name"));
    assert_eq!((columns[4].i64_at(&["priority"]), columns[5].i64_at(&["priority"])), (Some(0), Some(1)));
    let row = &table.array_at(&["rows"])[0];
    assert_eq!(row.array_at(&["conditions"])[0].str_at(&["reason"]), Some("Succeeded"));
    let metadata = pod.get("metadata").cloned().expect("metadata");
    assert_eq!(
        row.get("object"),
        Some(&value!({"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata", "metadata": metadata}))
    );

    options = Options { version: MetaVersion::V1Beta1, include: IncludeObject::Object, headers: false, ..options };
    let list = value!({"metadata": {"resourceVersion": "9", "continue": "c"}, "items": [(pod.clone())]});
    let table = table::of_list(printer, &list, &options);
    assert_eq!(table.str_at(&["apiVersion"]), Some("meta.k8s.io/v1beta1"));
    assert_eq!(table.str_at(&["metadata", "continue"]), Some("c"));
    assert_eq!(table.get("columnDefinitions"), Some(&Value::Null));
    assert_eq!(table.array_at(&["rows"])[0].get("object"), Some(&pod));

    options.include = IncludeObject::None;
    let table = table::of_list(printer, &list, &options);
    assert_eq!(table.array_at(&["rows"])[0].get("object"), Some(&Value::Null));
    let empty = table::of_list(printer, &value!({"metadata": {}, "items": []}), &options);
    assert_eq!(empty.get("rows"), Some(&Value::Array(Vec::new())));

    assert_eq!(IncludeObject::parse("Object"), Ok(IncludeObject::Object));
    assert_eq!(IncludeObject::parse(""), Ok(IncludeObject::Metadata));
    let status = IncludeObject::parse("All").expect_err("no such value");
    assert_eq!(status.code, 400);
    assert_eq!(
        status.message,
        "Unable to convert to Table as requested: includeObject: Invalid value: \"All\": must be 'Metadata', 'Object', 'None', or empty"
    );
}

#[test]
fn partial_metadata() {
    let list = value!({"metadata": {"resourceVersion": "9"}, "items": [{"metadata": {"name": "a"}, "spec": {}}, {"metadata": {"name": "b"}}]});
    let partial = partial::list(&list, MetaVersion::V1);
    assert_eq!(partial.str_at(&["kind"]), Some("PartialObjectMetadataList"));
    assert_eq!(partial.str_at(&["metadata", "resourceVersion"]), Some("9"));
    assert_eq!(
        partial.array_at(&["items"])[0],
        value!({"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata", "metadata": {"name": "a"}})
    );
    assert_eq!(MetaVersion::parse("v1beta1"), Some(MetaVersion::V1Beta1));
    assert_eq!(MetaVersion::parse("v2"), None);
}
