"""All proofs of a stack, in the order of the report."""

from collections.abc import Callable, Iterator
from datetime import date

from checks import certificates, disks, drain, failover, fit, promotion, quota, reachability, sizes
from checks.findings import Finding, Judgement, judge
from settings.model import Settings

PROOFS: tuple[Callable[[Settings], Iterator[Finding]], ...] = (
    sizes.find,
    quota.find,
    disks.find,
    promotion.find,
    reachability.find,
)
"""Proofs over the settings alone."""

PLACED: tuple[Callable[[Settings, fit.Placed], Iterator[Finding]], ...] = (fit.find, drain.find, failover.find)
"""Proofs over where the pods can be."""


def prove(settings: Settings, today: date) -> Judgement:
    """What all proofs find in a stack, and what becomes of it."""
    return judge(findings(settings, fit.placed(settings), today), settings, today)


def findings(settings: Settings, stack: fit.Placed, today: date) -> Iterator[Finding]:
    """What all proofs find in a stack, with its pods placed already."""
    for proof in PROOFS:
        yield from proof(settings)
    yield from certificates.find(settings, today)
    for placed_proof in PLACED:
        yield from placed_proof(settings, stack)
