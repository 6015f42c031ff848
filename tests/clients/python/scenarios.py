"""Scenarios of the Python client against a cluster.

usage: scenarios.py KUBECONFIG [NAME...]
Every scenario plays in a namespace of its own and ends with a line `RESULT<tab>NAME<tab>ok<tab>STEPS`, or `failed` and
why.
"""

import faulthandler
import os
import sys
import threading
import time
import traceback

from kubernetes import client, config

import dynamic_client
import streams
import typed
import watches

# How long a state may take to come, and how often it is looked at.
PATIENCE = 60
LOOK = 0.05

# When all scenarios together have taken too long.
STUCK = 200


class Stage:
    """A namespace, and somebody who counts what was shown to work."""

    def __init__(self, name):
        self.namespace = "python-" + name.replace(" ", "-")
        self.steps = 0
        self.core = client.CoreV1Api()
        self.apps = client.AppsV1Api()

    def __enter__(self):
        metadata = client.V1ObjectMeta(name=self.namespace)
        self.core.create_namespace(client.V1Namespace(metadata=metadata))
        self.until(lambda: self.core.read_namespaced_service_account("default", self.namespace))
        return self

    def __exit__(self, *_):
        self.core.delete_namespace(self.namespace)

    def done(self, _what):
        """Counts a step."""
        self.steps += 1

    def until(self, look):
        """Waits until `look` gives something true; what it raises meanwhile counts as false."""
        begun = time.monotonic()
        while True:
            try:
                found = look()
                last = found
            except client.ApiException as refusal:
                found, last = None, refusal.reason
            if found:
                return found
            assert time.monotonic() - begun < PATIENCE, f"not within {PATIENCE} s; last: {last}"
            time.sleep(LOOK)


SCENARIOS = {
    "typed objects": typed.objects,
    "errors": typed.errors,
    "patches": typed.patches,
    "apply": typed.apply,
    "subresources": typed.subresources,
    "create from yaml": typed.from_yaml,
    "dynamic client": dynamic_client.kinds,
    "watch": watches.changes,
    "list and watch again after 410": watches.expired,
    "informer": watches.informer,
    "leader election": watches.leader,
    "exec by websocket": streams.pod,
}


def play(name, scenario):
    """Plays one scenario; returns its line."""
    try:
        with Stage(name) as stage:
            scenario(stage)
            return f"RESULT\t{name}\tok\t{stage.steps}"
    except BaseException as failure:  # whatever it is, it is this scenario's result
        traceback.print_exc()
        text = str(failure).replace("\n", " ").replace("\t", " ")
        return f"RESULT\t{name}\tfailed\t{type(failure).__name__}: {text}"


def tell(line):
    """Prints a line whole: the others play at the same time, and `print` writes a line's end on its own."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main():
    # Whoever waits in vain says where.
    faulthandler.dump_traceback_later(STUCK, exit=True)
    config.load_kube_config(config_file=sys.argv[1])
    chosen = sys.argv[2:] or list(SCENARIOS)
    threads = []
    for name in chosen:
        thread = threading.Thread(target=lambda name=name: tell(play(name, SCENARIOS[name])))
        thread.start()
        threads.append(thread)
    for thread in threads:
        thread.join()
    # Candidates of elections go on for ever; their client would complain about its files being cleaned up.
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
