"""Failover: every state that the origins' switches can be in leaves the name with an origin, a certificate and room."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations

from checks.findings import Finding, Severity
from checks.fit import Loss, Placed, lost
from checks.placement import Outcome
from settings.model import Dns, OriginState, Settings

# With more origins, states with more than two of them off are not told one by one.
ENUMERATED, OFF_AT_MOST = 8, 2


@dataclass(frozen=True, kw_only=True)
class State:
    """One state of the switches.

    Attributes:
        enabled: Origins in DNS. Each has an address and runs Nginx with the name's certificate, whatever the others do:
            ``settings.rules_exposure`` refuses any other.
        loss: What is left when the nodes out of DNS are dead as well; None when none is.
    """

    enabled: tuple[str, ...]
    loss: Loss | None

    @property
    def serves(self) -> bool:
        """Whether every pod still has a node and every database a majority."""
        return self.loss is None or (self.loss.outcome is Outcome.FITS and not self.loss.without_majority)


def states(dns: Dns, stack: Placed) -> Iterator[State]:
    """Every state with an origin, from all on to one on."""
    names = tuple(dns.origins)
    most = len(names) - 1 if len(names) <= ENUMERATED else OFF_AT_MOST
    for count in range(most + 1):
        for off in combinations(names, count):
            enabled = tuple(name for name in names if name not in off)
            yield State(enabled=enabled, loss=lost(stack, off) if off and stack.verdict.placements else None)


def find(settings: Settings, stack: Placed) -> Iterator[Finding]:
    """A name without an origin; and, with an origin off, what the next loss would take."""
    dns = settings.dns
    if dns is None:
        return
    on = [name for name, state in dns.origins.items() if state is OriginState.ENABLED]
    if not on:
        yield Finding(
            name="failover-last-origin",
            severity=Severity.REFUSE,
            acceptable=False,
            path="dns.origins",
            problem=f"every origin is disabled: {dns.hostname} would lead nowhere",
            fix="enable at least one; to take the name down on purpose, remove gx-backend-infra:dns from the stack "
            "file",
        )
    elif len(on) == 1:
        yield Finding(
            name="failover-one-origin",
            severity=Severity.REPORT,
            resilience=True,
            path="dns.origins",
            problem=f"{on[0]} alone answers for {dns.hostname}: nothing is left to fail over to",
            fix="enable another as soon as it is healthy",
        )
    off = [name for name in dns.origins if name not in on]
    if off and stack.verdict.placements:
        yield from _next(off, on, stack)


def _next(off: list[str], on: list[str], stack: Placed) -> Iterator[Finding]:
    """With the nodes out of DNS dead: those of the rest whose loss the stack would not survive."""
    fatal = {name: loss for name in on if (loss := lost(stack, [*off, name])).without_majority}
    if fatal:
        databases = sorted({each for loss in fatal.values() for each in loss.without_majority})
        yield Finding(
            name="failover-next-loss",
            severity=Severity.REPORT,
            resilience=True,
            path="dns.origins",
            problem=f"if {', '.join(off)} is down, the loss of {' or '.join(fatal)} too would leave "
            f"{', '.join(databases)} without a majority",
            fix="bring the node back before any maintenance of the others",
        )
