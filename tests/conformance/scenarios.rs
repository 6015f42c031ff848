//! All scenarios, by the names that the suite gives them.

use futures::future::LocalBoxFuture;

use crate::api::{
    aggregated, chunking, definitions, discovery, field_validation, namespaces, openapi, policies, watchers,
};
use crate::life::lead;
use crate::scene::{Scenario, Scene};
use crate::{auth, cli, kinds, network, node};

/// A scenario that is nothing but the common life of a kind.
macro_rules! life {
    ($name:literal, $kind:path) => {
        ($name, (|scene: Scene| Box::pin(lead(scene, $kind))) as fn(Scene) -> LocalBoxFuture<'static, ()>)
    };
}

/// Any other.
macro_rules! scenario {
    ($name:literal, $function:path) => {
        ($name, (|scene: Scene| Box::pin($function(scene))) as fn(Scene) -> LocalBoxFuture<'static, ()>)
    };
}

/// Every one of them.
pub(crate) fn all() -> Vec<Scenario> {
    vec![
        life!(
            "[sig-api-machinery] API priority and fairness should support FlowSchema API operations",
            kinds::FLOW_SCHEMA
        ),
        life!(
            "[sig-api-machinery] API priority and fairness should support PriorityLevelConfiguration API operations",
            kinds::PRIORITY_LEVEL
        ),
        scenario!(
            "[sig-api-machinery] AggregatedDiscovery should support aggregated discovery interface",
            aggregated::everything_is_there
        ),
        scenario!(
            "[sig-api-machinery] AggregatedDiscovery should support aggregated discovery interface for CRDs",
            aggregated::definitions_appear
        ),
        scenario!(
            "[sig-api-machinery] AggregatedDiscovery should support raw aggregated discovery endpoint Accept headers",
            aggregated::accept_headers
        ),
        scenario!(
            "[sig-api-machinery] AggregatedDiscovery should support raw aggregated discovery request for CRDs",
            aggregated::definitions_appear
        ),
        scenario!(
            "[sig-api-machinery] CustomResourceDefinition Watch [Privileged:ClusterAdmin] CustomResourceDefinition Watch watch on custom resource definition objects",
            definitions::watched
        ),
        scenario!(
            "[sig-api-machinery] CustomResourceDefinition resources [Privileged:ClusterAdmin] Simple CustomResourceDefinition creating/deleting custom resource definition objects works",
            definitions::create_and_delete
        ),
        scenario!(
            "[sig-api-machinery] CustomResourceDefinition resources [Privileged:ClusterAdmin] Simple CustomResourceDefinition getting/updating/patching custom resource definition status sub-resource works",
            definitions::status
        ),
        scenario!(
            "[sig-api-machinery] CustomResourceDefinition resources [Privileged:ClusterAdmin] Simple CustomResourceDefinition listing custom resource definition objects works",
            definitions::listed_and_deleted_together
        ),
        scenario!(
            "[sig-api-machinery] CustomResourceDefinition resources [Privileged:ClusterAdmin] custom resource defaulting for requests and from storage works",
            definitions::defaults
        ),
        scenario!(
            "[sig-api-machinery] CustomResourceDefinition resources [Privileged:ClusterAdmin] should include custom resource definition resources in discovery documents",
            definitions::in_discovery
        ),
        scenario!(
            "[sig-api-machinery] CustomResourcePublishOpenAPI [Privileged:ClusterAdmin] removes definition from spec when one version gets changed to not be served",
            openapi::unserved_version
        ),
        scenario!(
            "[sig-api-machinery] CustomResourcePublishOpenAPI [Privileged:ClusterAdmin] updates the published spec when one version gets renamed",
            openapi::renamed_version
        ),
        scenario!(
            "[sig-api-machinery] CustomResourcePublishOpenAPI [Privileged:ClusterAdmin] works for CRD preserving unknown fields at the schema root",
            openapi::open_at_the_root
        ),
        scenario!(
            "[sig-api-machinery] CustomResourcePublishOpenAPI [Privileged:ClusterAdmin] works for CRD preserving unknown fields in an embedded object",
            openapi::open_within
        ),
        scenario!(
            "[sig-api-machinery] CustomResourcePublishOpenAPI [Privileged:ClusterAdmin] works for CRD with validation schema",
            openapi::with_schema
        ),
        scenario!(
            "[sig-api-machinery] CustomResourcePublishOpenAPI [Privileged:ClusterAdmin] works for CRD without validation schema",
            openapi::without_schema
        ),
        scenario!(
            "[sig-api-machinery] CustomResourcePublishOpenAPI [Privileged:ClusterAdmin] works for multiple CRDs of different groups",
            openapi::several_groups
        ),
        scenario!(
            "[sig-api-machinery] CustomResourcePublishOpenAPI [Privileged:ClusterAdmin] works for multiple CRDs of same group and version but different kinds",
            openapi::several_kinds
        ),
        scenario!(
            "[sig-api-machinery] CustomResourcePublishOpenAPI [Privileged:ClusterAdmin] works for multiple CRDs of same group but different versions",
            openapi::several_versions
        ),
        scenario!(
            "[sig-api-machinery] Discovery should locate the groupVersion and a resource within each APIGroup",
            discovery::groups_and_resources
        ),
        scenario!(
            "[sig-api-machinery] Discovery should validate PreferredVersion for each APIGroup",
            discovery::preferred_versions
        ),
        scenario!(
            "[sig-api-machinery] FieldValidation should create/apply a CR with unknown fields for CRD with no validation schema",
            field_validation::custom_without_schema
        ),
        scenario!(
            "[sig-api-machinery] FieldValidation should create/apply a valid CR for CRD with validation schema",
            field_validation::custom_valid
        ),
        scenario!(
            "[sig-api-machinery] FieldValidation should create/apply an invalid CR with extra properties for CRD with validation schema",
            field_validation::custom_extra
        ),
        scenario!(
            "[sig-api-machinery] FieldValidation should detect duplicates in a CR when preserving unknown fields",
            field_validation::custom_duplicates
        ),
        scenario!(
            "[sig-api-machinery] FieldValidation should detect unknown and duplicate fields of a typed object",
            field_validation::typed
        ),
        scenario!(
            "[sig-api-machinery] FieldValidation should detect unknown metadata fields in both the root and embedded object of a CR",
            field_validation::custom_metadata
        ),
        scenario!(
            "[sig-api-machinery] FieldValidation should detect unknown metadata fields of a typed object",
            field_validation::typed_metadata
        ),
        scenario!(
            "[sig-api-machinery] MutatingAdmissionPolicy [Privileged:ClusterAdmin] should mutate a Deployment",
            policies::mutates_replicas
        ),
        scenario!(
            "[sig-api-machinery] MutatingAdmissionPolicy [Privileged:ClusterAdmin] should mutate a Deployment with annotations",
            policies::mutates_annotations
        ),
        life!(
            "[sig-api-machinery] MutatingAdmissionPolicy [Privileged:ClusterAdmin] should support MutatingAdmissionPolicy API operations",
            kinds::MUTATING_POLICY
        ),
        life!(
            "[sig-api-machinery] MutatingAdmissionPolicy [Privileged:ClusterAdmin] should support MutatingAdmissionPolicyBinding API operations",
            kinds::MUTATING_BINDING
        ),
        scenario!(
            "[sig-api-machinery] Namespaces [Serial] should apply a finalizer to a Namespace",
            namespaces::finalizer
        ),
        scenario!("[sig-api-machinery] Namespaces [Serial] should apply an update to a Namespace", namespaces::update),
        scenario!(
            "[sig-api-machinery] Namespaces [Serial] should apply changes to a namespace status",
            namespaces::status
        ),
        scenario!("[sig-api-machinery] Namespaces [Serial] should patch a Namespace", namespaces::patch),
        scenario!(
            "[sig-api-machinery] Servers with support for API chunking should return chunks of results for list calls",
            chunking::pages_are_exact
        ),
        scenario!(
            "[sig-api-machinery] Servers with support for API chunking should support continue listing from the last key if the original version has been compacted away, though the list is inconsistent [Slow]",
            chunking::continues_after_compaction
        ),
        scenario!(
            "[sig-api-machinery] Servers with support for Table transformation should return a 406 for a backend which does not implement metadata",
            discovery::no_table_of_reviews
        ),
        scenario!(
            "[sig-api-machinery] ValidatingAdmissionPolicy [Privileged:ClusterAdmin] should allow expressions to refer variables.",
            policies::variables
        ),
        life!(
            "[sig-api-machinery] ValidatingAdmissionPolicy [Privileged:ClusterAdmin] should support ValidatingAdmissionPolicy API operations",
            kinds::VALIDATING_POLICY
        ),
        life!(
            "[sig-api-machinery] ValidatingAdmissionPolicy [Privileged:ClusterAdmin] should support ValidatingAdmissionPolicyBinding API operations",
            kinds::VALIDATING_BINDING
        ),
        scenario!(
            "[sig-api-machinery] ValidatingAdmissionPolicy [Privileged:ClusterAdmin] should validate against a Deployment",
            policies::validates
        ),
        scenario!(
            "[sig-api-machinery] Watchers should be able to restart watching from the last resource version observed by the previous watch",
            watchers::from_the_last_version
        ),
        scenario!(
            "[sig-api-machinery] Watchers should be able to start watching from a specific resource version",
            watchers::from_a_version
        ),
        scenario!(
            "[sig-api-machinery] Watchers should observe add, update, and delete watch notifications on configmaps",
            watchers::with_selectors
        ),
        scenario!(
            "[sig-api-machinery] Watchers should observe an object deletion if it stops meeting the requirements of the selector",
            watchers::out_of_the_selector
        ),
        scenario!(
            "[sig-api-machinery] Watchers should receive events on concurrent watches in same order",
            watchers::in_one_order
        ),
        scenario!("[sig-api-machinery] server version should find the server version", discovery::server_version),
        life!("[sig-apps] CronJob should support CronJob API operations", kinds::CRON_JOB),
        scenario!("[sig-architecture] Conformance Tests should have at least two untainted nodes", node::two_nodes),
        scenario!(
            "[sig-auth] Certificates API [Privileged:ClusterAdmin] should support CSR API operations",
            auth::certificate_requests
        ),
        scenario!("[sig-auth] ServiceAccounts should allow opting out of API token automount", auth::token_opt_out),
        scenario!(
            "[sig-auth] ServiceAccounts should create a serviceAccountToken and ensure a successful TokenReview",
            auth::token_review
        ),
        scenario!(
            "[sig-auth] ServiceAccounts should guarantee kube-root-ca.crt exist in any namespace",
            auth::root_certificate
        ),
        life!(
            "[sig-auth] ServiceAccounts should run through the lifecycle of a ServiceAccount",
            kinds::SERVICE_ACCOUNT
        ),
        scenario!("[sig-auth] ServiceAccounts should update a ServiceAccount", auth::account_update),
        scenario!("[sig-auth] SubjectReview should support SubjectReview API operations", auth::reviews),
        scenario!(
            "[sig-cli] Kubectl client Kubectl api-versions should check if v1 is in available api versions",
            cli::api_versions
        ),
        scenario!(
            "[sig-cli] Kubectl client Kubectl cluster-info should check if Kubernetes control plane services is included in cluster-info",
            cli::cluster_info
        ),
        scenario!(
            "[sig-cli] Kubectl client Kubectl diff should check if kubectl diff finds a difference for Deployments",
            cli::diff
        ),
        scenario!(
            "[sig-cli] Kubectl client Kubectl run pod should create a pod from an image when restart is Never",
            cli::run_pod
        ),
        scenario!(
            "[sig-cli] Kubectl client Kubectl server-side dry-run should check if kubectl can dry-run update Pods",
            cli::server_dry_run
        ),
        scenario!("[sig-cli] Kubectl client Kubectl version should check is all data is printed", cli::version),
        scenario!("[sig-cli] Kubectl client Proxy server should support --unix-socket=/path", cli::proxy_unix_socket),
        scenario!("[sig-cli] Kubectl client Proxy server should support proxy with --port 0", cli::proxy_port_zero),
        life!("[sig-instrumentation] Events API should delete a collection of events", kinds::NEW_EVENT),
        life!(
            "[sig-instrumentation] Events API should ensure that an event can be fetched, patched, deleted, and listed",
            kinds::NEW_EVENT
        ),
        life!("[sig-instrumentation] Events should delete a collection of events", kinds::EVENT),
        life!("[sig-instrumentation] Events should manage the lifecycle of an event", kinds::EVENT),
        scenario!(
            "[sig-network] API Server should have Endpoints and EndpointSlices pointing to API Server",
            network::server_endpoints
        ),
        scenario!("[sig-network] API Server should provide secure master service", network::secure_master_service),
        scenario!(
            "[sig-network] EndpointSlice should create and delete EndpointSlices for a Service with a selector that matches no pods",
            network::slices_without_pods
        ),
        life!(
            "[sig-network] EndpointSlice should support creating EndpointSlice API operations",
            kinds::ENDPOINT_SLICE
        ),
        scenario!(
            "[sig-network] EndpointSliceMirroring should mirror a custom Endpoints resource through create update and delete",
            network::mirrored
        ),
        life!("[sig-network] Endpoints should test the lifecycle of an Endpoint", kinds::ENDPOINTS),
        scenario!(
            "[sig-network] EndpointsController should create and delete Endpoints for a Service with a selector that matches no pods",
            network::slices_without_pods
        ),
        life!("[sig-network] Ingress API should support creating Ingress API operations", kinds::INGRESS),
        life!(
            "[sig-network] IngressClass API should support creating IngressClass API operations",
            kinds::INGRESS_CLASS
        ),
        life!("[sig-network] ServiceCIDR and IPAddress API should support IPAddress API operations", kinds::IP_ADDRESS),
        life!(
            "[sig-network] ServiceCIDR and IPAddress API should support ServiceCIDR API operations",
            kinds::SERVICE_CIDR
        ),
        scenario!("[sig-network] Services should complete a service status lifecycle", network::service_status),
        scenario!("[sig-network] Services should delete a collection of services", network::services_together),
        scenario!(
            "[sig-network] Services should find a service from listing all namespaces",
            network::services_everywhere
        ),
        scenario!("[sig-node] ConfigMap should fail to create ConfigMap with empty key", node::config_map_empty_key),
        life!("[sig-node] ConfigMap should run through a ConfigMap lifecycle", kinds::CONFIG_MAP),
        life!("[sig-node] Lease lease API should be available", kinds::LEASE),
        scenario!("[sig-node] Node Lifecycle should run through the lifecycle of a node", node::node_life),
        life!("[sig-node] PodTemplates should delete a collection of pod templates", kinds::POD_TEMPLATE),
        life!("[sig-node] PodTemplates should replace a pod template", kinds::POD_TEMPLATE),
        life!("[sig-node] PodTemplates should run the lifecycle of PodTemplates", kinds::POD_TEMPLATE),
        scenario!(
            "[sig-node] Pods Extended Pods Set QOS Class should be set on Pods with matching resource requests and limits for memory and cpu",
            node::quality_of_service
        ),
        scenario!(
            "[sig-node] RuntimeClass should reject a Pod requesting a deleted RuntimeClass [NodeConformance]",
            node::deleted_runtime_class
        ),
        scenario!(
            "[sig-node] RuntimeClass should reject a Pod requesting a non-existent RuntimeClass [NodeConformance]",
            node::no_runtime_class
        ),
        life!("[sig-node] RuntimeClass should support RuntimeClasses API operations", kinds::RUNTIME_CLASS),
        scenario!("[sig-node] Secrets should fail to create secret due to empty secret key", node::secret_empty_key),
        life!("[sig-node] Secrets should patch a secret", kinds::SECRET),
        scenario!("[sig-node] Sysctls [LinuxOnly] [NodeConformance] should reject invalid sysctls", node::bad_sysctls),
        life!("[sig-node] [DRA] CRUD Tests resource.k8s.io/v1 DeviceClass", kinds::DEVICE_CLASS),
        life!("[sig-node] [DRA] CRUD Tests resource.k8s.io/v1 ResourceClaim", kinds::RESOURCE_CLAIM),
        life!("[sig-node] [DRA] CRUD Tests resource.k8s.io/v1 ResourceClaimTemplate", kinds::RESOURCE_CLAIM_TEMPLATE),
        life!("[sig-node] [DRA] CRUD Tests resource.k8s.io/v1 ResourceSlice", kinds::RESOURCE_SLICE),
        scenario!(
            "[sig-scheduling] LimitRange should create a LimitRange with defaults and ensure pod has those defaults applied.",
            node::limit_range
        ),
        life!(
            "[sig-scheduling] LimitRange should list, patch and delete a LimitRange by collection",
            kinds::LIMIT_RANGE
        ),
        scenario!(
            "[sig-scheduling] SchedulerPreemption [Serial] PriorityClass endpoints verify PriorityClass endpoints can be operated with different HTTP methods",
            node::priority_classes
        ),
        life!("[sig-storage] CSIInlineVolumes should run through the lifecycle of a CSIDriver", kinds::CSI_DRIVER),
        scenario!("[sig-storage] CSIInlineVolumes should support CSIVolumeSource in Pod API", node::inline_volume),
        life!("[sig-storage] CSINodes CSI Conformance should run through the lifecycle of a csinode", kinds::CSI_NODE),
        life!(
            "[sig-storage] CSIStorageCapacity should support CSIStorageCapacities API operations",
            kinds::CSI_STORAGE_CAPACITY
        ),
        scenario!(
            "[sig-storage] ConfigMap should be immutable if `immutable` field is set",
            node::immutable_config_map
        ),
        scenario!("[sig-storage] Secrets should be immutable if `immutable` field is set", node::immutable_secret),
        life!(
            "[sig-storage] StorageClasses CSI Conformance should run through the lifecycle of a StorageClass",
            kinds::STORAGE_CLASS
        ),
        life!(
            "[sig-storage] VolumeAttachment Conformance should apply changes to a volumeattachment status",
            kinds::ATTACHED
        ),
        life!(
            "[sig-storage] VolumeAttachment Conformance should run through the lifecycle of a VolumeAttachment",
            kinds::VOLUME_ATTACHMENT
        ),
        life!(
            "[sig-storage] VolumeAttributesClass [FeatureGate:VolumeAttributesClass] should run through the lifecycle of a VolumeAttributesClass",
            kinds::VOLUME_ATTRIBUTES_CLASS
        ),
    ]
}
