"""Fit, second part: every pod finds a node, in the steady state, beside the jobs, in a roll-out and with nodes lost."""

import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from checks.findings import Finding, Severity
from checks.placement import Group, Host, Outcome, Placement, Scheduler, Verdict, fewest_less, judge, search
from checks.schedule import overlapping
from checks.workloads import Amounts, Kind, Workload, millicores, whole_bytes, workloads
from settings.model import Cluster, Settings
from settings.rules_placement import candidates
from settings.rules_placement import hosts as allowed_hosts

# With many nodes, the placements of a few orders of arrival stand for all in the question what a lost node leaves.
PLACEMENT_PODS = 4_000
# Names in one finding.
NAMED = 4


@dataclass(frozen=True, kw_only=True)
class Placed:
    """The pods of a stack on its nodes: what was asked, and the verdict on the steady state with the jobs beside it."""

    workloads: tuple[Workload, ...]
    hosts: tuple[Host, ...]
    groups: tuple[Group, ...]
    verdict: Verdict
    jobs: frozenset[str]

    @cached_property
    def workload(self) -> Mapping[str, Workload]:
        """Workloads by name."""
        return {each.name: each for each in self.workloads}

    @property
    def samples(self) -> tuple[Placement, ...]:
        """The witnesses to ask what-if questions of: all of a small stack, few of a large one."""
        pods = sum(group.count for group in self.groups)
        return self.verdict.placements[: max(1, PLACEMENT_PODS // max(1, pods * len(self.hosts)))]


def placed(settings: Settings) -> Placed:
    """Judge the placement of a stack: the steady state with the set of jobs that makes it hardest."""
    every = workloads(settings)
    nodes = hosts(settings.cluster)
    jobs = {each.name for each in every if not each.lasting}
    result: Placed | None = None
    for names in tuple(overlapping(each for each in every if each.name in jobs)) or (frozenset[str](),):
        groups = tuple(group(each, settings.cluster) for each in every if each.lasting or each.name in names)
        judged = Placed(
            workloads=every, hosts=nodes, groups=groups, verdict=judge(nodes, groups), jobs=frozenset(names)
        )
        if result is None or _rank(judged.verdict) > _rank(result.verdict):
            result = judged
        if judged.verdict.outcome is Outcome.CANNOT:
            break  # nothing is harder, and to tell what blocks takes its time
    if result is None:
        raise AssertionError("there is always one set of jobs, be it empty")
    return result


def hosts(cluster: Cluster) -> tuple[Host, ...]:
    """The declared nodes, less what Fabric and the system use."""
    found = []
    for name, node in cluster.nodes.items():
        capacity = Amounts(cpu=millicores(node.cpu), memory=whole_bytes(node.memory))
        free = Amounts(
            cpu=capacity.cpu - millicores(node.reserved_cpu),
            memory=capacity.memory - whole_bytes(node.reserved_memory),
        )
        found.append(Host(name=name, zone=node.zone, capacity=capacity, free=free))
    return tuple(found)


def group(workload: Workload, cluster: Cluster) -> Group:
    """A workload as the scheduler sees it."""
    prefer = workload.placement.prefer
    return Group(
        name=workload.name,
        count=workload.replicas,
        size=workload.requests,
        hosts=frozenset(allowed_hosts(workload.placement, cluster)),
        preferred=frozenset(candidates(prefer, cluster)) if prefer else frozenset(),
        one_per_node=workload.one_per_node,
        volume=workload.volume,
        spread=workload.kind is Kind.DEPLOYMENT and workload.replicas >= 2,
    )


@dataclass(frozen=True, kw_only=True)
class Loss:
    """What the loss of nodes leaves.

    Attributes:
        nodes: The lost nodes.
        outcome: Whether the pods that may move find another node.
        pending: Workloads of which one does not, at least in some order of arrival.
        tied: Workloads whose pods wait for their volumes' node to return.
        without_majority: Workloads with volumes of which at most half of the pods remain.
    """

    nodes: tuple[str, ...]
    outcome: Outcome
    pending: tuple[str, ...] = ()
    tied: tuple[str, ...] = ()
    without_majority: tuple[str, ...] = ()


def lost(stack: Placed, nodes: Sequence[str]) -> Loss:
    """What the loss of nodes leaves, over all sampled placements."""
    pending: set[str] = set()
    tied: set[str] = set()
    split: set[str] = set()
    clean = 0
    for placement in stack.samples:
        moved = displaced(stack, placement, nodes)
        for name, missing in moved.tied.items():
            workload = stack.workload[name]
            if workload.kind is Kind.STATEFUL_SET and missing * 2 >= workload.replicas:
                split.add(name)
        pending |= moved.homeless.keys()
        tied |= moved.tied.keys()
        clean += not moved.homeless
    if not pending:
        outcome = Outcome.FITS
    elif clean or _freely(stack, nodes):
        outcome = Outcome.TIGHT
    else:
        outcome = Outcome.CANNOT
    return Loss(
        nodes=tuple(nodes),
        outcome=outcome,
        pending=tuple(sorted(pending)),
        tied=tuple(sorted(tied)),
        without_majority=tuple(sorted(split)),
    )


@dataclass(frozen=True, kw_only=True)
class Displaced:
    """Pods of lost nodes that are not running again, by workload: without room, or waiting for their volume's node."""

    homeless: Counter[str]
    tied: Counter[str]


def displaced(stack: Placed, placement: Placement, nodes: Sequence[str]) -> Displaced:
    """Take nodes away from a placement: pods elsewhere stay, volumes stay, and the rest looks for room."""
    survivors = [host for host in stack.hosts if host.name not in nodes]
    index = {host.name: number for number, host in enumerate(survivors)}
    scheduler = Scheduler(survivors, stack.groups, random.Random(0))  # noqa: S311 - no secret depends on it
    moving: list[int] = []
    tied: Counter[str] = Counter()
    for number, each in enumerate(stack.groups):
        for host in placement.get(each.name, ()):
            if host in index:
                scheduler.put(number, index[host])
            elif stack.workload[each.name].tied:
                tied[each.name] += 1
            else:
                moving.append(number)
    # The small pods first: what they leave is the least for the large.
    moving.sort(key=lambda number: (stack.groups[number].size.cpu, stack.groups[number].size.memory))
    return Displaced(homeless=Counter(scheduler.schedule(moving)), tied=tied)


def _freely(stack: Placed, nodes: Sequence[str]) -> bool:
    """Whether all movable pods would fit on the nodes that are left, were every one of them placed anew."""
    placement = stack.samples[0]
    survivors = {host.name: host for host in stack.hosts if host.name not in nodes}
    movable = []
    for each in stack.groups:
        if not stack.workload[each.name].tied:
            movable.append(each)
            continue
        for name in placement.get(each.name, ()):
            if name in survivors:
                host = survivors[name]
                free = Amounts(cpu=host.free.cpu - each.size.cpu, memory=host.free.memory - each.size.memory)
                survivors[name] = replace(host, free=free, pods=host.pods - 1)
    return search(tuple(survivors.values()), movable) is not None


def find(settings: Settings, stack: Placed) -> Iterator[Finding]:
    """Pods that find no node, or may not."""
    if stack.verdict.outcome is Outcome.CANNOT:
        yield _cannot(stack)
        return
    if stack.verdict.outcome is Outcome.TIGHT:
        yield _tight(settings, stack)
    if not stack.verdict.placements:
        return
    yield from _surge(settings, stack)
    for name in settings.cluster.nodes:
        yield from _without(stack, lost(stack, [name]))


def _cannot(stack: Placed) -> Finding:
    blocking = [stack.workload[name] for name in stack.verdict.blocking]
    counted = listed([f"{each.name} ({each.replicas})" for each in blocking])
    together = "together " if len(blocking) > 1 else ""
    path, got = _asked(blocking[-1])
    less = fewest_less(stack.hosts, stack.groups, {each.name for each in blocking if each.kind is Kind.DEPLOYMENT})
    return Finding(
        name="fit-nodes",
        severity=Severity.REFUSE,
        acceptable=False,
        path=path,
        problem=f"no placement on the nodes exists: {counted} {together}have no room",
        got=f"'{got}'",
        fix=_fix(stack, less, "lower their requests, widen their placement, or add a node"),
    )


def _tight(settings: Settings, stack: Placed) -> Finding:
    pending = [stack.workload[name] for name in stack.verdict.pending]
    exists = "a placement exists" if stack.verdict.placements else "a placement could not be ruled out"
    refused = settings.environment.refuse_tight_fit
    path, got = _asked(pending[0])
    return Finding(
        name="fit-tight",
        severity=Severity.REFUSE if refused else Severity.REPORT,
        resilience=True,
        path=path,
        problem=f"{exists}, but the scheduler may miss it and leave {listed([each.name for each in pending])} pending",
        got=f"'{got}'",
        fix="lower its replicas or requests, add a node, or accept fit-tight with a reason and a day",
    )


def _surge(settings: Settings, stack: Placed) -> Iterator[Finding]:
    """The surge pod of a workload that may miss none needs a node while all others stay where they are (X-07).

    Jobs do not: they end, and it waits for them.
    """
    lasting = tuple(each for each in stack.groups if stack.workload[each.name].lasting)
    scattered = tuple(_as_placed(stack.hosts, lasting, placement) for placement in stack.samples)
    tight = []
    for number, each in enumerate(lasting):
        workload = stack.workload[each.name]
        if workload.kind is not Kind.DEPLOYMENT or workload.max_unavailable > 0:
            continue
        if all(scheduler.has_room(number) for scheduler in scattered):
            continue
        one_more = [replace(g, count=g.count + 1) if g is each else g for g in lasting]
        if search(stack.hosts, one_more) is None:
            less = fewest_less(stack.hosts, one_more, {g.name for g in lasting if g is not each})
            yield Finding(
                name="roll-out-stuck",
                severity=Severity.REFUSE,
                acceptable=False,
                path=_replicas_path(workload),
                problem=f"no roll-out of {workload.name} could begin: its surge pod finds no node",
                got=f"'{workload.replicas}'",
                fix=_fix(stack, less, "lower its requests, or add a node"),
            )
            return
        tight.append(workload)
    if tight:
        yield Finding(
            name="roll-out-tight",
            severity=Severity.REFUSE if settings.environment.refuse_tight_fit else Severity.REPORT,
            resilience=True,
            path=_replicas_path(tight[0]),
            problem=f"a roll-out of {listed([each.name for each in tight])} may not begin: a surge pod may find no node"
            " while the other pods stay where they are",
            got=f"'{tight[0].replicas}'",
            fix="lower its requests, add a node, or accept roll-out-tight with a reason and a day",
        )


def _as_placed(hosts: Sequence[Host], groups: Sequence[Group], placement: Placement) -> Scheduler:
    """A scheduler that finds the pods of these groups where a placement has them."""
    scheduler = Scheduler(hosts, groups, random.Random(0))  # noqa: S311 - no secret depends on it
    index = {host.name: number for number, host in enumerate(hosts)}
    for number, each in enumerate(groups):
        for host in placement.get(each.name, ()):
            scheduler.put(number, index[host])
    return scheduler


def _without(stack: Placed, loss: Loss) -> Iterator[Finding]:
    """One finding per node whose loss is more than a smaller copy of the stack."""
    (node,) = loss.nodes
    wrong = []
    if loss.without_majority:
        wrong.append(f"leaves {listed(loss.without_majority)} without a majority")
    if loss.outcome is not Outcome.FITS:
        may = "leaves" if loss.outcome is Outcome.CANNOT else "may leave"
        wrong.append(f"{may} {listed(loss.pending)} pending")
    if wrong:
        single = all(stack.workload[name].replicas == 1 for name in loss.without_majority)
        more = "run three instances on three nodes" if loss.without_majority and single else "free room on other nodes"
        yield Finding(
            name=f"fit-node-lost-{node}",
            severity=Severity.REPORT,
            resilience=True,
            path=f"cluster.nodes.{node}",
            problem=f"its loss {' and '.join(wrong)}",
            fix=f"{more}, or accept fit-node-lost-{node} with a reason and a day",
        )


def _rank(verdict: Verdict) -> int:
    return list(Outcome).index(verdict.outcome)


def _fix(stack: Placed, less: tuple[str, int] | None, otherwise: str) -> str:
    return f"lower {_replicas_path(stack.workload[less[0]])} to {less[1]}, or {otherwise}" if less else otherwise


def _asked(workload: Workload) -> tuple[str, str]:
    """The setting to lower and its value: the number of pods, or the size of what has one pod."""
    if workload.lasting and workload.replicas_key is not None:
        return _replicas_path(workload), str(workload.replicas)
    container = workload.containers[0]
    return f"{container.path}.{container.requests_key}.cpu", container.requests.cpu


def _replicas_path(workload: Workload) -> str:
    return f"{workload.path}.{workload.replicas_key}"


def listed(names: Sequence[str]) -> str:
    """Names in a finding: a few, and how many more."""
    shown = ", ".join(names[:NAMED])
    return shown if len(names) <= NAMED else f"{shown} and {len(names) - NAMED} more"
