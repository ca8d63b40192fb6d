"""A cluster and hosts that are not what a stack file says, each from when it is entered to when it is left."""

import json
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sandbox import layout as where
from sandbox import netns, processes
from sandbox.cluster.fabric import PAUSE_IMAGE
from sandbox.edge import service as edge
from tests.engine.outages import on_host
from tests.engine.stack import BIN, LAYOUT, awaited, get, kubectl, run

SLOW_ECHO = Path(__file__).parent / "files" / "slow-echo.py"
# No answer is an answer, of a kube-proxy that is just starting.
PROXY_MODE = "/usr/bin/curl -fsS --max-time 1 http://127.0.0.1:10249/proxyMode || true"


@contextmanager
def labelled(node: str, label: str, value: str | None) -> Iterator[None]:
    """A node with another label, or without it."""
    before = json.loads(kubectl("get", "node", node, "-o", "json"))["metadata"]["labels"].get(label)
    _mark("label", (node,), label, value)
    try:
        yield
    finally:
        _mark("label", (node,), label, before)


@contextmanager
def annotated(nodes: tuple[str, ...], annotation: str, value: str) -> Iterator[None]:
    """Nodes with an annotation that they did not have."""
    _mark("annotate", nodes, annotation, value)
    try:
        yield
    finally:
        _mark("annotate", nodes, annotation, None)


@contextmanager
def cordoned(node: str) -> Iterator[None]:
    """A node that takes no new pods."""
    kubectl("cordon", node)
    try:
        yield
    finally:
        kubectl("uncordon", node)


@contextmanager
def tainted(node: str, taint: str) -> Iterator[None]:
    """A node that takes the pods alone which tolerate a taint."""
    kubectl("taint", "node", node, taint)
    try:
        yield
    finally:
        kubectl("taint", "node", node, f"{taint}-")


def _mark(verb: str, nodes: tuple[str, ...], key: str, value: str | None) -> None:
    kubectl(verb, "--overwrite", "node", *nodes, f"{key}-" if value is None else f"{key}={value}")


@contextmanager
def existing(document: Mapping[str, Any]) -> Iterator[None]:
    """An object that somebody else has made."""
    namespace = ("-n", document["metadata"].get("namespace", "default"))
    run(BIN / "kubectl", "create", "-f", "-", stdin=json.dumps(document)).ok()
    try:
        yield
    finally:
        now = ("--grace-period=0", "--force") if document["kind"] == "Pod" else ()
        kubectl("delete", *namespace, document["kind"], document["metadata"]["name"], *now)


def service(namespace: str, name: str, **spec: object) -> dict[str, Any]:
    """A Service with no pods behind it."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"selector": {"app": "nothing"}, **spec},
    }


def pod(namespace: str, name: str, spec: Mapping[str, object], **container: object) -> dict[str, Any]:
    """A pod that does nothing, as Pod Security `restricted` lets it in."""
    idle = {
        "name": "idle",
        "image": PAUSE_IMAGE,
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        **container,
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "automountServiceAccountToken": False,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": 65535,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [idle],
            **spec,
        },
    }


def sized(cpu: str, memory: str) -> dict[str, object]:
    """Requests of a container, and limits as high."""
    return {"resources": {kind: {"cpu": cpu, "memory": memory} for kind in ("requests", "limits")}}


def fifth_node(name: str, zone: str, address: str, network: str) -> dict[str, Any]:
    """A node that has joined and whose kubelet is silent: nothing is ever scheduled there."""
    room = {"cpu": "16", "memory": "64Gi", "pods": "110"}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "labels": {"kubernetes.io/hostname": name, "topology.kubernetes.io/zone": zone},
        },
        "spec": {"podCIDR": network, "podCIDRs": [network]},
        "status": {
            "addresses": [{"type": "InternalIP", "address": address}],
            "allocatable": room,
            "capacity": room,
        },
    }


@contextmanager
def unschedulable(document: Mapping[str, Any]) -> Iterator[None]:
    """A pod that the scheduler has given up on."""
    namespace, name = document["metadata"]["namespace"], document["metadata"]["name"]
    with existing(document):
        reason = '{.status.conditions[?(@.type=="PodScheduled")].reason}'
        kubectl("wait", "-n", namespace, f"pod/{name}", f"--for=jsonpath={reason}=Unschedulable", "--timeout=30s")
        yield


@contextmanager
def service_port(namespace: str, name: str, field: str, value: int) -> Iterator[None]:
    """A Service whose first port is another, or leads to another."""
    (found,) = get("service", namespace, "--field-selector", f"metadata.name={name}")
    _replace_port(namespace, name, field, value)
    try:
        yield
    finally:
        _replace_port(namespace, name, field, found["spec"]["ports"][0][field])


def _replace_port(namespace: str, name: str, field: str, value: int) -> None:
    patch = [{"op": "replace", "path": f"/spec/ports/0/{field}", "value": value}]
    kubectl("patch", "service", "-n", namespace, name, "--type=json", "-p", json.dumps(patch))


@contextmanager
def one_cluster_dns() -> Iterator[None]:
    """The cluster DNS as K3s starts it: one pod."""
    labels = ("-l", "k8s-app=kube-dns")
    kubectl("-n", "kube-system", "scale", "deployment", "coredns", "--replicas=1")
    try:
        awaited("one pod of the cluster DNS is left", lambda: len(get("pods", "kube-system", *labels)) == 1, timeout=60)
        yield
    finally:
        kubectl("-n", "kube-system", "scale", "deployment", "coredns", "--replicas=2")
        kubectl("-n", "kube-system", "rollout", "status", "deployment/coredns", "--timeout=120s")


# --- hosts ------------------------------------------------------------------------------------------------------------


@contextmanager
def far_away(node: str, seconds: float) -> Iterator[None]:
    """A node from which an answer takes a while."""
    argv = [*netns.enter_argv(LAYOUT, node), "python3", str(SLOW_ECHO), str(seconds)]
    with no_echo(node), subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as answering:
        try:
            assert answering.stdout
            assert answering.stdout.readline() == "ready\n"
            yield
        finally:
            answering.kill()


@contextmanager
def no_echo(*nodes: str) -> Iterator[None]:
    """Nodes that answer no ping, as some providers have it."""
    _echo(nodes, "1")
    try:
        yield
    finally:
        _echo(nodes, "0")


def _echo(nodes: tuple[str, ...], ignored: str) -> None:
    for node in nodes:
        netns.run_in(LAYOUT, node, ["sysctl", "-q", "-w", f"net.ipv4.icmp_echo_ignore_all={ignored}"])


@contextmanager
def ssh_refused(node: str) -> Iterator[None]:
    """A node that refuses every new connection to its sshd."""
    rule = ["INPUT", "-p", "tcp", "--dport", "22", "--syn", "-j", "REJECT", "--reject-with", "tcp-reset"]
    netns.run_in(LAYOUT, node, ["iptables", "-w", "-I", *rule])
    try:
        yield
    finally:
        netns.run_in(LAYOUT, node, ["iptables", "-w", "-D", *rule])


@contextmanager
def another_web_server(node: str) -> Iterator[None]:
    """Port 80 of an edge node is another program's, and Nginx is not there."""
    host = where.node(node)
    on_host(host, "nginx -s stop")
    awaited("Nginx has ended", lambda: not _listening(host))
    other = subprocess.Popen(
        [*edge.enter_argv(LAYOUT, host), "python3", "-m", "http.server", "80"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        awaited("the other program listens", lambda: _listening(host))
        yield
    finally:
        other.kill()
        other.wait()
        awaited("the other program has ended", lambda: not _listening(host))
        on_host(host, "nginx")


def _listening(host: where.NodeSpec) -> bool:
    return bool(on_host(host, "ss -H -l -t -n 'sport = :80'"))


@contextmanager
def kube_proxy_in_mode(node: str, mode: str) -> Iterator[None]:
    """A node whose kube-proxy forwards by other means than the cluster's."""
    host, name = where.node(node), f"{node}-kube-proxy"
    usual = Path(f"/proc/{processes.pid_of(LAYOUT, name)}/cmdline").read_text().rstrip("\0").split("\0")
    assert "--proxy-mode=iptables" in usual

    def restarted(argv: list[str], mode: str) -> None:
        processes.stop(LAYOUT, name)
        processes.spawn(LAYOUT, name, argv)
        awaited(f"kube-proxy of {node} is in {mode} mode", lambda: on_host(host, PROXY_MODE) == mode, timeout=60)

    try:
        restarted([f"--proxy-mode={mode}" if word.startswith("--proxy-mode=") else word for word in usual], mode)
        yield
    finally:
        restarted(usual, "iptables")
        # Awaited: until then there is no answer, which is no failure.
        answers = "/usr/bin/curl -s -o /dev/null --max-time 1 http://127.0.0.1:30001/ && echo yes || true"
        awaited(f"NodePorts of {node} answer again", lambda: on_host(host, answers) == "yes\n", timeout=60)


@contextmanager
def silent_kube_proxy(node: str) -> Iterator[None]:
    """A node whose kube-proxy tells nothing of itself; its rules stay."""
    with processes.paused(LAYOUT, f"{node}-kube-proxy"):
        yield
