"""The reachability proof and a policy engine that is not ours say the same, cell by cell and port by port."""

import os
from collections.abc import Iterable, Iterator, Mapping

import pytest

from checks.policy_engine import ANY_PORT, Direction, PodPort, allowed
from checks.reachability import Declared, declaration, foreign_parties, matrix, own_parties
from operations.manifest import in_camel_case
from settings.loader import load
from settings.model import Settings
from settings.stackfile import merge
from tests import capture, cyclonus, stacks
from tests.cyclonus import Asked, Cell, Object
from tests.policy_mutants import mutants

STACKS: dict[str, tuple[str, Mapping[str, object]]] = {
    "mainnet": ("mainnet", {}),
    "mainnet with copies off site": ("mainnet", stacks.OFF_SITE),
    "testnet": ("testnet", {}),
    "devnet": ("devnet", {}),
}
MUTANTS = int(os.environ.get("GX_POLICY_MUTANTS", "24"))


def settings(stack: str, patch: Mapping[str, object]) -> Settings:
    return load(merge(stacks.complete(stack), patch), stack=stack)


def every_cell(values: Settings) -> list[Cell]:
    """Both directions of each pod that policies are about, with every other end; none stands for others."""
    declared = declaration(values)
    own = [party.end for party in own_parties(values)]
    foreign = [party.end for party in foreign_parties(values, declared)]
    judged = [*own, *(end for end in foreign if end.namespace in declared)]
    return [(direction, end, other) for direction in Direction for end in judged for other in (*own, *foreign)]


def ports(*declared: Declared) -> tuple[PodPort, ...]:
    """Every port of every policy."""
    rules = [rule for each in declared for of in each.values() for p in of for rule in (*p.ingress, *p.egress)]
    return cyclonus.ports_of(port for rule in rules for port in rule.ports)


def opened(found: Iterable[PodPort], asked: Iterable[PodPort]) -> frozenset[PodPort]:
    """Ports as our engine tells them, one by one."""
    return frozenset(asked) if ANY_PORT in found else frozenset(found)


def as_objects(declared: Declared) -> Iterator[Object]:
    """Policies as the API has them."""
    for namespace, policies in declared.items():
        for policy in policies:
            yield {"metadata": {"name": policy.name, "namespace": namespace}, "spec": in_camel_case(policy.spec())}


@pytest.mark.parametrize("name", STACKS)
def test_both_judge_every_cell_of_what_a_stack_declares_alike(name: str) -> None:
    """Ours reads the program's own records, the other the objects that the engine gets."""
    stack, patch = STACKS[name]
    values = settings(stack, patch)
    declared, cells = declaration(values), every_cell(values)
    asked = ports(declared)
    objects = [policy.inputs for policy in capture.stack(stack, patch).of("NetworkPolicy")]
    (theirs,) = cyclonus.judge([Asked(policies=objects, cells=cells)], asked)
    different = [told(cell, ours, found) for cell, ours, found in compared(declared, cells, asked, theirs)]
    count = sum(len(found) for found in theirs)
    print(f"{name}: {len(cells)} cells of {len(asked)} ports, {count} open")
    assert not different, "\n".join(different[:20])
    assert count > 100


def compared(
    declared: Declared, cells: list[Cell], asked: tuple[PodPort, ...], theirs: list[frozenset[PodPort]]
) -> Iterator[tuple[Cell, frozenset[PodPort], frozenset[PodPort]]]:
    """Cells on which the two differ, with what each finds open."""
    for (direction, own, other), found in zip(cells, theirs, strict=True):
        ours = opened(allowed(declared.get(own.namespace, ()), direction, own, other), asked)
        if ours != found:
            yield (direction, own, other), ours, found


def told(cell: Cell, ours: frozenset[PodPort], theirs: frozenset[PodPort]) -> str:
    direction, own, other = cell
    return f"{direction} of {own.name} with {other.name}: ours {sorted(ours)}, theirs {sorted(theirs)}"


@pytest.mark.parametrize(("name", "about"), [("mainnet with copies off site", ""), ("testnet", "redis")])
def test_both_find_every_rule_that_is_removed_or_loosened(name: str, about: str) -> None:
    """Each changes a cell to something that is not meant, and the two agree on all the rest as well.

    That ours finds every one is among the fast tests; here are MUTANTS of them, evenly spread.

    But for the default deny: an allow selects every pod in each direction too, so that no cell hangs on it alone.
    """
    values = settings(*STACKS[name])
    every = [(what, declared) for what, declared in mutants(values) if about in what.partition(":")[0]]
    every = every[:: max(1, len(every) // MUTANTS)]
    asked = ports(*(declared for _, declared in every))
    tables = [list(matrix(values, declared)) for _, declared in every]
    questions = [
        Asked(policies=list(as_objects(declared)), cells=[(c.direction, c.own.end, c.other.end) for c in cells])
        for (_, declared), cells in zip(every, tables, strict=True)
    ]
    answers = cyclonus.judge(questions, asked)
    survived, different = [], []
    for (what, _), cells, theirs in zip(every, tables, answers, strict=True):
        pairs = list(zip(cells, theirs, strict=True))
        different += [f"{what}: {cell.pair}" for cell, found in pairs if opened(cell.open, asked) != found]
        if all(found == frozenset(cell.meant) for cell, found in pairs):
            survived.append(what)
    print(f"{name}: {len(every)} changed sets of policies, {sum(map(len, tables))} cells")
    assert not different, different[:20]
    assert set(survived) <= {"default-deny-all: removed"}
