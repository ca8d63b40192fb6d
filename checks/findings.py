"""What a proof finds, and what becomes of it: refused, reported, or accepted in the stack file.

One line per finding, in the form of the settings' own problems: the path, the problem, the value and the remedy.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import date
from enum import StrEnum

from settings.model import Acceptance, OriginState, Settings
from settings.problems import Problem


class Severity(StrEnum):
    """What a finding does to a preview or an update."""

    REFUSE = "refuse"
    """This state cannot work, or the stack file asks for more than it has: nothing is deployed."""
    REPORT = "report"
    """It works, with less redundancy or room than it could have."""


@dataclass(frozen=True, kw_only=True)
class Finding(Problem):
    """One finding of a proof.

    Attributes:
        name: Stable name, a DNS label (``fit-node-lost-srv1089618``). The stack file accepts a finding by it, so it
            never holds a number that an unrelated edit changes.
        severity: Whether it stops the run.
        acceptable: Whether the stack file may accept it. What the API server or the scheduler would refuse anyway, and
            the last origin, may not.
        resilience: Whether it is about redundancy or room alone. With an origin switched off these are reports: a proof
            never stands between an operator and an emergency edit.
    """

    name: str
    severity: Severity
    acceptable: bool = True
    resilience: bool = False


@dataclass(frozen=True, kw_only=True)
class Accepted:
    """A finding that the stack file accepts."""

    finding: Finding
    acceptance: Acceptance
    expired: bool

    def __str__(self) -> str:
        state = "expired" if self.expired else "until"
        return f"{self.finding} (accepted, {state} {self.acceptance.expires}: {self.acceptance.reason})"


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """All findings of a stack, by what becomes of them. ``strict`` fails a PR check and a nightly run besides."""

    refused: tuple[Finding, ...]
    reported: tuple[Finding, ...]
    accepted: tuple[Accepted, ...]
    strict: tuple[Finding, ...]


class ProofError(Exception):
    """A stack that is refused. Its text is the whole report, one line per finding."""

    def __init__(self, stack: str, findings: tuple[Finding, ...]) -> None:
        self.findings = findings
        count = "1 finding" if len(findings) == 1 else f"{len(findings)} findings"
        lines = "\n".join(f"  {finding}" for finding in findings)
        super().__init__(f"Pulumi.{stack}.yaml: {count}. Nothing was deployed.\n{lines}")


def judge(findings: Iterable[Finding], settings: Settings, today: date) -> Judgement:
    """Sort findings by severity, emergency and acceptance. An expired acceptance still holds outside a strict run."""
    emergency = settings.dns is not None and OriginState.DISABLED in settings.dns.origins.values()
    found = [_in_an_emergency(finding) if emergency else finding for finding in findings]
    by_name = settings.accepted
    accepted = tuple(
        Accepted(finding=f, acceptance=by_name[f.name], expired=_is_expired(by_name[f.name], today))
        for f in found
        if f.acceptable and f.name in by_name
    )
    names = {each.finding.name for each in accepted}
    rest = [finding for finding in found if finding.name not in names]
    return Judgement(
        refused=tuple(f for f in rest if f.severity is Severity.REFUSE),
        reported=(*(f for f in rest if f.severity is Severity.REPORT), *_idle(by_name, names)),
        accepted=accepted,
        strict=tuple(_expired(each) for each in accepted if each.expired),
    )


def _is_expired(acceptance: Acceptance, today: date) -> bool:
    """Whether the last day of an acceptance is over."""
    return date.fromisoformat(acceptance.expires) < today


def _in_an_emergency(finding: Finding) -> Finding:
    return replace(finding, severity=Severity.REPORT) if finding.resilience else finding


def _idle(accepted: Mapping[str, Acceptance], used: set[str]) -> Iterable[Finding]:
    """Acceptances that accept nothing: the finding is gone, is misspelt, or may not be accepted."""
    for name in accepted:
        if name not in used:
            yield Finding(
                name=f"accepted-{name}",
                severity=Severity.REPORT,
                path=f"accepted.{name}",
                problem="accepts no finding of this stack that may be accepted",
                fix="remove it, or correct its name",
            )


def _expired(each: Accepted) -> Finding:
    return Finding(
        name=f"expired-{each.finding.name}",
        severity=Severity.REFUSE,
        path=f"accepted.{each.finding.name}.expires",
        problem=f"the acceptance is over, and this still stands: {each.finding.problem}",
        got=f"'{each.acceptance.expires}'",
        fix=f"{each.finding.fix}; or decide again and write a later date",
    )
