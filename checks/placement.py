"""Whether pods find nodes: an exact search for a placement, and the scheduler's own way of looking for one.

Nothing here knows settings or findings. The rules are those of the default scheduler profile: required node affinity,
required anti-affinity of a workload's own pods, the node of a volume that pods share, CPU, memory and the number of
pods; the scores are those of its default
plugins (https://kubernetes.io/docs/reference/scheduling/config/#scheduling-plugins).
"""

import functools
import random
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from math import log

from checks.workloads import Amounts

# The kubelet's default, which K3s keeps.
PODS_PER_NODE = 110
# Steps of the exact search before it gives up undecided; a step takes about 10 microseconds.
SEARCH_STEPS = 20_000
# To bound what is possible takes one step more with so many groups to place, and four with twice as many.
GROUPS_A_STEP = 40
# Steps of all the searches for what blocks, and for the least change: beyond, the answer is right but not the smallest.
BLOCKING_STEPS = SEARCH_STEPS
# Orders of arrival that the scheduler is tried in: at most this many, and fewer where there are many pods and nodes.
MOST_ORDERS, FEWEST_ORDERS, ORDER_BUDGET = 60, 2, 150_000


@dataclass(frozen=True, kw_only=True)
class Host:
    """A node: its size, and what is free of it before any pod of the stack is placed."""

    name: str
    zone: str
    capacity: Amounts
    free: Amounts
    pods: int = PODS_PER_NODE


@dataclass(frozen=True, kw_only=True)
class Group:
    """Pods that are alike. ``hosts`` may take them, ``preferred`` should; ``spread`` asks for one per zone.

    All pods with one ``volume`` are on one node: that of the first of them, where the volume then is.
    """

    name: str
    count: int
    size: Amounts
    hosts: frozenset[str]
    preferred: frozenset[str] = frozenset()
    one_per_node: bool = False
    volume: str | None = None
    spread: bool = False


Placement = Mapping[str, tuple[str, ...]]
"""Nodes of each group's pods, by the group's name."""


class Outcome(StrEnum):
    """What is known of a set of pods and nodes."""

    FITS = "fits"
    """The scheduler placed all pods in every order of arrival that was tried."""
    TIGHT = "tight"
    """A placement exists, or none could be ruled out, but the scheduler may miss it."""
    CANNOT = "cannot"
    """No placement exists."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """An outcome and its evidence.

    Attributes:
        placements: Witnesses: with *fits* one of each order tried, with *tight* one that was searched for, if found.
        pending: With *tight*, groups with a pod that the scheduler left over in some order.
        blocking: With *cannot*, groups that cannot be placed together; of some dozens, none can be left out of the set.
    """

    outcome: Outcome
    placements: tuple[Placement, ...] = ()
    pending: tuple[str, ...] = ()
    blocking: tuple[str, ...] = ()


def judge(hosts: Sequence[Host], groups: Sequence[Group]) -> Verdict:
    """Whether all pods find a node. Most edits of a stack file move no pod: versions that are alike are judged once."""
    return _judged(tuple(hosts), tuple(group for group in groups if group.count))


@functools.lru_cache(maxsize=64)
def _judged(hosts: tuple[Host, ...], groups: tuple[Group, ...]) -> Verdict:
    placements: list[Placement] = []
    pending: Counter[str] = Counter()
    for index, order in enumerate(orders(groups, len(hosts))):
        scheduler = Scheduler(hosts, groups, random.Random(index))  # noqa: S311 - no secret depends on it
        left = scheduler.schedule(order)
        if left:
            pending.update(left)
        else:
            placements.append(scheduler.placement())
    if placements and not pending:
        return Verdict(outcome=Outcome.FITS, placements=tuple(placements))
    names = tuple(group.name for group in groups if group.name in pending)
    if placements:
        return Verdict(outcome=Outcome.TIGHT, placements=tuple(placements), pending=names)
    found = search(hosts, groups)
    if found is None:
        return Verdict(outcome=Outcome.CANNOT, blocking=_blocking(hosts, groups), pending=names)
    return Verdict(outcome=Outcome.TIGHT, placements=(found,) if found else (), pending=names)


def orders(groups: Sequence[Group], hosts: int) -> Iterator[list[int]]:
    """Orders of arrival, each a list of group numbers with one entry per pod.

    First those that hurt: the small pods first leave no node with room for the large ones.
    """
    pods = [number for number, group in enumerate(groups) for _ in range(group.count)]
    by_size = sorted(pods, key=lambda number: (groups[number].size.cpu, groups[number].size.memory))
    count = max(FEWEST_ORDERS, min(MOST_ORDERS, ORDER_BUDGET // max(1, len(pods) * hosts)))
    fixed = [by_size, pods, by_size[::-1], pods[::-1]]
    for index in range(count):
        if index < len(fixed):
            yield fixed[index]
        else:
            shuffled = list(pods)
            random.Random(index).shuffle(shuffled)  # noqa: S311 - likewise
            yield shuffled


class Scheduler:
    """The default scheduler, one pod at a time, over nodes that fill up. Equal scores are decided by chance."""

    def __init__(self, hosts: Sequence[Host], groups: Sequence[Group], chance: random.Random) -> None:
        self.hosts, self.groups, self.chance = hosts, groups, chance
        self.cpu = [host.free.cpu for host in hosts]
        self.memory = [host.free.memory for host in hosts]
        self.pods = [host.pods for host in hosts]
        self.count = [[0] * len(hosts) for _ in groups]
        zones = {zone: number for number, zone in enumerate(dict.fromkeys(host.zone for host in hosts))}
        self.zone = [zones[host.zone] for host in hosts]
        self.in_zone = [[0] * len(zones) for _ in groups]
        self.zone_weight = log(len(zones) + 2)
        # Per set of nodes, since most groups share theirs; filled when first asked for.
        self.allowed: dict[frozenset[str], list[int]] = {}
        # The node of each volume that has been mounted.
        self.volumes: dict[str, int] = {}

    def schedule(self, order: Iterable[int]) -> list[str]:
        """Place pods in an order of arrival; the names of those that found no node."""
        left = []
        for number in order:
            node = self._choice(number)
            if node is None:
                left.append(self.groups[number].name)
            else:
                self.put(number, node)
        return left

    def put(self, number: int, node: int, pods: int = 1) -> None:
        """Take the room of pods of a group on a node."""
        size = self.groups[number].size
        self.cpu[node] -= size.cpu * pods
        self.memory[node] -= size.memory * pods
        self.pods[node] -= pods
        self.count[number][node] += pods
        self.in_zone[number][self.zone[node]] += pods
        volume = self.groups[number].volume
        if volume is not None:
            self.volumes.setdefault(volume, node)

    def has_room(self, number: int) -> bool:
        """Whether one more pod of a group finds a node now."""
        return bool(self._fit(number))

    def placement(self) -> Placement:
        """Where everything is."""
        return {
            group.name: tuple(
                host.name for node, host in enumerate(self.hosts) for _ in range(self.count[number][node])
            )
            for number, group in enumerate(self.groups)
        }

    def _fit(self, number: int) -> list[int]:
        group = self.groups[number]
        cpu, memory, count = group.size.cpu, group.size.memory, self.count[number]
        if group.hosts not in self.allowed:
            self.allowed[group.hosts] = [n for n, host in enumerate(self.hosts) if host.name in group.hosts]
        bound = None if group.volume is None else self.volumes.get(group.volume)
        return [
            node
            for node in self.allowed[group.hosts]
            if (bound is None or node == bound)
            and self.cpu[node] >= cpu
            and self.memory[node] >= memory
            and self.pods[node] >= 1
            and not (group.one_per_node and count[node])
        ]

    def _choice(self, number: int) -> int | None:
        fit = self._fit(number)
        if len(fit) <= 1:
            return fit[0] if fit else None
        scores = self._scores(number, fit)
        best = max(scores)
        return fit[self.chance.choice([at for at, score in enumerate(scores) if score >= best - 1e-9])]

    def _scores(self, number: int, fit: Sequence[int]) -> list[float]:
        group, count = self.groups[number], self.count[number]
        # Its own pods are avoided (preferred anti-affinity, both ways), zones with fewer of them are favoured.
        counts = [count[node] for node in fit]
        fewest, most = min(counts), max(counts)
        spread = [self.in_zone[number][self.zone[node]] * self.zone_weight for node in fit] if group.spread else None
        ceiling, floor = (max(spread), min(spread)) if spread else (0.0, 0.0)
        scores = []
        for at, node in enumerate(fit):
            host = self.hosts[node]
            free_cpu = (self.cpu[node] - group.size.cpu) / host.capacity.cpu
            free_memory = (self.memory[node] - group.size.memory) / host.capacity.memory
            score = 50 * (free_cpu + free_memory)  # least allocated
            score += 100 - 50 * abs(free_cpu - free_memory)  # balanced allocation
            if most > fewest:
                score += 200 * (most - counts[at]) / (most - fewest)
            if spread and ceiling:
                score += 200 * (ceiling + floor - spread[at]) / ceiling
            if host.name in group.preferred:
                score += 200
            scores.append(score)
        return scores


def search(hosts: Sequence[Host], groups: Sequence[Group], steps: int = SEARCH_STEPS) -> Placement | None:
    """A placement of all pods; None when there is none; an empty one when the search gave up undecided."""
    return _Search(hosts, groups, steps).run()


class _Searches:
    """Searches that share a budget; none of them finds anything once it is spent."""

    def __init__(self, hosts: Sequence[Host]) -> None:
        self.hosts, self.left = hosts, BLOCKING_STEPS

    def __call__(self, groups: Sequence[Group]) -> Placement | None:
        each = _Search(self.hosts, groups, min(SEARCH_STEPS, self.left))
        found = each.run()
        self.left -= min(SEARCH_STEPS, self.left) - max(0, each.steps)
        return found


class _Undecided(Exception):  # noqa: N818 - not an error
    """The budget of the search is spent."""


class _Search:
    """Depth first, the hardest groups first, with the failed states remembered."""

    def __init__(self, hosts: Sequence[Host], groups: Sequence[Group], steps: int) -> None:
        self.groups = sorted(
            (group for group in groups if group.count),
            key=lambda g: (len(g.hosts), -max(g.size.cpu * 2**21, g.size.memory), g.name),
        )
        self.hosts, self.steps = hosts, steps
        self.room = [[host.free.cpu, host.free.memory, host.pods] for host in hosts]
        self.allowed = [[n for n, host in enumerate(hosts) if host.name in group.hosts] for group in self.groups]
        # Nodes that the same groups may use are interchangeable.
        self.kind = [tuple(host.name in group.hosts for group in self.groups) for host in hosts]
        self.chosen: list[list[int]] = [[] for _ in self.groups]
        self.volumes: dict[str, int] = {}
        self.failed: set[tuple[int, tuple[tuple[object, ...], ...]]] = set()

    def run(self) -> Placement | None:
        try:
            found = self._group(0)
        except (_Undecided, RecursionError):
            return {}
        if not found:
            return None
        return {
            group.name: tuple(self.hosts[node].name for node in sorted(self.chosen[number]))
            for number, group in enumerate(self.groups)
        }

    def _group(self, number: int) -> bool:
        if number == len(self.groups):
            return True
        self.steps -= ((len(self.groups) - number) // GROUPS_A_STEP) ** 2
        if not self._possible(number):
            return False
        mounted: dict[int, tuple[str, ...]] = {}
        for volume in sorted(self.volumes):
            mounted[self.volumes[volume]] = (*mounted.get(self.volumes[volume], ()), volume)
        key = (number, tuple(sorted((self.kind[n], *room, mounted.get(n, ())) for n, room in enumerate(self.room))))
        if key in self.failed:
            return False
        if self._pods(number, self.groups[number].count, 0):
            return True
        self.failed.add(key)
        return False

    def _pods(self, number: int, left: int, first: int) -> bool:
        """Place the pods of a group from its ``first`` allowed node on: each node takes some, most first."""
        self.steps -= 1
        if self.steps < 0:
            raise _Undecided
        if left == 0:
            return self._group(number + 1)
        allowed = self.allowed[number]
        if first == len(allowed):
            return False
        group, node = self.groups[number], allowed[first]
        room = self.room[node]
        bound = None if group.volume is None else self.volumes.get(group.volume)
        most = min(left, self._slots(group, room)) if bound is None or bound == node else 0
        for taken in range(most, -1, -1):
            mounts = group.volume if taken and bound is None else None
            if mounts is not None:
                self.volumes[mounts] = node
            room[0] -= taken * group.size.cpu
            room[1] -= taken * group.size.memory
            room[2] -= taken
            self.chosen[number] += [node] * taken
            if self._pods(number, left - taken, first + 1):
                return True
            room[0] += taken * group.size.cpu
            room[1] += taken * group.size.memory
            room[2] += taken
            del self.chosen[number][len(self.chosen[number]) - taken :]
            if mounts is not None:
                del self.volumes[mounts]
        return False

    def _possible(self, number: int) -> bool:
        """Bounds that every placement of the groups from ``number`` on obeys."""
        rest = range(number, len(self.groups))
        # Of groups that are alike, the largest speaks for all.
        most: dict[tuple[Amounts, frozenset[str], bool], int] = {}
        for each in rest:
            group = self.groups[each]
            alike = (group.size, group.hosts, group.one_per_node)
            if alike not in most or group.count > self.groups[most[alike]].count:
                most[alike] = each
        for each in most.values():
            group = self.groups[each]
            if sum(self._slots(group, self.room[node]) for node in self.allowed[each]) < group.count:
                return False
        for nodes in {frozenset(self.allowed[each]) for each in rest} | {
            frozenset(node for each in rest for node in self.allowed[each])
        }:
            inside = [self.groups[each] for each in rest if nodes.issuperset(self.allowed[each])]
            rooms = [self.room[node] for node in nodes]
            if sum(g.size.cpu * g.count for g in inside) > sum(room[0] for room in rooms):
                return False
            if sum(g.size.memory * g.count for g in inside) > sum(room[1] for room in rooms):
                return False
            if sum(g.count for g in inside) > sum(room[2] for room in rooms):
                return False
            if not self._large_ones_fit(inside, rooms):
                return False
        return True

    @staticmethod
    def _large_ones_fit(inside: Sequence[Group], rooms: Sequence[Sequence[int]]) -> bool:
        """As many pods of at least a size fit as there would of exactly that size."""
        for size in {group.size for group in inside}:
            large = sum(g.count for g in inside if g.size.cpu >= size.cpu and g.size.memory >= size.memory)
            if large > sum(_times(size, room) for room in rooms):
                return False
        return True

    @staticmethod
    def _slots(group: Group, room: Sequence[int]) -> int:
        slots = _times(group.size, room)
        return min(slots, 1) if group.one_per_node else slots


def _times(size: Amounts, room: Sequence[int]) -> int:
    return max(0, min(room[0] // size.cpu, room[1] // size.memory, room[2]))


def _blocking(hosts: Sequence[Host], groups: Sequence[Group]) -> tuple[str, ...]:
    """Groups that cannot be placed together, of which none can be left out: what is to be changed is among them."""
    searches = _Searches(hosts)
    needed = list(groups)
    # The easy ones are left out first, so that what remains is hard by itself; many at once as long as that goes well.
    waiting = sorted(groups, key=lambda g: (g.size.cpu * g.count, g.name))
    many = len(waiting) // 2
    while waiting and searches.left > 0:
        out = waiting[: max(1, many)]
        without = [each for each in needed if each not in out]
        if searches(without) is None:
            needed, waiting = without, waiting[len(out) :]
        elif len(out) == 1:
            waiting = waiting[1:]
        else:
            many //= 2
    return tuple(group.name for group in needed)


def fewest_less(hosts: Sequence[Host], groups: Sequence[Group], among: Iterable[str]) -> tuple[str, int] | None:
    """The group of ``among`` that has to give up the fewest pods for all to find a node, and what it then has."""
    searches = _Searches(hosts)
    best: tuple[int, int, str, int] | None = None
    for group in groups:
        if group.name not in among or searches.left <= 0:
            continue
        for count in range(group.count - 1, 0, -1):
            fewer = group.count - count
            if best is not None and (fewer, group.size.cpu) >= best[:2]:
                break
            if searches([replace(g, count=count) if g is group else g for g in groups]):
                best = (fewer, group.size.cpu, group.name, count)
                break
    return None if best is None else (best[2], best[3])
