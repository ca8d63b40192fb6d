"""A plan is carried out on the state and by the program it was made from, and on nothing else."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from operations import plan
from operations.plan import PlanError, apply, bind, digest_of

PULUMI = """#!/bin/sh
# Stands in for pulumi: prints the state, writes a plan, and notes what it was asked.
set -eu
echo "$*" >>asked
case "$1" in
stack) cat state.json ;;
preview) echo plan >plan.json && cat preview.json ;;
esac
"""


def state(**resource: object) -> dict[str, Any]:
    return {"version": 3, "deployment": {"manifest": {"time": "2026-11-25T01:00:00Z"}, "resources": [resource]}}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with a pulumi of its own, in which the command runs."""
    (tmp_path / "pulumi").write_text(PULUMI)
    (tmp_path / "pulumi").chmod(0o755)
    (tmp_path / "preview.json").write_text('{"steps": []}')
    (tmp_path / "state.json").write_text(json.dumps(state(urn="a")))
    (tmp_path / "program").write_text("one")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    git("init", "-q")
    git("add", "program")
    git("commit", "-qm", "one")
    return tmp_path


def git(*argv: str) -> None:
    subprocess.run(["git", "-c", "user.name=T", "-c", "user.email=t@example.org", *argv], check=True)


def test_a_bound_plan_is_carried_out(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bind("mainnet", Path("plan.json"))
    assert capsys.readouterr().out == '{"steps": []}'
    apply("mainnet", Path("plan.json"))
    assert (project / "asked").read_text().splitlines() == [
        "stack export --stack mainnet",
        "preview --json --save-plan plan.json --stack mainnet --non-interactive",
        "stack export --stack mainnet",
        "up --plan plan.json --yes --skip-preview --stack mainnet --non-interactive",
    ]


@pytest.mark.parametrize("moved", ["state", "plan", "commit", "program", "stack"])
def test_a_plan_for_anything_else_is_refused_before_anything_is_done(project: Path, moved: str) -> None:
    bind("mainnet", Path("plan.json"))
    if moved == "state":
        (project / "state.json").write_text(json.dumps(state(urn="a", modified="later")))
    elif moved == "plan":
        (project / "plan.json").write_text("another")
    elif moved == "program":
        (project / "program").write_text("two")
    elif moved == "commit":
        git("commit", "-q", "--allow-empty", "-m", "two")
    what = "commit" if moved == "program" else moved
    with pytest.raises(PlanError, match=rf"made for another {what} than is there now; nothing was done\. Fix: "):
        apply("testnet" if moved == "stack" else "mainnet", Path("plan.json"))
    assert "up " not in (project / "asked").read_text()


def test_a_plan_that_is_not_bound_is_refused(project: Path) -> None:
    (project / "plan.json").write_text("plan")
    with pytest.raises(PlanError, match=r"no plan with a plan\.json\.bound beside it"):
        apply("mainnet", Path("plan.json"))


def test_what_pulumi_says_of_a_failure_is_shown(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (project / "pulumi").write_text("#!/bin/sh\necho 'no such stack'\nexit 255\n")
    with pytest.raises(PlanError, match="`pulumi stack export` failed"):
        bind("mainnet", Path("plan.json"))
    assert "no such stack" in capsys.readouterr().err


def test_every_write_of_a_state_moves_its_digest_and_encrypting_it_anew_does_not() -> None:
    sealed = [state(inputs={"4dabf18193072939515e22adb298388d": "1b47", "ciphertext": text}) for text in ("v1", "v2")]
    assert digest_of(sealed[0]) == digest_of(sealed[1])
    later = state(urn="a")
    later["deployment"]["manifest"]["time"] = "2026-11-25T02:00:00Z"
    assert digest_of(state(urn="a")) != digest_of(later)


def test_the_command_tells_what_is_wrong_in_one_line(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["plan", "apply", "mainnet", str(project / "none.json")])
    assert plan.main() == 1
    assert len(capsys.readouterr().err.splitlines()) == 1
