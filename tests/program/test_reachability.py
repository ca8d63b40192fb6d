"""The pods that the reachability proof judges are those that the program declares, label by label, in every stack."""

import pytest

from checks.intent import Pod, pods
from checks.reachability import declaration, labels
from tests import capture
from tests.capture import Capture
from tests.stacks import settings

STACKS = ("mainnet", "testnet", "devnet")
OWNERS = ("Deployment", "StatefulSet", "Job", "CronJob")


@pytest.fixture(scope="module", params=STACKS)
def both(request: pytest.FixtureRequest) -> tuple[dict[str, Pod], Capture, str]:
    return {pod.app: pod for pod in pods(settings(request.param))}, capture.stack(request.param), request.param


def declared_labels(program: Capture) -> dict[str, dict[str, str]]:
    """Labels of every pod template, by its owner."""
    found = {}
    for owner in program.resources:
        kind = owner.type.rsplit(":", 1)[-1]
        if kind in OWNERS:
            spec = owner.inputs["spec"]
            spec = spec["jobTemplate"]["spec"] if kind == "CronJob" else spec
            found[f"{kind}/{owner.kubernetes_name}"] = spec["template"]["metadata"]["labels"]
    return found


def unknown(known: dict[str, Pod], found: dict[str, dict[str, str]]) -> list[str]:
    """Templates whose pods have no row, or other labels than the proof believes."""
    lines = []
    for owner, worn in found.items():
        pod = known.get(worn.get("app", ""))
        if pod is None:
            lines.append(f"{owner}: app={worn.get('app')} has no row. Fix: add it to pods() in checks/intent.py")
        elif labels(pod) != worn:
            lines.append(f"{owner}: wears {worn}, proven with {labels(pod)}. Fix: labels() in checks/reachability.py")
    return lines


def test_every_declared_pod_has_a_row_in_the_intent_with_its_real_labels(
    both: tuple[dict[str, Pod], Capture, str],
) -> None:
    known, program, _ = both
    found = declared_labels(program)
    assert not unknown(known, found), "\n".join(unknown(known, found))
    assert {worn["app"] for worn in found.values()} == set(known), "a row of the intent is of no declared pod"


def test_a_pod_without_a_row_is_told_with_its_remedy() -> None:
    assert unknown({}, {"CronJob/new": {"app": "new"}}) == [
        "CronJob/new: app=new has no row. Fix: add it to pods() in checks/intent.py"
    ]


def test_what_is_proven_is_what_is_declared(both: tuple[dict[str, Pod], Capture, str]) -> None:
    _, program, stack = both
    declared = {(policy.namespace, policy.kubernetes_name) for policy in program.of("NetworkPolicy")}
    proven = {(ns, policy.name) for ns, of in declaration(settings(stack)).items() for policy in of}
    assert declared == proven
