"""The measurement of the edge measures what it says; how fast anything is, is not judged here. Needs root."""

from pathlib import Path

import pytest

from tests.bench import edge
from tests.bench.engine import BenchError
from tests.bench.timing import Rate


def test_three_configurations_that_answer_alike_are_loaded_in_turn(tmp_path: Path) -> None:
    figures = edge.measure(tmp_path / "edge", runs=2, seconds=1)
    rates = [figure for figure in figures if isinstance(figure, Rate)]
    assert [rate.goal for rate in rates] == [edge.EXPERT_GOAL, edge.DOCUMENT_GOAL]
    assert all(min(*rate.ours, *rate.other) > 0 and len(rate.ours) == len(rate.other) == 2 for rate in rates)
    assert len(figures) == 4


def test_a_configuration_that_does_less_is_not_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(edge, "_OUT_OF_THE_WAY", (*edge._OUT_OF_THE_WAY, ("X-Frame-Options", "X-Other")))
    with pytest.raises(BenchError, match="do not answer alike"):
        edge.measure(tmp_path / "edge", runs=1, seconds=1)
