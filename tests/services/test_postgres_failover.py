"""Switchover and failover by the Job's script, against real servers under writers: no acknowledged row may be missing."""

import os
import random
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from components.postgres import config
from tests.services.pods import Lab, Pod, PodSpec, write_files
from tests.services.test_postgres_scripts import ADDRESSES, PASSWORDS, Cluster

KILLS = int(os.environ.get("FAILOVER_KILLS", "5"))
"""Primaries to kill; each with a seed of its own."""
UID = 70
JOB, WRITER = 20, 30
"""Numbers of the pods' addresses."""
EVERYWHERE = ",".join(config.member(ordinal) for ordinal in range(3))


class Rig:
    """Three instances, writers that record what was acknowledged to them, and the Job."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.lab = cluster.lab
        self._writers: dict[str, Pod] = {}
        write_files(self.lab.scratch / "writer", {"writer.sh": Path(__file__).with_name("writer.sh").read_text()})

    def start(self, name: str = "writer", hosts: str = EVERYWHERE) -> None:
        """Start a writer that connects to whichever of some instances accepts writes."""
        number = WRITER + len(self._writers)
        pod = self._pod(name, number, {"/writer": self.lab.scratch / "writer"}, {"PGPASSWORD": PASSWORDS["owner"]})
        where = f"host={hosts} user=gx_owner dbname=gx_protocol target_session_attrs=read-write connect_timeout=1"
        pod.start("writer", "sh", "/writer/writer.sh", name, where)
        self._writers[name] = pod

    def acknowledged(self, name: str = "writer") -> list[str]:
        """Rows that were acknowledged to a writer, in their order."""
        return self._writers[name].read("writer").split()

    def await_writes(self, count: int, name: str = "writer") -> None:
        """Wait until so many rows more have been acknowledged."""
        before = len(self.acknowledged(name))
        self.lab.wait(f"{count} more rows of {name}", lambda: len(self.acknowledged(name)) >= before + count)

    def stop(self) -> set[str]:
        """Stop all writers. Returns every acknowledged row."""
        rows = {row for name in self._writers for row in self.acknowledged(name)}
        for name in self._writers:
            self.lab.kill(name)
        self._writers.clear()
        return rows

    def job(self, target: int, *, accept_loss: str = "", patience: int = 20, unreached: tuple[int, ...] = ()) -> Pod:
        """Run the Job of a changed primaryOrdinal, after the settings that the instances read; some it cannot reach."""
        self.cluster.configure(primary_ordinal=target)
        env = {
            "TARGET": f"postgres-{target}",
            "MEMBERS": "3",
            "ACCEPT_LOSS": accept_loss,
            "PATIENCE_SECONDS": str(patience),
            "PGPASSWORD": PASSWORDS["failover"],
        }
        pod = self._pod("job", JOB, {"/etc/postgresql": self.lab.scratch / "config"}, env)
        for ordinal in unreached:
            pod.cut(10 + ordinal)
        pod.start("promote", "sh", "/etc/postgresql/promote.sh")
        return pod

    def promote(self, target: int, **options: object) -> float:
        """Run the Job to its end, which must be good. Returns how long it took."""
        started = time.monotonic()
        pod = self.job(target, **options)  # type: ignore[arg-type]
        status = pod.wait("promote", 150)
        said = pod.read("promote")
        logs = {each: self.lab.pods[f"postgres-{each}"].read("postgres")[-3000:] for each in self.cluster.running()}
        self.lab.kill("job")
        assert status == 0, "\n".join([said, *(f"--- {each}\n{log}" for each, log in logs.items())])
        return time.monotonic() - started

    def refusal(self, target: int, **options: object) -> str:
        """Run the Job to its end, which must be a refusal. Returns its last line."""
        pod = self.job(target, patience=3, **options)  # type: ignore[arg-type]
        assert pod.wait("promote", 90) == 1, pod.read("promote")
        last = pod.read("promote").splitlines()[-1]
        self.lab.kill("job")
        return last

    def missing(self, rows: set[str], ordinal: int) -> set[str]:
        """Which of some rows an instance does not have."""
        return rows - set(self.cluster.admin(ordinal, "select writer, id from ledger").split())

    def _pod(self, name: str, number: int, mounts: dict[str, Path], env: dict[str, str]) -> Pod:
        return self.lab.pod(PodSpec(name=name, number=number, uid=UID, gid=UID, mounts=mounts, env=env))


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with Lab(tmp_path_factory.mktemp("failover"), ADDRESSES) as lab:
        cluster = Cluster(lab)
        for ordinal in cluster.members:
            cluster.start(ordinal)
        yield cluster


@pytest.fixture
def rig(started: Cluster) -> Rig:
    """A primary that the settings name, two standbys, and an empty table."""
    for name in [*started.lab.pods]:
        if not name.startswith("postgres-"):
            started.lab.kill(name)
    for ordinal in started.members:
        if f"postgres-{ordinal}" not in started.lab.pods:
            started.start(ordinal)
    started.lab.wait("an instance is the primary", lambda: started.primary() is not None)
    primary = started.the_primary()
    started.configure(primary_ordinal=primary)
    started.await_standbys(primary, 2)
    started.lab.wait("the role is there", lambda: "gx_failover" in started.admin(primary, "select rolname from pg_roles"))
    made = started.client(primary, "owner", "drop table if exists ledger; create table ledger (writer text, id int)")
    assert made.returncode == 0, made.stderr
    return Rig(started)


def test_a_switchover_loses_no_acknowledged_row_and_the_old_primary_follows(rig: Rig) -> None:
    old = rig.cluster.the_primary()
    target = (old + 1) % 3
    rig.start()
    rig.await_writes(20)
    took = rig.promote(target)
    rig.await_writes(20)
    assert rig.cluster.the_primary() == target
    rig.cluster.await_standbys(target, 2)
    rows = rig.stop()
    assert not rig.missing(rows, target)
    assert "it has stepped down" in rig.lab.pods[f"postgres-{old}"].read("postgres")
    print(f"switchover in {took:.1f} s, {len(rows)} rows")
