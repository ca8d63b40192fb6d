"""The command that adopts independent primaries: its Jobs, and what is told. What they do is proven on servers."""

import json
import sys
from dataclasses import replace
from typing import Any

import kubernetes_validate
import pytest

from operations import adopt_databases
from operations.adopt_databases import Adoption, Former, jobs, objects
from operations.jobs import JobError
from settings.model import Settings
from tests import stacks

FORMER = Former(
    instances=("postgres-0", "postgres-1", "postgres-2"),
    service="postgres-headless",
    user="gx_admin",
    secret="former-secrets",  # noqa: S106 - the name of a Secret
    key="POSTGRES_PASSWORD",
)
DUMP = Adoption(what="dump", former=FORMER)
COMPARE = Adoption(what="compare", former=FORMER, chosen="postgres-1")
MOVE = replace(COMPARE, what="move")


@pytest.fixture
def settings() -> Settings:
    return stacks.settings("mainnet")


def container(job: dict[str, Any]) -> dict[str, Any]:
    (only,) = job["spec"]["template"]["spec"]["containers"]
    return dict(only)


def environment(job: dict[str, Any]) -> dict[str, Any]:
    return {each["name"]: each.get("value") for each in container(job)["env"]}


def secrets(job: dict[str, Any]) -> list[dict[str, str]]:
    return [each["valueFrom"]["secretKeyRef"] for each in container(job)["env"] if "valueFrom" in each]


@pytest.mark.parametrize("wanted", [DUMP, COMPARE, MOVE], ids=lambda wanted: str(wanted.what))
def test_kubernetes_takes_the_jobs_before_anything_of_the_stack_exists(settings: Settings, wanted: Adoption) -> None:
    for each in (*jobs(settings, wanted), *objects(settings)):
        kubernetes_validate.validate(each, "1.33", strict=True)
    for job in jobs(settings, wanted):
        pod = job["spec"]["template"]["spec"]
        assert pod["serviceAccountName"] == "default"
        assert "priorityClassName" not in pod
        assert container(job)["command"][1].removeprefix("/etc/backups/") in objects(settings)[0]["data"]


def test_each_instance_is_dumped_by_its_own_name_with_the_password_that_the_cluster_has(settings: Settings) -> None:
    made = jobs(settings, DUMP)
    assert [environment(job)["PGHOST"] for job in made] == [
        f"postgres-{ordinal}.postgres-headless" for ordinal in range(3)
    ]
    for ordinal, job in enumerate(made):
        assert secrets(job) == [{"name": "former-secrets", "key": "POSTGRES_PASSWORD"}]
        mounts = {each["mountPath"]: each.get("subPath") for each in container(job)["volumeMounts"]}
        assert mounts["/backups"] == f"postgres-{ordinal}"
        assert "configMap" not in json.dumps(job["spec"]["template"]["spec"]["volumes"][1:]), "no authority exists yet"


def test_the_comparison_reaches_no_server_and_the_move_only_the_live_one_as_its_owner(settings: Settings) -> None:
    (compare,), (move,) = jobs(settings, COMPARE), jobs(settings, MOVE)
    assert secrets(compare) == []
    assert "postgres-access" not in compare["spec"]["template"]["metadata"]["labels"]
    assert secrets(move) == [{"name": "postgres-secrets", "key": "owner"}]
    assert environment(move)["PGHOST"] == "postgres-primary"
    assert (environment(move)["PGUSER"], environment(move)["CHOSEN"]) == ("gx_owner", "postgres-1")
    assert {"/adoption", "/backups", "/scratch"} <= {each["mountPath"] for each in container(move)["volumeMounts"]}


def test_the_words_reach_the_job_only_when_they_are_said(settings: Settings) -> None:
    words = {"EXECUTE", "OVERWRITE", "TAKE_ROWS"}
    assert not words & environment(jobs(settings, MOVE)[0]).keys()
    bold = environment(jobs(settings, replace(MOVE, execute=True, overwrite=True, take_rows=True))[0])
    assert {bold[word] for word in words} == {"yes"}


def test_a_wrong_instance_and_a_stack_without_sizes_are_told(settings: Settings) -> None:
    with pytest.raises(JobError, match=r"no such instance. Got 'postgres-3'. Fix: one of postgres-0, postgres-1"):
        jobs(settings, replace(COMPARE, chosen="postgres-3"))
    with pytest.raises(JobError, match="the stack has no backups"):
        jobs(stacks.settings("devnet"), DUMP)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["mainnet", "compare"], "need --chosen"),
        (["mainnet", "dump", "--chosen", "postgres-0"], "`dump` has no use for it"),
        (["nonet", "dump"], "No such file or directory. Fix: name an existing stack"),
    ],
)
def test_a_mistaken_command_changes_nothing(
    words: list[str], told: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["adopt_databases", *words])
    monkeypatch.setenv("PATH", "")
    try:
        assert adopt_databases.main() == 1
    except SystemExit as error:
        assert error.code == 2
    assert told in capsys.readouterr().err
