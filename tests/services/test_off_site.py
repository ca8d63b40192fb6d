"""Copies of backups in an object store: encrypted before they leave, complete, and good when they come back."""

import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from components.backups import config
from components.backups.off_site import environment, secret_data
from components.observability.metrics import BACKUPS
from sandbox import toolchain
from settings.model import OffSite, OffSiteSecrets
from tests.services.pods import NAMESPACE, Lab, PodSpec, volume, write_files

STORE = f"http://store.{NAMESPACE}.svc.cluster.local:9000"
SETTINGS = OffSite.model_validate(
    {"endpoint": STORE, "region": "eu-central-1", "bucket": "gx-backups", "networks": ("10.99.0.0/24",)}
)
SECRETS = OffSiteSecrets.model_validate(
    {"accessKeyId": "key", "secretAccessKey": "canary-secret", "password": "canary-$password'"}
)
NAME = "20261126T060000Z"
ADDRESS = {"store": 40}


@dataclass(frozen=True)
class Store:
    """An object store in the lab, and jobs that reach it."""

    lab: Lab
    port: int = 9000

    def ask(self, path: str) -> str:
        """What the store answers anybody; what is no text are dots."""
        url = f"http://127.0.0.1:{self.port}/{path}"
        done = self.lab.pods["store"].run("sh", "-c", f"curl -s '{url}' | tr -c ' -~' '.'")
        return done.stdout

    def shorten(self, path: str, size: int) -> None:
        """Leave so many bytes of an object."""
        url = f"http://127.0.0.1:{self.port}/{path}"
        script = f"curl -sf '{url}' | head -c {size} | curl -sf -X PUT --data-binary @- '{url}'"
        done = self.lab.pods["store"].run("sh", "-c", script)
        assert done.returncode == 0, done.stderr

    def run(self, script: str, backups: Path, **env: str) -> subprocess.CompletedProcess[str]:
        if "copier" in self.lab.pods:
            self.lab.kill("copier")
        told = environment(SETTINGS, NAMESPACE, "postgres") | secret_data(SECRETS)
        pod = self.lab.pod(
            PodSpec(
                name="copier",
                number=31,
                uid=70,
                gid=70,
                mounts={
                    "/etc/backups": write_files(self.lab.scratch / "scripts", config.scripts()),
                    "/backups": volume(backups, 70, 70),
                },
                env=told | env,
            )
        )
        return pod.run("sh", f"/etc/backups/{script}", timeout=240)


def start_store(lab: Lab, port: int = 9000) -> Store:
    """An empty object store, at the address of ``ADDRESS``."""
    program = toolchain.tool("gofakes3")
    pod = lab.pod(PodSpec(name="store", number=40, uid=70, gid=70, mounts={"/store": program.parent}))
    pod.start("store", "/store/gofakes3", "-backend", "memory", "-host", f":{port}", "-initialbucket", "gx-backups")
    running = Store(lab, port)
    lab.wait("the store answers", lambda: "gx-backups" in running.ask(""))
    return running


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Lab(tmp_path, ADDRESS) as lab:
        yield start_store(lab)


def make_set(backups: Path, name: str, content: str = "canary rows") -> None:
    directory = backups / name
    directory.mkdir(parents=True)
    (directory / "database.dump").write_text(content)
    sums = subprocess.run(["sha256sum", "./database.dump"], cwd=directory, capture_output=True, check=True, text=True)
    (directory / "SHA256SUMS").write_text(sums.stdout)
    for path in (directory, *directory.iterdir()):
        shutil.chown(path, 70, 70)


def test_what_leaves_is_encrypted_and_comes_back_as_it_was(store: Store, tmp_path: Path) -> None:
    backups = tmp_path / "volume"
    make_set(backups, NAME)
    make_set(backups, ".partial.20261126T120000Z")
    done = store.run("off-site-copy.sh", backups)
    assert done.returncode == 0, done.stderr
    assert "off-site: 1 backups" in done.stderr
    report = (backups / "reports/off-site.prom").read_text().splitlines()
    told = {line.partition("{")[0]: line.partition(" ")[2] for line in report if not line.startswith("#")}
    assert told.keys() == {name for name in BACKUPS if name.startswith("gx_off_site")}
    assert 'gx_off_site_copies{kind="postgres"} 1' in report
    listing = store.ask("gx-backups?list-type=2")
    assert f"{NAMESPACE}/postgres/{NAME}/database.dump.bin" in listing
    assert "partial" not in listing
    stored = store.ask(f"gx-backups/{NAMESPACE}/postgres/{NAME}/database.dump.bin")
    assert stored.startswith("RCLONE")
    assert "canary" not in stored

    elsewhere = tmp_path / "new-volume"
    fetched = store.run("off-site-fetch.sh", elsewhere, BACKUP=NAME)
    assert fetched.returncode == 0, fetched.stderr
    assert (elsewhere / NAME / "database.dump").read_text() == "canary rows"
    again = store.run("off-site-fetch.sh", elsewhere, BACKUP=NAME)
    assert (again.returncode, "the volume has" in again.stderr) == (2, True)
    unknown = store.run("off-site-fetch.sh", elsewhere, BACKUP="20200101T000000Z")
    assert (unknown.returncode, f"Fix: one of: {NAME}" in unknown.stderr) == (2, True)
    assert "canary" not in done.stderr + fetched.stderr


def test_a_copy_is_never_changed_or_deleted(store: Store, tmp_path: Path) -> None:
    """Whoever has the volume, or damages it, does not have the copies."""
    backups = tmp_path / "volume"
    make_set(backups, NAME)
    assert store.run("off-site-copy.sh", backups).returncode == 0
    (backups / NAME / "database.dump").write_text("encrypted by somebody else")
    assert store.run("off-site-copy.sh", backups).returncode == 1
    shutil.rmtree(backups / NAME)
    make_set(backups, "20261126T120000Z")
    done = store.run("off-site-copy.sh", backups)
    assert done.returncode == 0, done.stderr
    assert "off-site: 2 backups" in done.stderr
    fetched = store.run("off-site-fetch.sh", backups, BACKUP=NAME)
    assert fetched.returncode == 0
    assert (backups / NAME / "database.dump").read_text() == "canary rows"


def test_a_store_that_does_not_answer_or_a_wrong_password_is_told(store: Store, tmp_path: Path) -> None:
    backups = tmp_path / "volume"
    make_set(backups, NAME)
    assert store.run("off-site-copy.sh", backups).returncode == 0
    wrong = store.run("off-site-fetch.sh", tmp_path / "new", BACKUP=NAME, OFF_SITE_PASSWORD="another password")  # noqa: S106
    assert wrong.returncode == 1
    assert "the volume is as it was" in wrong.stderr
    assert not list((tmp_path / "new").iterdir()), "what is left of it takes the room of the backups"
    store.lab.kill("store")
    away = store.run("off-site-copy.sh", backups, RCLONE_RETRIES="1", RCLONE_LOW_LEVEL_RETRIES="1")
    assert away.returncode == 1
    assert "Fix: see the reason above" in away.stderr
