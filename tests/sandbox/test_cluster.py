"""The sandbox's cluster is a real one: containers, addresses, volumes, admission, and nodes that can die.

The last tests break the running platform and heal it before they end.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sandbox import layout as where
from sandbox import netns, processes
from sandbox.layout import Layout
from tests.kubernetes import items, kubectl

ROOT = Path(__file__).resolve().parents[2]
LAYOUT = where.current()
NAMESPACE = "cluster-test"
NODE_PORT = 30555
FIRST, SECOND = where.NODES[0], where.NODES[1]
TIMED_OUT, REFUSED = 28, 7
"""Exit statuses of curl."""

pytestmark = pytest.mark.usefixtures("cluster")


def sandbox(*argv: str, root: Path = ROOT) -> str:
    """Output of a sandbox command that has to succeed."""
    done = subprocess.run(
        [sys.executable, "-m", "sandbox", *argv], cwd=root, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def curl(machine: str, url: str) -> subprocess.CompletedProcess[str]:
    """Ask for a page from inside a machine, for five seconds at most."""
    argv = [*netns.enter_argv(LAYOUT, machine), "curl", "-s", "--max-time", "5", url]
    return subprocess.run(argv, capture_output=True, text=True, check=False)


def awaited(holds: Callable[[], bool], what: str) -> None:
    processes.wait_until(what, holds, timeout=300)


def is_ready(node: str) -> bool:
    conditions = json.loads(kubectl("get", "node", node, "-o", "json").stdout)["status"]["conditions"]
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


def claim(name: str, storage_class: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": storage_class,
            "resources": {"requests": {"storage": "1Gi"}},
        },
    }


def pod(name: str, script: str, node: str, claims: tuple[str, ...] = ()) -> dict[str, Any]:
    container = {
        "name": "main",
        "image": "docker.io/library/postgres:15-alpine",
        "imagePullPolicy": "IfNotPresent",
        "command": ["sh", "-c", script],
        "volumeMounts": [{"name": name, "mountPath": f"/{name}"} for name in claims],
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {
            "nodeSelector": {"kubernetes.io/hostname": node},
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": 1,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": 1000,
                "fsGroup": 1000,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [container],
            "volumes": [{"name": name, "persistentVolumeClaim": {"claimName": name}} for name in claims],
        },
    }


def web(node: str, name: str) -> dict[str, Any]:
    """The stand-in application without a database: it answers every path."""
    container = {
        "name": "main",
        "image": "ghcr.io/gx-protocol/svc-wallet:sandbox",
        "imagePullPolicy": "IfNotPresent",
        "env": [
            {"name": "SERVICE_NAME", "value": "svc-wallet"},
            {"name": "PORT", "value": "8080"},
            {"name": "METRICS_PORT", "value": "9090"},
            {"name": "NODE_NAME", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
            {"name": "DATABASE_URL", "value": "postgresql://u:p@127.0.0.1:1/none"},
            {"name": "REDIS_URL", "value": "redis://127.0.0.1:1"},
        ],
        "readinessProbe": {"httpGet": {"path": "/healthz", "port": 8080}, "periodSeconds": 1},
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": NAMESPACE, "labels": {"app": "web"}},
        "spec": {
            "nodeSelector": {"kubernetes.io/hostname": node},
            "terminationGracePeriodSeconds": 1,
            "containers": [container],
        },
    }


def apply(*objects: dict[str, Any]) -> None:
    kubectl("apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)}))


def output_of(name: str) -> str:
    kubectl("wait", "-n", NAMESPACE, f"pod/{name}", "--for=jsonpath={.status.phase}=Succeeded", "--timeout=300s")
    return kubectl("logs", "-n", NAMESPACE, name).stdout


@pytest.fixture(scope="module", autouse=True)
def namespace(cluster: None) -> Iterator[None]:
    """A namespace with one web pod on the first node and one on the second, behind a NodePort Service."""
    kubectl("delete", "namespace", NAMESPACE, "--ignore-not-found", "--wait=true")
    apply(
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}},
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "web", "namespace": NAMESPACE},
            "spec": {
                "type": "NodePort",
                "externalTrafficPolicy": "Local",
                "selector": {"app": "web"},
                "ports": [{"port": 80, "targetPort": 8080, "nodePort": NODE_PORT}],
            },
        },
    )
    awaited(
        lambda: kubectl("get", "sa", "default", "-n", NAMESPACE, check=False).returncode == 0,
        "the namespace has its service account",
    )
    apply(web(FIRST.name, "web-first"), web(SECOND.name, "web-second"))
    kubectl("wait", "-n", NAMESPACE, "pod/web-first", "pod/web-second", "--for=condition=Ready", "--timeout=300s")
    # kube-proxy follows in its own time.
    knocks = [(where.INTERNET, f"http://{spec.public_address}:{NODE_PORT}/") for spec in (FIRST, SECOND)]
    awaited(lambda: all(curl(*knock).returncode == 0 for knock in knocks), "both nodes answer")
    yield
    kubectl("delete", "namespace", NAMESPACE, "--wait=false")


def test_the_nodes_are_those_of_the_source_document_and_leave_free_what_it_says() -> None:
    nodes = {item["metadata"]["name"]: item for item in items("nodes")}
    assert set(nodes) == {spec.name for spec in where.NODES}
    free = {}
    for spec in where.NODES:
        item = nodes[spec.name]
        assert item["status"]["capacity"]["cpu"] == "16"
        assert item["status"]["capacity"]["memory"] == "64Gi"
        assert item["spec"]["podCIDR"] == spec.pod_cidr
        assert spec.labels.items() <= item["metadata"]["labels"].items()
        free[spec.name] = 16.0
    for namespace in ("fabric", "fabric-testnet"):
        for item in items("pods", "-n", namespace):
            cpu = item["spec"]["containers"][0]["resources"]["requests"]["cpu"]
            free[item["spec"]["nodeName"]] -= int(cpu.removesuffix("m")) / 1000 if cpu.endswith("m") else int(cpu)
    assert free == pytest.approx({"srv1089618": 6.4, "srv1089624": 7.2, "srv1092158": 5.6, "srv1117946": 8.0}, abs=0.02)


def test_a_second_up_is_quick_and_changes_nothing() -> None:
    before = {item["metadata"]["uid"] for item in items("pods", "-A")}
    begun = time.monotonic()
    sandbox("up")
    assert time.monotonic() - begun < 10
    assert {item["metadata"]["uid"] for item in items("pods", "-A")} >= before


def test_a_node_port_answers_on_the_nodes_loopback_and_on_its_public_address() -> None:
    for machine, host in ((FIRST.name, "127.0.0.1"), (where.INTERNET, str(FIRST.public_address))):
        answer = curl(machine, f"http://{host}:{NODE_PORT}/wallet/1")
        assert json.loads(answer.stdout)["path"] == "/wallet/1"


def test_a_local_traffic_policy_keeps_outside_requests_on_the_node_and_drops_them_where_no_pod_is() -> None:
    answer = json.loads(curl(where.INTERNET, f"http://{SECOND.public_address}:{NODE_PORT}/").stdout)
    assert answer["node"] == SECOND.name
    assert curl(where.INTERNET, f"http://{where.NODES[2].public_address}:{NODE_PORT}/").returncode == TIMED_OUT


def test_a_pod_finds_services_by_name_and_reaches_pods_on_other_nodes() -> None:
    script = f"exec 3<>/dev/tcp/web.{NAMESPACE}/80 && getent hosts web.{NAMESPACE}.svc.cluster.local"
    apply(pod("names", f"bash -c '{script}'", where.NODES[3].name))
    assert output_of("names").startswith("10.43.")


def test_a_volume_is_kept_or_deleted_with_its_claim_as_its_class_says() -> None:
    apply(claim("fleeting", "local-path"), claim("lasting", "local-path-retain"))
    apply(pod("writer", "touch /fleeting/x /lasting/x && ls /fleeting /lasting", SECOND.name, ("fleeting", "lasting")))
    assert output_of("writer").split() == ["/fleeting:", "x", "/lasting:", "x"]
    held = {v["spec"]["claimRef"]["name"]: v for v in items("pv") if v["spec"]["claimRef"]["namespace"] == NAMESPACE}
    paths = {name: LAYOUT.volumes(SECOND.name) / Path(v["spec"]["local"]["path"]).name for name, v in held.items()}
    assert all((path / "x").exists() for path in paths.values())

    kubectl("delete", "-n", NAMESPACE, "pod/writer", "pvc/fleeting", "pvc/lasting")

    awaited(lambda: not paths["fleeting"].exists(), "the deleting class's directory is gone")
    assert (paths["lasting"] / "x").exists()
    kubectl("delete", "pv", held["lasting"]["metadata"]["name"])
    shutil.rmtree(paths["lasting"])


def test_admission_refuses_what_the_namespaces_security_level_quota_and_limits_do_not_allow() -> None:
    name = f"{NAMESPACE}-strict"
    quota = {"hard": {"requests.cpu": "1", "limits.cpu": "1"}}
    kubectl("create", "namespace", name)
    try:
        kubectl("label", "namespace", name, "pod-security.kubernetes.io/enforce=restricted")
        apply(
            {
                "apiVersion": "v1",
                "kind": "ResourceQuota",
                "metadata": {"name": "q", "namespace": name},
                "spec": quota,
            }
        )
        loose = pod("loose", "true", FIRST.name)
        loose["metadata"]["namespace"] = name
        # A quota that nobody has counted yet admits everything.
        asked = ("create", "--dry-run=server", "-f", "-")
        awaited(
            lambda: "must specify limits.cpu" in kubectl(*asked, stdin=json.dumps(loose), check=False).stderr,
            "the quota is in force",
        )
        del loose["spec"]["containers"][0]["securityContext"]
        refused = kubectl("create", "-f", "-", stdin=json.dumps(loose), check=False)
        assert "violates PodSecurity" in refused.stderr
    finally:
        kubectl("delete", "namespace", name, "--wait=false")


def test_a_killed_kubelet_is_brought_back_by_up() -> None:
    record = LAYOUT.records / f"{FIRST.name}-kubelet.pid"
    os.kill(int(record.read_text().split()[0]), 9)
    sandbox("up")
    assert "DOWN" not in sandbox("status")


def test_an_unreachable_api_refuses_or_swallows_the_operators_connections_and_comes_back() -> None:
    try:
        sandbox("api", "refuse")
        assert "refused" in kubectl("get", "nodes", "--request-timeout=3s", check=False).stderr
        sandbox("api", "blackhole")
        assert curl(where.INTERNET, where.API_URL).returncode == TIMED_OUT
    finally:
        sandbox("api", "heal")
    assert is_ready(FIRST.name)


def test_a_cut_node_is_silent_while_its_own_pods_go_on() -> None:
    address = items("pods", "-n", NAMESPACE, "--field-selector", "metadata.name=web-first")[0]["status"]["podIP"]
    try:
        sandbox("node", "cut", FIRST.name)
        assert curl(where.INTERNET, f"http://{FIRST.public_address}:{NODE_PORT}/").returncode == TIMED_OUT
        assert curl(FIRST.name, f"http://{address}:8080/").returncode == 0
    finally:
        sandbox("node", "heal", FIRST.name)
    assert curl(where.INTERNET, f"http://{FIRST.public_address}:{NODE_PORT}/").returncode == 0


def test_a_node_without_power_is_silent_and_its_pods_return_with_it() -> None:
    try:
        sandbox("node", "stop", SECOND.name)
        assert curl(where.INTERNET, f"http://{SECOND.public_address}:{NODE_PORT}/").returncode == TIMED_OUT
        assert curl(FIRST.name, f"http://{SECOND.address}:{NODE_PORT}/").returncode == TIMED_OUT
        awaited(lambda: not is_ready(SECOND.name), "the cluster sees that the node is gone")
    finally:
        sandbox("up")
    awaited(lambda: is_ready(SECOND.name), "the node is ready again")
    answers = f"http://{SECOND.public_address}:{NODE_PORT}/"
    awaited(lambda: curl(where.INTERNET, answers).returncode == 0, "its pod answers again")


def test_a_second_checkout_runs_beside_this_one_and_leaves_nothing_when_it_goes(tmp_path: Path) -> None:
    other = tmp_path.resolve() / "checkout"
    shutil.copytree(ROOT, other, ignore=shutil.ignore_patterns(".sandbox", ".git", ".venv", "__pycache__"))
    layout = Layout(other)
    assert layout.id != LAYOUT.id
    try:
        sandbox("up", root=other)
        assert layout.id in processes.run(["ip", "netns", "list"])
        assert is_ready(FIRST.name)
    finally:
        sandbox("down", root=other)
    assert traces_of(layout) == []
    assert [path.name for path in layout.runtime.iterdir() if path.is_dir()] == ["log"]
    assert is_ready(FIRST.name)


def traces_of(layout: Layout) -> list[str]:
    """Namespaces, mounts, control groups, processes and sockets of a sandbox, as the host sees them."""
    found = [line for line in processes.run(["ip", "netns", "list"]).splitlines() if layout.id in line]
    mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    found += [line for line in mounts if layout.id in line or str(layout.root) in line]
    found += [str(path) for path in Path("/sys/fs/cgroup").glob(f"**/{layout.id}")]
    found += [str(layout.sockets)] if layout.sockets.exists() else []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes().decode(errors="replace")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if str(layout.root) in command:
            found.append(command)
    return found
