"""Switchover and failover of Postgres: what the stack file should not keep."""

from collections.abc import Iterator

from checks.findings import Finding, Severity
from settings.model import Settings


def find(settings: Settings) -> Iterator[Finding]:
    """A loss that is accepted beyond the failover that needs it would let the next one lose rows without asking."""
    accepted = settings.postgres.accept_loss
    if accepted:
        yield Finding(
            name="postgres-accept-loss",
            severity=Severity.REPORT,
            acceptable=False,
            path="postgres.acceptLoss",
            problem=f"a failover that does not reach {', '.join(accepted)} loses what these alone have acknowledged",
            fix="remove the line as soon as the failover is done",
        )
