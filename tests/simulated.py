"""Simulated nodes on the sandbox's real control plane: kwok answers for them, no container runs there.

https://kwok.sigs.k8s.io/docs/design/architecture/
"""

import json
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from sandbox import layout as where
from sandbox import netns, processes, toolchain
from tests.kubernetes import kubectl

POD_CIDR = "10.99.0.0/16"
_MARK = "kwok.x-k8s.io/node"
_LEASE_SECONDS = 40
_PATIENCE_SECONDS = 60


def node(name: str, *, cpu: str, memory: str) -> dict[str, Any]:
    """A Node object that kwok brings to life, for at most 250 pods."""
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "annotations": {_MARK: "fake"},
            "labels": {"kubernetes.io/hostname": name, "topology.kubernetes.io/zone": "simulated"},
        },
        "status": {field: {"cpu": cpu, "memory": memory, "pods": "250"} for field in ("allocatable", "capacity")},
    }


@contextmanager
def simulated(nodes: Sequence[dict[str, Any]], log: Path) -> Iterator[None]:
    """Nodes of ``node``, Ready inside the block and gone after it.

    The lease is as long as a kubelet's: without it the node lifecycle controller takes the nodes for lost, and their
    pods never become Ready again.
    """
    layout = where.current()
    names = [each["metadata"]["name"] for each in nodes]
    argv = [
        *netns.enter_argv(layout, where.CONTROL_PLANE),
        str(toolchain.tool("kwok")),
        f"--kubeconfig={layout.kubeconfig}",
        "--manage-all-nodes=false",
        f"--manage-nodes-with-annotation-selector={_MARK}=fake",
        f"--node-lease-duration-seconds={_LEASE_SECONDS}",
        f"--cidr={POD_CIDR}",
        "--server-address=127.0.0.1:0",
    ]
    with (
        log.open("wb") as output,
        subprocess.Popen(argv, stdout=output, stderr=output) as kwok,
        ExitStack() as undisturbed,
    ):
        # It writes the rules of every real node anew for each of thousands of pods that are on none of them.
        for real in where.NODES:
            undisturbed.enter_context(processes.paused(layout, f"{real.name}-kube-router"))
        try:
            manifest = json.dumps({"apiVersion": "v1", "kind": "List", "items": list(nodes)})
            kubectl("create", "-f", "-", stdin=manifest)
            kubectl("wait", "--for=condition=Ready", f"--timeout={_PATIENCE_SECONDS}s", "node", *names)
            yield
        finally:
            kubectl("delete", "node", "--ignore-not-found", *names)
            kwok.terminate()
