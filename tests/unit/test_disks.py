"""Volumes on disks: what may and what must come to a node is what all placements together show."""

from collections.abc import Iterator
from datetime import date
from itertools import combinations, product
from typing import Any

import pytest

from checks import fit
from checks.disks import disks, find
from checks.findings import Severity
from checks.prove import prove
from checks.workloads import Kind, whole_bytes, workloads
from settings.loader import load
from settings.model import Settings
from settings.stackfile import merge
from tests import stacks

FIRST, SECOND, THIRD, WORKER = "srv1089618", "srv1089624", "srv1092158", "srv1117946"


def stack(*patches: dict[str, Any]) -> Settings:
    config = stacks.complete("mainnet")
    for patch in patches:
        config = merge(config, patch)
    return load(config)


def on(*names: str) -> dict[str, Any]:
    """Backups that may be on these nodes."""
    return {"backups": {"placement": {"require": {"hostnames": list(names)}}}}


def disk(node: str, size: str) -> dict[str, Any]:
    return {"cluster": {"nodes": {node: {"disk": size}}}}


def single(*names: str) -> dict[str, Any]:
    """Databases of one instance each, on one of these nodes."""
    placement = {"databases": {"require": {"label": None, "hostnames": list(names)}}}
    return {"postgres": {"replicas": 1}, "redis": {"replicas": 1}, "placement": placement}


def placements(settings: Settings) -> Iterator[dict[str, int]]:
    """Bytes of volumes on each node, in every placement that the rules allow."""
    claiming = [each for each in workloads(settings) if each.claims]
    choices = []
    for each in claiming:
        count = each.replicas if each.kind is Kind.STATEFUL_SET else 1
        assert count == 1 or each.one_per_node
        choices.append(list(combinations(sorted(fit.group(each, settings.cluster).hosts), count)))
    for chosen in product(*choices):
        taken = dict.fromkeys(settings.cluster.nodes, 0)
        for each, nodes in zip(claiming, chosen, strict=True):
            for node in nodes:
                taken[node] += sum(whole_bytes(claim.storage) for claim in each.claims)
        yield taken


@pytest.mark.parametrize(
    "patches",
    [
        (),
        (on(FIRST, WORKER),),
        (on(FIRST, SECOND, THIRD),),
        (single(FIRST, SECOND), on(SECOND, WORKER)),
        (single(THIRD), on(THIRD)),
        ({"placement": {"databases": {"require": None}}},),
    ],
)
def test_the_most_and_the_certain_are_those_of_all_placements(patches: tuple[dict[str, Any], ...]) -> None:
    settings = stack(*patches)
    every = list(placements(settings))
    for each in disks(settings):
        assert each.most == max(taken[each.node] for taken in every), each.node
        assert each.certain == min(taken[each.node] for taken in every), each.node


@pytest.mark.parametrize("name", ["mainnet", "testnet", "devnet"])
def test_the_volumes_of_a_committed_stack_fit_wherever_they_are(name: str) -> None:
    assert list(find(stacks.settings(name))) == []


def test_the_volumes_of_all_environments_fit_on_their_disks_together() -> None:
    """Each one's proof knows of itself alone; they share the nodes."""
    every = [disks(stacks.settings(name)) for name in ("mainnet", "testnet", "devnet")]
    for of_a_node in zip(*every, strict=True):
        assert sum(each.most for each in of_a_node) <= of_a_node[0].usable, of_a_node[0].node


def test_what_must_be_on_a_disk_too_small_is_refused_and_what_may_is_reported() -> None:
    """120Gi of databases must be on each control-plane node; 130Gi of backups may be on one of two."""
    may = on(FIRST, WORKER)
    (refused,) = find(stack(may, disk(FIRST, "100Gi")))
    assert (refused.severity, refused.name) == (Severity.REFUSE, f"fit-disk-{FIRST}")
    assert "no other node, 120Gi when full" in refused.problem
    (reported,) = find(stack(may, disk(FIRST, "200Gi")))
    assert str(reported) == (
        f"cluster.nodes.{FIRST}.disk: too small for all the volumes that may come to it, 250Gi when full, and the 5 %"
        " that stay free. Got '200Gi'. Fix: a disk of 269474Mi, or lower backups.pointInTime.storage or"
        " backups.postgres.storage or backups.redis.storage or postgres.storage or redis.storage, or narrow a placement"
    )
    assert reported.severity is Severity.REPORT
    assert list(find(stack(may, disk(FIRST, "269474Mi")))) == []


def test_a_disk_that_is_filled_on_purpose_can_be_accepted() -> None:
    accepted = {f"fit-disk-{WORKER}": {"reason": "the backups stay small", "expires": "2027-01-31"}}
    settings = stack(disk(WORKER, "120Gi"), {"accepted": accepted})
    judged = prove(settings, date(2026, 11, 25))
    assert (judged.refused, [each.finding.name for each in judged.accepted]) == ((), list(accepted))
