"""The dynamic client: kinds as discovery tells of them."""

from kubernetes import client
from kubernetes.dynamic import DynamicClient
from kubernetes.dynamic.exceptions import ConflictError, NotFoundError


def kinds(stage):
    dynamic, namespace = DynamicClient(client.ApiClient()), stage.namespace
    maps = dynamic.resources.get(api_version="v1", kind="ConfigMap")
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "one", "labels": {"a": "b"}}, "data": {"a": "1"}}
    made = maps.create(body=body, namespace=namespace)
    assert made.metadata.uid and maps.get(name="one", namespace=namespace).data.a == "1"
    try:
        maps.create(body=body, namespace=namespace)
        raise AssertionError("it was not refused")
    except ConflictError:
        pass
    patched = maps.patch(name="one", namespace=namespace, body={"data": {"a": "2"}}, content_type="application/merge-patch+json")
    assert patched.data.a == "2"
    body["data"] = {"a": "3"}
    assert maps.replace(body=body, name="one", namespace=namespace).data.a == "3"
    body["data"] = {"b": "4"}
    applied = maps.server_side_apply(body=body, name="one", namespace=namespace, field_manager="snake", force_conflicts=True)
    assert applied.data.b == "4"
    assert [one.metadata.name for one in maps.get(namespace=namespace, label_selector="a=b").items] == ["one"]
    stage.done("a kind")
    version = maps.get(namespace=namespace).metadata.resourceVersion
    maps.delete(name="one", namespace=namespace)
    for event in maps.watch(namespace=namespace, resource_version=version, timeout=5):
        assert (event["type"], event["object"].metadata.name) == ("DELETED", "one")
        break
    try:
        maps.get(name="one", namespace=namespace)
        raise AssertionError("it is still there")
    except NotFoundError:
        pass
    stage.done("watch")
    deployments = dynamic.resources.get(api_version="apps/v1", kind="Deployment")
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "a", "image": "b"}]}}
    body = {"metadata": {"name": "web"}, "spec": {"replicas": 0, "selector": {"matchLabels": {"a": "b"}}, "template": template}}
    deployments.create(body={"apiVersion": "apps/v1", "kind": "Deployment", **body}, namespace=namespace)
    scaled = deployments.scale.patch(name="web", namespace=namespace, body={"spec": {"replicas": 0}}, content_type="application/merge-patch+json")
    assert scaled.kind == "Scale"
    stage.done("a subresource")
    found = list(dynamic.resources.search(namespaced=True, verbs=["list", "watch"]))
    assert len(found) > 30, len(found)
    assert dynamic.resources.search(short_names=["deploy"]) or dynamic.resources.search(kind="Deployment")
    for resource in found:
        if not resource.kind.endswith("List") and "list" in (resource.verbs or []):
            resource.get(namespace=namespace)
    stage.done("a list of every kind with a namespace")
