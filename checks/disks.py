"""Fit, third part: the volumes that may come to a node fit on its disk (CL-09).

K3s's local volumes are directories of the node, and take what is written to them: neither the scheduler nor the
provisioner knows of a disk's size. So it is no placement that is judged, but the most that the rules let come to a
node.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from checks.findings import Finding, Severity
from checks.quota import mebibytes
from checks.workloads import Kind, Workload, whole_bytes, workloads
from settings.model import Settings
from settings.problems import shown
from settings.rules_placement import hosts

# K3s's kubelet evicts pods from a node with less of its disk left (https://github.com/k3s-io/k3s/issues/7578).
KEPT_PERCENT = 5


@dataclass(frozen=True, kw_only=True)
class Disk:
    """The disk of a node, in bytes.

    Attributes:
        usable: What volumes may take of it.
        most: All volumes that may come to the node, full.
        certain: Those of them that have no other node to be on.
        paths: The settings that size them.
    """

    node: str
    usable: int
    most: int
    certain: int
    paths: tuple[str, ...]


def disks(settings: Settings) -> tuple[Disk, ...]:
    """The disk of every declared node."""
    claiming = [(each, hosts(each.placement, settings.cluster)) for each in workloads(settings) if each.claims]
    found = []
    for name, node in settings.cluster.nodes.items():
        here = [(each, len(nodes)) for each, nodes in claiming if name in nodes]
        found.append(
            Disk(
                node=name,
                usable=whole_bytes(node.disk) * (100 - KEPT_PERCENT) // 100,
                most=sum(_most(each) for each, _ in here),
                certain=sum(_most(each) for each, nodes in here if nodes == 1 or _everywhere(each, nodes)),
                paths=tuple(sorted({claim.path for each, _ in here for claim in each.claims})),
            )
        )
    return tuple(found)


def _most(workload: Workload) -> int:
    """The volumes that a workload may have on one node."""
    instances = workload.replicas if workload.kind is Kind.STATEFUL_SET and not workload.one_per_node else 1
    return instances * sum(whole_bytes(claim.storage) for claim in workload.claims)


def _everywhere(workload: Workload, nodes: int) -> bool:
    """Whether each of its nodes has an instance."""
    return workload.one_per_node and workload.replicas >= nodes


def find(settings: Settings) -> Iterator[Finding]:
    """Disks that the volumes fill before they are full themselves."""
    for disk in disks(settings):
        if disk.most <= disk.usable:
            continue
        certain = disk.certain > disk.usable
        volumes = "the volumes that have no other node" if certain else "all the volumes that may come to it"
        size = disk.certain if certain else disk.most
        needed = -(-size * 100 // (100 - KEPT_PERCENT))
        narrower = "" if certain else ", or narrow a placement"
        yield Finding(
            name=f"fit-disk-{disk.node}",
            severity=Severity.REFUSE if certain else Severity.REPORT,
            resilience=not certain,
            path=f"cluster.nodes.{disk.node}.disk",
            problem=f"too small for {volumes}, {mebibytes(size)} when full, and the {KEPT_PERCENT} % that stay free",
            got=shown(settings.cluster.nodes[disk.node].disk),
            fix=f"a disk of {mebibytes(needed)}, or lower {' or '.join(disk.paths)}{narrower}",
        )
