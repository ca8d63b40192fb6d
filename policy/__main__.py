"""The policy pack: the rules of ``checks.objects``, run by the engine.

``pulumi preview --policy-pack policy`` or ``pulumi policy analyze --policy-pack policy``; `make policy` runs it on
every stack of the sandbox. A rule on single objects stops its object before it is made; a rule on the whole stack is
judged at the end of the preview. Where a preview does not know a value yet, the engine says so, and the update judges
it.
"""

import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from pulumi_policy import (
    EnforcementLevel,
    Policy,
    PolicyPack,
    PolicyResource,
    ReportViolation,
    ResourceValidationArgs,
    ResourceValidationPolicy,
    StackValidationArgs,
    StackValidationPolicy,
)

# The engine starts a pack in its own directory.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from checks.objects.model import Declared, Rule
from checks.objects.rules import RULES


def declared(resource: ResourceValidationArgs | PolicyResource) -> Declared:
    """A resource of the engine as the rules see it."""
    return Declared(
        urn=resource.urn,
        type=resource.resource_type,
        stack=resource.urn.split(":")[2],
        protect=resource.opts.protect,
        inputs=resource.props,
    )


def single(rule: Rule) -> Callable[[ResourceValidationArgs, ReportViolation], None]:
    """A rule on single objects."""

    def validate(args: ResourceValidationArgs, report: ReportViolation) -> None:
        for _, problem in rule.find([declared(args)]):
            report(str(problem), None)

    return validate


def whole(rule: Rule) -> Callable[[StackValidationArgs, ReportViolation], None]:
    """A rule on all objects of a stack."""

    def validate(args: StackValidationArgs, report: ReportViolation) -> None:
        for each, problem in rule.find([declared(resource) for resource in args.resources]):
            report(str(problem), each.urn)

    return validate


def policies(rules: Iterable[Rule]) -> list[Policy]:
    """The rules as the engine takes them."""
    return [
        ResourceValidationPolicy(name=rule.name, description=rule.why, validate=single(rule))
        if rule.alone
        else StackValidationPolicy(name=rule.name, description=rule.why, validate=whole(rule))
        for rule in rules
    ]


if __name__ == "__main__":
    PolicyPack("gx-backend-infra", policies(RULES), EnforcementLevel.MANDATORY)
