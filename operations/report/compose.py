"""The report as data: what two versions of a stack say, put beside each other."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from checks import paths
from checks.summary import RollOut, Room, Summary
from operations.report.changes import Change, Operation, between
from operations.report.facts import Facts, Policies
from operations.report.versions import Version


class Verdict(StrEnum):
    """What the report comes to; all but the first two fail the check. An expired acceptance stops no deployment."""

    PROVEN = "proven"
    ABSENT = "no stack"
    EXPIRED = "expired"
    BREACHED = "against policy"
    REFUSED = "refused"
    UNUSABLE = "unusable"


class Source(StrEnum):
    """Where the changes come from."""

    DECLARED = "what both versions declare, compared without access: what the live systems hold is not in it"
    PREVIEW = "the engine's preview against the live systems"
    SANDBOX = "the engine's preview in the sandbox, where the base is deployed: what the live systems hold is not in it"
    CLIENT_SIDE = "the engine's preview with read access: a client-side diff, which no server has validated"


@dataclass(frozen=True, kw_only=True)
class Rolling:
    """A workload whose pods are replaced, and because of which change of their template."""

    roll_out: RollOut
    because: str


@dataclass(frozen=True)
class PolicyFinding:
    """A rule of the policy pack that is broken. ``state`` is new, kept or gone; empty when the base is not known."""

    state: str
    rule: str
    text: str


@dataclass(frozen=True, kw_only=True)
class Report:
    """All of it.

    Attributes:
        base_unknown: Why nothing is known of the base; empty when it is known.
        changes: What an update does; None when that is not known.
        warnings: What a reviewer must see first, one line each.
        paths: Network paths that open and close, as a direction, sources, targets and ports; None when not known.
        quota_before: The quota as the base has it, where known.
        secrets: Paths of secrets whose encrypted value is another.
        policies: What the policy pack says of what this version declares; None when it declares nothing.
        policy_findings: Its findings, and those of the base that are gone.
    """

    stack: str
    base: str
    base_unknown: str
    source: Source
    verdict: Verdict
    problems: tuple[str, ...]
    missing: tuple[str, ...]
    warnings: tuple[str, ...]
    changes: tuple[Change, ...] | None
    paths: tuple[tuple[str, ...], ...] | None
    secrets: tuple[str, ...]
    policies: Policies | None
    policy_findings: tuple[PolicyFinding, ...]
    rolling: tuple[Rolling, ...]
    quota_before: tuple[Room, ...] | None
    summary: Summary | None

    @property
    def passes(self) -> bool:
        """Whether the check of the pull request passes. It is strict: an acceptance that is over fails it."""
        return self.verdict in {Verdict.PROVEN, Verdict.ABSENT}


def compose(
    head: Facts, base: Version, preview: tuple[Change, ...] | None = None, source: Source = Source.PREVIEW
) -> Report:
    """Compare two versions. With ``preview``, the changes are the engine's; ``source`` is where it made them."""
    before = base.facts
    changes = _declared_changes(head, before) if preview is None else preview
    return Report(
        stack=head.stack,
        base=base.label,
        base_unknown=_unknown(base),
        source=Source.DECLARED if preview is None else source,
        verdict=_verdict(head),
        problems=head.problems,
        missing=head.missing,
        warnings=tuple(_warnings(head, before, changes or ())),
        changes=changes,
        paths=_paths(head, before),
        secrets=_secrets(head, before),
        policies=head.policies,
        policy_findings=tuple(_policy_findings(head.policies, before.policies if before else None)),
        rolling=tuple(_rolling(head.summary, changes or ())),
        quota_before=before.summary.quota if before and before.summary else None,
        summary=head.summary,
    )


def _verdict(head: Facts) -> Verdict:
    if head.absent:
        return Verdict.ABSENT
    if head.problems or head.summary is None:
        return Verdict.UNUSABLE
    if head.summary.refused:
        return Verdict.REFUSED
    if head.policies is not None and head.policies.breaches:
        return Verdict.BREACHED
    return Verdict.EXPIRED if head.summary.expired else Verdict.PROVEN


def _unknown(base: Version) -> str:
    facts = base.facts
    if facts is None:
        return base.why
    if facts.summary is not None and facts.summary.refused:
        return f"it is refused itself: {facts.summary.refused[0].text}"
    return facts.problems[0] if facts.problems else ""


def _declared_changes(head: Facts, before: Facts | None) -> tuple[Change, ...] | None:
    if before is None or head.absent or head.objects is None:
        return None
    if before.absent:
        return between((), head.objects)
    return None if before.objects is None else between(before.objects, head.objects)


def _paths(head: Facts, before: Facts | None) -> tuple[tuple[str, ...], ...] | None:
    if before is None or head.declared is None or before.declared is None:
        return None
    return paths.compare(before.declared, head.declared).table().rows


def _secrets(head: Facts, before: Facts | None) -> tuple[str, ...]:
    if before is None:
        return ()
    return tuple(sorted(name for name, digest in head.sealed.items() if before.sealed.get(name) not in {None, digest}))


def _policy_findings(head: Policies | None, before: Policies | None) -> Iterator[PolicyFinding]:
    now = head.breaches if head else ()
    was = before.breaches if before else ()
    for breach in sorted({*now, *was}) if head else ():
        state = "" if before is None else "gone" if breach not in now else "kept" if breach in was else "new"
        yield PolicyFinding(state, breach.rule, breach.text)


def _warnings(head: Facts, before: Facts | None, changes: tuple[Change, ...]) -> Iterator[str]:
    for change in changes:
        if change.endangers_data:
            verb = "deleted" if change.operation is Operation.DELETE else "replaced"
            guard = ", protected: the engine refuses that" if change.protected else ", and not protected"
            yield f"Data: {change.kind} {change.name} is {verb}{guard}."
    if head.absent and before and not before.absent:
        yield f"The stack file is gone; what it declares stays until `pulumi destroy --stack {head.stack}`."
    on, was = _in_dns(head.summary), _in_dns(before.summary if before else None)
    if on is None or was is None or head.summary is None:
        return
    for node in (*sorted(was - on), *sorted(on - was)):
        yield f"DNS: {node} {'leaves' if node in was else 'joins'} {head.summary.hostname}."


def _in_dns(summary: Summary | None) -> set[str] | None:
    """The origins in DNS; None without any DNS."""
    if summary is None or summary.hostname is None:
        return None
    return {name for state in summary.failover if state.now for name in state.enabled}


def _rolling(summary: Summary | None, changes: tuple[Change, ...]) -> Iterator[Rolling]:
    known = {(each.kind, each.name): each for each in summary.roll_outs} if summary else {}
    for change in changes:
        roll_out = known.get((change.kind, change.name.rpartition("/")[2]))
        template = [field for field in change.fields if field.path.startswith("spec.template")]
        if roll_out is not None and change.operation in {Operation.UPDATE, Operation.REPLACE} and template:
            more = f" and {len(template) - 1} more" if len(template) > 1 else ""
            yield Rolling(roll_out=roll_out, because=f"{template[0].path}{more}")
