"""The report as one Markdown comment: summary first, the same bytes for the same report, never too long for GitHub."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from checks.summary import (
    Line,
    failover_table,
    finding_groups,
    node_table,
    quota_table,
    reach_line,
    roll_out_table,
    verdict_counts,
)
from checks.tables import Table
from operations.report.changes import Change, Field, Operation
from operations.report.compose import Report, Verdict

# GitHub refuses a comment of more than 65,536 characters. Bytes are counted, which are never fewer.
LIMIT = 65_536
FIELDS_SHOWN = 3
LINES_KEPT = 12
LONGEST_CELL = 400
PAST = {Operation.DELETE: "deleted", Operation.REPLACE: "replaced", Operation.CREATE: "created"}
PAST |= {Operation.UPDATE: "updated", Operation.IMPORT: "imported"}


@dataclass(frozen=True, kw_only=True)
class Section:
    """A part of the report. When all is too long, its last ``lines`` go, first from the highest ``expendable``."""

    title: str
    lines: tuple[str, ...]
    expendable: int
    before: tuple[str, ...] = ()
    folded: bool = False
    left_out: int = 0

    def text(self) -> str:
        """The section, or nothing when it has nothing to say."""
        if not (self.before or self.lines or self.left_out):
            return ""
        lines = "1 line is" if self.left_out == 1 else f"{self.left_out} lines are"
        note = (f"\n_{lines} left out here; `--json` has all._",) if self.left_out else ()
        body = "\n".join((*self.before, *self.lines, *note))
        if self.folded:
            return f"\n<details><summary>{self.title}</summary>\n\n{body}\n\n</details>\n"
        return f"\n### {self.title}\n\n{body}\n"


def render(report: Report, limit: int = LIMIT) -> str:
    """The report in at most ``limit`` bytes of UTF-8."""
    head = _head(report)
    sections = list(_sections(report))
    by_worth = sorted(range(len(sections)), key=lambda each: -sections[each].expendable)
    # One long list must not cost all the others: the first lines of each go last.
    for kept, at in ((kept, at) for kept in (LINES_KEPT, 0) for at in by_worth):
        excess = _size(head, sections) - limit
        if excess > 0 and len(sections[at].lines) > kept:
            sections[at] = _shortened(sections[at], excess, kept)
    return head + "".join(section.text() for section in sections)


def _size(head: str, sections: Iterable[Section]) -> int:
    return len(head.encode()) + sum(len(section.text().encode()) for section in sections)


def _shortened(section: Section, excess: int, least: int) -> Section:
    """The section without as many of its last lines as are ``excess`` bytes, but for ``least``; their count is told."""
    told = replace(section, left_out=section.left_out + len(section.lines))
    excess += len(told.text().encode()) - len(section.text().encode())
    lines = list(section.lines)
    while len(lines) > least and excess > 0:
        excess -= len(lines.pop().encode()) + 1
    return replace(section, lines=tuple(lines), left_out=section.left_out + len(section.lines) - len(lines))


def _head(report: Report) -> str:
    lines = [f"<!-- report of {report.stack} -->", f"## {code(report.stack)}: {_headline(report)}", ""]
    if report.base_unknown:
        lines.append(f"Nothing is known of the base {code(report.base)}: {escaped(report.base_unknown)}")
    else:
        lines.append(f"Compared with {code(report.base)}. Changes are {report.source}.")
    if report.missing:
        lines.append(f"Stand-ins fill what `make configure STACK={report.stack}` will: {len(report.missing)} in all.")
    return "\n".join((*lines, ""))


def _headline(report: Report) -> str:
    if report.verdict is Verdict.ABSENT:
        return "no such stack"
    said = f"**{report.verdict}**, {_counted(report.changes)}"
    if report.summary is None:
        return said
    broken = len(report.policies.breaches) if report.policies else 0
    policies = f", {_findings_counted(broken)} of the policy pack" if broken else ""
    return f"{said}; {verdict_counts(report.summary)}{policies}"


def _findings_counted(count: int) -> str:
    return "1 finding" if count == 1 else f"{count} findings"


def _counted(changes: tuple[Change, ...] | None) -> str:
    if changes is None:
        return "changes not known"
    counts = Counter(change.operation for change in changes)
    said = ", ".join(f"{counts[each]} {PAST[each]}" for each in Operation if counts[each])
    return said or "nothing changes"


def _sections(report: Report) -> Iterator[Section]:
    summary = report.summary
    yield Section(
        title="Look at this first", lines=tuple(f"- ⚠️ {escaped(line)}" for line in report.warnings), expendable=1
    )
    problems = tuple(f"- {escaped(line)}" for line in report.problems)
    yield Section(title="Cannot be used", lines=problems, expendable=0)
    groups = dict(finding_groups(summary)) if summary else {}
    for title in ("Refused", "Accepted until a day that is over"):
        yield _findings(title, groups, expendable=0)
    yield from _policies(report)
    changes = report.changes or ()
    yield Section(title="What changes", lines=tuple(_changes(changes)), expendable=2)
    yield Section(
        title="Secrets with another encrypted value", lines=tuple(f"- {code(name)}" for name in report.secrets),
        expendable=3,
    )  # fmt: skip
    yield from _proofs(report)
    yield _findings("Reported", groups, expendable=5)
    yield _findings("Accepted", groups, expendable=8)
    yield Section(title="Every changed field", lines=tuple(_all_fields(changes)), expendable=9, folded=True)


def _findings(title: str, groups: Mapping[str, tuple[Line, ...]], *, expendable: int) -> Section:
    lines = tuple(f"- {escaped(line.text)}" for line in groups.get(title, ()))
    return Section(title=title, lines=lines, expendable=expendable)


def _policies(report: Report) -> Iterator[Section]:
    policies = report.policies
    if policies is None:
        return
    found = _findings_counted(len(policies.breaches)) if policies.breaches else "no finding"
    line = f"{policies.rules} rules over {policies.objects} objects: {found}."
    if not report.policy_findings:
        yield Section(title="Policies", before=(line,), lines=(), expendable=3)
        return
    rows = tuple((each.state, each.rule, each.text) for each in report.policy_findings)
    table = _table("Policies", Table(header=("", "rule", "finding"), rows=rows), expendable=1)
    yield replace(table, before=(line, "", *table.before))


def _proofs(report: Report) -> Iterator[Section]:
    summary = report.summary
    proven = (f"{reach_line(summary)}.", "") if summary else ()
    if report.paths:
        opening = _table("Network paths", Table(header=("", "from", "to", "ports"), rows=report.paths), expendable=3)
        yield replace(opening, before=(*proven, *opening.before))
    elif report.paths is not None:
        before = (*proven, "No network path opens or closes.")
        yield Section(title="Network paths", before=before, lines=(), expendable=3)
    if summary is None:
        return
    was = None if report.quota_before is None else {each.path: each for each in report.quota_before}
    yield _table("Quota", quota_table(summary.quota, was), expendable=4)
    if report.rolling:
        rolling = {each.roll_out.name: each.because for each in report.rolling}
        table = roll_out_table(tuple(each.roll_out for each in report.rolling))
        because = Table(header=(*table.header, "because of"), rows=tuple((*row, rolling[row[0]]) for row in table.rows))
        yield _table("Roll-out: these pods are replaced", because, expendable=6)
    yield _table(f"Placement {summary.placement}", node_table(summary.nodes), expendable=7, folded=True)
    if summary.hostname:
        title = f"Failover of {summary.hostname}"
        yield _table(title, failover_table(summary.failover), expendable=7, folded=True)


def _table(title: str, table: Table, *, expendable: int, folded: bool = False) -> Section:
    rows = tuple(tuple(_cell(cell) for cell in row) for row in table.rows)
    lines = replace(table, rows=rows).markdown().splitlines()
    return Section(title=title, before=tuple(lines[:2]), lines=tuple(lines[2:]), expendable=expendable, folded=folded)


def _cell(text: str) -> str:
    """A cell that is no wall of text; what is cut off is counted where it is a list."""
    if len(text) <= LONGEST_CELL:
        return escaped(text)
    kept = text[:LONGEST_CELL].rpartition(", ")[0]
    return escaped(f"{kept} and {text.count(', ') - kept.count(', ')} more" if kept else f"{text[:LONGEST_CELL]}…")


def _changes(changes: Iterable[Change]) -> Iterator[str]:
    for change in changes:
        final = change.operation in {Operation.DELETE, Operation.REPLACE}
        operation = f"**{change.operation}**" if final else change.operation
        data = " (holds data)" if change.endangers_data else ""
        shown = "; ".join(_field(field) for field in _worst_first(change)[:FIELDS_SHOWN])
        more = len(change.fields) - FIELDS_SHOWN
        rest = f" and {more} more" if more > 0 else ""
        yield f"- {operation} {change.kind} {code(change.name)}{data}{f': {shown}' if shown else ''}{rest}"


def _all_fields(changes: Iterable[Change]) -> Iterator[str]:
    for change in changes:
        if len(change.fields) > FIELDS_SHOWN:
            yield from (f"- {change.kind} {code(change.name)}: {_field(field)}" for field in _worst_first(change))


def _worst_first(change: Change) -> list[Field]:
    return sorted(change.fields, key=lambda field: not field.replaces)


def _field(field: Field) -> str:
    replaces = ", which replaces it" if field.replaces else ""
    return f"{code(field.path)} {code(field.before)} → {code(field.after)}{replaces}"


def code(text: str) -> str:
    """Text as code, whatever it holds."""
    return f"`{text}`" if "`" not in text else f"`` {text} ``"


def escaped(text: str) -> str:
    """Text that Markdown leaves as it is."""
    for sign in "\\`*[<":
        text = text.replace(sign, f"\\{sign}")
    return text
