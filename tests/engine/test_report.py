"""The report and the plan against the real engine, on the deployed stacks."""

import os
from collections.abc import Iterable
from datetime import date
from pathlib import Path

import pytest

from operations.plan import PlanError, apply, bind
from operations.report.changes import Change, between, of_preview
from operations.report.facts import gather
from sandbox.stacks import render
from tests.engine.stack import BIN, Stack

TODAY = date(2026, 11, 25)


def shape(changes: Iterable[Change]) -> list[tuple[object, ...]]:
    """What two reports have to agree on."""
    return sorted((each.operation, each.kind, each.name, *(field.path for field in each.fields)) for each in changes)


def test_the_comparison_without_access_says_what_the_engine_says(deployed: None) -> None:
    """A record that goes, a ConfigMap that changes, and the pods that roll for it."""
    mainnet = Stack("mainnet")
    changed = mainnet.edited("srv1089624: enabled", "srv1089624: disabled").edited("logLevel: INFO", "logLevel: DEBUG")
    assert changed.config
    engine = of_preview(changed.pulumi("preview", "--json").ok().output)
    before, after = (gather("mainnet", path, TODAY) for path in (render("mainnet"), changed.config))
    assert before.objects
    assert after.objects
    assert len(engine) > 3
    assert shape(engine) == shape(between(before.objects, after.objects))


def test_a_plan_is_carried_out_once_and_refused_when_the_state_has_moved(
    deployed: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", f"{BIN}:{os.environ['PATH']}")
    plan = tmp_path / "plan.json"
    bind("testnet", plan)
    apply("testnet", plan)
    with pytest.raises(PlanError, match="made for another state than is there now"):
        apply("testnet", plan)
