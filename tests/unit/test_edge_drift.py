"""Which steps ``make edge-drift`` asks about, and under which names."""

import os
from pathlib import Path

import pytest

from components.edge.steps import Step
from operations.edge_drift import Declared, declared, look
from operations.hosts import Hosts
from operations.stack import OperationError
from tests import stacks


def test_a_check_travels_with_the_files_of_its_step_and_differs_from_it_by_purpose_alone() -> None:
    step = Step(title="Probe", script="packages.sh", files={"settings.env": "PROGRAMS=sh=dash\n"})
    doing, looking = step.stdin(0).splitlines(), step.check().splitlines()
    assert [line for line in looking if line not in doing] == [
        doing[0].replace("reprovision 0", "check"),
        '    bash "$files/packages.sh" "$files" check </dev/null',
    ]


def test_a_stack_without_edge_has_nothing_to_ask() -> None:
    assert declared(stacks.settings("devnet"), "devnet") == {}


def test_the_name_is_that_of_the_resource_in_the_state() -> None:
    step = Step(title="t", script="packages.sh", files={})
    assert Declared("EdgeNode", "srv1-nginx", step).urn("mainnet") == (
        "urn:pulumi:mainnet::gx-backend-infra::gx:edge:EdgeNode$command:remote:Command::srv1-nginx"
    )


@pytest.mark.parametrize("said", ["sudo: a password is required", ""])
def test_a_node_that_does_not_look_at_every_step_is_not_as_written(
    said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ssh = tmp_path / "ssh"
    ssh.write_text(f"#!/bin/sh\ncat >/dev/null\necho 'gx-step: 1'\n[ -z '{said}' ] || echo '{said}' >&2\nexit 1\n")
    ssh.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    step = Step(title="t", script="packages.sh", files={})
    steps = [Declared("EdgeNode", f"srv1-{part}", step) for part in ("packages", "nginx")]
    with pytest.raises(OperationError, match=f"looked at 1 of 2 steps: {said or 'no reason given'}. Fix: "):
        look(Hosts(tmp_path / "config", os.environ, "sudo -n bash -s"), "srv1", steps)
