"""The policy pack as the engine finds it: every rule, mandatory, over the values of ``pulumi_policy``."""

from collections.abc import Mapping
from typing import Any

import pytest
from pulumi_policy import (
    PolicyCustomTimeouts,
    PolicyResource,
    PolicyResourceOptions,
    ResourceValidationArgs,
    ResourceValidationPolicy,
    StackValidationArgs,
    StackValidationPolicy,
)
from pulumi_policy.proxy import UNKNOWN_STRING_VALUE, UnknownValueError, unknown_checking_proxy

from checks.objects.model import Declared
from checks.objects.rules import RULES
from policy.__main__ import policies
from tests.policy_cases import CASES, changed, objects

PACK = {each.name: each for each in policies(RULES)}


def options(each: Declared) -> PolicyResourceOptions:
    return PolicyResourceOptions(each.protect, [], None, [], PolicyCustomTimeouts(0, 0, 0), [], None)


def told(name: str, stack: list[Declared]) -> list[str]:
    """What a policy of the pack reports on a stack, handed over as the engine does."""
    found: list[str] = []

    def report(message: str, urn: str | None = None) -> None:
        found.append(message)

    policy = PACK[name]
    if isinstance(policy, StackValidationPolicy):
        resources = [
            PolicyResource(
                each.type, unknown_checking_proxy(dict(each.inputs)), each.urn, "", options(each), None, None, [], {}
            )
            for each in stack
        ]
        policy.validate(StackValidationArgs(resources, None, {}), report)
    else:
        assert isinstance(policy, ResourceValidationPolicy)
        for each in stack:
            properties = unknown_checking_proxy(dict(each.inputs))
            policy.validate(
                ResourceValidationArgs(each.type, properties, each.urn, "", options(each), None, None, {}), report
            )
    return found


@pytest.mark.parametrize("case", CASES, ids=[f"{case['rule']}-{index}" for index, case in enumerate(CASES)])
def test_the_pack_reports_what_the_rule_finds(case: Mapping[str, Any]) -> None:
    assert sorted(told(case["rule"], changed(case))) == sorted(case["expect"])


def test_a_value_that_a_preview_does_not_know_stops_only_the_rule_that_needs_it() -> None:
    stack = objects()
    unknown = {"metadata": {"name": "settings", "annotations": {"digest": UNKNOWN_STRING_VALUE}}, "data": {"A": "b"}}
    index = next(index for index, each in enumerate(stack) if each.kind == "ConfigMap")
    old = stack[index]
    stack[index] = Declared(urn=old.urn, type=old.type, stack=old.stack, protect=False, inputs=unknown)
    for rule in RULES:
        if rule.name in {"no-secret-in-clear", "no-copied-secret"}:
            with pytest.raises(UnknownValueError):
                told(rule.name, stack)
        else:
            assert told(rule.name, stack) == []
