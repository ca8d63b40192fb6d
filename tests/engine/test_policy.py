"""The policy pack in the real engine: on deployed stacks, on one still to be made, and on bad state files."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from checks.objects.model import Declared, where
from sandbox import stacks
from tests.engine.stack import BIN, ROOT, Ran, Stack, awaited, get, kubectl, run
from tests.policy_cases import CASES, Case, changed, objects

PACK = ROOT / "policy"


def analyze(*argv: str | Path) -> Ran:
    """``pulumi policy analyze`` with the pack."""
    return run(BIN / "pulumi", "policy", "analyze", "--policy-pack", PACK, "--json", *argv)


def violations(ran: Ran) -> set[tuple[str, str]]:
    """Policy and message of every violation in the engine's events."""
    events = [json.loads(line) for line in ran.output.splitlines() if line.startswith("{")]
    assert any("summaryEvent" in event for event in events), ran.output
    found = [event["policyEvent"] for event in events if "policyEvent" in event]
    assert {each["enforcementLevel"] for each in found} <= {"mandatory"}, found
    return {(each["policyName"], each["message"].split("\n")[-1]) for each in found}


def state_file(path: Path, stack: Iterable[Declared]) -> Path:
    """A state as ``pulumi stack export`` writes it."""
    resources: list[dict[str, Any]] = [
        {
            # Names are told in reports, so it is the parents that keep the objects apart.
            "urn": each.urn.replace(each.type, f"gx:test:Case{index}${each.type}"),
            "custom": True,
            "id": str(index),
            "type": each.type,
            "protect": each.protect,
            "inputs": each.inputs,
            "outputs": each.inputs,
        }
        for index, each in enumerate(stack)
    ]
    path.write_text(json.dumps({"version": 3, "deployment": {"manifest": {}, "resources": resources}}))
    return path


@pytest.mark.parametrize("name", ["mainnet", "testnet"])
def test_the_pack_finds_nothing_in_a_deployed_stack(deployed: None, name: str) -> None:
    assert violations(analyze("--stack", name)) == set()
    Stack(name).pulumi("preview", "--policy-pack", str(PACK), "--expect-no-changes").ok()


def test_the_pack_finds_nothing_in_the_preview_of_a_stack_that_is_still_to_be_made(cluster: None) -> None:
    stacks.prepare("devnet")
    shown = Stack("devnet").pulumi("preview", "--policy-pack", str(PACK)).ok().output
    assert "gx-backend-infra@v1.0.0" in shown


def test_the_pack_finds_nothing_in_a_good_state_file(cluster: None, tmp_path: Path) -> None:
    ran = analyze("--file", state_file(tmp_path / "good.json", objects())).ok()
    assert violations(ran) == set()


def test_the_engine_refuses_every_bad_case_in_the_words_of_its_rule(cluster: None, tmp_path: Path) -> None:
    """One state file with the bad cases of all rules, each in a namespace of its own."""
    bad = [case for case in CASES if case["expect"] and case.get("stack", "mainnet") == "mainnet"]
    stack = [moved(each, f"case-{index}") for index, case in enumerate(bad) for each in changed(case)]
    ran = analyze("--file", state_file(tmp_path / "bad.json", stack))
    assert ran.code != 0
    assert {(case["rule"], line) for case in bad for line in case["expect"]} <= violations(ran)


def moved(each: Declared, namespace: str) -> Declared:
    """An object in another namespace, unless its case has moved it already."""
    inputs = json.loads(json.dumps(each.inputs))
    if each.namespace == "backend":
        inputs["metadata"]["namespace"] = namespace
    return Declared(urn=each.urn, type=each.type, stack=each.stack, protect=each.protect, inputs=inputs)


def test_admission_refuses_exactly_the_pods_that_the_pack_refuses(cluster: None) -> None:
    """Every case of Pod Security, as a pod that the API server is asked about and does not make."""
    name = "policy-test"
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    made = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}
    run(BIN / "kubectl", "create", "-f", "-", stdin=json.dumps(made)).ok()
    try:
        awaited("the namespace has an account for pods", lambda: bool(get("serviceaccounts", name)))
        cases = [case for case in CASES if case["rule"] == "pod-security-restricted"]
        answers = [dry_run(case, name) for case in cases]
    finally:
        kubectl("delete", "namespace", name, "--wait=false")
    assert len(cases) >= 10
    for case, answer in zip(cases, answers, strict=True):
        assert (answer.code != 0) is bool(case["expect"]), (case, answer.output)
        assert answer.code == 0 or "violates PodSecurity" in answer.output, (case, answer.output)


def dry_run(case: Case, namespace: str) -> Ran:
    """The answer to the pod of a case."""
    (owner,) = [each for each in changed(case) if where(each) == case["object"]]
    template = owner.inputs["spec"]["template"]
    # The account of the pod is not there; all others have the namespace's own.
    spec = {key: value for key, value in template["spec"].items() if key != "serviceAccountName"}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "pod"}, "spec": spec}
    return run(BIN / "kubectl", "create", "--dry-run=server", "-n", namespace, "-f", "-", stdin=json.dumps(pod))
