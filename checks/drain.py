"""Drain: any one node can be emptied for maintenance under the disruption budgets, or it is said why not."""

from collections.abc import Iterator
from dataclasses import dataclass

from checks.findings import Finding, Severity
from checks.fit import Placed, displaced, listed
from checks.placement import Placement
from checks.workloads import Workload
from settings.model import Settings


@dataclass(frozen=True, kw_only=True)
class Drain:
    """Whether ``kubectl drain`` of a node ends, and the workloads whose budget holds it up for ever if it does not."""

    node: str
    blocked_by: tuple[str, ...]


def drains(stack: Placed) -> Iterator[Drain]:
    """The drain of every node, in the least favourable of the placements that the fit proof found."""
    for host in stack.hosts:
        held = {name for placement in stack.samples for name in blocked(stack, placement, host.name)}
        yield Drain(node=host.name, blocked_by=tuple(sorted(held)))


def blocked(stack: Placed, placement: Placement, node: str) -> Iterator[str]:
    """Workloads of which a pod on the node can never be evicted, with the pods where a placement has them.

    An eviction is allowed while one pod more than ``minAvailable`` is ready. Evicted pods start elsewhere, if there is
    room and no volume ties them; until then they are missing.
    """
    moved = displaced(stack, placement, [node])
    missing = moved.homeless + moved.tied
    for name, hosts in placement.items():
        workload = stack.workload[name]
        if workload.min_available is None or node not in hosts:
            continue
        spare = workload.replicas - workload.min_available
        # The last pod to go still finds the budget spent by those that found no other node.
        if spare < max(1, missing[name]):
            yield name


def find(settings: Settings, stack: Placed) -> Iterator[Finding]:
    """Budgets that no drain gets past, and nodes that cannot be drained."""
    del settings
    never = [each for each in stack.workloads if _allows_nothing(each)]
    for each in never:
        yield Finding(
            name=f"drain-{each.name}",
            severity=Severity.REPORT,
            resilience=True,
            path=f"{each.path}.{each.replicas_key}",
            problem=f"its disruption budget keeps {each.min_available} of {each.replicas}: none can be evicted",
            got=f"'{each.replicas}'",
            fix="one replica more, or a budget of one less",
        )
    if not stack.verdict.placements:
        return
    for drain in drains(stack):
        held = [name for name in drain.blocked_by if not _allows_nothing(stack.workload[name])]
        if held:
            yield Finding(
                name=f"drain-{drain.node}",
                severity=Severity.REPORT,
                resilience=True,
                path=f"cluster.nodes.{drain.node}",
                problem=f"cannot be drained: {listed(held)} would find no other node, and its budget keeps it",
                fix=f"free room on other nodes, or accept drain-{drain.node} with a reason and a day",
            )


def _allows_nothing(workload: Workload) -> bool:
    return workload.min_available is not None and workload.min_available >= workload.replicas
