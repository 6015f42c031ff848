"""The client's own types: objects, errors, patches, applying, subresources, files."""

import base64
import os
import tempfile

from kubernetes import client, utils


def config_map(name, **data):
    """A ConfigMap with a label."""
    metadata = client.V1ObjectMeta(name=name, labels={"kind": "settings"})
    return client.V1ConfigMap(metadata=metadata, data=data)


def deployment(name, replicas=0):
    """A Deployment whose pods find no node."""
    labels = {"app": name}
    pod = client.V1PodSpec(
        node_selector={"nowhere": "here"},
        containers=[client.V1Container(name="web", image="skiff.local/echo:v1")],
    )
    return client.V1Deployment(
        metadata=client.V1ObjectMeta(name=name, labels=labels),
        spec=client.V1DeploymentSpec(
            replicas=replicas,
            selector=client.V1LabelSelector(match_labels=labels),
            template=client.V1PodTemplateSpec(metadata=client.V1ObjectMeta(labels=labels), spec=pod),
        ),
    )


def refused(call, *arguments, **named):
    """The refusal of a call."""
    try:
        answer = call(*arguments, **named)
    except client.ApiException as refusal:
        return refusal
    raise AssertionError(f"it was not refused: {answer}")


def objects(stage):
    core, namespace = stage.core, stage.namespace
    made = core.create_namespaced_config_map(namespace, config_map("one", color="blue"), field_manager="snake")
    assert made.metadata.uid and made.metadata.creation_timestamp.tzinfo is not None
    assert made.metadata.managed_fields[0].manager == "snake"
    stage.done("create")
    core.create_namespaced_config_map(namespace, config_map("dry"), dry_run="All")
    assert refused(core.read_namespaced_config_map, "dry", namespace).status == 404
    stage.done("dry run")
    for name in ("two", "three", "four", "five"):
        core.create_namespaced_config_map(namespace, config_map(name, color="red"))
    assert len(core.list_namespaced_config_map(namespace, label_selector="kind=settings").items) == 5
    assert len(core.list_namespaced_config_map(namespace, field_selector="metadata.name=two").items) == 1
    assert len(core.list_config_map_for_all_namespaces(label_selector="kind=settings", field_selector=f"metadata.namespace={namespace}").items) == 5
    stage.done("list")
    names, token = [], None
    while True:
        page = core.list_namespaced_config_map(namespace, label_selector="kind", limit=2, _continue=token)
        names += [item.metadata.name for item in page.items]
        token = page.metadata._continue
        if not token:
            break
    assert names == ["five", "four", "one", "three", "two"], names
    stage.done("pages")
    made.data = {"color": "green"}
    replaced = core.replace_namespaced_config_map("one", namespace, made)
    assert replaced.data == {"color": "green"}
    assert refused(core.replace_namespaced_config_map, "one", namespace, made).status == 409
    stage.done("replace")
    status = core.delete_namespaced_config_map("one", namespace, body=client.V1DeleteOptions(propagation_policy="Background"))
    assert status.status == "Success"
    core.delete_collection_namespaced_config_map(namespace, label_selector="kind")
    stage.until(lambda: not core.list_namespaced_config_map(namespace, label_selector="kind").items)
    stage.done("delete")
    secret = client.V1Secret(metadata=client.V1ObjectMeta(generate_name="s-"), string_data={"a": "horse"})
    secret = core.create_namespaced_secret(namespace, secret)
    assert base64.b64decode(secret.data["a"]) == b"horse" and secret.type == "Opaque"
    port = client.V1ServicePort(port=80, target_port="http")
    service = client.V1Service(metadata=client.V1ObjectMeta(name="web"), spec=client.V1ServiceSpec(ports=[port], selector={"a": "b"}))
    service = core.create_namespaced_service(namespace, service)
    assert service.spec.cluster_ip and service.status.load_balancer is not None
    everything = [
        (core.list_namespaced_pod, core.list_namespaced_event, core.list_namespaced_endpoints, core.list_namespaced_secret),
        (stage.apps.list_namespaced_deployment, stage.apps.list_namespaced_replica_set, stage.apps.list_namespaced_daemon_set),
        (client.BatchV1Api().list_namespaced_job, client.BatchV1Api().list_namespaced_cron_job),
        (client.NetworkingV1Api().list_namespaced_ingress, client.NetworkingV1Api().list_namespaced_network_policy),
        (client.RbacAuthorizationV1Api().list_namespaced_role, client.PolicyV1Api().list_namespaced_pod_disruption_budget),
        (client.DiscoveryV1Api().list_namespaced_endpoint_slice, client.CoordinationV1Api().list_namespaced_lease),
        (client.AutoscalingV2Api().list_namespaced_horizontal_pod_autoscaler, core.list_namespaced_resource_quota),
    ]
    for calls in everything:
        for call in calls:
            assert call(namespace).items is not None
    # Its models refuse what lacks a required field.
    core.list_node()
    core.list_persistent_volume()
    client.StorageV1Api().list_storage_class()
    client.RbacAuthorizationV1Api().list_cluster_role()
    client.SchedulingV1Api().list_priority_class()
    client.FlowcontrolApiserverV1Api().list_flow_schema()
    client.CertificatesV1Api().list_certificate_signing_request()
    client.ApiregistrationV1Api().list_api_service()
    assert client.VersionApi().get_code().major == "1"
    assert any(group.name == "apps" for group in client.ApisApi().get_api_versions().groups)
    stage.done("every list its models can read")


def errors(stage):
    core, namespace = stage.core, stage.namespace
    missing = refused(core.read_namespaced_config_map, "nothing", namespace)
    assert missing.status == 404 and '"reason":"NotFound"' in missing.body.replace('": "', '":"')
    core.create_namespaced_config_map(namespace, config_map("one"))
    assert refused(core.create_namespaced_config_map, namespace, config_map("one")).status == 409
    invalid = refused(core.create_namespaced_config_map, namespace, config_map("Wrong_Name"))
    assert invalid.status == 422 and "metadata.name" in invalid.body
    assert refused(core.list_namespaced_config_map, namespace, label_selector="a b").status == 400
    assert refused(core.delete_namespace, "kube-system").status == 403
    strict = {"metadata": {"name": "strict"}, "datta": {}}
    refusal = refused(core.create_namespaced_config_map, namespace, strict, field_validation="Strict")
    assert refusal.status == 400 and "unknown field" in refusal.body
    answer = core.create_namespaced_config_map_with_http_info(namespace, strict, field_validation="Warn")
    assert 'unknown field \\"datta\\"' in answer[2]["Warning"], answer[2]
    stage.done("errors")
    other = client.ApiClient(client.Configuration.get_default_copy())
    other.configuration.cert_file = other.configuration.key_file = None
    other.configuration.api_key = {"authorization": "Bearer nonsense"}
    nobody = client.CoreV1Api(client.ApiClient(other.configuration))
    assert refused(nobody.list_namespaced_config_map, namespace).status == 401
    stage.done("unauthorized")


def patches(stage):
    core, namespace = stage.core, stage.namespace
    core.create_namespaced_config_map(namespace, config_map("one", color="blue"))
    # A dict is a strategic merge patch, a list is a JSON patch.
    patched = core.patch_namespaced_config_map("one", namespace, {"data": {"size": "3"}})
    assert patched.data == {"color": "blue", "size": "3"}
    patched = core.patch_namespaced_config_map("one", namespace, [{"op": "remove", "path": "/data/color"}])
    assert patched.data == {"size": "3"}
    stage.done("as the client chooses")
    merge = "application/merge-patch+json"
    patched = core.patch_namespaced_config_map("one", namespace, {"data": {"size": None}}, _content_type=merge)
    assert not patched.data
    stage.done("merge patch")
    stage.apps.create_namespaced_deployment(namespace, deployment("web"))
    container = {"name": "more", "image": "skiff.local/tools:v1"}
    patched = stage.apps.patch_namespaced_deployment("web", namespace, {"spec": {"template": {"spec": {"containers": [container]}}}})
    assert [one.name for one in patched.spec.template.spec.containers] == ["more", "web"]
    stage.done("strategic merge")


def apply(stage):
    core, namespace = stage.core, stage.namespace
    yaml = "application/apply-patch+yaml"

    def applied(manager, data, force=False):
        body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "one"}, "data": data}
        return core.patch_namespaced_config_map("one", namespace, body, field_manager=manager, force=force, _content_type=yaml)

    assert applied("ann", {"a": "1", "b": "1"}).metadata.managed_fields[0].operation == "Apply"
    conflict = refused(applied, "bob", {"a": "2"})
    assert conflict.status == 409 and "FieldManagerConflict" in conflict.body
    assert applied("bob", {"a": "2"}, force=True).data == {"a": "2", "b": "1"}
    assert applied("ann", {}).data == {"a": "2"}
    stage.done("apply by hand")
    manifest = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "two", "namespace": namespace}, "data": {"a": "1"}}
    utils.create_from_dict(client.ApiClient(), manifest, namespace=namespace, apply=True)
    assert core.read_namespaced_config_map("two", namespace).metadata.managed_fields[0].operation == "Apply"
    stage.done("apply by utils")


def subresources(stage):
    apps, namespace = stage.apps, stage.namespace
    apps.create_namespaced_deployment(namespace, deployment("web", 2))
    assert apps.read_namespaced_deployment_scale("web", namespace).spec.replicas == 2
    assert apps.patch_namespaced_deployment_scale("web", namespace, {"spec": {"replicas": 1}}).spec.replicas == 1
    stage.done("scale")
    condition = {"type": "Mine", "status": "True"}
    shown = apps.patch_namespaced_deployment_status("web", namespace, {"status": {"conditions": [condition]}})
    assert any(one.type == "Mine" for one in shown.status.conditions)
    stage.done("status")
    pods = stage.until(lambda: stage.core.list_namespaced_pod(namespace, label_selector="app=web").items)
    name = pods[0].metadata.name
    stage.core.create_namespaced_pod_eviction(name, namespace, client.V1Eviction(metadata=client.V1ObjectMeta(name=name)))
    stage.until(lambda: refused(stage.core.read_namespaced_pod, name, namespace).status == 404)
    stage.done("eviction")
    request = client.AuthenticationV1TokenRequest(spec=client.V1TokenRequestSpec(audiences=[], expiration_seconds=600))
    token = stage.core.create_namespaced_service_account_token("default", namespace, request).status.token
    review = client.AuthenticationV1Api().create_token_review(client.V1TokenReview(spec=client.V1TokenReviewSpec(token=token)))
    assert review.status.authenticated and review.status.user.username == f"system:serviceaccount:{namespace}:default"
    attributes = client.V1ResourceAttributes(namespace=namespace, verb="list", resource="pods")
    access = client.V1SubjectAccessReview(spec=client.V1SubjectAccessReviewSpec(user=review.status.user.username, resource_attributes=attributes))
    assert client.AuthorizationV1Api().create_subject_access_review(access).status.allowed is False
    stage.done("tokens and reviews")


MANIFESTS = """
apiVersion: v1
kind: ConfigMap
metadata: {name: first}
data: {a: "1"}
---
apiVersion: v1
kind: List
items:
- {apiVersion: v1, kind: Secret, metadata: {name: second}, stringData: {a: "1"}}
- {apiVersion: rbac.authorization.k8s.io/v1, kind: Role, metadata: {name: third}, rules: []}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: fourth}
spec:
  replicas: 0
  selector: {matchLabels: {a: b}}
  template:
    metadata: {labels: {a: b}}
    spec: {containers: [{name: a, image: b}]}
---
apiVersion: batch/v1
kind: Job
metadata: {name: fifth}
spec:
  suspend: true
  template:
    spec: {restartPolicy: Never, containers: [{name: a, image: b}]}
"""


def from_yaml(stage):
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "all.yaml")
        with open(path, "w", encoding="utf-8") as file:
            file.write(MANIFESTS)
        utils.create_from_yaml(client.ApiClient(), path, namespace=stage.namespace)
        stage.core.read_namespaced_config_map("first", stage.namespace)
        stage.core.read_namespaced_secret("second", stage.namespace)
        client.RbacAuthorizationV1Api().read_namespaced_role("third", stage.namespace)
        stage.apps.read_namespaced_deployment("fourth", stage.namespace)
        client.BatchV1Api().read_namespaced_job("fifth", stage.namespace)
        stage.done("every kind")
        try:
            utils.create_from_yaml(client.ApiClient(), path, namespace=stage.namespace)
            raise AssertionError("it was not refused")
        except utils.FailToCreateError as failure:
            assert all(one.status == 409 for one in failure.api_exceptions) and len(failure.api_exceptions) == 5
        stage.done("again")
        utils.create_from_directory(client.ApiClient(), folder, namespace=stage.namespace, apply=True)
        stage.done("apply")
