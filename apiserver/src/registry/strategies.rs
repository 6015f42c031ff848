//! The list of kinds that differ from the generic behaviour.

use skiff_api::KindInfo;

use super::conversion::{Conversion, SameShape};
use super::core::{configmap, endpoints, event, limits, namespace, node, pod, service, storage, workload};
use super::others::storage::{attachment, classes, csi};
use super::others::{
    access, admission_registration, aggregation, autoscaling, certificates, devices, discovery, flow_control,
    lease_candidate, network, policy, runtime_class, storage_version,
};
use super::strategy::{Generic, Strategy};
use super::workloads::{daemonset, deployment, job, statefulset};

/// The strategy of a stored resource.
pub fn strategy(group: &str, plural: &str) -> &'static dyn Strategy {
    match group {
        "" => core(plural),
        "apps" => match plural {
            "controllerrevisions" => &daemonset::ControllerRevisionStrategy,
            "daemonsets" => &daemonset::DaemonSetStrategy,
            "deployments" => &deployment::DeploymentStrategy,
            "replicasets" => &deployment::ReplicaSetStrategy,
            "statefulsets" => &statefulset::StatefulSetStrategy,
            _ => &Generic,
        },
        "batch" => match plural {
            "cronjobs" => &job::cron::CronJobStrategy,
            "jobs" => &job::JobStrategy,
            _ => &Generic,
        },
        "rbac.authorization.k8s.io" => match plural {
            "clusterrolebindings" => &access::RoleBindingStrategy { namespaced: false },
            "clusterroles" => &access::RoleStrategy { namespaced: false },
            "rolebindings" => &access::RoleBindingStrategy { namespaced: true },
            "roles" => &access::RoleStrategy { namespaced: true },
            _ => &Generic,
        },
        "admissionregistration.k8s.io" => match plural {
            "mutatingadmissionpolicies" => &admission_registration::MutatingPolicyStrategy,
            "mutatingadmissionpolicybindings" => &admission_registration::BindingStrategy { mutating: true },
            "mutatingwebhookconfigurations" => &admission_registration::WebhookConfigurationStrategy { mutating: true },
            "validatingadmissionpolicies" => &admission_registration::ValidatingPolicyStrategy,
            "validatingadmissionpolicybindings" => &admission_registration::BindingStrategy { mutating: false },
            "validatingwebhookconfigurations" => {
                &admission_registration::WebhookConfigurationStrategy { mutating: false }
            }
            _ => &Generic,
        },
        _ => other(group, plural),
    }
}

fn core(plural: &str) -> &'static dyn Strategy {
    match plural {
        "configmaps" => &configmap::ConfigMapStrategy,
        "endpoints" => &endpoints::EndpointsStrategy,
        "events" => &event::EventStrategy,
        "limitranges" => &limits::LimitRangeStrategy,
        "namespaces" => &namespace::NamespaceStrategy,
        "nodes" => &node::NodeStrategy,
        "persistentvolumeclaims" => &storage::ClaimStrategy,
        "persistentvolumes" => &storage::VolumeStrategy,
        "pods" => &pod::PodStrategy,
        "podtemplates" => &pod::PodTemplateStrategy,
        "replicationcontrollers" => &workload::ReplicationControllerStrategy,
        "resourcequotas" => &limits::ResourceQuotaStrategy,
        "secrets" => &configmap::SecretStrategy,
        "serviceaccounts" => &limits::ServiceAccountStrategy,
        "services" => &service::ServiceStrategy,
        _ => &Generic,
    }
}

fn other(group: &str, plural: &str) -> &'static dyn Strategy {
    match (group, plural) {
        ("apiextensions.k8s.io", "customresourcedefinitions") => &crate::apiextensions::definition::DefinitionStrategy,
        ("apiregistration.k8s.io", "apiservices") => &aggregation::ApiServiceStrategy,
        ("autoscaling", "horizontalpodautoscalers") => &autoscaling::AutoscalerStrategy,
        ("certificates.k8s.io", "certificatesigningrequests") => &certificates::SigningRequestStrategy,
        ("coordination.k8s.io", "leasecandidates") => &lease_candidate::LeaseCandidateStrategy,
        ("coordination.k8s.io", "leases") => &policy::LeaseStrategy,
        ("discovery.k8s.io", "endpointslices") => &discovery::EndpointSliceStrategy,
        ("flowcontrol.apiserver.k8s.io", "flowschemas") => &flow_control::FlowSchemaStrategy,
        ("flowcontrol.apiserver.k8s.io", "prioritylevelconfigurations") => &flow_control::PriorityLevelStrategy,
        ("internal.apiserver.k8s.io", "storageversions") => &storage_version::StorageVersionStrategy,
        ("networking.k8s.io", "ingressclasses") => &network::ingress_class::IngressClassStrategy,
        ("networking.k8s.io", "ingresses") => &network::ingress::IngressStrategy,
        ("networking.k8s.io", "ipaddresses") => &network::addresses::IpAddressStrategy,
        ("networking.k8s.io", "networkpolicies") => &network::network_policy::NetworkPolicyStrategy,
        ("networking.k8s.io", "servicecidrs") => &network::addresses::ServiceCidrStrategy,
        ("node.k8s.io", "runtimeclasses") => &runtime_class::RuntimeClassStrategy,
        ("policy", "poddisruptionbudgets") => &policy::DisruptionBudgetStrategy,
        ("resource.k8s.io", "deviceclasses") => &devices::DeviceClassStrategy,
        ("resource.k8s.io", "devicetaintrules") => &devices::DeviceTaintRuleStrategy,
        ("resource.k8s.io", "resourceclaims") => &devices::ClaimStrategy,
        ("resource.k8s.io", "resourceclaimtemplates") => &devices::ClaimTemplateStrategy,
        ("resource.k8s.io", "resourcepoolstatusrequests") => &devices::PoolStatusRequestStrategy,
        ("resource.k8s.io", "resourceslices") => &devices::ResourceSliceStrategy,
        ("scheduling.k8s.io", "priorityclasses") => &policy::PriorityClassStrategy,
        ("storage.k8s.io", "csidrivers") => &csi::CsiDriverStrategy,
        ("storage.k8s.io", "csinodes") => &csi::CsiNodeStrategy,
        ("storage.k8s.io", "csistoragecapacities") => &classes::StorageCapacityStrategy,
        ("storage.k8s.io", "storageclasses") => &classes::StorageClassStrategy,
        ("storage.k8s.io", "volumeattachments") => &attachment::VolumeAttachmentStrategy,
        ("storage.k8s.io", "volumeattributesclasses") => &classes::VolumeAttributesClassStrategy,
        _ => &Generic,
    }
}

/// How a served version becomes the stored form, where they differ.
pub fn conversion(group: &str, version: &str, plural: &str) -> Option<&'static dyn Conversion> {
    match (group, version, plural) {
        ("autoscaling", "v1", "horizontalpodautoscalers") => Some(&autoscaling::AutoscalingV1),
        ("events.k8s.io", "v1", "events") => Some(&event::EventsV1),
        ("resource.k8s.io", "v1beta1", "resourceclaims") => {
            Some(&devices::OlderClaims { devices: &["spec", "devices"] })
        }
        ("resource.k8s.io", "v1beta1", "resourceclaimtemplates") => {
            Some(&devices::OlderClaims { devices: &["spec", "spec", "devices"] })
        }
        ("resource.k8s.io", "v1beta1", "resourceslices") => Some(&devices::OlderSlices),
        _ => SameShape::of(group, version, plural),
    }
}

/// Whether objects of the resource are kept: everything that can be listed, but for ComponentStatus, which reports.
pub fn is_stored(info: &KindInfo) -> bool {
    info.list_kind.is_some() && info.plural != "componentstatuses"
}
