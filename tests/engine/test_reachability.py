"""The policies as the API server holds them, judged by cyclonus and by packets, open what is meant and nothing else."""

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import pytest

from checks.intent import Path, Pod, Role, intent, pods
from checks.policy_engine import Direction
from checks.reachability import declaration, matrix
from sandbox.stacks import render
from settings.standins import read
from tests import cyclonus
from tests.engine.packets import DeployedPod, deployed_pods, node_reaches
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


@dataclass(frozen=True, kw_only=True)
class Call:
    """A connection to try: from where, to which pod, and what the intent knows the two as."""

    source: str
    calls: Pod | Role
    target: DeployedPod
    answers: Pod | Role
    port: int

    @property
    def address(self) -> tuple[str, int]:
        """Where it goes."""
        return self.target.address, self.port

    def meant(self, table: tuple[Path, ...]) -> bool:
        """Whether a line of the intent has it."""
        return any(
            _stands(self.calls, path, path.sources)
            and _stands(self.answers, path, path.targets)
            and self.port in path.ports
            for path in table
        )


def _stands(end: Pod | Role, path: Path, roles: tuple[Role, ...]) -> bool:
    if isinstance(end, Pod):
        return end.role in roles and (path.only is None or bool(getattr(end, path.only)))
    return end in roles


def calls(source: str, role: Pod | Role, targets: Sequence[tuple[DeployedPod, Pod | Role]]) -> list[Call]:
    """A call on every port that the targets listen on."""
    return [
        Call(source=source, calls=role, target=target, answers=answers, port=port)
        for target, answers in targets
        for port in sorted(target.listens)
    ]


@pytest.mark.parametrize(("name", "neighbour"), [("mainnet", "testnet"), ("testnet", "mainnet")])
def test_packets_go_exactly_where_it_is_meant(deployed: None, name: str, neighbour: str) -> None:
    """Every running pod, a neighbour's, Fabric's and each other node call on every port that a pod listens on."""
    values = read(render(name)).settings
    assert values.fabric
    kinds = {pod.app: pod for pod in pods(values)}
    here = [(pod, kinds[pod.app]) for pod in deployed_pods(values.environment.namespace) if pod.app in kinds]
    dns = [(pod, Role.DNS) for pod in deployed_pods("kube-system")]
    strangers = [
        (pod, Role.STRANGER)
        for namespace in (f"backend-{neighbour}", values.fabric.namespace)
        for pod in deployed_pods(namespace)
    ]
    everyone: list[tuple[DeployedPod, Pod | Role]] = [*here, *dns, *strangers]
    tried = [
        (pod.reaches, calls(pod.app, kind, [each for each in everyone if each[0] is not pod])) for pod, kind in here
    ]
    tried += [(pod.reaches, calls(f"{neighbour}'s {pod.app}", Role.STRANGER, here)) for pod, _ in strangers]
    for node in values.cluster.nodes:
        # What runs on the node itself, its kubelet above all, reaches the pods there whatever a policy says.
        remote = [(pod, kind) for pod, kind in here if pod.node != node]
        tried.append((partial(node_reaches, node), calls(node, Role.NODE, remote)))

    # A kernel says once a second that it refuses, and until then a refusal is a silence.
    with ThreadPoolExecutor(8) as at_once:
        accepted = at_once.map(lambda each: each[0](call.address for call in each[1]), tried)
    table = intent(values)
    wrong = [
        f"{call.source} to {call.target.app} on {call.port} is {'closed' if call.meant(table) else 'open'}"
        for (_, asked), open_ in zip(tried, accepted, strict=True)
        for call in asked
        if call.meant(table) is not (call.address in open_)
    ]
    assert not wrong, "\n".join(wrong[:30])
    assert sum(len(asked) for _, asked in tried) > 500
