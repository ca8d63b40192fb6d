"""The report on real versions of the project, made without any access: what it compares, and what it never shows."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from operations.report import facts as facts_of
from operations.report.__main__ import as_json
from operations.report.changes import between
from operations.report.compose import compose
from operations.report.facts import ADAPTER, Facts, gather
from operations.report.markdown import render
from operations.report.versions import Version
from settings import stackfile
from settings.loader import load
from settings.stackfile import ROOT
from settings.standins import Judged
from tests import stacks
from tests.program.test_invariants import canaries

TODAY = date(2026, 11, 25)


def edited(directory: Path, patch: Mapping[str, object], stack: str = "mainnet") -> Path:
    """A committed stack file with a patch laid over it."""
    path = directory / f"Pulumi.{stack}.yaml"
    config = stackfile.merge(stacks.committed(stack), patch)
    path.write_text(stackfile.dump({"config": stackfile.prefixed(config)}))
    return path


@pytest.fixture(scope="module")
def mainnet() -> Facts:
    """The facts of mainnet as it is committed."""
    return gather("mainnet", stackfile.path("mainnet"), TODAY)


def report(before: Facts, after: Facts) -> str:
    return render(compose(after, Version(label="base", facts=before)))


def test_facts_survive_the_way_between_two_trees(mainnet: Facts) -> None:
    assert mainnet.objects
    assert ADAPTER.validate_json(ADAPTER.dump_json(mainnet)) == mainnet


def test_a_failover_is_one_deletion_and_says_so_first(mainnet: Facts, tmp_path: Path) -> None:
    off = gather("mainnet", edited(tmp_path, {"dns": {"origins": {"srv1089624": "disabled"}}}), TODAY)
    text = report(mainnet, off)
    assert "## `mainnet`: **proven**, 1 deleted" in text
    assert "DNS: srv1089624 leaves api.gxcoin.money." in text
    assert "- **delete** DnsRecord `dns-srv1089624`\n\n" in text
    assert "if srv1089624 is down, the loss of srv1089618 or srv1092158 too would leave" in text


def test_a_path_that_opens_pods_that_roll_and_a_volume_that_is_to_grow_are_told(mainnet: Facts, tmp_path: Path) -> None:
    patch = {"services": {"svc-tax": {"fabricAccess": True}}, "redis": {"storage": "21Gi"}}
    text = report(mainnet, gather("mainnet", edited(tmp_path, patch), TODAY))
    assert "| opens | svc-tax | a pod of fabric | TCP 7050, TCP 7051, TCP 7054 |" in text
    assert "gxcoin.money/volume` `20Gi local-path-retain` → `21Gi local-path-retain`" in text
    assert "Data:" not in text, "a claim that no update changes is told as replaced"
    assert "| svc-tax | Deployment | 3 | 100m 256Mi |" in text.split("Roll-out")[1]
    assert "| requestsStorage | 500Gi | 493Gi | 493Gi | 99 % | 10Gi | 7Gi |" in text


def test_a_policy_that_a_change_breaks_is_in_the_report_and_fails_it(mainnet: Facts, tmp_path: Path) -> None:
    """Judged on what the program declares, without the engine and without access."""
    assert mainnet.policies is not None
    assert mainnet.policies.breaches == ()
    assert mainnet.policies.objects == len(mainnet.objects or ()) > 100
    bare = gather("mainnet", edited(tmp_path, {"environment": {"protectData": False}}), TODAY)
    text = report(mainnet, bare)
    assert "## `mainnet`: **against policy**, " in text
    line = "StatefulSet/postgres: a deletion would take its data along. Fix: set the option protect"
    assert f"| new | protected-data | {line} |" in text
    assert f"| gone | protected-data | {line} |" in report(bare, mainnet)


def test_a_stack_that_is_refused_declares_nothing(tmp_path: Path) -> None:
    found = gather("mainnet", edited(tmp_path, {"quota": {"pods": 30}}), TODAY)
    assert (found.objects, found.policies, found.problems) == (None, None, ())
    assert found.summary
    assert [each.name for each in found.summary.refused] == ["fit-quota"]


def test_a_program_that_fails_is_a_problem_in_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "__main__.py").write_text("raise TypeError('no such argument\\nand more')")
    monkeypatch.setattr(stackfile, "ROOT", tmp_path)
    found = gather("mainnet", edited(tmp_path, {}), TODAY)
    assert found.problems == ("__main__.py: the program fails: TypeError: no such argument",)
    assert found.objects is None


def test_a_rotated_secret_shows_by_its_name_alone(mainnet: Facts, tmp_path: Path) -> None:
    one, two = (
        gather("mainnet", edited(tmp_path, {"secrets": {"redis": {"exporter": {"secure": text}}}}), TODAY)
        for text in ("v1:aaa", "v1:bbb")
    )
    assert "### Secrets with another encrypted value\n\n- `secrets.redis.exporter`\n" in report(one, two)
    assert "another encrypted value" not in report(mainnet, one)


def test_no_secret_is_ever_in_a_report(tmp_path: Path) -> None:
    """Not one that stands in the file in clear, and not one that a program with access to it declares."""
    clear = gather("mainnet", edited(tmp_path, {"secrets": stacks.overlay("mainnet")["secrets"]}), TODAY)
    assert clear.problems[0].startswith("secrets: stands in the stack file in clear")
    config = stacks.complete("mainnet")
    judged = Judged(settings=load(config), config=config, missing=())
    objects = tuple(map(facts_of._object, facts_of._registered("mainnet", judged)))
    changes = between((), objects), between(objects, ())
    for text in (str(clear), report(clear, clear), str(objects), str(changes)):
        assert not [canary for canary in canaries() if canary in text]
    assert str(objects).count("[secret]") > 20


def command(*argv: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "operations.report", *argv],
        cwd=cwd, capture_output=True, text=True, check=False, env=os.environ | {"PYTHONHASHSEED": "0"},
    )  # fmt: skip


def test_the_same_two_versions_give_the_same_bytes(tmp_path: Path) -> None:
    """From the command and from this process, whose sets have another order."""
    old = edited(tmp_path, {"services": {"svc-tax": {"replicas": 2}}}, "devnet")
    done = command("devnet", "--base", str(old))
    assert done.returncode == 0, done.stderr
    today = datetime.now(UTC).date()
    before, after = (gather("devnet", path, today) for path in (old, stackfile.path("devnet")))
    assert done.stdout == render(compose(after, Version(label=old.name, facts=before)))
    assert "Deployment `backend-devnet/svc-tax`" in done.stdout


def git(directory: Path, *argv: str) -> None:
    identity = ("-c", "user.name=Test", "-c", "user.email=test@example.org")
    subprocess.run(["git", *identity, *argv], cwd=directory, check=True)


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project as a repository of its own, with this version committed."""
    root = tmp_path_factory.mktemp("repository")
    for name in ("checks", "components", "operations", "settings"):
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "__main__.py", root)
    for path in ROOT.glob("Pulumi*.yaml"):
        shutil.copy(path, root)
    git(root, "init", "-q")
    git(root, "add", "*.yaml")
    git(root, "commit", "-qm", "a version without a report")
    git(root, "tag", "old")
    git(root, "add", "-A")
    git(root, "commit", "-qm", "this version")
    return root


def test_a_change_of_the_program_shows_as_much_as_one_of_a_stack_file(repository: Path) -> None:
    policies = repository / "components" / "network_policies.py"
    text = policies.read_text()
    assert text.count("METRICS_PORT = 9090") == 1
    policies.write_text(text.replace("METRICS_PORT = 9090", "METRICS_PORT = 9091"))
    try:
        done = command("devnet", "--base", "HEAD", cwd=repository)
    finally:
        policies.write_text(text)
    assert done.returncode == 0, done.stderr
    assert "| opens |" in done.stdout
    assert "TCP 9091" in done.stdout
    assert "update NetworkPolicy `backend-devnet/allow-prometheus-scrape`" in done.stdout


def test_a_base_that_cannot_tell_and_one_that_is_not_there_are_said_so(repository: Path) -> None:
    done = command("devnet", "--base", "old", "--json", cwd=repository)
    assert (done.returncode, json.loads(done.stdout)["base_unknown"]) == (0, "its code cannot tell yet")
    done = command("devnet", "--base", "nowhere", cwd=repository)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("--base: neither a file nor a revision that is here. Got 'nowhere'. Fix: ")
    done = command("nonet", "--base", "HEAD", cwd=repository)
    assert (done.returncode, done.stderr) == (2, "Pulumi.nonet.yaml: no such file. Fix: name an existing stack\n")


def test_json_has_all_of_it(mainnet: Facts) -> None:
    document = json.loads(as_json(compose(mainnet, Version(label="base", facts=mainnet))))
    assert (document["verdict"], document["changes"], document["paths"]) == ("proven", [], [])
