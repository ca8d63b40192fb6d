"""Whether the first step of a roll-out finds a node, with every other pod where it is (X-07)."""

from dataclasses import replace

from checks import fit
from checks.findings import Severity
from checks.placement import Group, Host, Outcome, judge, search
from checks.workloads import Amounts, Container, Kind, Workload
from settings.model import Placement, Resources, Settings
from tests import stacks

GIB = 2**30


def placed(nodes: dict[str, int], pods: dict[str, int], jobs: dict[str, int] | None = None) -> fit.Placed:
    """Nodes and single pods by their millicores; those of ``jobs`` end."""
    hosts = []
    for name, cpu in nodes.items():
        size = Amounts(cpu=cpu, memory=64 * GIB)
        hosts.append(Host(name=name, zone=name, capacity=size, free=size))
    owners = [_owner(name, cpu, Kind.DEPLOYMENT) for name, cpu in pods.items()]
    owners += [_owner(name, cpu, Kind.JOB) for name, cpu in (jobs or {}).items()]
    groups = tuple(Group(name=each.name, count=1, size=each.requests, hosts=frozenset(nodes)) for each in owners)
    return fit.Placed(
        workloads=tuple(owners),
        hosts=tuple(hosts),
        groups=groups,
        verdict=judge(hosts, groups),
        jobs=frozenset(jobs or ()),
    )


def _owner(name: str, cpu: int, kind: Kind) -> Workload:
    size = Resources(cpu=f"{cpu}m", memory="128Mi")
    return Workload(
        name=name,
        kind=kind,
        path=f"services.{name}",
        placement=Placement(),
        max_unavailable=0,
        containers=(Container(name=name, path=f"services.{name}", requests=size, limits=size),),
    )


def found(stack: fit.Placed, *, strict: bool = True) -> list[tuple[str, Severity, str]]:
    settings = stacks.settings("mainnet")
    told = fit.find(_with(settings, strict=strict), stack)
    return [(each.name, each.severity, each.path) for each in told if each.name.startswith("roll-out")]


def _with(settings: Settings, *, strict: bool) -> Settings:
    environment = settings.environment.model_copy(update={"refuse_tight_fit": strict})
    cluster = settings.cluster.model_copy(update={"nodes": {}})
    return settings.model_copy(update={"environment": environment, "cluster": cluster})


def test_a_surge_pod_that_no_placement_holds_is_refused() -> None:
    stack = placed({"a": 1000}, {"large": 600})
    assert found(stack) == [("roll-out-stuck", Severity.REFUSE, "services.large.replicas")]


def test_a_surge_pod_that_would_fit_if_the_others_moved_is_not_taken_for_one_that_fits() -> None:
    """The small pods leave 400m on each node, and nobody moves them; one placement of all four exists."""
    stack = placed({"a": 1000, "b": 1000}, {"large": 600, "one": 300, "two": 300})
    assert stack.verdict.outcome is Outcome.FITS
    large = next(group for group in stack.groups if group.name == "large")
    assert search(stack.hosts, [replace(each, count=2) if each is large else each for each in stack.groups])
    assert found(stack) == [("roll-out-tight", Severity.REFUSE, "services.large.replicas")]
    assert found(stack, strict=False) == [("roll-out-tight", Severity.REPORT, "services.large.replicas")]


def test_a_surge_pod_that_finds_room_is_no_finding() -> None:
    assert found(placed({"a": 1000, "b": 1000}, {"large": 600, "one": 300})) == []


def test_a_surge_pod_waits_for_a_job_and_is_not_stuck() -> None:
    assert found(placed({"a": 1000}, {"one": 400}, jobs={"dump": 400})) == []
