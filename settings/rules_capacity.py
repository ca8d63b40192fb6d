"""Rules on sizes: every container within its limits, everything together within the quota."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from itertools import pairwise

from settings.model import ContainerLimits, Postgres, Quota, Redis, Resources, Service, Worker
from settings.problems import Problem, shown
from settings.types import amount

# Superusers, the replication of the standbys, backups and exporters.
RESERVED_CONNECTIONS = 20
# A fork for a snapshot copies the pages that change while it runs (RD-13).
FORK_FACTOR = Decimal("1.5")
FIELDS = ("cpu", "memory")


@dataclass(frozen=True, kw_only=True)
class Container:
    """A container that the stack declares: where its sizes stand, what they are and in how many pods it runs."""

    path: str
    requests: Resources
    limits: Resources
    pods: int
    requests_key: str = "requests"
    limits_key: str = "limits"


def containers(
    postgres: Postgres, redis: Redis, workers: Mapping[str, Worker], services: Mapping[str, Service]
) -> tuple[Container, ...]:
    """Every long-running container in its steady state."""
    found = [
        Container(path="postgres", requests=postgres.requests, limits=postgres.limits, pods=postgres.replicas),
        Container(path="redis", requests=redis.requests, limits=redis.limits, pods=redis.replicas),
    ]
    if redis.replicas > 1:
        found += [
            Container(
                path="redis",
                requests=redis.sidecar_requests,
                limits=redis.sidecar_limits,
                pods=redis.replicas,
                requests_key="sidecarRequests",
                limits_key="sidecarLimits",
            ),
            Container(
                path="redis",
                requests=redis.proxy_requests,
                limits=redis.proxy_limits,
                pods=redis.proxy_replicas,
                requests_key="proxyRequests",
                limits_key="proxyLimits",
            ),
        ]
    workloads: list[tuple[str, Worker | Service]] = [(f"workers.{name}", worker) for name, worker in workers.items()]
    workloads += [(f"services.{name}", service) for name, service in services.items()]
    found += [
        Container(path=path, requests=workload.requests, limits=workload.limits, pods=workload.replicas)
        for path, workload in workloads
    ]
    return tuple(found)


def requests_are_within_limits(
    postgres: Postgres, redis: Redis, workers: dict[str, Worker], services: dict[str, Service]
) -> Iterator[Problem]:
    """Kubernetes refuses a request above its limit (X-06)."""
    for container in containers(postgres, redis, workers, services):
        for field in FIELDS:
            request, limit = getattr(container.requests, field), getattr(container.limits, field)
            if amount(request) > amount(limit):
                yield Problem(
                    f"{container.path}.{container.requests_key}.{field}",
                    f"above its limit of {limit}",
                    f"lower it, or raise {container.limits_key}.{field}",
                    shown(request),
                )


def containers_are_within_the_limit_range(
    container_limits: ContainerLimits,
    postgres: Postgres,
    redis: Redis,
    workers: dict[str, Worker],
    services: dict[str, Service],
) -> Iterator[Problem]:
    """The LimitRange refuses what is smaller than its minimum or larger than its maximum (X-08)."""
    for container in containers(postgres, redis, workers, services):
        for field in FIELDS:
            smallest, largest = getattr(container_limits.min, field), getattr(container_limits.max, field)
            request, limit = getattr(container.requests, field), getattr(container.limits, field)
            if amount(request) < amount(smallest):
                yield Problem(
                    f"{container.path}.{container.requests_key}.{field}",
                    f"below containerLimits.min.{field}, {smallest}",
                    f"at least {smallest}",
                    shown(request),
                )
            if amount(limit) > amount(largest):
                yield Problem(
                    f"{container.path}.{container.limits_key}.{field}",
                    f"above containerLimits.max.{field}, {largest}",
                    f"at most {largest}",
                    shown(limit),
                )


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


def quota_holds_everything(
    quota: Quota, postgres: Postgres, redis: Redis, workers: dict[str, Worker], services: dict[str, Service]
) -> Iterator[Problem]:
    """The steady state and the largest surge pod fit the quota; otherwise a roll-out waits for ever (X-03, X-07)."""
    every = containers(postgres, redis, workers, services)
    rolling = [container for container in every if container.path.startswith(("workers.", "services."))]
    for kind, allowed in (("requests", quota.requests), ("limits", quota.limits)):
        for field in FIELDS:
            surge = max((amount(getattr(getattr(c, kind), field)) for c in rolling), default=Decimal(0))
            needed = sum((amount(getattr(getattr(c, kind), field)) * c.pods for c in every), surge)
            if needed > amount(getattr(allowed, field)):
                text = cores(needed) if field == "cpu" else mebibytes(needed)
                yield Problem(
                    f"quota.{kind}.{field}",
                    f"too small for the pods and one surge pod, which need {text}",
                    f"raise it to that, or lower the {kind} or replicas of workloads",
                    shown(getattr(allowed, field)),
                )
    pods = (
        postgres.replicas
        + redis.replicas
        + (redis.proxy_replicas if redis.replicas > 1 else 0)
        + sum(_replicas(workers, services))
        + 1
    )
    if pods > quota.pods:
        yield Problem(
            "quota.pods", f"too few for {pods} pods, one surge pod included", f"at least {pods}", shown(quota.pods)
        )


def quota_holds_the_volumes(quota: Quota, postgres: Postgres, redis: Redis) -> Iterator[Problem]:
    """Every database instance has one claim (QT-08, X-09)."""
    claims = postgres.replicas + redis.replicas
    if claims > quota.persistent_volume_claims:
        yield Problem(
            "quota.persistentVolumeClaims",
            f"too few for the {claims} volumes of the databases",
            f"at least {claims}",
            shown(quota.persistent_volume_claims),
        )
    storage = postgres.replicas * amount(postgres.storage) + redis.replicas * amount(redis.storage)
    if storage > amount(quota.requests_storage):
        yield Problem(
            "quota.requestsStorage",
            f"too small for the volumes of the databases, which need {mebibytes(storage)}",
            "raise it, or lower postgres.storage or redis.storage",
            shown(quota.requests_storage),
        )


def _replicas(workers: Mapping[str, Worker], services: Mapping[str, Service]) -> Iterator[int]:
    yield from (worker.replicas for worker in workers.values())
    yield from (service.replicas for service in services.values())


def cores(value: Decimal) -> str:
    """CPU as a quantity in millicores."""
    return f"{int(value * 1000)}m"


def mebibytes(value: Decimal) -> str:
    """Memory or storage as a quantity in whole Mi, or Gi where that is exact."""
    whole = int(value // 2**20)
    return f"{whole // 1024}Gi" if whole % 1024 == 0 else f"{whole}Mi"


RULES = (
    requests_are_within_limits,
    containers_are_within_the_limit_range,
    limit_range_is_ordered,
    redis_leaves_room_for_a_fork,
    connections_suffice,
    quota_holds_everything,
    quota_holds_the_volumes,
)
