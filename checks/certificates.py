"""When the databases' certificates end (X-74). Whether they fit is a rule of the settings."""

from collections.abc import Iterator
from datetime import date

from checks.findings import Finding, Severity
from settings import certificates
from settings.model import Settings


def find(settings: Settings, today: date) -> Iterator[Finding]:
    """A certificate that ends soon is reported; one that has ended is refused, since no client connects any more.

    Not while an origin is switched off: the switch must not wait for a certificate.
    """
    tls = settings.tls
    for name, text in (tls.servers() | {certificates.AUTHORITY: tls.authority}).items():
        end = certificates.ends(text).date()
        left = (end - today).days
        if left < certificates.WARNING_DAYS:
            yield Finding(
                # Who accepts that it ends soon does not accept that it has ended.
                name=f"certificate-{'ended-' if left < 0 else ''}{name}",
                severity=Severity.REFUSE if left < 0 else Severity.REPORT,
                resilience=True,
                path=f"tls.{name}",
                problem="has ended: clients refuse to connect" if left < 0 else f"ends in {left} days",
                got=f"'{end}'",
                fix="docs/runbooks/certificates.md, new authority"
                if name == certificates.AUTHORITY
                else "`make configure`, which issues it anew, and `pulumi up`; the servers reload it",
            )
