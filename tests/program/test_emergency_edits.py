"""Every edit that a runbook tells to make at night is let through, from every state that a failure leaves.

Nothing is refused but taking the last origin out of DNS, and an edit changes what its runbook says and nothing else.
"""

import functools
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from itertools import product

import pytest

from checks.prove import prove
from operations.report.changes import between
from operations.report.facts import Object
from settings.loader import load
from settings.stackfile import ROOT, merge
from tests import capture, stacks

TODAY = date(2026, 11, 25)
ORIGINS = ("srv1089618", "srv1089624", "srv1092158")
NODES = (*ORIGINS, "srv1117946")
Config = Mapping[str, object]


@dataclass(frozen=True)
class Edit:
    """An edit of the stack file, and where it is documented: a file and words of it."""

    what: str
    patch: Config
    document: str
    words: str


def edits() -> Iterator[Edit]:
    """All of them: of origins every one, of nodes one with Nginx and one without."""
    for node, state in product(ORIGINS, ("disabled", "enabled")):
        words = f"set the {'node' if state == 'disabled' else 'line'}"
        yield Edit(f"{node} {state}", {"dns": {"origins": {node: state}}}, "runbooks/dns-failover.md", words)
    for node in NODES[-2:]:
        counter = {"edge": {"reprovision": {node: 1}}}
        yield Edit(f"{node} provisioned again", counter, "runbooks/edge-firewall.md", "raise the node's number under")
    firewalls: tuple[tuple[dict[str, str] | None, str], ...] = (
        ({"nodePorts": "count"}, "`nodePorts: count` first"),
        ({"web": "open"}, "`web: open`"),
        (None, "`edge.firewall` from the stack file"),
    )
    for firewall, words in firewalls:
        yield Edit(f"firewall {firewall}", {"edge": {"firewall": firewall}}, "runbooks/edge-firewall.md", words)
    for ordinal in (1, 2):
        yield Edit(
            f"primary {ordinal}",
            {"postgres": {"primaryOrdinal": ordinal}},
            "decisions/0005-one-primary.md",
            "primary",
        )


EDITS = tuple(edits())
# Nodes so full that the scheduler may leave a pod pending.
FULL: Config = {
    "cluster": {
        "nodes": {
            node: {"reservedCpu": reserved}
            for node, reserved in zip(NODES, ("11600m", "9800m", "10900m", "15300m"), strict=True)
        }
    }
}
OVER: Config = {"accepted": {"fit-tight": {"reason": "a node is ordered", "expires": "2026-01-01"}}}
STACKS: dict[str, Config] = {
    "as committed": {},
    "full, accepted until a day that is over": {**FULL, **OVER},
    "full": FULL,
}


def refused(start: str, *names: str) -> tuple[str, ...]:
    """What refuses a stack after edits made one after the other."""
    config = merge(stacks.complete("mainnet"), STACKS[start])
    for name in names:
        config = merge(config, next(each.patch for each in EDITS if each.what == name))
    return proven(json.dumps(config))


@functools.cache
def proven(config: str) -> tuple[str, ...]:
    """Many ways lead to one stack file, which is proven once."""
    return tuple(finding.name for finding in prove(load(json.loads(config)), TODAY).refused)


def off(names: tuple[str, ...]) -> set[str]:
    """Origins that edits have left out of DNS."""
    states = dict(name.split(" ") for name in names if name.endswith(("disabled", "enabled")))
    return {node for node, state in states.items() if state == "disabled"}


@pytest.mark.parametrize("edit", EDITS, ids=lambda edit: edit.what)
def test_an_edit_is_documented(edit: Edit) -> None:
    assert edit.words in (ROOT / "docs" / edit.document).read_text()


def test_full_nodes_refuse_a_stack_in_calm_times_unless_that_is_accepted() -> None:
    """So that the walk below is one past something that refuses."""
    assert [refused(start) for start in STACKS] == [(), (), ("fit-tight",)]


@pytest.mark.parametrize(
    ("start", "failed"),
    [(start, failed) for start in STACKS for failed in (None, *ORIGINS) if failed or start != "full"],
)
def test_after_a_failure_no_edit_is_refused(failed: str | None, start: str) -> None:
    """From the whole stack, and from every one with a node out of DNS."""
    before = () if failed is None else (f"{failed} disabled",)
    for edit in EDITS:
        names = (*before, edit.what)
        # Failing back from an emergency is a calm edit: the proofs are back with it.
        calm = start == "full" and not off(names)
        assert refused(start, *names) == (("fit-tight",) if calm else ()), names


@pytest.mark.parametrize("start", ["as committed", "full"])
def test_with_one_origin_left_nothing_else_is_refused(start: str) -> None:
    """Two failures, to the edge of what is possible and back."""
    for left in ORIGINS:
        rest = tuple(f"{node} disabled" for node in ORIGINS if node != left)
        for edit in EDITS:
            names = (*rest, edit.what)
            expected = ("failover-last-origin",) if off(names) == set(ORIGINS) else ()
            assert refused(start, *names) == expected, names


def declared(patch: Config) -> list[Object]:
    """What mainnet declares with a patch."""
    return [
        Object(type=each.type, name=each.name, urn=each.urn, inputs=each.inputs, protect=each.protect)
        for each in capture.stack("mainnet", patch).resources
        if each.custom
    ]


@pytest.fixture(scope="module")
def whole() -> list[Object]:
    return declared({})


def test_a_failover_deletes_one_record_and_a_fail_back_creates_it(whole: list[Object]) -> None:
    """`1 to delete` and nothing else, as the runbook tells the operator to expect."""
    for node in ORIGINS:
        without = declared({"dns": {"origins": {node: "disabled"}}})
        for pair, operation in (((whole, without), "delete"), ((without, whole), "create")):
            assert [(each.operation, each.name) for each in between(*pair)] == [(operation, f"dns-{node}")]


def test_a_node_that_is_provisioned_again_is_the_only_one_that_is_dialled(whole: list[Object]) -> None:
    for node in NODES[-2:]:
        changes = between(whole, declared({"edge": {"reprovision": {node: 1}}}))
        assert {(each.operation, each.kind) for each in changes} == {("update", "Command")}
        assert all(each.name.startswith(f"{node}-") for each in changes)


def test_a_firewall_that_counts_again_is_one_command_on_every_node(whole: list[Object]) -> None:
    changes = between(whole, declared({"edge": {"firewall": {"nodePorts": "count"}}}))
    assert Counter(each.kind for each in changes) == {"Command": len(NODES)}
