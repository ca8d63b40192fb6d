"""Pulumi's commands, as the operators' commands run them."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from operations.stack import OperationError, Stack
from settings.stackfile import ROOT

# Stands in for pulumi, which lets a resource that is under way end and gives its lock back when it is interrupted.
PULUMI = """#!/bin/sh
trap 'sleep 1; rm lock; exit 1' INT
touch lock
while :; do sleep 0.1; done
"""
COMMANDS = {
    "stack": "from operations.stack import Stack; Stack('mainnet', __import__('pathlib').Path('x')).pulumi('up')",
    "plan": "from operations.plan import _pulumi; _pulumi('mainnet', 'up', shown=True)",
}


@pytest.mark.parametrize("command", COMMANDS)
def test_an_interrupted_update_gives_its_lock_back(command: str, tmp_path: Path) -> None:
    (tmp_path / "pulumi").write_text(PULUMI)
    (tmp_path / "pulumi").chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        [sys.executable, "-c", COMMANDS[command]],
        cwd=tmp_path,
        env=environment,
        stderr=subprocess.PIPE,
        start_new_session=True,
        text=True,
    ) as running:
        deadline = time.monotonic() + 30
        while not (tmp_path / "lock").exists():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        # As a terminal does: everybody of the session's foreground gets it.
        os.killpg(running.pid, signal.SIGINT)
        _, said = running.communicate(timeout=30)
    assert said.rstrip().endswith("KeyboardInterrupt")
    assert not (tmp_path / "lock").exists()


def test_without_pulumi_the_remedy_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(OperationError, match=r"^pulumi is not on PATH\. Fix: "):
        Stack("mainnet", tmp_path / "Pulumi.mainnet.yaml").settings()
