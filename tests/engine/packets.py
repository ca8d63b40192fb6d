"""The deployed pods as ends of connections: where each listens, and what accepts it."""

import json
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from sandbox import processes
from sandbox.layout import nsenter_argv
from tests.engine.stack import LAYOUT, ROOT, get, run

_CONNECT = ROOT / "tests" / "engine" / "connect.py"
Target = tuple[str, int]


@dataclass(frozen=True)
class DeployedPod:
    """A pod that runs and is ready, as the API server tells it."""

    told: dict[str, Any]

    @property
    def app(self) -> str:
        """Its ``app`` label; empty when it has none."""
        return str(self.told["metadata"].get("labels", {}).get("app", ""))

    @property
    def node(self) -> str:
        """The node it runs on."""
        return str(self.told["spec"]["nodeName"])

    @property
    def address(self) -> str:
        """Its address in the pod network."""
        return str(self.told["status"]["podIP"])

    @property
    def listens(self) -> frozenset[int]:
        """TCP ports its containers declare."""
        ports = [port for each in self.told["spec"]["containers"] for port in each.get("ports", [])]
        return frozenset(port["containerPort"] for port in ports if port.get("protocol", "TCP") == "TCP")

    @cached_property
    def pid(self) -> int:
        """The oldest process of the pod, which lasts as long: the control group of each carries the pod's UID."""
        uid = self.told["metadata"]["uid"]
        found: list[tuple[int, int]] = []
        for group in Path("/proc").glob("[0-9]*/cgroup"):
            try:
                held = group.read_text().replace("_", "-")
            except OSError:
                continue
            pid = int(group.parent.name)
            if uid in held and (start := processes.start_of(pid)):
                found.append((int(start), pid))
        assert found, f"no process of {self.told['metadata']['name']}"
        _, oldest = min(found)
        return oldest

    def reaches(self, targets: Iterable[Target]) -> set[Target]:
        """Those of the targets that accept a connection from the pod."""
        return _accepting(["nsenter", "--target", str(self.pid), "--net"], targets)


def deployed_pods(namespace: str) -> list[DeployedPod]:
    """One ready pod of each app of a namespace, and of those without an app the first."""
    found: dict[str, DeployedPod] = {}
    for told in get("pods", namespace):
        conditions = {each["type"]: each["status"] for each in told["status"].get("conditions", [])}
        if conditions.get("Ready") == "True" and "deletionTimestamp" not in told["metadata"]:
            pod = DeployedPod(told)
            found.setdefault(pod.app, pod)
    return list(found.values())


def node_reaches(node: str, targets: Iterable[Target]) -> set[Target]:
    """Those of the targets that accept a connection from a node itself."""
    return _accepting(nsenter_argv(LAYOUT.netns(node)), targets)


def _accepting(prefix: list[str], targets: Iterable[Target]) -> set[Target]:
    asked = json.dumps(list(targets))
    return {(host, port) for host, port in json.loads(run(*prefix, sys.executable, _CONNECT, stdin=asked).ok().output)}
