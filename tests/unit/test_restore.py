"""The restore command: the Job it makes, and what its caller is told. What the Job does is proven on real servers."""

import argparse
import json
import os
import re
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest

from operations import jobs, restore
from operations.jobs import JobError
from operations.kubectl import KubectlError
from operations.restore import Restore, manifest, second
from settings.loader import load
from settings.model import Settings
from settings.stackfile import merge
from tests import stacks
from tests.stacks import OFF_SITE

# Stands in for kubectl: keeps what it is given, and answers for a Job that ended as $ENDED says.
KUBECTL = """#!{python}
import json, os, sys
argv = [each for each in sys.argv[1:] if not each.startswith("--")]
with open(os.environ["CALLS"], "a") as calls:
    print(json.dumps({{"argv": sys.argv[1:], "stdin": sys.stdin.read() if argv[0] == "create" else ""}}), file=calls)
silent = os.environ["CALLS"] + ".silent"
if argv[0] == "get" and os.path.exists(silent):
    os.remove(silent)
    sys.exit("The connection to the server was refused")
if argv[:2] == ["get", "pods"] and "INTERRUPTED" in os.environ:
    os.kill(os.getppid(), 2)
if argv[:2] == ["get", "pods"]:
    print(json.dumps({{"items": [{{"status": {{"phase": os.environ.get("PHASE", "Running")}}}}]}}))
elif argv[0] == "get":
    print(json.dumps({{"status": {{"conditions": [{{"type": os.environ["ENDED"], "status": "True"}}]}}}}))
elif argv[0] == "logs":
    print("plan: replace all of it")
    if "SILENT" in os.environ:
        open(silent, "w").close()
"""


@pytest.fixture
def settings() -> Settings:
    return stacks.settings("mainnet")


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    program = tmp_path / "kubectl"
    program.write_text(KUBECTL.format(python=sys.executable))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("CALLS", str(tmp_path / "calls"))
    monkeypatch.setenv("ENDED", "Complete")
    return tmp_path / "calls"


def container(job: dict[str, Any]) -> dict[str, Any]:
    (only,) = job["spec"]["template"]["spec"]["containers"]
    return dict(only)


def environment(job: dict[str, Any]) -> dict[str, Any]:
    return {each["name"]: each.get("value") for each in container(job)["env"]}


@pytest.mark.parametrize("what", ["database", "table", "redis"])
def test_the_job_is_one_that_kubernetes_takes(settings: Settings, what: str) -> None:
    job = manifest(settings, Restore(what=what, name="public.wallet" if what == "table" else None))
    kubernetes_validate.validate(job, "1.33", strict=True)
    assert container(job)["command"][1] == f"/etc/backups/{'redis' if what == 'redis' else 'postgres'}-restore.sh"
    assert job["spec"]["backoffLimit"] == 0, "what failed half-way must not be begun again unseen"


def test_the_words_reach_the_job_only_when_they_are_said(settings: Settings) -> None:
    cautious = environment(manifest(settings, Restore(what="database")))
    assert not {"EXECUTE", "OVERWRITE", "BACKUP"} & cautious.keys()
    bold = environment(
        manifest(settings, Restore(what="database", backup="20261126T060000Z", overwrite=True, execute=True))
    )
    assert (bold["EXECUTE"], bold["OVERWRITE"], bold["BACKUP"]) == ("yes", "yes", "20261126T060000Z")


def test_the_job_owns_the_schema_and_cannot_change_a_backup(settings: Settings) -> None:
    job = manifest(settings, Restore(what="database"))
    (password,) = [each for each in container(job)["env"] if "valueFrom" in each]
    assert password["valueFrom"]["secretKeyRef"] == {"name": "postgres-secrets", "key": "owner"}
    assert environment(job)["PGUSER"] == "gx_owner"
    mounts = {each["mountPath"]: each for each in container(job)["volumeMounts"]}
    assert mounts["/backups"]["readOnly"] is True
    assert "canary" not in json.dumps(job)


def test_a_stack_without_backups_is_told_so() -> None:
    with pytest.raises(JobError, match="the stack has no backups"):
        manifest(stacks.settings("devnet"), Restore(what="database"))


def test_the_command_creates_the_job_shows_its_log_and_ends_with_its_result(
    settings: Settings, calls: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert restore.run(settings, Restore(what="database")) == 0
    shown = capfd.readouterr().out
    assert "created in backend-mainnet" in shown
    assert "plan: replace all of it" in shown
    made = [json.loads(line) for line in calls.read_text().splitlines()]
    assert all("--context=gx-protocol-cluster" in each["argv"] for each in made)
    assert all("--namespace=backend-mainnet" in each["argv"] for each in made)
    monkeypatch.setenv("ENDED", "Failed")
    assert restore.run(settings, Restore(what="database")) == 1


def test_a_job_whose_pod_does_not_start_is_deleted_and_overwrites_nothing_later(
    settings: Settings, calls: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise it would begin hours later, when its node is back or the quota has room, over what is newer."""
    monkeypatch.setenv("PHASE", "Pending")
    monkeypatch.setattr(jobs, "START_SECONDS", 0.5)
    with pytest.raises(JobError, match=r"^the pod of job postgres-restore-\S+ does not start; the job is deleted"):
        restore.run(settings, Restore(what="database", overwrite=True, execute=True))
    made = [json.loads(line) for line in calls.read_text().splitlines()]
    name = json.loads(next(each["stdin"] for each in made if each["stdin"]))["metadata"]["name"]
    assert ["delete", "job", name] == [each for each in made[-1]["argv"] if not each.startswith("--")]


def test_a_job_that_is_given_up_before_its_pod_starts_is_deleted_too(
    settings: Settings, calls: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PHASE", "Pending")
    monkeypatch.setenv("INTERRUPTED", "yes")
    with pytest.raises(KeyboardInterrupt):
        restore.run(settings, Restore(what="database", overwrite=True, execute=True))
    assert json.loads(calls.read_text().splitlines()[-1])["argv"][2:4] == ["delete", "job"]


@pytest.mark.usefixtures("calls")
def test_an_api_server_that_is_away_for_a_while_does_not_end_the_command(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SILENT", "after the log")
    assert restore.run(settings, Restore(what="database")) == 0


@pytest.mark.usefixtures("calls")
def test_an_api_server_that_stays_away_leaves_a_job_that_may_be_at_work(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SILENT", "after the log")
    monkeypatch.setattr(jobs, "SILENCE_SECONDS", 0)
    with pytest.raises(JobError, match=r"connection to the server was refused; job \S+ may still be at work\. Fix: "):
        restore.run(settings, Restore(what="database"))


def test_a_whole_cluster_is_both_databases_and_ends_with_the_first_failure(
    settings: Settings, calls: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def created() -> list[str]:
        found = [json.loads(line) for line in calls.read_text().splitlines()]
        return [json.loads(each["stdin"])["metadata"]["labels"]["app"] for each in found if each["stdin"]]

    assert restore.run(settings, Restore(what="cluster")) == 0
    assert created() == ["postgres-restore", "redis-restore"]
    calls.unlink()
    monkeypatch.setenv("ENDED", "Failed")
    assert restore.run(settings, Restore(what="cluster")) == 1
    assert created() == ["postgres-restore"]


def test_what_kubectl_says_is_passed_on(settings: Settings, tmp_path: Path, calls: Path) -> None:
    (tmp_path / "kubectl").write_text("#!/bin/sh\necho 'forbidden' >&2\nexit 1\n")
    with pytest.raises(KubectlError, match=r"kubectl create -f - --namespace=backend-mainnet: forbidden\. Fix: "):
        restore.run(settings, Restore(what="database"))


def test_a_backup_is_fetched_from_the_object_store_by_a_job_without_a_password_of_a_database() -> None:
    copied = load(merge(stacks.complete("mainnet"), OFF_SITE), stack="mainnet")
    job = manifest(copied, Restore(what="fetch", name="redis", backup="20261126T060000Z"))
    kubernetes_validate.validate(job, "1.33", strict=True)
    assert environment(job)["BACKUP"] == "20261126T060000Z"
    assert container(job)["command"] == ["sh", "/etc/backups/off-site-fetch.sh"]
    secrets = {each["valueFrom"]["secretKeyRef"]["name"] for each in container(job)["env"] if "valueFrom" in each}
    assert secrets == {"backup-off-site"}
    assert job["spec"]["template"]["metadata"]["labels"] == {"app": "redis-fetch", "object-store-access": "true"}


def test_a_base_backup_is_fetched_into_the_volume_of_the_archive() -> None:
    copied = load(merge(stacks.complete("mainnet"), OFF_SITE), stack="mainnet")
    job = manifest(copied, Restore(what="fetch", name="postgres-base", backup="20261126T060000Z"))
    kubernetes_validate.validate(job, "1.33", strict=True)
    pod = job["spec"]["template"]["spec"]
    (volume,) = [each for each in pod["volumes"] if "persistentVolumeClaim" in each]
    assert volume["persistentVolumeClaim"]["claimName"] == "postgres-base-backups"
    assert pod["serviceAccountName"] == "postgres-base-backup"
    assert environment(job)["RCLONE_CONFIG_OFFSITE_REMOTE"].endswith("/backend-mainnet/postgres-base")
    unarchived = merge(merge(stacks.complete("mainnet"), OFF_SITE), {"backups": {"pointInTime": None}})
    without = load(unarchived, stack="mainnet")
    with pytest.raises(JobError, match="the stack archives no WAL"):
        manifest(without, Restore(what="fetch", name="postgres-base"))


def test_a_stack_without_copies_has_nothing_to_fetch(settings: Settings) -> None:
    with pytest.raises(JobError, match="the stack has no copies"):
        manifest(settings, Restore(what="fetch", name="postgres", backup="20261126T060000Z"))


AT = datetime(2026, 11, 26, 4, tzinfo=UTC)


@pytest.mark.parametrize(
    ("what", "name", "told"), [("point-in-time", None, "database"), ("table", "public.wallet", "table")]
)
def test_a_restore_to_a_second_is_a_job_beside_the_archive_that_owns_the_schema(
    settings: Settings, what: str, name: str | None, told: str
) -> None:
    job = manifest(settings, Restore(what=what, name=name, at=AT))
    kubernetes_validate.validate(job, "1.33", strict=True)
    assert container(job)["command"] == ["sh", "/etc/backups/postgres-point-in-time.sh"]
    values = environment(job)
    assert (values["AT"], values["WHAT"], values["ADMIN"]) == ("20261126T040000Z", told, "gx_admin")
    assert (values["PGHOST"], values["PGUSER"]) == ("postgres-primary", "gx_owner")
    (volume,) = [each for each in job["spec"]["template"]["spec"]["volumes"] if "persistentVolumeClaim" in each]
    assert volume["persistentVolumeClaim"]["claimName"] == "postgres-base-backups"
    mounts = {each["mountPath"]: each for each in container(job)["volumeMounts"]}
    assert mounts["/backups"]["readOnly"] is True


def test_a_stack_without_an_archive_has_no_point_in_time() -> None:
    with pytest.raises(JobError, match=r"the stack archives no WAL. Fix: add backups.pointInTime"):
        manifest(stacks.settings("testnet"), Restore(what="point-in-time", at=AT))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("2026-11-26 04:00:00", "no time zone"),
        ("yesterday", "not a moment"),
        ("2026-11-26 04:00:00.5+00:00", "no whole second"),
    ],
)
def test_a_moment_that_is_not_one_second_is_told_with_the_remedy(text: str, problem: str) -> None:
    with pytest.raises(
        argparse.ArgumentTypeError, match=re.escape(f"{problem}. Got '{text}'. Fix: write it as '2026-11-26 04")
    ):
        second(text)


def test_a_moment_of_another_time_zone_is_the_same_second() -> None:
    assert second("2026-11-26 12:00:00+08:00") == AT


@pytest.mark.parametrize(
    "argv",
    [
        ["point-in-time"],
        ["database", "--at", "2026-11-26 04:00:00+00:00"],
        ["point-in-time", "--at", "2026-11-26 04:00:00+00:00", "--backup", "20261126T060000Z"],
    ],
)
def test_a_second_belongs_to_what_is_restored_from_the_archive(
    argv: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["restore", "mainnet", *argv])
    with pytest.raises(SystemExit) as ended:
        restore.main()
    assert ended.value.code == 2
