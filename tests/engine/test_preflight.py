"""The preflight on the sandbox: each broken cluster that can be had, with the very line that tells it, and its remedy.

A case has the name of its twin in ``tests/unit/test_preflight.py``, where every check has one that it fails on. What no
sandbox can have stands in ``NOT_HERE``.
"""

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from operations.preflight import __main__ as command
from operations.preflight.cluster import BACKEND_ANNOTATION, HOSTNAME_LABEL, ZONE_LABEL
from operations.preflight.judge import CHECKS
from sandbox import layout as where
from sandbox.edge import service as edge
from sandbox.monitoring import service as monitoring
from sandbox.stacks import render
from settings import stackfile
from settings.rules_placement import CONTROL_PLANE_LABEL
from tests.engine import mismatches as but
from tests.engine.stack import BIN, LAYOUT, ROOT, awaited, get
from tests.unit.test_preflight import BROKEN, MAINNET, bad, observed

FRANKFURT, WORKER, FIFTH = "srv1092158", "srv1117946", "srv9999999"
NODES = tuple(spec.name for spec in where.NODES)
JOINED = but.fifth_node(FIFTH, "nowhere", "10.60.0.99", "10.42.99.0/24")
DECLARED = {
    "role": "worker",
    "region": "Nowhere",
    "zone": "nowhere",
    "internalIp": "10.60.0.99",
    "podCidr": "10.42.99.0/24",
    "cpu": 16,
    "memory": "64Gi",
    "disk": "1T",
    "reservedCpu": 1,
    "reservedMemory": "1Gi",
}
PEERS = ("peer0-org1", "peer0-org2")
_ONE_VERSION = "the API server is the one version that the toolchain builds"
_AWAY = "a node counts as away 50 s after its last word; what the row rests on is the node's condition alone"
NOT_HERE = {
    "old servers": _ONE_VERSION,
    "no version": _ONE_VERSION,
    "newer servers": _ONE_VERSION,
    "less to allocate": "kubelets write what their nodes have; `a neighbour` ends in the same row",
    "a smaller disk": "the kubelets of the sandbox tell no size of a disk",
    "a lost node with the primary": _AWAY,
    "a lost node with a replica": _AWAY,
    "a lost node with backups": _AWAY,
    "a listener that is not shown": "the nodes are entered as root, who is told which program listens",
}


@dataclass(frozen=True, kw_only=True)
class Case:
    """A broken cluster, or a stack file that is not this cluster's, and the line that tells it.

    ``…`` in the line is what no two runs have alike. Without ``broken`` and ``patch`` the sandbox is that cluster as it
    stands. Testnet has no edge: its cases ask no host, and take a second.
    """

    name: str
    line: str
    broken: Callable[[], AbstractContextManager[object]] = nullcontext
    patch: Mapping[str, object] = field(default_factory=dict)
    stack: str = "testnet"


def node(**fields: object) -> dict[str, object]:
    """A patch of Frankfurt's node in the stack file."""
    return {"cluster": {"nodes": {FRANKFURT: fields}}}


def peers(*names: str) -> list[dict[str, object]]:
    """Peers of testnet's Fabric, as the stack file lists them."""
    return [{"host": f"{name}.fabric-testnet.svc.cluster.local", "port": 7051} for name in names]


CLUSTER = (
    Case(
        name="no K3s",
        line="warn  server version: v1.33…; the program is made for K3s 1.33. Fix: deploy testnet first",
    ),
    Case(
        name="a node is missing",
        patch={"cluster": {"nodes": {FIFTH: DECLARED}}},
        line=f"stop  node {FIFTH}: is not in the cluster. Fix: one of {', '.join(NODES)}, or join it to the cluster",
    ),
    Case(
        name="a node more",
        broken=lambda: but.existing(JOINED),
        line=f"warn  node {FIFTH}: is in the cluster and not in the stack file: no policy lets its Nginx in, no"
        f" firewall guards it. Fix: add cluster.nodes.{FIFTH}",
    ),
    Case(
        name="a node that is not ready",
        broken=lambda: but.existing(JOINED),
        patch={"cluster": {"nodes": {FIFTH: DECLARED}}},
        line=f"warn  node {FIFTH}: is not Ready. Fix: kubectl describe node {FIFTH}",
    ),
    Case(
        name="a node for the control plane alone",
        broken=lambda: but.tainted(WORKER, f"{CONTROL_PLANE_LABEL}:NoSchedule"),
        line=f"stop  taint of {WORKER}: {CONTROL_PLANE_LABEL}:NoSchedule keeps pods away, and without the node the"
        f" stack does not fit. Fix: kubectl taint node {WORKER} {CONTROL_PLANE_LABEL}:NoSchedule-",
    ),
    Case(
        name="a cordon that was forgotten",
        broken=lambda: but.cordoned(WORKER),
        line=f"stop  taint of {WORKER}: a cordon keeps pods away, and without the node the stack does not fit."
        f" Fix: kubectl uncordon {WORKER}",
    ),
    Case(
        name="another host name",
        broken=lambda: but.labelled(FRANKFURT, HOSTNAME_LABEL, "control-plane-3"),
        line=f"stop  node {FRANKFURT}: its label {HOSTNAME_LABEL} is control-plane-3, the stack file has {FRANKFURT}."
        f" Fix: kubectl label --overwrite node {FRANKFURT} {HOSTNAME_LABEL}={FRANKFURT}",
    ),
    Case(
        name="no zone",
        broken=lambda: but.labelled(FRANKFURT, ZONE_LABEL, None),
        line=f"stop  node {FRANKFURT}: its label {ZONE_LABEL} is absent, the stack file has frankfurt."
        f" Fix: kubectl label --overwrite node {FRANKFURT} {ZONE_LABEL}=frankfurt",
    ),
    Case(
        name="no control plane",
        broken=lambda: but.labelled(FRANKFURT, CONTROL_PLANE_LABEL, None),
        line=f"stop  node {FRANKFURT}: is no control-plane by its labels. Fix: correct cluster.nodes.{FRANKFURT}.role",
    ),
    Case(
        name="a worker that is not",
        broken=lambda: but.labelled(WORKER, CONTROL_PLANE_LABEL, "true"),
        line=f"stop  node {WORKER}: is no worker by its labels. Fix: correct cluster.nodes.{WORKER}.role",
    ),
    Case(
        name="another address",
        patch=node(internalIp="10.60.0.93"),
        line=f"stop  node {FRANKFURT}: its internalIp is 10.60.0.13, the stack file has 10.60.0.93."
        f" Fix: correct cluster.nodes.{FRANKFURT}.internalIp: policies use it",
    ),
    Case(
        name="another pod network",
        patch=node(podCidr="10.42.93.0/24"),
        line=f"stop  node {FRANKFURT}: its podCidr is 10.42.2.0/24, the stack file has 10.42.93.0/24."
        f" Fix: correct cluster.nodes.{FRANKFURT}.podCidr: policies use it",
    ),
    Case(
        name="a neighbour",
        broken=lambda: but.existing(
            but.pod("default", "neighbour", {"nodeName": WORKER}, **but.sized("100m", "2560Mi"))
        ),
        line=f"warn  room on {WORKER}: the proofs count on 32Gi of memory, other namespaces leave 29…Mi, in which the"
        f" stack still fits. Fix: raise cluster.nodes.{WORKER}.reservedMemory by …Mi, then make prove",
    ),
    Case(
        name="a neighbour that takes the room",
        broken=lambda: but.existing(
            but.pod("default", "neighbour", {"nodeName": WORKER}, **but.sized("2100m", "128Mi"))
        ),
        line=f"stop  room on {WORKER}: the proofs count on 8000m of cpu, other namespaces leave 5…m, in which the stack"
        f" does not fit. Fix: raise cluster.nodes.{WORKER}.reservedCpu by …m, then make prove",
    ),
    Case(
        name="a disk unknown",
        # The disks of its nodes are directories, and their kubelets are told not to look.
        line=f"look  disks: {', '.join(NODES)} tell no size. Fix: on each: df -h /var/lib/rancher",
    ),
    Case(
        name="no storage class",
        patch={"cluster": {"storageClass": "fast"}},
        line="stop  storage class: fast is not there, only local-path, local-path-retain."
        " Fix: create it, or correct cluster.storageClass",
    ),
    Case(
        name="volumes that go",
        patch={"cluster": {"storageClass": "local-path"}},
        line="stop  storage class: local-path deletes a volume with its claim."
        " Fix: use a class with reclaimPolicy: Retain",
    ),
    Case(
        name="an overlay unknown",
        line="warn  encryption: the overlay is unknown: but for the databases, which speak TLS, pods of 4 sites may"
        " talk in clear. Fix: --flannel-backend=wireguard-native on the servers, or a private network",
    ),
    Case(
        name="an overlay in clear",
        broken=lambda: but.annotated(NODES, BACKEND_ANNOTATION, "vxlan"),
        line="warn  encryption: the overlay is vxlan: but for the databases, which speak TLS, pods of 4 sites may talk"
        " in clear. Fix: --flannel-backend=wireguard-native on the servers, or a private network",
    ),
    Case(
        name="one cluster DNS",
        broken=but.one_cluster_dns,
        line="warn  cluster DNS: on srv… alone: if that is lost, no failover of a database finds an instance. Fix:"
        " kubectl -n kube-system scale deployment coredns --replicas=2, and see that they are on two nodes",
    ),
    Case(
        name="a NodePort taken",
        patch={"services": {"svc-wallet": {"nodePort": 30018}}},
        broken=lambda: but.existing(
            but.service("default", "web", type="NodePort", ports=[{"port": 80, "nodePort": 30018}])
        ),
        line="stop  NodePort 30018: taken by the Service default/web."
        " Fix: another services.svc-wallet.nodePort, or free it there",
    ),
    Case(
        name="a NodePort of another service",
        patch={"services": {"svc-wallet": {"nodePort": 30018}}},
        broken=lambda: but.existing(
            but.service("backend-testnet", "svc-old", type="NodePort", ports=[{"port": 80, "nodePort": 30018}])
        ),
        line="stop  NodePort 30018: taken by the Service backend-testnet/svc-old."
        " Fix: another services.svc-wallet.nodePort, or free it there",
    ),
    Case(
        name="no kube-state-metrics",
        line="warn  metrics: no pod of kube-state-metrics runs: alerts on pods and quotas never fire."
        " Fix: install it where Prometheus scrapes",
    ),
    Case(
        name="no monitoring",
        patch={"cluster": {"monitoringNamespace": "watchers"}},
        line="warn  namespace watchers: is not there: nothing scrapes the stack."
        " Fix: correct cluster.monitoringNamespace",
    ),
    Case(
        name="no Fabric",
        patch={
            "fabric": {
                "namespace": "ledger",
                "orderers": [{"host": "orderer.ledger.svc.cluster.local", "port": 7050}],
                "peers": [],
            }
        },
        line="stop  namespace ledger: is not there: nothing reaches Fabric. Fix: correct fabric.namespace",
    ),
    Case(
        name="no Fabric Service",
        patch={"fabric": {"peers": peers("peer9-org9", *PEERS)}},
        line="warn  Fabric peer9-org9.fabric-testnet.svc.cluster.local:7051: no Service fabric-testnet/peer9-org9."
        " Fix: correct the endpoint under fabric",
    ),
    Case(
        name="another Fabric port",
        broken=lambda: but.service_port("fabric-testnet", "peer0-org1", "port", 7061),
        line="warn  Fabric peer0-org1.fabric-testnet.svc.cluster.local:7051: its Service has 7061."
        " Fix: correct the endpoint under fabric",
    ),
    Case(
        name="another port of Fabric's pods",
        broken=lambda: but.service_port("fabric-testnet", "peer0-org1", "targetPort", 17051),
        line="warn  Fabric peer0-org1.fabric-testnet.svc.cluster.local:7051: leads to the pods' port 17051, and"
        " policies open 7051. Fix: let the Service keep the pods' port",
    ),
)
HOSTS = (
    Case(
        name="a standby that waits for its volume's node",
        stack="mainnet",
        broken=lambda: but.unschedulable(
            but.pod(
                "backend-mainnet",
                "postgres-9",
                {
                    "nodeSelector": {"kubernetes.io/hostname": WORKER},
                    "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "postgres-data-postgres-2"}}],
                },
                **but.sized("100m", "128Mi"),
            )
        ),
        line="warn  volume of postgres-9: the pod finds no node: 0/4 nodes are available: …. Fix: nothing if the node"
        " returns; if it never does: kubectl -n backend-mainnet delete pvc postgres-data-postgres-2 --wait=false &&"
        " kubectl -n backend-mainnet delete pod postgres-9 --force; it copies from its peers"
        " (docs/runbooks/volumes.md)",
    ),
    Case(
        name="nodes far apart",
        stack="mainnet",
        broken=lambda: but.far_away(WORKER, 0.08),
        line=f"warn  round trips: up to … ms (srv… to {WORKER}): about … commits a second and connection. Fix: nothing"
        " that a setting changes; K3s supports servers of one site alone",
    ),
    Case(
        name="no round trips",
        stack="mainnet",
        broken=lambda: but.no_echo(*NODES),
        line="warn  round trips: not known: no node could ask another. Fix: ping between the nodes",
    ),
    Case(
        name="nftables",
        stack="mainnet",
        broken=lambda: but.kube_proxy_in_mode(FRANKFURT, "nftables"),
        line=f"stop  kube-proxy on {FRANKFURT}: in nftables mode nothing answers on 127.0.0.1."
        " Fix: set edge.upstreamHost to an address of the nodes, or kube-proxy's mode to iptables",
    ),
    Case(
        name="no proxy mode",
        stack="mainnet",
        broken=lambda: but.silent_kube_proxy(FRANKFURT),
        line=f"warn  kube-proxy on {FRANKFURT}: its mode is not known: nothing there tells it."
        " Fix: on the node: curl http://127.0.0.1:10249/proxyMode, which has to say iptables",
    ),
    Case(
        name="no node_exporter",
        stack="mainnet",
        line=f"warn  metrics: no node_exporter on port 9100 of {', '.join(NODES)}: alerts on nodes never fire."
        " Fix: install it on every node (prometheus-node-exporter)",
    ),
    Case(
        name="a NodePort of Fabric's",
        stack="mainnet",
        broken=lambda: but.existing(
            but.service("fabric", "explorer", type="NodePort", ports=[{"port": 80, "nodePort": 30500}])
        ),
        line="warn  firewall: closes NodePort 30500 of the Service fabric/explorer to all but the nodes and their pods."
        " Fix: edge.firewall.nodePorts: count, until docs/runbooks/edge-firewall.md shows nobody there",
    ),
    Case(
        name="a LoadBalancer",
        stack="mainnet",
        broken=lambda: but.existing(
            but.service(
                "default",
                "web",
                type="LoadBalancer",
                allocateLoadBalancerNodePorts=False,
                ports=[{"port": 80}],
            )
        ),
        line="stop  port 80: taken on every node by the LoadBalancer default/web. Fix: disable servicelb and traefik on"
        " the servers (--disable=servicelb --disable=traefik), or move it",
    ),
    Case(
        name="a host port",
        stack="mainnet",
        # On the worker, which has no Nginx: the port is taken for as long as the pod is there.
        broken=lambda: but.existing(
            but.pod("default", "web", {"nodeName": WORKER}, ports=[{"containerPort": 8443, "hostPort": 443}])
        ),
        line=f"stop  port 443: taken on {WORKER} by the pod default/web. Fix: disable servicelb and traefik on the"
        " servers (--disable=servicelb --disable=traefik), or move it",
    ),
    Case(
        name="another web server",
        stack="mainnet",
        broken=lambda: but.another_web_server(FRANKFURT),
        line=f"stop  port 80: python3 listens on {FRANKFURT}. Fix: stop it; Nginx needs the port",
    ),
    Case(
        name="a host that does not answer",
        stack="mainnet",
        broken=lambda: but.ssh_refused(FRANKFURT),
        line=f"warn  ports 80 and 443: not known on {FRANKFURT}: not reachable over SSH: ssh: connect to host … port"
        " 22: Connection refused. Fix: on the node: ss -ltnp",
    ),
)
CASES = (*CLUSTER, *HOSTS)
Look = Callable[..., str]


@pytest.fixture(scope="module")
def desk(deployed: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The operator's: the sandbox's commands come first, and an agent holds the key that opens the nodes.

    Nothing watches the cluster, as on the first day.
    """
    monitoring.stop(LAYOUT)
    awaited("nothing watches the cluster", lambda: not get("pods", "monitoring"))
    socket = tmp_path_factory.mktemp("agent") / "socket"
    agent = subprocess.Popen(["ssh-agent", "-D", "-a", socket], stdout=subprocess.DEVNULL)
    try:
        awaited("the agent listens", socket.exists, timeout=10)
        with pytest.MonkeyPatch.context() as patched:
            patched.setenv("PATH", f"{BIN}:{os.environ['PATH']}")
            patched.setenv("SSH_AUTH_SOCK", str(socket))
            subprocess.run(["ssh-add", "-q", edge.operator_key(LAYOUT)], check=True)
            yield
    finally:
        agent.terminate()
        agent.wait()


@pytest.fixture
def look(desk: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Look:
    """What `make preflight` prints of a stack, with a patch of its stack file."""

    def looked(stack: str, patch: Mapping[str, object]) -> str:
        whole = stackfile.parse(render(stack).read_text())
        path = tmp_path / f"Pulumi.{stack}.yaml"
        path.write_text(stackfile.dump(stackfile.merge(whole, {"config": stackfile.prefixed(patch)})))
        monkeypatch.setattr(sys, "argv", ["preflight", stack, "--config-file", str(path)])
        status = command.main()
        printed = capsys.readouterr()
        assert printed.out, printed.err
        assert status == int("stop  " in printed.out)
        return printed.out

    return looked


def tells(printed: str, line: str) -> bool:
    """Whether a line is printed."""
    return re.search(rf"^{re.escape(line).replace('…', '.+')}$", printed, re.MULTILINE) is not None


@pytest.mark.parametrize("stack", ["mainnet", "testnet"])
def test_a_sandbox_as_it_stands_stops_nobody_and_has_no_line_of_a_broken_one(look: Look, stack: str) -> None:
    printed = look(stack, {})
    assert "stop  " not in printed, printed
    own = [case for case in CASES if case.stack == stack]
    as_it_stands = [case.name for case in own if not case.patch and case.broken is nullcontext]
    assert [case.name for case in own if tells(printed, case.line)] == as_it_stands, printed


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_broken_cluster_is_told_with_the_remedy(look: Look, case: Case) -> None:
    with case.broken():
        printed = look(case.stack, case.patch)
    assert tells(printed, case.line), printed


def test_the_remedy_of_a_label_is_a_command_that_ends_it(look: Look) -> None:
    (case,) = (each for each in CASES if each.name == "no zone")
    with case.broken():
        subprocess.run(case.line.partition("Fix: ")[2].split(), cwd=ROOT, check=True, capture_output=True)
        printed = look(case.stack, case.patch)
    assert not tells(printed, case.line), printed


def test_an_overlay_that_encrypts_is_good(look: Look) -> None:
    with but.annotated(NODES, BACKEND_ANNOTATION, "wireguard"):
        assert tells(look("testnet", {}), "ok    encryption: the overlay is wireguard")


def test_every_broken_cluster_is_here_or_says_why_it_is_not_and_every_check_has_one_here() -> None:
    here = {case.name for case in CASES}
    assert len(here) == len(CASES)
    assert not here & NOT_HERE.keys()
    assert here | NOT_HERE.keys() == {each[0] for each in BROKEN}
    for check in CHECKS:
        failing = {each[0] for each in BROKEN if bad(tuple(check(MAINNET, observed(each[1]))))}
        assert failing & here, check.__name__
