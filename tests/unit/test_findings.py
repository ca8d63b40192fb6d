"""What becomes of a proof's findings: refused, reported, accepted until a date, and softened in an emergency."""

from collections.abc import Mapping
from datetime import date

import pytest

from checks.findings import Finding, Judgement, ProofError, Severity, judge
from settings.loader import SettingsError, load
from settings.stackfile import merge
from tests import stacks

TODAY = date(2026, 11, 25)
TIGHT = Finding(
    name="fit-tight",
    severity=Severity.REFUSE,
    resilience=True,
    path="quota.requests.cpu",
    problem="tight",
    got="'16'",
    fix="raise it",
)
LAST = Finding(
    name="failover-last-origin",
    severity=Severity.REFUSE,
    acceptable=False,
    path="dns.origins",
    problem="every origin is disabled",
    fix="enable one",
)


def judged(*findings: Finding, patch: Mapping[str, object] | None = None, today: date = TODAY) -> Judgement:
    return judge(findings, load(merge(stacks.complete("mainnet"), patch or {})), today)


def accepting(name: str, expires: str = "2026-11-25") -> dict[str, object]:
    return {"accepted": {name: {"reason": "ordered", "expires": expires}}}


def test_a_finding_is_one_line_in_the_form_of_the_settings_problems() -> None:
    assert str(TIGHT) == "quota.requests.cpu: tight. Got '16'. Fix: raise it"
    assert str(ProofError("mainnet", (TIGHT, LAST))).splitlines() == [
        "Pulumi.mainnet.yaml: 2 findings. Nothing was deployed.",
        "  quota.requests.cpu: tight. Got '16'. Fix: raise it",
        "  dns.origins: every origin is disabled. Fix: enable one",
    ]


def test_a_finding_is_refused_unless_the_stack_file_accepts_it_by_name() -> None:
    assert judged(TIGHT).refused == (TIGHT,)
    found = judged(TIGHT, patch=accepting("fit-tight"))
    assert (found.refused, found.reported, found.strict) == ((), (), ())
    assert [str(each) for each in found.accepted] == [f"{TIGHT} (accepted, until 2026-11-25: ordered)"]


def test_an_expired_acceptance_holds_but_in_a_strict_run() -> None:
    """`pulumi up` never fails for the date of the day."""
    found = judged(TIGHT, patch=accepting("fit-tight", "2026-11-24"))
    assert found.refused == ()
    assert [str(finding) for finding in found.strict] == [
        "accepted.fit-tight.expires: the acceptance is over, and this still stands: tight. Got '2026-11-24'."
        " Fix: raise it; or decide again and write a later date"
    ]


def test_what_cannot_work_is_not_accepted_and_an_idle_acceptance_is_told() -> None:
    found = judged(LAST, patch=accepting("failover-last-origin"))
    assert found.refused == (LAST,)
    assert [finding.path for finding in found.reported] == ["accepted.failover-last-origin"]


def test_with_an_origin_off_a_matter_of_resilience_is_a_report_and_the_last_origin_is_not() -> None:
    off: dict[str, object] = {"dns": {"origins": {"srv1089618": "disabled"}}}
    found = judged(TIGHT, LAST, patch=off)
    assert [finding.name for finding in found.reported] == ["fit-tight"]
    assert found.refused == (LAST,)


@pytest.mark.parametrize(
    ("expires", "line"),
    [
        ("soon", "accepted.fit-tight.expires: not a date. Got 'soon'. Fix: write '2027-03-31', in quotes"),
        (
            "2026-02-30",
            "accepted.fit-tight.expires: no day of the calendar. Got '2026-02-30'. Fix: write '2027-03-31', in quotes",
        ),
    ],
)
def test_an_acceptance_has_a_day_of_the_calendar(expires: str, line: str) -> None:
    with pytest.raises(SettingsError) as raised:
        load(merge(stacks.complete("mainnet"), accepting("fit-tight", expires)))
    assert [str(problem) for problem in raised.value.problems] == [line]
