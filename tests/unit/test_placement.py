"""Placement against brute force: every small instance is enumerated, and the verdict must be what it shows."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import chain, combinations_with_replacement, product

import pytest

from checks.placement import Group, Host, Outcome, fewest_less, judge, orders, search
from checks.workloads import Amounts

GIB = 2**30


def host(name: str, cpu: int, gib: int, *, zone: str | None = None, pods: int = 110) -> Host:
    size = Amounts(cpu=cpu, memory=gib * GIB)
    return Host(name=name, zone=zone or name, capacity=size, free=size, pods=pods)


def group(name: str, count: int, cpu: int, gib: int, hosts: Sequence[str], *, one_per_node: bool = False) -> Group:
    return Group(
        name=name,
        count=count,
        size=Amounts(cpu=cpu, memory=gib * GIB),
        hosts=frozenset(hosts),
        one_per_node=one_per_node,
        spread=count > 1,
    )


def holds(hosts: Sequence[Host], groups: Sequence[Group], assignment: Sequence[str]) -> bool:
    """Whether pods, one after the other as the groups have them, may all be where they are."""
    pods = [each for each in groups for _ in range(each.count)]
    for node in hosts:
        here = [pod for pod, at in zip(pods, assignment, strict=True) if at == node.name]
        if len(here) > node.pods or any(node.name not in pod.hosts for pod in here):
            return False
        if sum(p.size.cpu for p in here) > node.free.cpu or sum(p.size.memory for p in here) > node.free.memory:
            return False
        apart = [pod.name for pod in here if pod.one_per_node]
        if len(apart) != len(set(apart)):
            return False
    mounted = {(pod.volume, at) for pod, at in zip(pods, assignment, strict=True) if pod.volume}
    return len(mounted) == len({volume for volume, _ in mounted})


def brute_force(hosts: Sequence[Host], groups: Sequence[Group]) -> bool:
    names = [node.name for node in hosts]
    # The pods of a group are alike: which of them is where makes no difference.
    choices = product(*(combinations_with_replacement(names, each.count) for each in groups))
    return any(holds(hosts, groups, list(chain(*choice))) for choice in choices)


def instances(count: int) -> Iterator[tuple[list[Host], list[Group]]]:
    """Small stacks around the boundary: the nodes have about as much room as the pods ask for."""
    chance, volumes = random.Random(20261125), random.Random(1)  # noqa: S311 - no secret depends on it
    for _ in range(count):
        names = [f"n{number}" for number in range(chance.randint(1, 3))]
        groups: list[Group] = []
        pods = 0
        while pods < chance.randint(2, 6):
            some = chance.sample(names, chance.randint(1, len(names)))
            many = chance.randint(1, 3)
            cpu, gib = chance.choice([100, 300, 500, 1000]), chance.choice([1, 2, 3])
            made = group(f"g{len(groups)}", many, cpu, gib, some, one_per_node=chance.random() < 0.3)
            shares = volumes.random() < 0.2 and not made.one_per_node
            groups.append(replace(made, volume="v") if shares else made)
            pods += many
        groups = groups[:4]
        total = sum(each.size.cpu * each.count for each in groups)
        memory = sum(each.size.memory // GIB * each.count for each in groups)
        hosts = [
            host(
                name,
                max(100, total // len(names) + chance.choice([-100, 200, 500, 900])),
                max(1, memory // len(names) + chance.choice([0, 1, 3, 4])),
                pods=chance.choice([2, 3, 110]),
            )
            for name in names
        ]
        if sum(each.count for each in groups) <= 7:
            yield hosts, groups


def test_verdicts_agree_with_brute_force() -> None:
    seen: dict[Outcome, int] = dict.fromkeys(Outcome, 0)
    for hosts, groups in instances(600):
        verdict, exists = judge(hosts, groups), brute_force(hosts, groups)
        seen[verdict.outcome] += 1
        assert (verdict.outcome is Outcome.CANNOT) == (not exists), (hosts, groups, verdict)
        assert bool(verdict.placements) == exists
        for placement in verdict.placements:
            flat = [node for each in groups for node in placement[each.name]]
            assert holds(hosts, groups, flat), "a witness that does not hold"
    assert all(count >= 20 for count in seen.values()), seen


def test_a_blocking_set_cannot_be_placed_and_none_of_it_can_be_left_out() -> None:
    judged = 0
    for hosts, groups in instances(400):
        verdict = judge(hosts, groups)
        if verdict.outcome is not Outcome.CANNOT:
            continue
        judged += 1
        blocking = [each for each in groups if each.name in verdict.blocking]
        assert not brute_force(hosts, blocking)
        for left_out in blocking:
            assert brute_force(hosts, [each for each in blocking if each is not left_out])
    assert judged >= 50


def test_the_least_change_is_the_least() -> None:
    judged = 0
    for hosts, groups in instances(400):
        if judge(hosts, groups).outcome is not Outcome.CANNOT:
            continue
        fewer = {
            (each.name, count): each.count - count
            for each in groups
            for count in range(1, each.count)
            if brute_force(hosts, [replace(g, count=count) if g is each else g for g in groups])
        }
        found = fewest_less(hosts, groups, {each.name for each in groups})
        assert (found is None) == (not fewer)
        if found is not None:
            judged += 1
            assert fewer[found] == min(fewer.values())
    assert judged >= 20


def test_small_pods_first_can_leave_no_room_for_a_large_one() -> None:
    """Two nodes of 1000m: four pods of 100m spread, and neither node has 1000m left. A placement exists."""
    hosts = [host("a", 1000, 8), host("b", 1000, 8)]
    groups = [group("large", 1, 1000, 1, "ab"), group("small", 4, 100, 1, "ab")]
    verdict = judge(hosts, groups)
    assert verdict.outcome is Outcome.TIGHT
    assert verdict.pending == ("large",)
    assert search(hosts, groups)


def test_pods_that_share_a_volume_share_its_node() -> None:
    """Each would find a node for itself, and only one of them is where the volume is."""
    hosts = [host("a", 1000, 8), host("b", 1000, 8)]
    alone = [group("backup", 1, 600, 1, "ab"), group("restore-test", 1, 600, 1, "ab")]
    assert judge(hosts, alone).outcome is Outcome.FITS
    together = [replace(each, volume="backups") for each in alone]
    verdict = judge(hosts, together)
    assert (verdict.outcome, verdict.blocking) == (Outcome.CANNOT, ("backup", "restore-test"))


def test_an_empty_search_budget_decides_nothing() -> None:
    hosts = [host("a", 1000, 8)]
    assert search(hosts, [group("g", 1, 100, 1, "a")], steps=0) == {}


@pytest.mark.parametrize(("pods", "nodes", "tried"), [(40, 4, 60), (1000, 50, 3), (5000, 100, 2)])
def test_fewer_orders_are_tried_of_more_pods(pods: int, nodes: int, tried: int) -> None:
    found = list(orders([group("g", pods, 100, 1, "a")], nodes))
    assert len(found) == tried
    assert all(len(order) == pods for order in found)
