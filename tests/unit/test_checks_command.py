"""`python -m checks`: one report on a stack file as it is committed, incomplete and encrypted, and its exit codes."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from checks import __main__ as command
from settings import stackfile
from settings.standins import completed, opened, read
from tests import stacks

STACKS = ("mainnet", "testnet", "devnet")
Run = Callable[..., tuple[int, str]]


def stack_file(directory: Path, config: Mapping[str, object], stack: str = "mainnet") -> Path:
    """A stack file in a directory of its own."""
    path = directory / f"Pulumi.{stack}.yaml"
    path.write_text(stackfile.dump({"config": stackfile.prefixed(config)}))
    return path


def changed(patch: Mapping[str, object], stack: str = "mainnet") -> dict[str, object]:
    return stackfile.merge(stacks.committed(stack), patch)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """The command on a stack file: its exit code and what it printed."""
    monkeypatch.chdir(tmp_path)

    def ran(*argv: str, config: Mapping[str, object] | None = None) -> tuple[int, str]:
        if config is not None:
            stack_file(tmp_path, config)
        monkeypatch.setattr("sys.argv", ["checks", "mainnet", *argv])
        code = command.main()
        printed = capsys.readouterr()
        assert bool(printed.out) != bool(printed.err)
        return code, printed.out or printed.err

    return ran


@pytest.mark.parametrize("stack", STACKS)
def test_a_committed_stack_file_is_proven_although_it_misses_what_only_an_operator_knows(stack: str) -> None:
    judged = read(stackfile.path(stack))
    assert judged.settings.environment.name == stack
    assert judged.missing
    whole, missing = completed(judged.config)
    assert (whole, missing) == (judged.config, ())


def test_stand_ins_serve_a_fleet_of_any_size() -> None:
    node = stacks.committed("mainnet")["cluster"]["nodes"]["srv1117946"]  # type: ignore[index]
    config = changed({"cluster": {"nodes": {f"n{number}": dict(node) for number in range(900)}}})
    nodes = completed(config)[0]["cluster"]["nodes"].values()  # type: ignore[index]
    assert len({each["internalIp"] for each in nodes}) == len({each["podCidr"] for each in nodes}) == 904


def test_every_encrypted_value_is_stood_in_for_by_another() -> None:
    sealed = {"secure": "v1:abc"}
    config = opened({"secrets": {"redis": {"exporter": sealed, "backup": sealed}, "sshPrivateKey": sealed}})
    assert config == {
        "secrets": {
            "redis": {"exporter": "encrypted.secrets.redis.exporter", "backup": "encrypted.secrets.redis.backup"},
            "sshPrivateKey": "-----BEGIN PRIVATE KEY-----stand-in",
        }
    }


def test_the_report_says_what_is_proven_and_what_it_rests_on(run: Run) -> None:
    code, printed = run(config=stacks.committed("mainnet"))
    assert code == 0
    assert printed.startswith("Pulumi.mainnet.yaml: proven, with no finding of the proofs.\n51 values are stood in for")
    lines = [" ".join(line.split()) for line in printed.splitlines()]
    for line in (
        "requests.cpu 16000m 15100m 15500m 97 % 500m",
        "srv1117946 6 7400m 31Gi 772871Mi a pod less of postgres-archive, postgres-backup, postgres-backup-reports,"
        " postgres-base-backup-reports and 2 more ends",
        "postgres StatefulSet 3 1000m 2Gi 0 1 2",
        "srv1089618, srv1089624, srv1092158 now everything runs",
        "srv1089618 no majority of postgres, redis",
        "13 policies and 14 lines of intent over 28 kinds of pods agree: nothing missing, nothing extra",
    ):
        assert line in lines
    assert "Placement fits: every pod finds a node in every order of arrival that was tried" in printed


def test_a_stack_that_does_not_fit_is_refused_with_the_setting_and_the_fix(run: Run) -> None:
    code, printed = run(
        config=changed({"services": {"svc-tax": {"replicas": 40}}, "postgres": {"connectionsPerPod": 1}})
    )
    assert code == 1
    assert printed.startswith("Pulumi.mainnet.yaml: refused, with ")
    assert any("quota.pods: too small" in line and "Fix: raise it to" in line for line in printed.splitlines())


def test_an_expired_acceptance_fails_a_strict_run_alone(run: Run) -> None:
    single = {"postgres": {"replicas": 1}}
    found = json.loads(run("--json", config=changed(single))[1])["reported"]
    over = {"accepted": {each["name"]: {"reason": "ordered", "expires": "2020-01-01"} for each in found}}
    config = changed({**single, **over})
    assert over["accepted"]
    assert run(config=config)[0] == 0
    code, printed = run("--strict", config=config)
    assert code == 1
    assert "Accepted until a day that is over" in printed
    assert "or decide again and write a later date" in printed


@pytest.mark.parametrize(
    ("patch", "line"),
    [
        ({"postgres": {"replicas": 2}}, "postgres.replicas: no majority is left"),
        ({"secrets": {"redis": {"exporter": "canary"}}}, "secrets: stands in the stack file in clear"),
        ({"quotas": {}, "quota": {"pods": "many"}}, "quota.pods: not a whole number"),
    ],
)
def test_a_mistake_is_told_as_everywhere(run: Run, patch: dict[str, object], line: str) -> None:
    code, printed = run(config=changed(patch))
    assert code == 2
    assert line in printed
    assert "canary" not in printed


def test_a_stack_that_is_not_there_is_named(run: Run) -> None:
    assert run() == (2, "Pulumi.mainnet.yaml: No such file or directory. Fix: name an existing stack\n")
