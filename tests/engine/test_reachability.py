"""The policies as the API server holds them, judged by cyclonus, open what the intent means and nothing else."""

import json

import pytest

from checks.policy_engine import Direction
from checks.reachability import declaration, matrix
from sandbox.stacks import render
from settings.standins import read
from tests import cyclonus
from tests.engine.stack import kubectl


@pytest.mark.parametrize("name", ["mainnet", "testnet"])
def test_what_the_api_server_holds_opens_exactly_what_is_meant(deployed: None, name: str) -> None:
    """All policies of the cluster, whoever made them: an allow of a neighbour would show as a path too many."""
    values = read(render(name)).settings
    held = json.loads(kubectl("get", "networkpolicies", "--all-namespaces", "-o", "json"))["items"]
    here = {(each["metadata"]["namespace"], each["metadata"]["name"]) for each in held}
    assert {(namespace, each.name) for namespace, of in declaration(values).items() for each in of} <= here
    cells = list(matrix(values))
    asked = cyclonus.ports_of({port.number for cell in cells for port in (*cell.open, *cell.meant)} - {0})
    cells_asked = [(cell.direction, cell.own.end, cell.other.end) for cell in cells]
    (found,) = cyclonus.judge([cyclonus.Asked(policies=held, cells=cells_asked)], asked)
    pairs = zip(cells, found, strict=True)
    wrong = [f"{cell.pair}: {sorted(each)}" for cell, each in pairs if each != frozenset(cell.meant)]
    assert not wrong, "\n".join(wrong[:20])
    assert len(cells) > 500
    assert {cell.direction for cell in cells} == set(Direction)
