"""What the parts of a stack file demand of each other.

Each rule is one small function that yields the problems it finds. Its parameters are the sections it compares, by field
name; it runs when those are valid in themselves, so that one run of the program reports everything it can.
"""

import inspect
from collections.abc import Callable, Iterator, Mapping

from settings import (
    rules_capacity,
    rules_certificates,
    rules_exposure,
    rules_identity,
    rules_placement,
    rules_secrets,
)
from settings.problems import Problem

RULES: tuple[Callable[..., Iterator[Problem]], ...] = (
    *rules_identity.RULES,
    *rules_placement.RULES,
    *rules_exposure.RULES,
    *rules_secrets.RULES,
    *rules_capacity.RULES,
    *rules_certificates.RULES,
)


def broken_rules(sections: Mapping[str, object]) -> Iterator[Problem]:
    """The problems of every rule whose sections are all given."""
    for rule in RULES:
        needed = inspect.signature(rule).parameters
        if all(name in sections for name in needed):
            yield from rule(**{name: sections[name] for name in needed})
