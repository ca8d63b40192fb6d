"""Who may reach whom: default deny, and every allow as one named policy with its reason (NP rows, X-10 to X-17).

Plain data and no Pulumi, so that ``checks.reachability`` proves exactly what ``components.network`` declares.
"""

import ipaddress
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from settings.model import Fabric, Node, OffSite, Service, Settings

# A pod reaches a database, the services or Fabric because it carries one of these labels, and for no other reason.
POSTGRES_ACCESS = "postgres-access"
REDIS_ACCESS = "redis-access"
SERVICE_ACCESS = "service-access"
FABRIC_ACCESS = "fabric-access"
OBJECT_STORE_ACCESS = "object-store-access"

POSTGRES_APP = "postgres"
POSTGRES_PROMOTE_APP = "postgres-promote"
REDIS_APP = "redis"
REDIS_PROXY_APP = "redis-proxy"
POSTGRES_EXPORTER_APP = "postgres-exporter"
REDIS_EXPORTER_APP = "redis-exporter"

DNS_PORT = 53
POSTGRES_PORT = 5432
REDIS_PORT = 6379
SENTINEL_PORT = 26379
METRICS_PORT = 9090
POSTGRES_EXPORTER_PORT = 9187
REDIS_EXPORTER_PORT = 9121

# The only label that Kubernetes itself puts on every namespace.
NAMESPACE_LABEL = "kubernetes.io/metadata.name"


@dataclass(frozen=True, kw_only=True)
class Pods:
    """Pods by their labels, by their ``app`` label, or both; neither means every pod."""

    labels: Mapping[str, str] = field(default_factory=dict)
    apps: tuple[str, ...] = ()

    def selector(self) -> dict[str, Any]:
        """LabelSelector of these pods."""
        selected: dict[str, Any] = {}
        if self.labels:
            selected["match_labels"] = dict(self.labels)
        if self.apps:
            selected["match_expressions"] = [{"key": "app", "operator": "In", "values": list(self.apps)}]
        return selected


@dataclass(frozen=True, kw_only=True)
class Peer:
    """The other end: pods of this namespace, pods of another one, or a network."""

    pods: Pods = field(default_factory=Pods)
    namespace: str | None = None
    network: str | None = None

    def selector(self) -> dict[str, Any]:
        """NetworkPolicyPeer of this end."""
        if self.network is not None:
            return {"ip_block": {"cidr": self.network}}
        # With a namespace selector beside it, no pod selector means every pod there.
        wanted = self.pods.selector()
        if self.namespace is None:
            return {"pod_selector": wanted}
        there = {"namespace_selector": {"match_labels": {NAMESPACE_LABEL: self.namespace}}}
        return there | ({"pod_selector": wanted} if wanted else {})


@dataclass(frozen=True, kw_only=True)
class Rule:
    """Some peers on some ports of the pods, never on all of them."""

    peers: tuple[Peer, ...]
    ports: tuple[int, ...]
    protocols: tuple[str, ...] = ("TCP",)

    def rendered(self, direction: str) -> dict[str, Any]:
        """Rule of a NetworkPolicy; ``direction`` is ``from`` or ``to``."""
        return {
            direction: [peer.selector() for peer in self.peers],
            "ports": [{"protocol": protocol, "port": port} for port in self.ports for protocol in self.protocols],
        }


@dataclass(frozen=True, kw_only=True)
class Policy:
    """One NetworkPolicy: the pods it is about, who may reach them, whom they may reach, and why."""

    name: str
    why: str
    pods: Pods = field(default_factory=Pods)
    ingress: tuple[Rule, ...] = ()
    egress: tuple[Rule, ...] = ()
    types: tuple[str, ...]

    def spec(self) -> dict[str, Any]:
        """NetworkPolicySpec."""
        rules = {
            "ingress": [rule.rendered("from_") for rule in self.ingress],
            "egress": [rule.rendered("to") for rule in self.egress],
        }
        spec: dict[str, Any] = {"pod_selector": self.pods.selector(), "policy_types": list(self.types)}
        return spec | {direction: each for direction, each in rules.items() if each}


def _carrying(label: str) -> Pods:
    return Pods(labels={label: "true"})


def _apps(*names: str) -> Pods:
    return Pods(apps=names)


def default_deny() -> Policy:
    """Nothing in, nothing out, for every pod that no other policy names (NP-01)."""
    return Policy(
        name="default-deny-all",
        why="All traffic is denied unless another policy allows it.",
        types=("Ingress", "Egress"),
    )


def dns() -> Policy:
    """Every pod to cluster DNS, over UDP and TCP, and to nothing else of kube-system (NP-02, NP-12, X-11)."""
    kube_dns = Peer(namespace="kube-system", pods=Pods(labels={"k8s-app": "kube-dns"}))
    return Policy(
        name="allow-dns-egress",
        why="Every pod resolves names at cluster DNS, and reaches nothing else in kube-system.",
        egress=(Rule(peers=(kube_dns,), ports=(DNS_PORT,), protocols=("UDP", "TCP")),),
        types=("Egress",),
    )


def postgres() -> Iterator[Policy]:
    """Clients to Postgres, and its instances to each other for replication."""
    yield Policy(
        name="allow-postgres-egress",
        why="Workloads and jobs that use the database reach it.",
        pods=_carrying(POSTGRES_ACCESS),
        egress=(Rule(peers=(Peer(pods=_apps(POSTGRES_APP)),), ports=(POSTGRES_PORT,)),),
        types=("Egress",),
    )
    yield Policy(
        name="allow-postgres-ingress",
        why="Postgres is reached by its clients, and by its own instances for replication.",
        pods=_apps(POSTGRES_APP),
        ingress=(
            Rule(
                peers=(Peer(pods=_carrying(POSTGRES_ACCESS)), Peer(pods=_apps(POSTGRES_APP))),
                ports=(POSTGRES_PORT,),
            ),
        ),
        egress=(Rule(peers=(Peer(pods=_apps(POSTGRES_APP)),), ports=(POSTGRES_PORT,)),),
        types=("Ingress", "Egress"),
    )


def redis(*, replicated: bool, observed: bool) -> Iterator[Policy]:
    """Clients to Redis and its proxy; the instances, their Sentinels and the proxy to each other; and the exporter."""
    targets = (REDIS_APP, REDIS_PROXY_APP) if replicated else (REDIS_APP,)
    yield Policy(
        name="allow-redis-egress",
        why="Workloads and jobs that use Redis reach its master through the proxy, and its replicas.",
        pods=_carrying(REDIS_ACCESS),
        egress=(Rule(peers=(Peer(pods=_apps(*targets)),), ports=(REDIS_PORT,)),),
        types=("Egress",),
    )
    clients = Rule(peers=(Peer(pods=_carrying(REDIS_ACCESS)),), ports=(REDIS_PORT,))
    exporter = Rule(peers=(Peer(pods=_apps(REDIS_EXPORTER_APP)),), ports=(REDIS_PORT,))
    if not replicated:
        yield Policy(
            name="allow-redis-ingress",
            why="Redis is reached by its clients, and by the exporter of its metrics.",
            pods=_apps(REDIS_APP),
            ingress=(clients, exporter) if observed else (clients,),
            types=("Ingress",),
        )
        return
    members = (REDIS_PORT, SENTINEL_PORT)
    askers = (REDIS_APP, REDIS_PROXY_APP, *([REDIS_EXPORTER_APP] if observed else []))
    yield Policy(
        name="allow-redis-ingress",
        why="Redis is reached by its clients; Redis and Sentinel by their own instances, the proxy and the exporter.",
        pods=_apps(REDIS_APP),
        ingress=(clients, Rule(peers=(Peer(pods=_apps(*askers)),), ports=members)),
        egress=(Rule(peers=(Peer(pods=_apps(REDIS_APP)),), ports=members),),
        types=("Ingress", "Egress"),
    )
    yield Policy(
        name="allow-redis-proxy",
        why="The proxy is reached by the clients of Redis, and asks Redis and Sentinel for the master.",
        pods=_apps(REDIS_PROXY_APP),
        ingress=(clients,),
        egress=(Rule(peers=(Peer(pods=_apps(REDIS_APP)),), ports=members),),
        types=("Ingress", "Egress"),
    )


def backend(services: Mapping[str, Service]) -> Iterator[Policy]:
    """Services and the gateway to each other, on every port that a service declares (NP-06, X-14)."""
    ports = tuple(sorted({service.port for service in services.values()}))
    among = Rule(peers=(Peer(pods=_carrying(SERVICE_ACCESS)),), ports=ports)
    if ports:
        yield Policy(
            name="allow-backend-internal",
            why="The gateway calls the services, and the services call each other. Workers and databases do not.",
            pods=_carrying(SERVICE_ACCESS),
            ingress=(among,),
            egress=(among,),
            types=("Ingress", "Egress"),
        )


def node_addresses(nodes: Mapping[str, Node]) -> tuple[str, ...]:
    """Addresses from which a node's own processes reach pods: its InternalIP, its overlay and its bridge (X-15)."""
    addresses = []
    for node in nodes.values():
        internal, pods = ipaddress.ip_address(node.internal_ip), ipaddress.ip_network(node.pod_cidr)
        addresses += [f"{address}/{address.max_prefixlen}" for address in (internal, pods[0], pods[1])]
    return tuple(addresses)


def node_ports(services: Mapping[str, Service], nodes: Mapping[str, Node]) -> Iterator[Policy]:
    """Nginx of every node to the services with a NodePort; never the whole Internet (NP-15, X-15)."""
    behind = {name: service for name, service in services.items() if service.node_port is not None}
    if behind:
        yield Policy(
            name="allow-nodeport-ingress",
            why="Nginx on the nodes reaches the services that have a NodePort; no other address does.",
            pods=_apps(*behind),
            ingress=(
                Rule(
                    peers=tuple(Peer(network=address) for address in node_addresses(nodes)),
                    ports=tuple(sorted({service.port for service in behind.values()})),
                ),
            ),
            types=("Ingress",),
        )


def prometheus(monitoring_namespace: str) -> Policy:
    """Prometheus to the metrics of every pod (NP-16, X-17)."""
    return Policy(
        name="allow-prometheus-scrape",
        why="Prometheus reads the metrics of every pod.",
        ingress=(Rule(peers=(Peer(namespace=monitoring_namespace),), ports=(METRICS_PORT,)),),
        types=("Ingress",),
    )


def exporters(monitoring_namespace: str, *, replicated: bool) -> Iterator[Policy]:
    """Prometheus to the exporters, and the exporters to the databases (NP-16, X-30).

    That of Postgres is one of its clients, and carries their label; that of Redis asks the sentinels too.
    """
    prometheus = Peer(namespace=monitoring_namespace)
    yield Policy(
        name="allow-postgres-exporter",
        why="Prometheus asks the exporter for the metrics of Postgres.",
        pods=_apps(POSTGRES_EXPORTER_APP),
        ingress=(Rule(peers=(prometheus,), ports=(POSTGRES_EXPORTER_PORT,)),),
        types=("Ingress",),
    )
    asked = (REDIS_PORT, SENTINEL_PORT) if replicated else (REDIS_PORT,)
    yield Policy(
        name="allow-redis-exporter",
        why="Prometheus asks the exporter for the metrics of Redis, and the exporter asks Redis and its sentinels.",
        pods=_apps(REDIS_EXPORTER_APP),
        ingress=(Rule(peers=(prometheus,), ports=(REDIS_EXPORTER_PORT,)),),
        egress=(Rule(peers=(Peer(pods=_apps(REDIS_APP)),), ports=asked),),
        types=("Ingress", "Egress"),
    )


def fabric_ports(fabric: Fabric) -> tuple[int, ...]:
    """Ports of all Fabric endpoints. A policy sees the pod's port, so Services there must not translate it (X-13)."""
    return tuple(sorted({e.port for e in (*fabric.orderers, *fabric.peers, *fabric.certificate_authorities)}))


def fabric_egress(fabric: Fabric) -> Policy:
    """Pods with Fabric access to the Fabric namespace of the same environment (NP-03 to NP-05, NP-10, X-12)."""
    return Policy(
        name="allow-fabric-egress",
        why="Workers, and the services that enrol users, reach the Fabric network of this environment.",
        pods=_carrying(FABRIC_ACCESS),
        egress=(Rule(peers=(Peer(namespace=fabric.namespace),), ports=fabric_ports(fabric)),),
        types=("Egress",),
    )


def fabric_ingress(fabric: Fabric, namespace: str) -> Policy:
    """The counterpart in the Fabric namespace, which is default deny as well (NP-19, X-13)."""
    return Policy(
        name=f"allow-{namespace}-ingress",
        why=f"Pods of {namespace} with Fabric access reach the Fabric network.",
        ingress=(Rule(peers=(Peer(namespace=namespace, pods=_carrying(FABRIC_ACCESS)),), ports=fabric_ports(fabric)),),
        types=("Ingress",),
    )


def object_store_port(off_site: OffSite) -> int:
    """Port of the store's endpoint."""
    url = urlsplit(off_site.endpoint)
    return url.port or (443 if url.scheme == "https" else 80)


def object_store_egress(off_site: OffSite) -> Policy:
    """Backups to the object store, and to no other address outside (NP-18)."""
    return Policy(
        name="allow-backup-object-store-egress",
        why="Backups copy themselves to the object store.",
        pods=_carrying(OBJECT_STORE_ACCESS),
        egress=(
            Rule(
                peers=tuple(Peer(network=network) for network in off_site.networks),
                ports=(object_store_port(off_site),),
            ),
        ),
        types=("Egress",),
    )


def policies(settings: Settings) -> tuple[Policy, ...]:
    """Every policy of the backend namespace."""
    fabric = settings.fabric
    off_site = settings.backups.off_site if settings.backups else None
    monitoring = settings.cluster.monitoring_namespace
    replicated, observed = settings.redis.replicas > 1, settings.observability is not None
    return (
        default_deny(),
        dns(),
        *postgres(),
        *redis(replicated=replicated, observed=observed),
        *backend(settings.services),
        *node_ports(settings.services, settings.cluster.nodes),
        prometheus(monitoring),
        *(exporters(monitoring, replicated=replicated) if observed else ()),
        *([fabric_egress(fabric)] if fabric else []),
        *([object_store_egress(off_site)] if off_site else []),
    )


def policies_elsewhere(settings: Settings) -> dict[str, tuple[Policy, ...]]:
    """The policies of namespaces that belong to others, by namespace: the counterpart in Fabric's, where asked for."""
    fabric = settings.fabric
    if fabric is None or not fabric.manage_ingress_policy:
        return {}
    return {fabric.namespace: (fabric_ingress(fabric, settings.environment.namespace),)}
