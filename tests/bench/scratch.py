"""A namespace that a measurement makes beside the deployed stacks, and removes."""

from collections.abc import Iterator
from contextlib import contextmanager

from settings import stackfile
from tests.bench.engine import BIN, run
from tests.stacks import tls

DEADLINE = "600s"
MONITORING = "monitoring"
"""The namespace of the stack files for what the shared Prometheus and Grafana read."""


def settings(stack: str, namespace: str) -> dict[str, object]:
    """What gives a copy of a deployed stack's settings names of its own, and volumes that go with the namespace."""
    own: dict[str, object] = {
        "environment": {
            "name": stack,
            "namespace": namespace,
            "labels": {"environment": stack},
            "requireImageDigests": False,
            "protectData": False,
        },
        "cluster": {"storageClass": "local-path"},
        # The Fabric network of the deployed stack is no other environment's to use.
        "fabric": None,
        "secrets": {"fabricCredentials": None},
    }
    return stackfile.merge(own, tls(namespace))


@contextmanager
def gone_after(namespace: str) -> Iterator[None]:
    """Remove the namespace after the block, whatever happened in it."""
    try:
        yield
    finally:
        remove(namespace)


def remove(namespace: str) -> None:
    """Delete the namespace with all that is in it, its PriorityClass and what the shared monitoring has of it.

    Nothing happens when they are not there.
    """
    kubectl = BIN / "kubectl"
    run(kubectl, "delete", "namespace", namespace, "--ignore-not-found", f"--timeout={DEADLINE}")
    run(kubectl, "delete", "priorityclass", namespace, "--ignore-not-found")
    shared = run(kubectl, "get", "configmaps", "-n", MONITORING, "-o", "name").split()
    own = [each for each in shared if each.startswith(f"configmap/{namespace}-")]
    if own:
        run(kubectl, "delete", "-n", MONITORING, *own)
