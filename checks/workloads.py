"""Every pod that a stack declares, derived from its settings in this one place.

The proofs judge this list, and ``tests/program/test_declared_pods.py`` compares it with the objects that the components
really declare. A new container, job or volume is one line here.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from decimal import Decimal
from enum import StrEnum
from functools import cached_property

from components.network_policies import POSTGRES_EXPORTER_APP, POSTGRES_PROMOTE_APP, REDIS_EXPORTER_APP
from settings.model import (
    BackupJob,
    Backups,
    Images,
    Migration,
    Observability,
    Placement,
    Postgres,
    Redis,
    Resources,
    Service,
    Settings,
    Worker,
)
from settings.types import amount


class Kind(StrEnum):
    """What owns the pods."""

    DEPLOYMENT = "Deployment"
    STATEFUL_SET = "StatefulSet"
    JOB = "Job"
    CRON_JOB = "CronJob"


@dataclass(frozen=True, kw_only=True)
class Amounts:
    """CPU in millicores and memory in bytes, as whole numbers: what Kubernetes rounds up to."""

    cpu: int
    memory: int

    def __add__(self, other: "Amounts") -> "Amounts":
        return Amounts(cpu=self.cpu + other.cpu, memory=self.memory + other.memory)

    def __mul__(self, count: int) -> "Amounts":
        return Amounts(cpu=self.cpu * count, memory=self.memory * count)

    def at_least(self, other: "Amounts") -> "Amounts":
        """The larger of the two, field by field."""
        return Amounts(cpu=max(self.cpu, other.cpu), memory=max(self.memory, other.memory))


NOTHING = Amounts(cpu=0, memory=0)


def amounts(resources: Resources) -> Amounts:
    """Quantities of the stack file as whole numbers."""
    return Amounts(cpu=millicores(resources.cpu), memory=whole_bytes(resources.memory))


def millicores(quantity: str) -> int:
    """CPU, rounded up."""
    return _rounded_up(amount(quantity) * 1000)


def whole_bytes(quantity: str) -> int:
    """Memory or storage, rounded up."""
    return _rounded_up(amount(quantity))


def _rounded_up(value: Decimal) -> int:
    return -int(-value // 1)


@dataclass(frozen=True, kw_only=True)
class Container:
    """A container of a pod: its name, its sizes and where they stand in the stack file.

    An init container runs before the others and counts only where it is larger than all of them together.
    """

    name: str
    path: str
    requests: Resources
    limits: Resources
    requests_key: str = "requests"
    limits_key: str = "limits"
    init: bool = False


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A volume claim: one per pod of a StatefulSet, one in all for everything else. It ties its pod to a node."""

    path: str
    storage: str


@dataclass(frozen=True, kw_only=True)
class Workload:
    """The pods of one owner.

    Attributes:
        name: Name of the owner and its ``app`` label; a Job that runs again for another value has it in its name.
        path: Section of the stack file that describes it; ``replicas_key`` is its number of pods there, None
            where that is no setting: there is one.
        one_per_node: Two of its pods never share a node.
        max_surge, max_unavailable: Of a roll-out. A StatefulSet replaces one pod at a time and surges none.
        min_available: Of its PodDisruptionBudget; None without one.
        volume: Claim that all pods which name it mount, so that they share a node.
        schedule: Of a CronJob, in UTC.
        deadline: Longest run of a job, in seconds.
        start_within: How late a scheduled job may still start, in seconds.
    """

    name: str
    kind: Kind
    path: str
    containers: tuple[Container, ...]
    placement: Placement
    replicas: int = 1
    replicas_key: str | None = "replicas"
    one_per_node: bool = False
    max_surge: int = 0
    max_unavailable: int = 1
    min_available: int | None = None
    claims: tuple[Claim, ...] = ()
    volume: str | None = None
    schedule: str | None = None
    deadline: int | None = None
    start_within: int = 0

    @property
    def lasting(self) -> bool:
        """Whether the pods are always there; those of jobs come and go."""
        return self.kind in {Kind.DEPLOYMENT, Kind.STATEFUL_SET}

    @property
    def tied(self) -> bool:
        """Whether its pods stay pending when the node of their volume is lost."""
        return bool(self.claims) or self.volume is not None

    @cached_property
    def requests(self) -> Amounts:
        """What one pod requests, as the scheduler and the quota count it."""
        return self._effective("requests")

    @cached_property
    def limits(self) -> Amounts:
        """The limits of one pod, as the quota counts them."""
        return self._effective("limits")

    def _effective(self, kind: str) -> Amounts:
        # https://kubernetes.io/docs/concepts/workloads/pods/init-containers/#resource-sharing-within-containers
        running, largest_init = NOTHING, NOTHING
        for container in self.containers:
            size = amounts(getattr(container, kind))
            if container.init:
                largest_init = largest_init.at_least(size)
            else:
                running += size
        return running.at_least(largest_init)


def workloads(settings: Settings) -> tuple[Workload, ...]:
    """Every owner of pods, in the order of their roll-out."""
    databases, others = settings.placement.databases, settings.placement.workloads
    return (
        _postgres(settings.postgres, databases),
        *_promotion(settings.postgres, databases),
        *_redis(settings.redis, databases),
        *(_backups(settings.backups) if settings.backups else ()),
        *(_point_in_time(settings.backups) if settings.backups else ()),
        *(_migration(settings.migration, settings.images, others) if settings.migration else ()),
        *(_exporters(settings.observability, settings.backups, others) if settings.observability else ()),
        *(_deployment(f"workers.{name}", name, each, others) for name, each in settings.workers.items()),
        *(_deployment(f"services.{name}", name, each, others) for name, each in settings.services.items()),
    )


def _postgres(postgres: Postgres, placement: Placement) -> Workload:
    server = Container(name="postgres", path="postgres", requests=postgres.requests, limits=postgres.limits)
    return Workload(
        name="postgres",
        kind=Kind.STATEFUL_SET,
        path="postgres",
        replicas=postgres.replicas,
        placement=placement,
        one_per_node=True,
        min_available=_all_but_one(postgres.replicas),
        claims=(Claim(path="postgres.storage", storage=postgres.storage),),
        containers=(
            Container(
                name="decide-role", path="postgres", requests=postgres.requests, limits=postgres.limits, init=True
            ),
            server,
        ),
    )


def _promotion(postgres: Postgres, placement: Placement) -> Iterator[Workload]:
    if postgres.replicas > 1:
        yield Workload(
            name=f"{POSTGRES_PROMOTE_APP}-{postgres.primary_ordinal}",
            kind=Kind.JOB,
            path="postgres",
            placement=placement,
            deadline=600,
            containers=(
                _part("promote", "postgres", "promotion", postgres.promotion_requests, postgres.promotion_limits),
            ),
        )


def _redis(redis: Redis, placement: Placement) -> Iterator[Workload]:
    containers = [Container(name="redis", path="redis", requests=redis.requests, limits=redis.limits)]
    if redis.replicas > 1:
        containers.append(_part("sentinel", "redis", "sidecar", redis.sidecar_requests, redis.sidecar_limits))
    yield Workload(
        name="redis",
        kind=Kind.STATEFUL_SET,
        path="redis",
        replicas=redis.replicas,
        placement=placement,
        one_per_node=True,
        min_available=_all_but_one(redis.replicas),
        claims=(Claim(path="redis.storage", storage=redis.storage),),
        containers=tuple(containers),
    )
    if redis.replicas > 1:
        yield Workload(
            name="redis-proxy",
            kind=Kind.DEPLOYMENT,
            path="redis",
            replicas=redis.proxy_replicas,
            replicas_key="proxyReplicas",
            placement=placement,
            max_surge=1,
            max_unavailable=_may_be_missing(redis.proxy_replicas),
            min_available=_all_but_one(redis.proxy_replicas),
            containers=(_part("haproxy", "redis", "proxy", redis.proxy_requests, redis.proxy_limits),),
        )


def _backups(backups: Backups) -> Iterator[Workload]:
    for kind, size in (("postgres", backups.postgres), ("redis", backups.redis)):
        path, volume = f"backups.{kind}", f"{kind}-backups"
        backup = _scheduled(f"{kind}-backup", path, size, backups.placement, backups.schedule, volume=volume)
        if backups.off_site is not None:
            (dump,) = backup.containers
            backup = replace(backup, containers=(replace(dump, init=True), replace(dump, name="off-site-copy")))
        yield replace(backup, claims=(Claim(path=f"{path}.storage", storage=size.storage),))
        yield _scheduled(
            f"{kind}-restore-test", path, size, backups.placement, backups.restore_test_schedule, volume=volume
        )


def _point_in_time(backups: Backups) -> Iterator[Workload]:
    """The archive ends before another one begins; it and the base backups share a volume."""
    size, path, volume = backups.point_in_time, "backups.pointInTime", "postgres-base-backups"
    if size is not None:
        names = ("postgres-archive", *(("off-site-wal",) if backups.off_site is not None else ()))
        yield Workload(
            name="postgres-archive",
            kind=Kind.DEPLOYMENT,
            path=path,
            replicas_key=None,
            placement=backups.placement,
            claims=(Claim(path=f"{path}.storage", storage=size.storage),),
            volume=volume,
            containers=tuple(
                Container(name=name, path=path, requests=size.requests, limits=size.limits) for name in names
            ),
        )
        yield _scheduled(
            "postgres-base-backup", path, size, backups.placement, size.base_backup_schedule, volume=volume
        )


def _scheduled(name: str, path: str, size: BackupJob, placement: Placement, schedule: str, *, volume: str) -> Workload:
    return Workload(
        name=name,
        kind=Kind.CRON_JOB,
        path=path,
        placement=placement,
        schedule=schedule,
        volume=volume,
        deadline=7200,
        start_within=1800,
        containers=(Container(name=name, path=path, requests=size.requests, limits=size.limits),),
    )


def _migration(migration: Migration, images: Images, placement: Placement) -> Iterator[Workload]:
    """Its steps are one pod, one after the other: all but the last are init containers."""
    steps = ("await-database", "migrate", *(("seed",) if migration.seed else ()))
    if images.migration is not None:
        yield Workload(
            name=migration.job_name(images.migration, images.postgres, placement),
            kind=Kind.JOB,
            path="migration",
            placement=placement,
            deadline=900,
            containers=tuple(
                Container(
                    name=step,
                    path="migration",
                    requests=migration.requests,
                    limits=migration.limits,
                    init=step != steps[-1],
                )
                for step in steps
            ),
        )


def _exporters(sized: Observability, backups: Backups | None, placement: Placement) -> Iterator[Workload]:
    """One for each database, and one for each volume of backups, where that is."""
    readers = {f"{kind}-backup-reports": f"{kind}-backups" for kind in backups.kinds()} if backups else {}
    for name in (POSTGRES_EXPORTER_APP, REDIS_EXPORTER_APP, *readers):
        yield Workload(
            name=name,
            kind=Kind.DEPLOYMENT,
            path="observability",
            placement=backups.placement if backups and name in readers else placement,
            max_surge=1,
            max_unavailable=0,
            volume=readers.get(name),
            replicas_key="exporterRequests",
            containers=(_part(name, "observability", "exporter", sized.exporter_requests, sized.exporter_limits),),
        )


def _deployment(path: str, name: str, sized: Worker | Service, placement: Placement) -> Workload:
    at_least = _all_but_one(sized.replicas)
    return Workload(
        name=name,
        kind=Kind.DEPLOYMENT,
        path=path,
        replicas=sized.replicas,
        placement=placement,
        max_surge=1,
        max_unavailable=_may_be_missing(sized.replicas),
        min_available=at_least if isinstance(sized, Service) or at_least is None else 1,
        containers=(Container(name=name, path=path, requests=sized.requests, limits=sized.limits),),
    )


def _part(name: str, path: str, prefix: str, requests: Resources, limits: Resources) -> Container:
    """A container whose sizes stand under keys of their own, as ``sidecarRequests``."""
    return Container(
        name=name,
        path=path,
        requests=requests,
        limits=limits,
        requests_key=f"{prefix}Requests",
        limits_key=f"{prefix}Limits",
    )


def _all_but_one(replicas: int) -> int | None:
    """PodDisruptionBudget of what has more than one pod."""
    return replicas - 1 if replicas >= 2 else None


def _may_be_missing(replicas: int) -> int:
    """In a roll-out; the only pod of a workload stays until the new one is ready (X-31)."""
    return 1 if replicas >= 2 else 0
