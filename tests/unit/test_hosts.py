"""What reaches a node, when the programs for it are not there. Real nodes: tests/services/test_edge_drift.py."""

from pathlib import Path

import pytest

from operations.hosts import reachable
from operations.stack import OperationError
from tests import stacks


@pytest.mark.parametrize(
    ("agent", "said"),
    [
        (None, r"^ssh-agent is not on PATH\. Fix: install the OpenSSH client$"),
        ("echo 'unix_listener: path too long' >&2; exit 1", r"^ssh-agent did not start: unix_listener: path too long"),
    ],
)
def test_an_agent_that_does_not_start_is_told_with_the_remedy(
    agent: str | None, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    if agent is not None:
        (tmp_path / "ssh-agent").write_text(f"#!/bin/sh\n{agent}\n")
        (tmp_path / "ssh-agent").chmod(0o755)
    with pytest.raises(OperationError, match=said), reachable(stacks.settings("mainnet")):
        pass
