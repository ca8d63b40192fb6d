"""The co-tenant: Hyperledger Fabric's pods, idle, with requests that leave free what the source document says is free.

Names are CL-17, CL-18 and SD-01 to SD-04. Load per node is CL-05 to CL-08 (a share of its cores, and as much of its
memory); each pod asks for an equal part of it and is bound to the node, as Fabric's pods are by their local volumes.
"""

from dataclasses import dataclass

from sandbox import layout as where

PAUSE_IMAGE = "registry.k8s.io/pause:3.9"
_PORTS = {"orderer": 7050, "peer": 7051, "ca": 7054, "couchdb": 5984}


@dataclass(frozen=True)
class Tenancy:
    """What Fabric runs on one node of one environment, and how much of the node it takes."""

    namespace: str
    environment: str
    node: str
    load_percent: int
    pods: tuple[str, ...]


TENANCIES = (
    Tenancy(
        "fabric",
        "mainnet",
        "srv1089618",
        60,
        ("orderer0-org0", "orderer3-org0", "peer0-org1", "couchdb-peer0-org1", "ca-org1"),
    ),
    Tenancy(
        "fabric", "mainnet", "srv1089624", 55, ("orderer1-org0", "orderer4-org0", "peer1-org1", "couchdb-peer1-org1")
    ),
    Tenancy(
        "fabric",
        "mainnet",
        "srv1092158",
        65,
        ("orderer2-org0", "peer0-org2", "peer1-org2", "couchdb-peer0-org2", "couchdb-peer1-org2", "ca-org2"),
    ),
    Tenancy(
        "fabric-testnet",
        "testnet",
        "srv1117946",
        50,
        ("orderer0-org0", "peer0-org1", "peer0-org2", "couchdb-peer0-org1", "couchdb-peer0-org2"),
    ),
)


def objects() -> list[dict[str, object]]:
    """Namespaces, StatefulSets of one pod, and the Services whose names the backend is given."""
    found: list[dict[str, object]] = []
    for namespace, environment in {t.namespace: t.environment for t in TENANCIES}.items():
        labels = {"environment": environment, "component": "blockchain"}
        found.append({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace, "labels": labels}})
    for tenancy in TENANCIES:
        for pod in tenancy.pods:
            found += [_service(tenancy, pod), _stateful_set(tenancy, pod)]
    return found


def requests(tenancy: Tenancy) -> tuple[int, int]:
    """Millicores and MiB each pod of a tenancy asks for."""
    cpu = where.NODE_CPUS * 1000 * tenancy.load_percent // 100
    memory = where.NODE_MEMORY_GIB * 1024 * tenancy.load_percent // 100
    return cpu // len(tenancy.pods), memory // len(tenancy.pods)


def _service(tenancy: Tenancy, pod: str) -> dict[str, object]:
    kind = pod.split("-", maxsplit=1)[0].rstrip("0123456789")
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": pod, "namespace": tenancy.namespace},
        "spec": {"selector": {"app": pod}, "ports": [{"name": kind, "port": _PORTS[kind]}]},
    }


def _stateful_set(tenancy: Tenancy, pod: str) -> dict[str, object]:
    cpu, memory = requests(tenancy)
    container = {
        "name": "idle",
        "image": PAUSE_IMAGE,
        "imagePullPolicy": "IfNotPresent",
        "resources": {"requests": {"cpu": f"{cpu}m", "memory": f"{memory}Mi"}},
    }
    template = {
        "metadata": {"labels": {"app": pod}},
        "spec": {
            "nodeSelector": {"kubernetes.io/hostname": tenancy.node},
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "terminationGracePeriodSeconds": 1,
            "containers": [container],
        },
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": {"name": pod, "namespace": tenancy.namespace},
        "spec": {
            "replicas": 1,
            "serviceName": pod,
            "selector": {"matchLabels": {"app": pod}},
            "template": template,
        },
    }
