"""Rules on sizes that need no list of pods; whether the pods fit is proven in ``checks``."""

from collections.abc import Iterator, Mapping
from decimal import Decimal
from itertools import pairwise

from settings.model import Backups, ContainerLimits, Postgres, Redis, Service, Worker
from settings.problems import Problem, shown
from settings.types import amount

# Superusers, the replication of the standbys, backups and exporters.
RESERVED_CONNECTIONS = 20
# A fork for a snapshot copies the pages that change while it runs (RD-13).
FORK_FACTOR = Decimal("1.5")
# A server needs this much more than its data to load a snapshot and write it out.
LOAD_FACTOR = Decimal("1.25")
# The append-only file grows to twice the data set before it is rewritten beside itself; a snapshot comes on top.
DISK_FACTOR = Decimal(4)
FIELDS = ("cpu", "memory")


def limit_range_is_ordered(container_limits: ContainerLimits) -> Iterator[Problem]:
    """Minimum <= defaultRequest <= default <= max, or the API server refuses the LimitRange."""
    steps = (
        ("min", container_limits.min),
        ("defaultRequest", container_limits.default_request),
        ("default", container_limits.default),
        ("max", container_limits.max),
    )
    for (lower_name, lower), (upper_name, upper) in pairwise(steps):
        for field in FIELDS:
            if amount(getattr(lower, field)) > amount(getattr(upper, field)):
                yield Problem(
                    f"containerLimits.{upper_name}.{field}",
                    f"below {lower_name}.{field}, {getattr(lower, field)}",
                    "order them as min, defaultRequest, default, max",
                    shown(getattr(upper, field)),
                )


def redis_leaves_room_for_a_fork(redis: Redis) -> Iterator[Problem]:
    """Redis is killed, not merely slowed, when a snapshot's copies exceed the container's limit (RD-13)."""
    largest = amount(redis.limits.memory) / FORK_FACTOR
    if amount(redis.max_memory) > largest:
        yield Problem(
            "redis.maxMemory",
            f"no room in the limit of {redis.limits.memory} for the copies of a fork",
            f"at most {mebibytes(largest)}, two thirds of limits.memory",
            shown(redis.max_memory),
        )


def redis_volume_holds_its_files(redis: Redis) -> Iterator[Problem]:
    """A master with a full disk refuses writes until an operator makes room, and no replica takes over (RD-08)."""
    needed = amount(redis.max_memory) * DISK_FACTOR
    if amount(redis.storage) < needed:
        yield Problem(
            "redis.storage",
            f"no room for the append-only file, its rewrite and a snapshot of redis.maxMemory, {redis.max_memory}",
            f"at least {mebibytes(needed)}",
            shown(redis.storage),
        )


def redis_backups_can_be_loaded(backups: Backups | None, redis: Redis) -> Iterator[Problem]:
    """The restore and its test load the whole data set in a pod of their own."""
    needed = amount(redis.max_memory) * LOAD_FACTOR
    if backups is not None and amount(backups.redis.limits.memory) < needed:
        yield Problem(
            "backups.redis.limits.memory",
            f"a restore loads up to redis.maxMemory, {redis.max_memory}, and would be killed",
            f"at least {mebibytes(needed)}",
            shown(backups.redis.limits.memory),
        )


def connections_suffice(
    postgres: Postgres, workers: dict[str, Worker], services: dict[str, Service]
) -> Iterator[Problem]:
    """Every pool fits, with one surge pod of each workload and the reserve (X-25)."""
    pods = sum(replicas + 1 for replicas in _replicas(workers, services))
    needed = pods * postgres.connections_per_pod + RESERVED_CONNECTIONS
    if needed > postgres.max_connections:
        yield Problem(
            "postgres.maxConnections",
            f"too few for {pods} pods (surge included) with {postgres.connections_per_pod} connections each"
            f" and a reserve of {RESERVED_CONNECTIONS}",
            f"at least {needed}, or lower connectionsPerPod",
            shown(postgres.max_connections),
        )


def _replicas(workers: Mapping[str, Worker], services: Mapping[str, Service]) -> Iterator[int]:
    yield from (worker.replicas for worker in workers.values())
    yield from (service.replicas for service in services.values())


def mebibytes(value: Decimal) -> str:
    """Memory or storage as a quantity in whole Mi, or Gi where that is exact."""
    whole = int(value // 2**20)
    return f"{whole // 1024}Gi" if whole % 1024 == 0 else f"{whole}Mi"


RULES = (
    limit_range_is_ordered,
    redis_leaves_room_for_a_fork,
    redis_volume_holds_its_files,
    redis_backups_can_be_loaded,
    connections_suffice,
)
