"""Settings of made-up stacks, many of them within one pod of what their nodes or their quota hold."""

import random
from collections.abc import Iterator
from dataclasses import dataclass

from checks import quota
from checks.fit import hosts
from checks.workloads import Amounts, Workload, millicores, whole_bytes, workloads
from settings.model import Cluster, Node, NodeRole, NodeSelection, Placement, Placements, Quota, Resources, Settings

_MIB = 2**20


@dataclass(frozen=True, kw_only=True)
class Generated:
    """A stack, and whether one pod more or less decides between room and none."""

    settings: Settings
    on_the_boundary: bool


def stacks(base: Settings, count: int, seed: int) -> Iterator[Generated]:
    """As many stacks of ``base``'s kind, the same for the same seed. Their nodes are named after their number."""
    chance = random.Random(seed)  # noqa: S311 - no secret depends on it
    for number in range(count):
        yield _stack(base, number, chance)


def _stack(base: Settings, number: int, chance: random.Random) -> Generated:
    names = [f"s{number}-n{node}" for node in range(chance.randint(1, 5))]
    instances = chance.choice([1, 3]) if len(names) >= 3 else 1
    sized = base.model_copy(
        update={
            "postgres": base.postgres.model_copy(update={"replicas": instances, **_sizes(chance, (500, 1000, 2000))}),
            "redis": base.redis.model_copy(update={"replicas": instances, **_sizes(chance, (250, 500))}),
            "workers": {
                name: worker.model_copy(update={"replicas": chance.randint(1, 2), **_sizes(chance, (250, 500, 1000))})
                for name, worker in chance.sample(sorted(base.workers.items()), chance.randint(0, 2))
            },
            "services": {
                name: service.model_copy(update={"replicas": chance.randint(1, 3), **_sizes(chance, (100, 250, 500))})
                for name, service in chance.sample(sorted(base.services.items()), chance.randint(2, 8))
            },
            # Their jobs have nodes and hours of their own.
            "backups": None,
            "migration": None,
            "placement": Placements(databases=_placement(chance, names), workloads=_placement(chance, names)),
        }
    )
    every = workloads(sized)
    # How much more room there is than the pods ask for: a third of the stacks is cut close.
    slack = chance.choice([0.97, 1.0, 1.02, 1.1, 1.6, 2.0, 2.5, 3.0, 3.5, 4.0])
    stack = sized.model_copy(
        update={"cluster": _cluster(base.cluster, names, every, slack, chance), "quota": _quota(every, chance)}
    )
    return Generated(settings=stack, on_the_boundary=_on_the_boundary(stack, every))


def _sizes(chance: random.Random, cores: tuple[int, ...]) -> dict[str, Resources]:
    cpu, mebibytes = chance.choice(cores), chance.choice([128, 256, 512, 1024])
    return {
        "requests": Resources(cpu=f"{cpu}m", memory=f"{mebibytes}Mi"),
        "limits": Resources(cpu=f"{2 * cpu}m", memory=f"{2 * mebibytes}Mi"),
    }


def _placement(chance: random.Random, names: list[str]) -> Placement:
    required = names if chance.random() < 0.7 else chance.sample(names, max(1, len(names) - 1))
    prefer = NodeSelection(hostnames=(chance.choice(required),)) if chance.random() < 0.3 else None
    return Placement(require=NodeSelection(hostnames=tuple(required)), prefer=prefer)


def _cluster(
    base: Cluster, names: list[str], every: tuple[Workload, ...], slack: float, chance: random.Random
) -> Cluster:
    asked = _sum(each.requests * each.replicas for each in every)
    nodes = {}
    for number, name in enumerate(names):
        share = slack * chance.uniform(0.8, 1.2) / len(names)
        cpu, memory = int(asked.cpu * share) + 1, int(asked.memory * share) + 1
        reserved = chance.choice([1, 1, 1000])
        nodes[name] = Node(
            role=NodeRole.WORKER,
            region="Simulated",
            zone=f"zone-{chance.choice([0, number])}",
            internal_ip=f"10.98.255.{number + 1}",
            pod_cidr=f"10.98.{number}.0/24",
            cpu=f"{cpu + reserved}m",
            memory=str(memory + reserved * _MIB),
            disk="1T",
            reserved_cpu=f"{reserved}m",
            reserved_memory=f"{reserved}Mi",
        )
    return base.model_copy(update={"nodes": nodes})


def _quota(every: tuple[Workload, ...], chance: random.Random) -> Quota:
    """Mostly ample; else exactly what the pods need, or the smallest unit less in one dimension."""
    requests = _sum(each.requests * each.replicas for each in every)
    limits = _sum(each.limits * each.replicas for each in every)
    pods = sum(each.replicas for each in every)
    kind = chance.choice(["ample", "ample", "ample", "exact", "short"])
    factor = 2 if kind == "ample" else 1
    less = chance.choice(["requests.cpu", "requests.memory", "limits.cpu", "pods"]) if kind == "short" else ""
    return Quota(
        requests=Resources(
            cpu=f"{requests.cpu * factor - (less == 'requests.cpu')}m",
            memory=str(requests.memory * factor - (less == "requests.memory")),
        ),
        limits=Resources(cpu=f"{limits.cpu * factor - (less == 'limits.cpu')}m", memory=str(limits.memory * factor)),
        pods=pods * factor - (less == "pods"),
        persistent_volume_claims=100,
        requests_storage="10Ti",
    )


def _on_the_boundary(stack: Settings, every: tuple[Workload, ...]) -> bool:
    """Whether one pod of the largest size more would not fit in sum, or one less would, by nodes or by quota."""
    asked = _sum(each.requests * each.replicas for each in every)
    free = _sum(host.free for host in hosts(stack.cluster))
    cpu, memory = max(each.requests.cpu for each in every), max(each.requests.memory for each in every)
    near = abs(free.cpu - asked.cpu) <= cpu or abs(free.memory - asked.memory) <= memory
    return near or any(
        abs(row.free) <= max(row.dimension.of_a_pod(each) for each in every)
        for row in quota.headroom(stack.quota, every)
    )


def _sum(each: Iterator[Amounts]) -> Amounts:
    return sum(each, start=Amounts(cpu=millicores("0"), memory=whole_bytes("0")))
