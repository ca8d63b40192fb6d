"""Starts and stops the monitoring that the cluster shares: pods, a node exporter on every host, receivers outside.

Not a part that every sandbox has: it costs memory and a scrape of everything every few seconds.
"""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from sandbox import layout as where
from sandbox import processes
from sandbox.cluster.kubectl import apply, kubectl
from sandbox.edge import service as edge
from sandbox.layout import Layout, NodeSpec
from sandbox.monitoring import configuration, outside
from sandbox.monitoring.configuration import Part
from sandbox.parts import say
from sandbox.processes import SandboxError
from sandbox.toolchain import tool

NAMESPACE = "monitoring"
PROMETHEUS = f"/api/v1/namespaces/{NAMESPACE}/services/http:prometheus:9090/proxy"
ALERTMANAGER = f"/api/v1/namespaces/{NAMESPACE}/services/http:alertmanager:9093/proxy"
"""Both as the API server leads to them."""
TEXTFILES = "/var/lib/prometheus/node-exporter"
"""Where Debian's node exporter reads files, and health monitors write theirs."""
_OBJECTS = Path(__file__).with_name("objects.yaml")
_OUTSIDE = "monitoring-outside"
_DEPLOYMENTS = ("kube-state-metrics", "alertmanager", "prometheus")


def messages(layout: Layout) -> Path:
    """What was told to receivers outside, a line each: `outside` says how."""
    return layout.runtime / "monitoring" / "messages.jsonl"


def start(layout: Layout, stacks: Sequence[str], hurry: int = 1) -> None:
    """Run everything with the parts that these deployed stacks gave; `configuration` says what `hurry` divides."""
    parts = [_part(layout, f"backend-{stack}") for stack in stacks]
    _start_outside(layout)
    for node in where.NODES:
        _start_node_exporter(layout, node)
    say(f"monitoring: Prometheus and Alertmanager for {', '.join(stacks)}")
    apply(layout, objects(parts, hurry))
    for name in _DEPLOYMENTS:
        kubectl(layout, "-n", NAMESPACE, "rollout", "status", f"deployment/{name}", "--timeout=120s")


def stop(layout: Layout) -> None:
    """End it. What the stacks gave stays."""
    every = [each for each in yaml.safe_load_all(_OBJECTS.read_text()) if each["kind"] != "Namespace"]
    made = json.dumps({"apiVersion": "v1", "kind": "List", "items": every})
    kubectl(layout, "delete", "--ignore-not-found", "--wait=false", "-f", "-", stdin=made)
    for node in where.NODES:
        processes.stop(layout, _exporter(node))
    processes.stop(layout, _OUTSIDE)


def objects(parts: list[Part], hurry: int) -> list[dict[str, Any]]:
    """Everything in the cluster. Pods are replaced when their configuration is another."""
    prometheus = configuration.prometheus(parts, hurry)
    alertmanager = {"alertmanager.yaml": configuration.alertmanager(parts, hurry)}
    digest = hashlib.sha256(json.dumps([prometheus, alertmanager]).encode()).hexdigest()
    found: list[dict[str, Any]] = [
        _named("ConfigMap", "prometheus", data=prometheus),
        _named("ConfigMap", "alertmanager", data=alertmanager),
        *(
            _named("Secret", f"{part.namespace}-receivers", stringData=dict(configuration.receivers(part.namespace)))
            for part in parts
        ),
        *yaml.safe_load_all(_OBJECTS.read_text()),
    ]
    for each in found:
        if each["kind"] == "Deployment" and each["metadata"]["name"] in {"prometheus", "alertmanager"}:
            each["spec"]["template"]["metadata"]["annotations"] = {"gx.sandbox/configuration": digest}
    return found


def _named(kind: str, name: str, **rest: object) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": kind, "metadata": {"name": name, "namespace": NAMESPACE}, **rest}


def _part(layout: Layout, namespace: str) -> Part:
    def data(name: str) -> dict[str, str]:
        try:
            text = kubectl(layout, "-n", NAMESPACE, "get", "configmap", f"{namespace}-{name}", "-o", "json")
        except SandboxError as error:
            stack = namespace.removeprefix("backend-")
            raise SandboxError(f"{error}. Deploy it first: python -m sandbox up --deploy {stack}") from error
        found: dict[str, str] = json.loads(text)["data"]
        return found

    return Part(
        namespace=namespace, prometheus=data("prometheus"), alertmanager=data("alertmanager")["alertmanager.yaml"]
    )


def _start_outside(layout: Layout) -> None:
    if processes.pid_of(layout, _OUTSIDE) is not None:
        return
    file = messages(layout)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.touch()
    network = where.nsenter_argv(layout.netns(where.INTERNET))
    python = str(layout.root / ".venv/bin/python")
    argv = [*network, python, "-m", "sandbox.monitoring.outside", str(file)]
    processes.spawn(layout, _OUTSIDE, argv, env={"PYTHONPATH": str(layout.root)})
    probe = [*network, "curl", "-s", "-o", "/dev/null", f"{outside.URL}/"]
    processes.wait_until(
        "receivers of alerts listen", lambda: processes.succeeds(probe), timeout=30, log=layout.log(_OUTSIDE)
    )


def _start_node_exporter(layout: Layout, node: NodeSpec) -> None:
    """As Debian's package runs it, in the host's own files."""
    if processes.pid_of(layout, _exporter(node)) is not None:
        return
    prefix = edge.enter_argv(layout, node)
    processes.run([*prefix, "mkdir", "-p", TEXTFILES])
    argv = [str(tool("node_exporter")), f"--collector.textfile.directory={TEXTFILES}"]
    listen = f"--web.listen-address={node.address}:{configuration.NODE_EXPORTER_PORT}"
    processes.spawn(layout, _exporter(node), [*prefix, *argv, listen])


def _exporter(node: NodeSpec) -> str:
    return f"{node.name}-node-exporter"
