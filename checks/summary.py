"""All that the proofs know of a stack as plain values: for a reader, for JSON, and to compare with another version."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from itertools import takewhile

from checks import drain, failover, fit, prove, quota
from checks.disks import disks
from checks.findings import Accepted, Finding, Judgement, judge
from checks.fit import Loss, Placed, listed
from checks.intent import intent
from checks.placement import Outcome
from checks.quota import cores, mebibytes
from checks.reachability import declaration, own_parties
from checks.tables import Table
from checks.workloads import NOTHING, Kind, Workload, whole_bytes
from settings.model import OriginState, Settings


@dataclass(frozen=True, kw_only=True)
class Line:
    """A finding: its name, and the one line that tells it."""

    name: str
    text: str


@dataclass(frozen=True, kw_only=True)
class Room:
    """One number of the quota. ``peak`` is the steady state and the most that jobs add; ``free`` is left then."""

    path: str
    hard: str
    steady: str
    peak: str
    free: str
    used_percent: int
    jobs: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Node:
    """A node with one placement of the stack on it. ``lost`` and ``drained`` say what its loss and its drain leave.

    ``disk_left`` is what every volume that may come to it leaves when full, and the reserve of the kubelet.
    """

    name: str
    pods: int
    cpu_left: str
    memory_left: str
    disk_left: str
    lost: str
    drained: str


@dataclass(frozen=True, kw_only=True)
class Switch:
    """One state of the origins' switches, and what is left if the nodes out of DNS are dead as well."""

    enabled: tuple[str, ...]
    now: bool
    left: str


@dataclass(frozen=True, kw_only=True)
class RollOut:
    """How a workload is replaced pod by pod; ``budget`` is what a drain must leave of it, None without one."""

    name: str
    kind: str
    pods: int
    surge: int
    may_miss: int
    budget: int | None
    requests: str


@dataclass(frozen=True, kw_only=True)
class Reach:
    """What the reachability proof compared: declared policies with lines of intent, over kinds of pods."""

    policies: int
    intended: int
    pods: int
    unproven: int


@dataclass(frozen=True, kw_only=True)
class Summary:
    """The whole of it."""

    refused: tuple[Line, ...]
    expired: tuple[Line, ...]
    reported: tuple[Line, ...]
    accepted: tuple[Line, ...]
    placement: str
    quota: tuple[Room, ...]
    nodes: tuple[Node, ...]
    failover: tuple[Switch, ...]
    hostname: str | None
    roll_outs: tuple[RollOut, ...]
    reach: Reach

    def refuses(self, *, strict: bool) -> bool:
        """Whether a deployment, or with ``strict`` a PR check or a nightly run, stops here."""
        return bool(self.refused or (strict and self.expired))


def summarise(settings: Settings, today: date) -> Summary:
    """Prove a stack and keep what was found."""
    stack = fit.placed(settings)
    found = judge(prove.findings(settings, stack, today), settings, today)
    return Summary(
        refused=_lines(found.refused),
        expired=_lines(found.strict),
        reported=_lines(found.reported),
        accepted=_lines(found.accepted),
        placement=_placement(stack),
        quota=tuple(_quota(settings, stack)),
        nodes=tuple(_nodes(settings, stack)),
        failover=tuple(_failover(settings, stack)),
        hostname=settings.dns.hostname if settings.dns else None,
        roll_outs=tuple(_roll_out(each) for each in stack.workloads if each.lasting),
        reach=_reach(settings, found),
    )


def _lines(findings: tuple[Finding | Accepted, ...]) -> tuple[Line, ...]:
    return tuple(
        Line(name=(each.finding if isinstance(each, Accepted) else each).name, text=str(each)) for each in findings
    )


def _placement(stack: Placed) -> str:
    jobs = f", with the jobs {', '.join(sorted(stack.jobs))} beside them" if stack.jobs else ""
    return {
        Outcome.FITS: f"fits: every pod finds a node in every order of arrival that was tried{jobs}",
        Outcome.TIGHT: f"tight: the scheduler may leave {listed(stack.verdict.pending)} pending{jobs}",
        Outcome.CANNOT: f"cannot: no placement of {listed(stack.verdict.blocking)} exists{jobs}",
    }[stack.verdict.outcome]


def _quota(settings: Settings, stack: Placed) -> Iterator[Room]:
    for row in quota.headroom(settings.quota, stack.workloads):
        written = row.dimension.written
        yield Room(
            path=row.dimension.path,
            hard=written(row.dimension.hard),
            steady=written(row.steady),
            peak=written(row.peak),
            free=written(row.free),
            used_percent=_percent(row.peak, row.dimension.hard),
            jobs=tuple(sorted(row.jobs)),
        )
    volumes = quota.volumes(stack.workloads)
    claims, storage = settings.quota.persistent_volume_claims, whole_bytes(settings.quota.requests_storage)
    for path, hard, used, written in (
        ("quota.persistentVolumeClaims", claims, volumes.claims, str),
        ("quota.requestsStorage", storage, volumes.storage, mebibytes),
    ):
        yield Room(
            path=path,
            hard=written(hard),
            steady=written(used),
            peak=written(used),
            free=written(hard - used),
            used_percent=_percent(used, hard),
        )


def _percent(used: int, hard: int) -> int:
    """Rounded up, so that only a full quota shows as full, and 100 where nothing is allowed."""
    return -(-used * 100 // hard) if hard else 100


def _nodes(settings: Settings, stack: Placed) -> Iterator[Node]:
    if not stack.verdict.placements:
        return
    placement = stack.verdict.placements[0]
    left = {each.node: each.usable - each.most for each in disks(settings)}
    blocked = {each.node: each.blocked_by for each in drain.drains(stack)}
    for host in stack.hosts:
        here = Counter({name: nodes.count(host.name) for name, nodes in placement.items()})
        used = sum((stack.workload[name].requests * count for name, count in here.items()), NOTHING)
        yield Node(
            name=host.name,
            pods=here.total(),
            cpu_left=cores(host.free.cpu - used.cpu),
            memory_left=mebibytes(host.free.memory - used.memory),
            disk_left=mebibytes(left[host.name]),
            lost=_left(fit.lost(stack, [host.name])),
            drained=f"held up by {listed(blocked[host.name])}" if blocked[host.name] else "ends",
        )


def _left(loss: Loss) -> str:
    """What a loss leaves, in words."""
    said = []
    if loss.without_majority:
        said.append(f"no majority of {listed(loss.without_majority)}")
    if loss.outcome is not Outcome.FITS:
        may = "pending" if loss.outcome is Outcome.CANNOT else "perhaps pending"
        said.append(f"{may}: {listed(loss.pending)}")
    waiting = tuple(name for name in loss.tied if name not in loss.without_majority)
    if waiting:
        said.append(f"a pod less of {listed(waiting)}")
    return "; ".join(said) or "everything runs"


def _failover(settings: Settings, stack: Placed) -> Iterator[Switch]:
    if settings.dns is None:
        return
    names = tuple(settings.dns.origins)
    on = tuple(name for name, state in settings.dns.origins.items() if state is OriginState.ENABLED)
    most = len(names) if len(names) <= failover.ENUMERATED else 1
    for state in takewhile(lambda each: len(names) - len(each.enabled) <= most, failover.states(settings.dns, stack)):
        left = "everything runs" if state.loss is None else _left(state.loss)
        yield Switch(enabled=state.enabled, now=state.enabled == on, left=left)


def _roll_out(workload: Workload) -> RollOut:
    size = workload.requests
    return RollOut(
        name=workload.name,
        kind=str(workload.kind),
        pods=workload.replicas,
        surge=workload.max_surge if workload.kind is Kind.DEPLOYMENT else 0,
        may_miss=workload.max_unavailable,
        budget=workload.min_available,
        requests=f"{cores(size.cpu)} {mebibytes(size.memory)}",
    )


def _reach(settings: Settings, found: Judgement) -> Reach:
    unproven = {each.name for each in (*found.refused, *found.reported) if each.name.startswith("reach-")}
    return Reach(
        policies=sum(len(each) for each in declaration(settings).values()),
        intended=len(intent(settings)),
        pods=len(own_parties(settings)),
        unproven=len(unproven),
    )


# --- words and tables -----------------------------------------------------------------------------------------------


def finding_groups(summary: Summary) -> tuple[tuple[str, tuple[Line, ...]], ...]:
    """The findings by what becomes of them, the worst first."""
    return (
        ("Refused", summary.refused),
        ("Accepted until a day that is over", summary.expired),
        ("Reported", summary.reported),
        ("Accepted", summary.accepted),
    )


def verdict_counts(summary: Summary) -> str:
    """How many findings there are of each kind."""
    counts = (
        (len(summary.refused), "refused"),
        (len(summary.expired), "expired"),
        (len(summary.reported), "reported"),
        (len(summary.accepted) - len(summary.expired), "accepted"),
    )
    said = ", ".join(f"{count} {word}" for count, word in counts if count)
    return f"{said} by the proofs" if said else "no finding of the proofs"


def reach_line(summary: Summary) -> str:
    """What the reachability proof says."""
    reach = summary.reach
    compared = f"{reach.policies} policies and {reach.intended} lines of intent over {reach.pods} kinds of pods"
    if reach.unproven:
        return f"{reach.unproven} differences between {compared}"
    return f"{compared} agree: nothing missing, nothing extra"


def quota_table(rooms: tuple[Room, ...], before: Mapping[str, Room] | None = None) -> Table:
    """The quota; with ``before``, by path, also what was free then."""
    free = ("free",) if before is None else ("free before", "free after")
    rows = []
    for each in rooms:
        used = (each.path.removeprefix("quota."), each.hard, each.steady, each.peak, f"{each.used_percent} %")
        was = () if before is None else (before[each.path].free if each.path in before else "-",)
        rows.append((*used, *was, each.free))
    return Table(header=("quota", "hard", "steady", "peak", "used", *free), rows=tuple(rows))


def node_table(nodes: tuple[Node, ...]) -> Table:
    """The nodes with one placement, and what the loss and the drain of each leave."""
    return Table(
        header=("node", "pods", "CPU left", "memory left", "disk left", "if it is lost", "drain"),
        rows=tuple((n.name, str(n.pods), n.cpu_left, n.memory_left, n.disk_left, n.lost, n.drained) for n in nodes),
    )


def failover_table(switches: tuple[Switch, ...]) -> Table:
    """The states of the switches."""
    return Table(
        header=("in DNS", "now", "if the others are dead"),
        rows=tuple((", ".join(each.enabled), "now" if each.now else "", each.left) for each in switches),
    )


def roll_out_table(roll_outs: tuple[RollOut, ...]) -> Table:
    """How each workload is replaced."""
    return Table(
        header=("workload", "kind", "pods", "one pod requests", "surge", "may miss", "a drain leaves"),
        rows=tuple(
            (
                each.name,
                each.kind,
                str(each.pods),
                each.requests,
                str(each.surge),
                str(each.may_miss),
                "-" if each.budget is None else str(each.budget),
            )
            for each in roll_outs
        ),
    )
