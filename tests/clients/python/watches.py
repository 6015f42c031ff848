"""Watches as programs in Python have them, and what is made of them."""

import threading
import time

from kubernetes import client, watch
from kubernetes.informer import SharedInformer
from kubernetes.leaderelection import electionconfig, leaderelection
from kubernetes.leaderelection.resourcelock.configmaplock import ConfigMapLock

from typed import config_map, refused


def changes(stage):
    core, namespace = stage.core, stage.namespace
    before = core.list_namespaced_config_map(namespace).metadata.resource_version
    core.create_namespaced_config_map(namespace, config_map("one", color="blue"))
    core.patch_namespaced_config_map("one", namespace, {"data": {"color": "red"}})
    core.delete_namespaced_config_map("one", namespace)
    seen = []
    watcher = watch.Watch()
    for event in watcher.stream(core.list_namespaced_config_map, namespace, resource_version=before, label_selector="kind=settings", timeout_seconds=30):
        seen.append((event["type"], event["object"].data["color"]))
        if event["type"] == "DELETED":
            watcher.stop()
    assert seen == [("ADDED", "blue"), ("MODIFIED", "red"), ("DELETED", "red")], seen
    stage.done("what happened since")
    begun = time.monotonic()
    events = list(watch.Watch().stream(core.list_namespaced_config_map, namespace, label_selector="none", timeout_seconds=2))
    assert not events and 1 < time.monotonic() - begun < 20
    stage.done("an end in time")
    bookmarks = [
        event["type"]
        for event in watch.Watch().stream(
            core.list_namespaced_config_map, namespace, allow_watch_bookmarks=True, send_initial_events=True,
            resource_version_match="NotOlderThan", timeout_seconds=3,
        )
    ]
    assert "BOOKMARK" in bookmarks, bookmarks
    stage.done("a streamed list with its bookmark")
    assert refused(lambda: list(watch.Watch().stream(core.list_namespaced_config_map, namespace, label_selector="a b"))).status == 400
    stage.done("a bad selector")


def expired(stage):
    """List, watch, and list again when the version is gone."""
    core, namespace = stage.core, stage.namespace
    core.create_namespaced_config_map(namespace, config_map("one", color="blue"))

    def follow(version):
        """The objects after following from a version, listing again on 410."""
        store, lists = {}, 0
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            if version is None:
                listed = core.list_namespaced_config_map(namespace, label_selector="kind=settings")
                version, lists = listed.metadata.resource_version, lists + 1
                store = {item.metadata.name: item for item in listed.items}
            watcher = watch.Watch()
            try:
                for event in watcher.stream(core.list_namespaced_config_map, namespace, resource_version=version, label_selector="kind=settings", timeout_seconds=2):
                    item = event["object"]
                    version = item.metadata.resource_version
                    if event["type"] == "DELETED":
                        store.pop(item.metadata.name, None)
                    else:
                        store[item.metadata.name] = item
            except client.ApiException as gone:
                assert gone.status == 410, gone
                version = None
                continue
            return store, lists
        raise AssertionError("no end")

    store, lists = follow(None)
    assert (list(store), lists) == (["one"], 1)
    stage.done("list and watch")
    # A version that the server cannot have any more, or still has: the store is right either way.
    store, lists = follow("1")
    assert list(store) == ["one"] and lists <= 1, (list(store), lists)
    stage.done("a very old version")
    core.create_namespaced_config_map(namespace, config_map("two", color="red"))
    page = core.list_namespaced_config_map(namespace, label_selector="kind=settings", limit=1)
    assert page.metadata._continue and page.metadata.remaining_item_count is None
    bad = refused(core.list_namespaced_config_map, namespace, label_selector="kind=settings", limit=1, _continue="nonsense")
    assert bad.status == 400
    stage.done("continue tokens")


def informer(stage):
    core, namespace = stage.core, stage.namespace
    core.create_namespaced_config_map(namespace, config_map("one", color="blue"))
    told = []
    following = SharedInformer(core.list_namespaced_config_map, namespace=namespace, label_selector="kind=settings")
    for kind in ("ADDED", "MODIFIED", "DELETED"):
        following.add_event_handler(kind, lambda item, kind=kind: told.append((kind, item.metadata.name)))
    following.start()
    stage.until(lambda: following.cache.list_keys() == [f"{namespace}/one"])
    stage.done("what was there")
    core.create_namespaced_config_map(namespace, config_map("two", color="red"))
    stage.until(lambda: ("ADDED", "two") in told)
    core.patch_namespaced_config_map("two", namespace, {"data": {"color": "green"}})
    stage.until(lambda: following.cache.get_by_key(f"{namespace}/two").data["color"] == "green")
    core.delete_namespaced_config_map("one", namespace)
    stage.until(lambda: following.cache.list_keys() == [f"{namespace}/two"])
    assert ("DELETED", "one") in told
    stage.done("every change")
    stopping = threading.Thread(target=following.stop, daemon=True)
    stopping.start()
    # It looks up when something happens.
    stage.until(lambda: core.patch_namespaced_config_map("two", namespace, {"data": {"at": str(time.time())}}) and not stopping.is_alive())
    stage.done("an end")


def leader(stage):
    """Two candidates; when the first ends, the second leads."""
    leading, order = threading.Lock(), []

    def candidate(name):
        def lead():
            assert leading.acquire(blocking=False), "two lead at once"
            order.append(name)
            time.sleep(3)
            leading.release()

        lock = ConfigMapLock("leader", stage.namespace, name)
        terms = electionconfig.Config(lock, lease_duration=4, renew_deadline=3, retry_period=1, onstarted_leading=lead, onstopped_leading=lambda: None)
        leaderelection.LeaderElection(terms).run()

    for name in ("ann", "bob"):
        threading.Thread(target=candidate, args=(name,), daemon=True).start()
    stage.until(lambda: order)
    record = stage.core.read_namespaced_config_map("leader", stage.namespace).metadata.annotations
    assert order[0] in record["control-plane.alpha.kubernetes.io/leader"], record
    stage.done("one leads")
    # Nobody follows while the first renews, longer than its lease.
    begun = time.monotonic()
    stage.until(lambda: time.monotonic() - begun > 6)
    assert len(order) == 1, order
    stage.done("and goes on leading")
