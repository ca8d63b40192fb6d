"""All proofs of a stack, in the order of the report."""

from collections.abc import Callable, Iterator
from datetime import date

from checks import drain, failover, fit, promotion, quota, reachability, sizes
from checks.findings import Finding, Judgement, judge
from settings.model import Settings

PROOFS: tuple[Callable[[Settings], Iterator[Finding]], ...] = (
    sizes.find,
    quota.find,
    promotion.find,
    reachability.find,
)
"""Proofs over the settings alone."""

PLACED: tuple[Callable[[Settings, fit.Placed], Iterator[Finding]], ...] = (fit.find, drain.find, failover.find)
"""Proofs over where the pods can be."""


def prove(settings: Settings, today: date) -> Judgement:
    """What all proofs find in a stack, and what becomes of it."""
    return judge(_findings(settings), settings, today)


def _findings(settings: Settings) -> Iterator[Finding]:
    for proof in PROOFS:
        yield from proof(settings)
    stack = fit.placed(settings)
    for placed_proof in PLACED:
        yield from placed_proof(settings, stack)
