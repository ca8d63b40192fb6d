"""Every rule over declared objects: a small stack that keeps them all, and changes of it that break one."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from checks.objects.model import Declared, where
from checks.objects.rules import RULES
from settings.stackfile import merge

FIXTURES = Path(__file__).parent / "policies"
CASES, OBJECTS = (
    yaml.load((FIXTURES / name).read_text(), Loader=yaml.CSafeLoader) for name in ("cases.yaml", "objects.yaml")
)
BY_NAME = {rule.name: rule for rule in RULES}


def objects(stack: str = "mainnet") -> list[Declared]:
    """The stack of ``objects.yaml``."""
    return [
        Declared(
            urn=f"urn:pulumi:{stack}::gx::{each['type']}::record",
            type=each["type"],
            stack=stack,
            protect=each.get("protect", False),
            inputs=each["inputs"],
        )
        for each in OBJECTS
    ]


def changed(case: dict[str, Any]) -> list[Declared]:
    """The stack with one object as a case has it."""
    found = objects(case.get("stack", "mainnet"))
    (index,) = [index for index, each in enumerate(found) if where(each) == case["object"]]
    old = found[index]
    inputs = merge(old.inputs, case.get("inputs", {}))
    if "pod" in case or "container" in case:
        template: Any = inputs["spec"]
        spec = template["template"]["spec"] = merge(template["template"]["spec"], case.get("pod", {}))
        spec["containers"] = [merge(spec["containers"][0], case.get("container", {}))]  # type: ignore[index]
    found[index] = Declared(
        urn=old.urn,
        type=case.get("type", old.type),
        stack=old.stack,
        protect=case.get("protect", old.protect),
        inputs=inputs,
    )
    return found


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_a_good_stack_keeps_every_rule(rule: Any) -> None:  # noqa: ANN401
    assert [str(problem) for _, problem in rule.find(objects())] == []


@pytest.mark.parametrize("case", CASES, ids=[f"{case['rule']}-{index}" for index, case in enumerate(CASES)])
def test_a_rule_tells_what_breaks_it(case: dict[str, Any]) -> None:
    told = [str(problem) for _, problem in BY_NAME[case["rule"]].find(changed(case))]
    assert sorted(told) == sorted(case["expect"])


def test_every_rule_has_a_bad_case() -> None:
    assert {case["rule"] for case in CASES if case["expect"]} == BY_NAME.keys()
    assert len(BY_NAME) == len(RULES)


@pytest.mark.parametrize("rule", [rule for rule in RULES if rule.alone], ids=lambda rule: rule.name)
def test_a_rule_for_single_objects_finds_the_same_in_each_of_them(rule: Any) -> None:  # noqa: ANN401
    for case in (case for case in CASES if case["rule"] == rule.name):
        stack = changed(case)
        apart = [str(problem) for each in stack for _, problem in rule.find([each])]
        assert sorted(apart) == sorted(str(problem) for _, problem in rule.find(stack))


def test_no_report_shows_the_secret() -> None:
    for case in CASES:
        for rule in RULES:
            for _, problem in rule.find(changed(case)):
                assert "hunter2" not in str(problem)
                assert "correct-horse" not in str(problem)
