"""Every rule over declared objects: a small stack that keeps them all, and changes of it that break one."""

import pytest

from checks.objects.model import Rule
from checks.objects.rules import RULES
from tests.policy_cases import CASES, Case, changed, objects

BY_NAME = {rule.name: rule for rule in RULES}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_a_good_stack_keeps_every_rule(rule: Rule) -> None:
    assert [str(problem) for _, problem in rule.find(objects())] == []


@pytest.mark.parametrize("case", CASES, ids=[f"{case['rule']}-{index}" for index, case in enumerate(CASES)])
def test_a_rule_tells_what_breaks_it(case: Case) -> None:
    told = [str(problem) for _, problem in BY_NAME[case["rule"]].find(changed(case))]
    assert sorted(told) == sorted(case["expect"])


def test_every_rule_has_a_bad_case() -> None:
    assert {case["rule"] for case in CASES if case["expect"]} == BY_NAME.keys()
    assert len(BY_NAME) == len(RULES)


@pytest.mark.parametrize("rule", [rule for rule in RULES if rule.alone], ids=lambda rule: rule.name)
def test_a_rule_for_single_objects_finds_the_same_in_each_of_them(rule: Rule) -> None:
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
