"""The jobs around backups as pods of a lab, each with its volume of backups and the scripts it has in production."""

import hashlib
import random
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from components.backups import config
from components.tls import CLIENT_DIRECTORY
from tests.services.pods import Lab, Pod, PodSpec, volume, write_files


@dataclass(frozen=True, kw_only=True)
class Jobs:
    """Jobs of one kind that share a volume of backups, of their own name unless another one is given."""

    lab: Lab
    uid: int
    gid: int
    env: Mapping[str, str]
    name: str = "backup"
    number: int = 30
    volume: str | None = None

    @property
    def backups(self) -> Path:
        """The volume of the backups."""
        return self.lab.scratch / f"{self.volume or self.name}-volume"

    def pod(self, **env: str) -> Pod:
        """A pod for one job, in place of one before it."""
        if self.name in self.lab.pods:
            self.lab.kill(self.name)
        scratch = self.lab.scratch / f"{self.name}-scratch"
        shutil.rmtree(scratch, ignore_errors=True)
        return self.lab.pod(
            PodSpec(
                name=self.name,
                number=self.number,
                uid=self.uid,
                gid=self.gid,
                mounts={
                    "/etc/backups": write_files(self.lab.scratch / "backup-scripts", config.scripts()),
                    "/backups": volume(self.backups, self.uid, self.gid),
                    "/scratch": volume(scratch, self.uid, self.gid),
                    CLIENT_DIRECTORY: self.lab.scratch / "tls",
                },
                env={"KEEP": "30", "TRIES": "10", **self.env, **env},
            )
        )

    def run(self, script: str, **env: str) -> subprocess.CompletedProcess[str]:
        """Run a job to its end."""
        return self.pod(**env).run("sh", f"/etc/backups/{script}", timeout=120)

    def sets(self) -> list[str]:
        """Names of the backups that count, oldest first."""
        return sorted(path.name for path in self.backups.glob("[0-9]*Z")) if self.backups.exists() else []

    def newest(self) -> Path:
        """The newest backup that counts."""
        return self.backups / self.sets()[-1]

    def free(self) -> int:
        """Bytes that the volume has left."""
        return shutil.disk_usage(self.backups).free

    def metrics(self, report: str = "backup") -> dict[str, float]:
        """What monitoring reads of the last run."""
        lines = (self.backups / f"reports/{report}.prom").read_text().splitlines()
        return {line.split("{")[0]: float(line.split()[-1]) for line in lines if not line.startswith("#")}

    def intact(self) -> bool:
        """Whether every backup that counts has the content it was checksummed with."""
        for name in self.sets():
            sums = (self.backups / name / "SHA256SUMS").read_text().splitlines()
            for wanted, file in (line.split() for line in sums):
                if hashlib.sha256((self.backups / name / file).read_bytes()).hexdigest() != wanted:
                    return False
        return True


@contextmanager
def small_volume(jobs: Jobs, size: str) -> Iterator[None]:
    """A volume of backups of a fixed size, empty."""
    jobs.backups.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(jobs.backups)], check=True)
    try:
        yield
    finally:
        if jobs.name in jobs.lab.pods:
            jobs.lab.kill(jobs.name)
        subprocess.run(["umount", str(jobs.backups)], check=True)


def killed_at_every_moment(
    jobs: Jobs, script: str, backup: Callable[[Jobs], object], kills: int, chance: random.Random
) -> None:
    """Make a backup, then kill as many runs, each at a later moment: none counts by half, and none before is harmed."""
    started = time.monotonic()
    backup(jobs)
    length = time.monotonic() - started
    good = jobs.sets()
    cut_short = 0
    for number in range(kills):
        pod = jobs.pod()
        pod.start("backup", "sh", f"/etc/backups/{script}")
        moment = length * (number + chance.random()) / kills
        time.sleep(moment)
        jobs.lab.kill(jobs.name)
        if jobs.sets() == good:
            cut_short += 1
        else:  # It took less than the one that was measured.
            length = min(length, moment)
        assert set(good) <= set(jobs.sets())
        assert jobs.intact()
        good = jobs.sets()
    assert cut_short >= kills // 2, "the kills came too late to prove anything"
    # The next run would begin by making this room, which a test of a full volume has not counted.
    for left in jobs.backups.glob(".p*Z"):
        shutil.rmtree(left)
