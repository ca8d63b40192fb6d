"""Who is meant to reach whom, on which port: the one table that the network policies are proven against.

It speaks of the workloads of the stack file and knows nothing of labels or policies. A new pod is one line in ``pods``
and a line in ``intent`` for each of its paths; a path that stands here and is not open, or is open and does not stand
here, stops the preview (``checks.reachability``).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from components.network_policies import (
    DNS_PORT,
    METRICS_PORT,
    POSTGRES_APP,
    POSTGRES_EXPORTER_APP,
    POSTGRES_EXPORTER_PORT,
    POSTGRES_PORT,
    POSTGRES_PROMOTE_APP,
    REDIS_APP,
    REDIS_EXPORTER_APP,
    REDIS_EXPORTER_PORT,
    REDIS_PORT,
    REDIS_PROXY_APP,
    SENTINEL_PORT,
    fabric_ports,
    node_addresses,
    object_store_port,
)
from settings.model import Settings


class Role(StrEnum):
    """What an end is, in words that a report can use."""

    POSTGRES = "Postgres"
    POSTGRES_PROMOTE = "the Job that promotes a Postgres instance"
    REDIS = "Redis"
    REDIS_PROXY = "the Redis proxy"
    WORKER = "a worker"
    SERVICE = "a service"
    POSTGRES_CLIENT = "a job with the database"
    REDIS_CLIENT = "a job with Redis"
    LOCAL_JOB = "a job with its volume alone"
    POSTGRES_EXPORTER = "the exporter of Postgres"
    REDIS_EXPORTER = "the exporter of Redis"
    REPORTS = "the reader of a volume's reports"
    OTHER_POD = "any other pod of the namespace"

    DNS = "cluster DNS"
    SYSTEM = "another pod of kube-system"
    PROMETHEUS = "Prometheus"
    FABRIC = "Fabric"
    STRANGER = "a pod of another namespace"
    NODE = "a node"
    OUTSIDE = "an address outside"


@dataclass(frozen=True, kw_only=True)
class Pod:
    """A kind of pod that the stack declares: its ``app`` label, what it is, and where it stands in the stack file."""

    app: str
    role: Role
    path: str
    exposed: bool = False
    """Has a NodePort."""
    fabric: bool = False
    """May reach Fabric."""
    off_site: bool = False
    """Copies backups to the object store."""


@dataclass(frozen=True, kw_only=True)
class Path:
    """One line of the table: some ends reach some others on some ports.

    ``only`` narrows the pods: ``exposed`` ones, or those with ``fabric`` or ``off_site``. ``networks`` are the
    addresses that count as a node or as outside.
    """

    name: str
    sources: tuple[Role, ...]
    targets: tuple[Role, ...]
    ports: tuple[int, ...]
    why: str
    protocols: tuple[str, ...] = ("TCP",)
    only: Literal["exposed", "fabric", "off_site"] | None = None
    networks: tuple[str, ...] = ()


OWN = (
    Role.POSTGRES,
    Role.POSTGRES_PROMOTE,
    Role.REDIS,
    Role.REDIS_PROXY,
    Role.WORKER,
    Role.SERVICE,
    Role.POSTGRES_CLIENT,
    Role.REDIS_CLIENT,
    Role.LOCAL_JOB,
    Role.POSTGRES_EXPORTER,
    Role.REDIS_EXPORTER,
    Role.REPORTS,
    Role.OTHER_POD,
)
"""Pods of the backend namespace."""


def pods(settings: Settings) -> Iterator[Pod]:
    """Every kind of pod that a stack declares. ``tests/program/test_reachability.py`` holds it against them."""
    yield Pod(app=POSTGRES_APP, role=Role.POSTGRES, path="postgres")
    if settings.postgres.replicas > 1:
        yield Pod(app=POSTGRES_PROMOTE_APP, role=Role.POSTGRES_PROMOTE, path="postgres")
    yield Pod(app=REDIS_APP, role=Role.REDIS, path="redis")
    if settings.redis.replicas > 1:
        yield Pod(app=REDIS_PROXY_APP, role=Role.REDIS_PROXY, path="redis")
    if settings.backups is not None:
        copied = settings.backups.off_site is not None
        for kind, role in (("postgres", Role.POSTGRES_CLIENT), ("redis", Role.REDIS_CLIENT)):
            yield Pod(app=f"{kind}-backup", role=role, path=f"backups.{kind}", off_site=copied)
            yield Pod(app=f"{kind}-restore-test", role=Role.LOCAL_JOB, path=f"backups.{kind}")
        if settings.backups.point_in_time is not None:
            path = "backups.pointInTime"
            yield Pod(app="postgres-archive", role=Role.POSTGRES_CLIENT, path=path, off_site=copied)
            yield Pod(app="postgres-base-backup", role=Role.POSTGRES_CLIENT, path=path)
    if settings.observability is not None:
        yield Pod(app=POSTGRES_EXPORTER_APP, role=Role.POSTGRES_EXPORTER, path="observability")
        yield Pod(app=REDIS_EXPORTER_APP, role=Role.REDIS_EXPORTER, path="observability")
        for kind in settings.backups.kinds() if settings.backups else ():
            yield Pod(app=f"{kind}-backup-reports", role=Role.REPORTS, path="observability")
    if settings.migration is not None:
        yield Pod(app="migration", role=Role.POSTGRES_CLIENT, path="migration")
    for name, worker in settings.workers.items():
        yield Pod(app=name, role=Role.WORKER, path=f"workers.{name}", fabric=worker.fabric_access)
    for name, service in settings.services.items():
        yield Pod(
            app=name,
            role=Role.SERVICE,
            path=f"services.{name}",
            exposed=service.node_port is not None,
            fabric=service.fabric_access,
        )


def intent(settings: Settings) -> tuple[Path, ...]:
    """The table, with the ports and addresses of a stack."""
    services = settings.services.values()
    listening = tuple(sorted({service.port for service in services}))
    behind_nginx = tuple(sorted({service.port for service in services if service.node_port is not None}))
    replicated = settings.redis.replicas > 1
    clients = (Role.WORKER, Role.SERVICE)
    table = [
        Path(
            name="dns",
            sources=OWN,
            targets=(Role.DNS,),
            protocols=("UDP", "TCP"),
            ports=(DNS_PORT,),
            why="Every pod resolves names (NP-02, X-11).",
        ),
        Path(
            name="postgres-clients",
            sources=(*clients, Role.POSTGRES_CLIENT, Role.POSTGRES_EXPORTER),
            targets=(Role.POSTGRES,),
            ports=(POSTGRES_PORT,),
            why="Workers and services use the database; migration, backups and exporter do their part of work in it.",
        ),
        Path(
            name="postgres-replication",
            sources=(Role.POSTGRES,),
            targets=(Role.POSTGRES,),
            ports=(POSTGRES_PORT,),
            why="Standbys follow the primary, and each asks its peers for their role.",
        ),
        Path(
            name="postgres-promotion",
            sources=(Role.POSTGRES_PROMOTE,),
            targets=(Role.POSTGRES,),
            ports=(POSTGRES_PORT,),
            why="A switchover or failover asks every instance how far it is, and promotes one.",
        ),
        Path(
            name="redis-clients",
            sources=(*clients, Role.REDIS_CLIENT),
            targets=(Role.REDIS, Role.REDIS_PROXY) if replicated else (Role.REDIS,),
            ports=(REDIS_PORT,),
            why="Workers, services and the backup use Redis: its master, behind the proxy, and its replicas.",
        ),
        Path(
            name="services",
            sources=(Role.SERVICE,),
            targets=(Role.SERVICE,),
            ports=listening,
            why="The gateway calls the services, and they call each other (NP-06, X-14).",
        ),
        Path(
            name="nginx",
            sources=(Role.NODE,),
            targets=(Role.SERVICE,),
            only="exposed",
            ports=behind_nginx,
            networks=node_addresses(settings.cluster.nodes),
            why="Nginx of each node, by the node's own address, its overlay and its bridge (NP-15, X-15).",
        ),
        Path(
            name="metrics",
            sources=(Role.PROMETHEUS,),
            targets=OWN,
            ports=(METRICS_PORT,),
            why="Prometheus reads every pod's metrics (NP-16, X-17).",
        ),
    ]
    if settings.observability is not None:
        table += [
            Path(
                name="postgres-exporter",
                sources=(Role.PROMETHEUS,),
                targets=(Role.POSTGRES_EXPORTER,),
                ports=(POSTGRES_EXPORTER_PORT,),
                why="Prometheus reads the metrics of every Postgres instance (NP-16, X-30).",
            ),
            Path(
                name="redis-exporter",
                sources=(Role.PROMETHEUS,),
                targets=(Role.REDIS_EXPORTER,),
                ports=(REDIS_EXPORTER_PORT,),
                why="Prometheus reads the metrics of every Redis instance and sentinel (NP-16, X-30).",
            ),
            Path(
                name="redis-metrics",
                sources=(Role.REDIS_EXPORTER,),
                targets=(Role.REDIS,),
                ports=(REDIS_PORT, SENTINEL_PORT) if replicated else (REDIS_PORT,),
                why="The exporter asks Redis, and its sentinels where there are some.",
            ),
        ]
    if replicated:
        table += [
            Path(
                name="redis-sentinels",
                sources=(*clients, Role.REDIS_CLIENT),
                targets=(Role.REDIS,),
                ports=(SENTINEL_PORT,),
                why="Clients that speak Sentinel ask it for the master, and go there without the proxy.",
            ),
            Path(
                name="redis-members",
                sources=(Role.REDIS, Role.REDIS_PROXY),
                targets=(Role.REDIS,),
                ports=(REDIS_PORT, SENTINEL_PORT),
                why="Redis and Sentinel watch and copy each other, and the proxy asks them for the master.",
            ),
        ]
    if settings.fabric is not None:
        table += [
            Path(
                name="fabric",
                sources=clients,
                only="fabric",
                targets=(Role.FABRIC,),
                ports=fabric_ports(settings.fabric),
                why="Workers, and the services that enrol users, reach Fabric (NP-03 to NP-05, X-12).",
            )
        ]
    if settings.backups is not None and settings.backups.off_site is not None:
        table += [
            Path(
                name="off-site",
                sources=(Role.POSTGRES_CLIENT, Role.REDIS_CLIENT),
                only="off_site",
                targets=(Role.OUTSIDE,),
                ports=(object_store_port(settings.backups.off_site),),
                networks=settings.backups.off_site.networks,
                why="Backups copy themselves to the object store (NP-18).",
            )
        ]
    return tuple(path for path in table if path.ports)
