"""The preflight: each row is good on a cluster as the stack file has it, and says stop or warn on a broken one."""

import json
import subprocess
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from operations.preflight import __main__ as command
from operations.preflight import live
from operations.preflight.cluster import BACKEND_ANNOTATION, HOSTNAME_LABEL, ZONE_LABEL
from operations.preflight.judge import CHECKS, judge
from operations.preflight.observed import Host, Observed, parsed
from operations.preflight.rows import Level, Row
from settings import stackfile
from settings.loader import load
from settings.model import NodeRole, Settings
from settings.stackfile import merge
from tests import stacks

MAINNET = stacks.settings("mainnet")
FABRIC = MAINNET.fabric
EDGE = MAINNET.edge
assert FABRIC
assert EDGE
Change = Callable[[dict[str, Any]], object]


def node(name: str) -> dict[str, Any]:
    """A node as the API server shows it, with Fabric's requests as the stack file reserves them."""
    given = MAINNET.cluster.nodes[name]
    labels = {HOSTNAME_LABEL: name, ZONE_LABEL: given.zone}
    if given.role is NodeRole.CONTROL_PLANE:
        labels["node-role.kubernetes.io/control-plane"] = "true"
    return {
        "metadata": {"name": name, "labels": labels, "annotations": {BACKEND_ANNOTATION: "wireguard"}},
        "spec": {"podCIDR": given.pod_cidr, "podCIDRs": [given.pod_cidr]},
        "status": {
            "addresses": [{"type": "InternalIP", "address": given.internal_ip}, {"type": "Hostname", "address": name}],
            "allocatable": {"cpu": "16", "memory": "67108864Ki"},
            "capacity": {"ephemeral-storage": "960000000Ki"},
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    }


def pod(name: str, at: str, namespace: str = "fabric", **container: object) -> dict[str, Any]:
    return {
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"nodeName": at, "containers": [container]},
        "status": {"phase": "Running"},
    }


def cluster_dns(at: str) -> dict[str, Any]:
    made = pod(f"coredns-{at}", at, "kube-system")
    made["metadata"]["labels"] = {"k8s-app": "kube-dns"}
    return made


def requesting(cpu: str, memory: str) -> dict[str, Any]:
    return {"resources": {"requests": {"cpu": cpu, "memory": memory}}}


def service(name: str, namespace: str, *ports: Mapping[str, Any], **spec: object) -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": namespace}, "spec": {"ports": list(ports), **spec}}


def named(name: str, **rest: object) -> dict[str, Any]:
    return {"metadata": {"name": name}, **rest}


def healthy() -> dict[str, Any]:
    """A cluster and hosts that are what mainnet's stack file says, as plain JSON."""
    endpoints = (*FABRIC.orderers, *FABRIC.peers, *FABRIC.certificate_authorities)  # type: ignore[union-attr]
    addresses = [each.internal_ip for each in MAINNET.cluster.nodes.values()]
    return {
        "version": {"serverVersion": {"gitVersion": "v1.33.5+k3s1"}},
        "nodes": [node(name) for name in MAINNET.cluster.nodes],
        "namespaces": [named(name) for name in ("kube-system", "monitoring", "fabric", "backend-mainnet")],
        "services": [
            *(service(e.host.split(".")[0], "fabric", {"port": e.port, "targetPort": e.port}) for e in endpoints),
            service("svc-tax", "backend-mainnet", {"port": 3007, "nodePort": 30007}),
            service("kubernetes", "default", {"port": 443}),
        ],
        "pods": [
            *(
                pod("peer", name, **requesting(each.reserved_cpu, each.reserved_memory))
                for name, each in MAINNET.cluster.nodes.items()
            ),
            *(cluster_dns(name) for name in ("srv1089618", "srv1089624")),
            pod("kube-state-metrics-1", "srv1117946", "monitoring", image="registry.k8s.io/kube-state-metrics:v2.15.0"),
            # The stack's own pods are what the room is for, and a job that has ended takes none.
            pod("svc-tax", "srv1089618", "backend-mainnet", **requesting("6", "20Gi")),
            {**pod("ended", "srv1089618", **requesting("9", "9Gi")), "status": {"phase": "Succeeded"}},
        ],
        "storage_classes": [
            named("local-path", reclaimPolicy="Delete"),
            named("local-path-retain", reclaimPolicy="Retain"),
        ],
        "hosts": {
            name: Host(
                listening={22: "sshd", 80: "nginx", 443: "nginx", 9100: "prometheus-node"},
                proxy_mode="iptables",
                round_trip=dict.fromkeys(addresses, 0.4),
            )
            for name in MAINNET.cluster.nodes
        },
        "unreachable": {},
    }


def observed(*changes: Change) -> Observed:
    seen = deepcopy(healthy())
    for change in changes:
        change(seen)
    whole: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in seen.items()}
    return Observed(**whole)


def bad(rows: tuple[Row, ...]) -> list[Row]:
    return [row for row in rows if row.level is not Level.OK]


def test_a_cluster_as_the_stack_file_has_it_is_good_in_every_row() -> None:
    rows = judge(MAINNET, observed())
    assert bad(rows) == []
    assert len(rows) >= len(CHECKS)
    assert all(not row.fix for row in rows)


def on_host(**fields: object) -> Change:
    """A change of the first edge node."""

    def change(seen: dict[str, Any]) -> None:
        seen["hosts"]["srv1089618"] = replace(seen["hosts"]["srv1089618"], **fields)

    return change


def unreachable(seen: dict[str, Any]) -> None:
    del seen["hosts"]["srv1089618"]
    seen["unreachable"]["srv1089618"] = "Connection timed out"


def labels(seen: dict[str, Any], at: int = 0) -> dict[str, str]:
    found: dict[str, str] = seen["nodes"][at]["metadata"]["labels"]
    return found


def with_volume(name: str, at: str = "", **status: object) -> dict[str, Any]:
    """A pod of the stack with a volume; without a node, one that the scheduler has given up on."""
    made = pod(name, at, "backend-mainnet")
    made["spec"]["volumes"] = [
        {"persistentVolumeClaim": {"claimName": f"{name.split('-', maxsplit=1)[0]}-data-{name}"}}
    ]
    if not at:
        del made["spec"]["nodeName"]
        reason = {
            "type": "PodScheduled",
            "status": "False",
            "reason": "Unschedulable",
            "message": "volume node affinity",
        }
        made["status"] = {"phase": "Pending", "conditions": [reason]}
    return made


def loses(name: str, *pods: dict[str, Any]) -> Change:
    """A node that is away, with the pods that it had."""

    def change(seen: dict[str, Any]) -> None:
        (lost,) = (each for each in seen["nodes"] if each["metadata"]["name"] == name)
        lost["status"]["conditions"] = [{"type": "Ready", "status": "Unknown"}]
        seen["pods"] += pods

    return change


BROKEN: tuple[tuple[str, Change, str, str], ...] = (
    (
        "old servers",
        lambda s: s["version"]["serverVersion"].update(gitVersion="v1.29.4+k3s1"),
        "stop",
        "v1.29.4+k3s1 is too old",
    ),
    ("no version", lambda s: s["version"].clear(), "stop", "unknown is too old"),
    (
        "newer servers",
        lambda s: s["version"]["serverVersion"].update(gitVersion="v1.35.0+k3s1"),
        "warn",
        "made for K3s 1.33",
    ),
    ("no K3s", lambda s: s["version"]["serverVersion"].update(gitVersion="v1.33.5"), "warn", "made for K3s 1.33"),
    (
        "a node is missing",
        lambda s: s["nodes"].pop(1),
        "stop",
        "node srv1089624: is not in the cluster. Fix: one of srv1089618",
    ),
    (
        "a node more",
        lambda s: s["nodes"].append(named("srv9")),
        "warn",
        "node srv9: is in the cluster and not in the stack file",
    ),
    (
        "another host name",
        lambda s: labels(s).update({HOSTNAME_LABEL: "control-plane-1"}),
        "stop",
        "is control-plane-1, the stack file has srv1089618",
    ),
    (
        "no zone",
        lambda s: labels(s).pop(ZONE_LABEL),
        "stop",
        "kubectl label --overwrite node srv1089618 topology.kubernetes.io/zone=kuala-lumpur",
    ),
    (
        "no control plane",
        lambda s: labels(s).pop("node-role.kubernetes.io/control-plane"),
        "stop",
        "is no control-plane by its labels",
    ),
    (
        "a worker that is not",
        lambda s: labels(s, 3).update({"node-role.kubernetes.io/control-plane": ""}),
        "stop",
        "is no worker by its labels",
    ),
    (
        "another address",
        lambda s: s["nodes"][0]["status"]["addresses"][0].update(address="10.9.9.9"),
        "stop",
        "its internalIp is 10.9.9.9",
    ),
    (
        "another pod network",
        lambda s: s["nodes"][0]["spec"].update(podCIDRs=["10.42.9.0/24"]),
        "stop",
        "its podCidr is 10.42.9.0/24",
    ),
    (
        "a node that is not ready",
        lambda s: s["nodes"][0]["status"]["conditions"][0].update(status="Unknown"),
        "warn",
        "is not Ready",
    ),
    (
        "a node for the control plane alone",
        lambda s: s["nodes"][0]["spec"].update(
            taints=[{"key": "node-role.kubernetes.io/control-plane", "effect": "NoSchedule"}]
        ),
        "stop",
        "taint of srv1089618: node-role.kubernetes.io/control-plane:NoSchedule keeps pods away, and without the node"
        " the stack does not fit. Fix: kubectl taint node srv1089618 node-role.kubernetes.io/control-plane:NoSchedule-",
    ),
    (
        "a cordon that was forgotten",
        lambda s: s["nodes"][3]["spec"].update(unschedulable=True),
        "stop",
        "Fix: kubectl uncordon srv1117946",
    ),
    (
        "less to allocate",
        lambda s: s["nodes"][0]["status"]["allocatable"].update(cpu="15500m"),
        "warn",
        "raise cluster.nodes.srv1089618.reservedCpu by 500m",
    ),
    (
        "a neighbour",
        lambda s: s["pods"].append(pod("x", "srv1117946", "other", **requesting("1m", "1Gi"))),
        "warn",
        "other namespaces leave 31Gi, in which the stack still fits",
    ),
    (
        "a neighbour that takes the room",
        lambda s: s["pods"].append(pod("x", "srv1089618", "other", **requesting("6", "1Gi"))),
        "stop",
        "the proofs count on 6400m of cpu, other namespaces leave 400m, in which the stack does not fit",
    ),
    (
        "a smaller disk",
        lambda s: s["nodes"][0]["status"]["capacity"].update({"ephemeral-storage": "480000000Ki"}),
        "warn",
        "disk of srv1089618: has 468750Mi, the stack file 1T. Fix: correct cluster.nodes.srv1089618.disk",
    ),
    (
        "a disk unknown",
        lambda s: s["nodes"][0]["status"].pop("capacity"),
        "look",
        "disks: srv1089618 tell no size. Fix: on each: df -h",
    ),
    (
        "no storage class",
        lambda s: s["storage_classes"].pop(),
        "stop",
        "local-path-retain is not there, only local-path",
    ),
    (
        "volumes that go",
        lambda s: s["storage_classes"][1].pop("reclaimPolicy"),
        "stop",
        "deletes a volume with its claim",
    ),
    (
        "a standby that waits for its volume's node",
        lambda s: s["pods"].append(with_volume("postgres-2")),
        "warn",
        "never does: kubectl -n backend-mainnet delete pvc postgres-data-postgres-2 --wait=false && kubectl",
    ),
    (
        "a lost node with the primary",
        loses("srv1089618", with_volume("postgres-0", "srv1089618")),
        "warn",
        "srv1089618 is away. Fix: nothing if the node returns; if it never does: make another instance the primary",
    ),
    (
        "a lost node with a replica",
        loses("srv1089624", with_volume("redis-1", "srv1089624")),
        "warn",
        "delete pod redis-1 --force; it copies from its peers",
    ),
    (
        "a lost node with backups",
        loses("srv1117946", with_volume("x-backup-1", "srv1117946")),
        "warn",
        "if it never does: docs/runbooks/volumes.md",
    ),
    (
        "an overlay in clear",
        lambda s: s["nodes"][2]["metadata"]["annotations"].update({BACKEND_ANNOTATION: "vxlan"}),
        "warn",
        "the overlay is vxlan, wireguard",
    ),
    (
        "an overlay unknown",
        lambda s: s["nodes"][2]["metadata"].pop("annotations"),
        "warn",
        "the overlay is unknown, wireguard",
    ),
    (
        "nodes far apart",
        on_host(round_trip={"10.60.0.12": 152.3}),
        "warn",
        "up to 152 ms (srv1089618 to srv1089624): about 7 commits a second",
    ),
    (
        "no round trips",
        lambda s: s.update(hosts={n: replace(h, round_trip={}) for n, h in s["hosts"].items()}),
        "warn",
        "no node could ask another",
    ),
    (
        "one cluster DNS",
        lambda s: s["pods"].remove(cluster_dns("srv1089624")),
        "warn",
        "cluster DNS: on srv1089618 alone: if that is lost, no failover of a database finds an instance",
    ),
    ("nftables", on_host(proxy_mode="nftables"), "stop", "in nftables mode nothing answers on 127.0.0.1"),
    ("no proxy mode", on_host(proxy_mode=""), "warn", "its mode is not known: nothing there tells it"),
    (
        "a NodePort taken",
        lambda s: s["services"].append(service("web", "other", {"port": 1, "nodePort": 30003})),
        "stop",
        "NodePort 30003: taken by the Service other/web",
    ),
    (
        "a NodePort of another service",
        lambda s: s["services"][-2]["metadata"].update(name="svc-old"),
        "stop",
        "taken by the Service backend-mainnet/svc-old",
    ),
    (
        "a LoadBalancer",
        lambda s: s["services"].append(service("traefik", "kube-system", {"port": 443}, type="LoadBalancer")),
        "stop",
        "the LoadBalancer kube-system/traefik. Fix: disable servicelb",
    ),
    (
        "a host port",
        lambda s: s["pods"].append(pod("svclb", "srv1089624", "kube-system", ports=[{"hostPort": 80}])),
        "stop",
        "taken on srv1089624 by the pod kube-system/svclb",
    ),
    ("another web server", on_host(listening={80: "apache2"}), "stop", "port 80: apache2 listens on srv1089618"),
    ("a listener that is not shown", on_host(listening={443: ""}), "stop", "a program that is not shown listens"),
    ("a host that does not answer", unreachable, "warn", "not known on srv1089618: Connection timed out"),
    (
        "a NodePort of Fabric's",
        lambda s: s["services"].append(service("explorer", "fabric", {"port": 80, "nodePort": 30500})),
        "warn",
        "firewall: closes NodePort 30500 of the Service fabric/explorer to all but the nodes and their pods",
    ),
    (
        "no kube-state-metrics",
        lambda s: s["pods"].remove(next(each for each in s["pods"] if "kube-state" in each["metadata"]["name"])),
        "warn",
        "metrics: no pod of kube-state-metrics runs",
    ),
    (
        "no node_exporter",
        on_host(listening={22: "sshd", 80: "nginx", 443: "nginx"}),
        "warn",
        "metrics: no node_exporter on port 9100 of srv1089618: alerts on nodes never fire",
    ),
    (
        "no monitoring",
        lambda s: s["namespaces"].pop(1),
        "warn",
        "namespace monitoring: is not there: nothing scrapes the stack",
    ),
    ("no Fabric", lambda s: s["namespaces"].pop(2), "stop", "namespace fabric: is not there: nothing reaches Fabric"),
    (
        "no Fabric Service",
        lambda s: s["services"].pop(0),
        "warn",
        "Fabric orderer0-org0.fabric.svc.cluster.local:7050: no Service fabric/orderer0-org0",
    ),
    (
        "another Fabric port",
        lambda s: s["services"][0]["spec"]["ports"][0].update(port=7055),
        "warn",
        "its Service has 7055",
    ),
    (
        "another port of Fabric's pods",
        lambda s: s["services"][0]["spec"]["ports"][0].update(targetPort=17050),
        "warn",
        "leads to the pods' port 17050",
    ),
)


@pytest.mark.parametrize(("change", "level", "said"), [each[1:] for each in BROKEN], ids=[each[0] for each in BROKEN])
def test_a_broken_cluster_is_told_with_the_remedy(change: Change, level: str, said: str) -> None:
    rows = bad(judge(MAINNET, observed(change)))
    assert [row for row in rows if said in str(row)], [str(row) for row in rows]
    assert all(row.fix for row in rows)
    assert max(rows, key=lambda row: list(Level).index(row.level)).level == level


def test_the_taints_of_a_node_that_is_not_ready_have_no_row_of_their_own() -> None:
    lost = [{"key": "node.kubernetes.io/unreachable", "effect": effect} for effect in ("NoSchedule", "NoExecute")]
    assert bad(judge(MAINNET, observed(lambda seen: seen["nodes"][0]["spec"].update(taints=lost)))) == []


def test_every_check_has_a_fixture_that_it_fails_on() -> None:
    for check in CHECKS:
        assert any(bad(tuple(check(MAINNET, observed(each[1])))) for each in BROKEN), check.__name__


def changed(**patch: object) -> Settings:
    return load(merge(stacks.complete("mainnet"), patch))


def test_what_a_stack_does_not_use_is_not_asked_of_its_cluster() -> None:
    nftables = on_host(proxy_mode="nftables")
    assert bad(judge(changed(edge={"upstreamHost": "10.60.0.11"}), observed(nftables))) == []
    devnet = stacks.settings("devnet")
    rows = judge(devnet, observed(lambda seen: seen.update(services=[], hosts={})))
    assert not [row for row in rows if row.name.startswith(("Fabric", "port", "kube-proxy on"))]


def test_a_pod_requests_what_the_scheduler_counts() -> None:
    """An init container counts where it is larger, one that stays counts always."""
    large = {"resources": {"requests": {"cpu": "3", "memory": "1Gi"}}}
    for containers, stops in (([large], True), ([{**large, "restartPolicy": "Always"}], True), ([{}], False)):
        each = pod("x", "srv1117946", "other")
        each["spec"]["initContainers"] = containers
        seen = observed()
        assert bool(bad(judge(MAINNET, replace(seen, pods=(*seen.pods, each))))) == stops


def test_a_host_is_parsed_as_its_tools_print() -> None:
    printed = (
        'listen LISTEN 0 511 0.0.0.0:80 0.0.0.0:* users:(("nginx",pid=7,fd=6),("nginx",pid=1,fd=6))\n'
        'listen LISTEN 0 511 [::]:80 [::]:* users:(("nginx",pid=7,fd=7))\n'
        "listen LISTEN 0      128      0.0.0.0:22 0.0.0.0:*                                  \n"
        "proxy iptables\nrtt 10.60.0.12 152.331\nrtt 10.60.0.13 \n"
    )
    host = parsed(printed)
    assert host == Host(listening={80: "nginx", 22: ""}, proxy_mode="iptables", round_trip={"10.60.0.12": 152.331})


def test_the_script_runs_on_a_real_host() -> None:
    """Here, with what is installed: it ends well, and says which ports are open."""
    done = subprocess.run(
        ["sh", "-s", "--", "127.0.0.1"], input=live.SCRIPT.read_text(), capture_output=True, text=True, check=True
    )
    assert {line.split(" ")[0] for line in done.stdout.splitlines()} >= {"proxy", "rtt"}
    assert parsed(done.stdout).listening.keys() <= set(range(65536))


KUBECTL = """#!/bin/sh
# Stands in for kubectl: answers with what stands in the directory, and notes what it was asked.
echo "$*" >>asked
for word in "$@"; do
    [ -f "$word.json" ] && exec cat "$word.json"
done
echo "error: context does not exist" >&2
exit 1
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with mainnet's committed stack file, and a kubectl that shows a healthy cluster."""
    (tmp_path / "kubectl").write_text(KUBECTL)
    (tmp_path / "kubectl").chmod(0o755)
    seen = healthy()
    (tmp_path / "version.json").write_text(json.dumps(seen["version"]))
    for kind in ("nodes", "namespaces", "services", "pods"):
        (tmp_path / f"{kind}.json").write_text(json.dumps({"items": seen[kind]}))
    (tmp_path / "storageclasses.json").write_text(json.dumps({"items": seen["storage_classes"]}))
    (tmp_path / "Pulumi.mainnet.yaml").write_text(stackfile.path("mainnet").read_text())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr("sys.argv", ["preflight", "mainnet"])
    return tmp_path


def test_the_command_asks_only_to_read_and_ends_as_its_worst_row(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main() == 1
    lines = capsys.readouterr().out.splitlines()
    # The committed stack file has stand-ins for the addresses, which are nobody's.
    assert any(line.startswith("stop  node srv1089618: its internalIp is 10.60.0.11") for line in lines)
    assert any("the stack file has no host key or no account yet" in line for line in lines)
    assert lines[-1].split(",")[0].endswith(" ok")
    asked = (project / "asked").read_text().splitlines()
    assert {line.split("--request-timeout=20s ")[1].split(" ")[0] for line in asked} == {"version", "get"}
    assert all(line.startswith("--context=gx-protocol-cluster ") for line in asked)


def test_a_cluster_that_cannot_be_asked_is_told_in_one_line(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (project / "version.json").unlink()
    assert command.main() == 2
    printed = capsys.readouterr().err
    assert printed.startswith("kubectl version: error: context does not exist. Fix: check cluster.context")
    assert len(printed.splitlines()) == 1


def test_a_host_that_tells_nothing_is_not_one_whose_ports_are_free(project: Path) -> None:
    (project / "ssh").write_text("#!/bin/sh\ncat >/dev/null\necho 'This account is currently not available.'\nexit 1\n")
    (project / "ssh").chmod(0o755)
    seen = live.observe(MAINNET, ())
    assert seen.hosts == {}
    said = [str(row) for row in bad(judge(MAINNET, seen))]
    why = "not known on srv1089618: the host told nothing: This account is currently not available."
    assert any(why in row for row in said), said
