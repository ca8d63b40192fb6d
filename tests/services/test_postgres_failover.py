"""Switchover and failover by the Job's script, on real servers under writers: no acknowledged row may be missing."""

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

KILLS = int(os.environ.get("GX_POSTGRES_KILLS", "5"))
"""Primaries to kill, each with a seed of its own."""
UID = 70
JOB, WRITER = 20, 30
"""Numbers of the pods' addresses."""
EVERYWHERE = ",".join(config.member(ordinal) for ordinal in range(3))


class Rig:
    """Three instances, writers that record what was acknowledged to them, and the Job."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.lab = cluster.lab
        self.said = ""
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

    def job(
        self,
        target: int,
        *,
        accept_loss: str = "",
        patience: int = 20,
        unheard: int = 3,
        unreached: tuple[int, ...] = (),
        told: bool = True,
    ) -> Pod:
        """Start the Job of a changed primaryOrdinal.

        Some instances it cannot reach; and the instances may not have been told of the change yet.
        """
        if told:
            self.cluster.configure(primary_ordinal=target)
        env = {
            "TARGET": f"postgres-{target}",
            "MEMBERS": "3",
            "ACCEPT_LOSS": accept_loss,
            "PATIENCE_SECONDS": str(patience),
            "UNHEARD_SECONDS": str(unheard),
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
        self.said = pod.read("promote")
        logs = {each: self.lab.pods[f"postgres-{each}"].read("postgres")[-3000:] for each in self.cluster.running()}
        self.lab.kill("job")
        assert status == 0, "\n".join([self.said, *(f"--- {each}\n{log}" for each, log in logs.items())])
        return time.monotonic() - started

    def cut_short(self, target: int) -> None:
        """Start the Job of a switchover, and kill it when the primary has begun to stop."""
        primary = self.lab.pods[f"postgres-{self.cluster.the_primary()}"]
        words = "stopping to come back as a standby"
        before = primary.read("postgres").count(words)
        self.job(target)
        self.lab.wait("the primary stops", lambda: primary.read("postgres").count(words) > before, timeout=90)
        self.lab.kill("job")

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

    def await_everywhere(self, rows: set[str]) -> None:
        """Wait until every instance has some rows."""
        self.lab.wait("every instance has every row", lambda: not any(self.missing(rows, each) for each in range(3)))

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
    following = (
        "select count(*) from pg_stat_replication where application_name like 'postgres-_' and state = 'streaming'"
    )
    started.lab.wait(
        "there is a primary with two standbys",
        lambda: (found := started.primary()) is not None and started.admin(found, following) == "2",
        timeout=90,
    )
    primary = started.the_primary()
    started.configure(primary_ordinal=primary)
    started.await_standbys(primary, 2)
    started.lab.wait(
        "the role is there", lambda: "gx_failover" in started.admin(primary, "select rolname from pg_roles")
    )
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


def test_a_primary_that_hears_of_the_job_later_than_its_standbys_is_switched_over_from(rig: Rig) -> None:
    """As where network policies learn of a pod after its start, on each node in its own time (X-71)."""
    old = rig.cluster.the_primary()
    target = (old + 1) % 3
    rig.start()
    rig.await_writes(5)
    job = rig.job(target, unreached=(old,), unheard=20)
    rig.lab.wait("the job sees the standbys alone", lambda: "a standby receives from it" in job.read("promote"))
    # Twice as long as it takes to promote one of them.
    time.sleep(6)
    job.mend(10 + old)
    assert job.wait("promote", 90) == 0, job.read("promote")
    assert f"postgres-{old} steps down" in job.read("promote")
    rig.await_writes(5)
    rig.lab.kill("job")
    assert not rig.missing(rig.stop(), target)


def fail_over(rig: Rig, seed: int) -> float:
    """Kill the primary under a writer, promote another, bring the old one back: no acknowledged row may be missing."""
    luck = random.Random(seed)  # noqa: S311 - a repeatable choice
    old = rig.cluster.the_primary()
    target = luck.choice([ordinal for ordinal in range(3) if ordinal != old])
    rig.start()
    rig.await_writes(luck.randrange(5, 40))
    rig.lab.kill(f"postgres-{old}")
    took = rig.promote(target)
    rig.await_writes(5)
    rig.cluster.start(old)
    rig.cluster.await_standbys(target, 2)
    rig.await_writes(5)
    rows = rig.stop()
    rig.await_everywhere(rows)
    return took


@pytest.mark.parametrize("seed", range(KILLS))
def test_a_killed_primary_takes_no_acknowledged_row_with_it_and_comes_back_as_a_standby(rig: Rig, seed: int) -> None:
    print(f"failover in {fail_over(rig, seed):.1f} s")


def test_a_target_that_is_behind_first_gets_what_the_other_standby_confirmed(rig: Rig) -> None:
    old = rig.cluster.the_primary()
    target, other = (old + 1) % 3, (old + 2) % 3
    nobody = f"select failover.follow('{config.member(target)}')"
    assert rig.cluster.client(target, "failover", nobody, database="postgres").returncode == 0
    rig.cluster.await_standbys(old, 1)
    rig.start()
    rig.await_writes(20)
    rig.lab.kill(f"postgres-{old}")
    rig.promote(target)
    assert not rig.missing(set(rig.acknowledged()), target)
    assert f"promoting postgres-{other}, which has the most" in rig.said
    rig.await_writes(5)
    assert not rig.missing(rig.stop(), target)


def test_the_rig_notices_a_primary_that_is_only_restarted_as_an_independent_one(rig: Rig) -> None:
    """The source document's design, and `restart as primary`: the rig that finds nothing above has to find this."""
    old = rig.cluster.the_primary()
    target, other = (old + 1) % 3, (old + 2) % 3
    rig.start()
    rig.await_writes(10)
    for standby in (target, other):
        rig.cluster.admin(standby, "alter system set primary_conninfo = ''")
        rig.cluster.admin(standby, "alter system set synchronous_standby_names = ''")
        rig.cluster.admin(standby, "select pg_reload_conf()")
    rig.cluster.admin(old, "alter system set synchronous_standby_names = ''")
    rig.cluster.admin(old, "select pg_reload_conf()")
    rig.await_writes(10)
    rig.cluster.promote(target)
    rig.await_writes(10)
    rows = rig.stop()
    lost = rig.missing(rows, target)
    rig.cluster.configure(primary_ordinal=target)
    rig.cluster.admin(target, "alter system reset all")
    rig.cluster.admin(target, "select pg_reload_conf()")
    for ordinal in (old, other):
        rig.lab.kill(f"postgres-{ordinal}")
        rig.cluster.lose_volume(ordinal)
    assert lost


def test_an_old_primary_that_the_job_does_not_reach_acknowledges_nothing_any_more(rig: Rig) -> None:
    """The Job and the old primary are cut off from each other, and both reach the standbys: the worst partition."""
    old = rig.cluster.the_primary()
    target = (old + 1) % 3
    rig.start("old", config.member(old))
    rig.await_writes(10, "old")
    # Told that another one is the primary, its container would stop it.
    rig.promote(target, unreached=(old,), told=False)
    last = len(rig.acknowledged("old"))
    rig.start("new", config.member(target))
    rig.await_writes(20, "new")
    assert len(rig.acknowledged("old")) == last
    assert rig.cluster.admin(old, "select pg_is_in_recovery()") == "f"
    rows = rig.stop()
    assert not rig.missing(rows, target)
    rig.cluster.configure(primary_ordinal=target)
    rig.lab.kill(f"postgres-{old}")
    rig.cluster.start(old)
    rig.cluster.await_standbys(target, 2)
    assert not rig.missing(rows, old)


def test_a_running_primary_that_was_replaced_stops_by_itself_and_follows(rig: Rig) -> None:
    old = rig.cluster.the_primary()
    target = (old + 1) % 3
    rig.promote(target, unreached=(old,))
    rig.cluster.await_says(old, "another primary has taken this one's place")
    # The container ends, and the kubelet starts it again.
    rig.lab.wait("the container ends", lambda: not rig.lab.pods[f"postgres-{old}"].runs("postgres"))
    rig.lab.kill(f"postgres-{old}")
    rig.cluster.start(old)
    rig.cluster.await_standbys(target, 2)


def test_a_primary_that_lets_nobody_in_is_replaced_like_one_that_is_gone(rig: Rig) -> None:
    old = rig.cluster.the_primary()
    target = (old + 1) % 3
    rig.start()
    rig.await_writes(10)
    # As with a full disk: it runs and answers, and no new session begins.
    rig.cluster.admin(old, "alter system set ssl = off")
    rig.cluster.admin(old, "select pg_reload_conf()")
    rig.promote(target)
    rig.await_writes(10)
    rig.lab.wait("the container ends", lambda: not rig.lab.pods[f"postgres-{old}"].runs("postgres"))
    rig.lab.kill(f"postgres-{old}")
    rig.cluster.start(old)
    rig.cluster.await_standbys(target, 2)
    rows = rig.stop()
    rig.await_everywhere(rows)


def leave_a_standby_behind(rig: Rig) -> tuple[int, int, set[str]]:
    """Kill the primary and promote one that reaches nobody but the Job: the other standby has nothing of its timeline.

    The instances have not been told. Returns the old and the new primary, and the rows that were acknowledged.
    """
    old = rig.cluster.the_primary()
    target, other = (old + 1) % 3, (old + 2) % 3
    # Else the other one might have more, and would be promoted first.
    rig.lab.pods[f"postgres-{old}"].cut(10 + other)
    rig.cluster.await_standbys(old, 1)
    rig.start()
    rig.await_writes(20)
    rows = rig.stop()
    for ordinal in (old, other):
        rig.lab.pods[f"postgres-{target}"].cut(10 + ordinal)
    rig.lab.kill(f"postgres-{old}")
    rig.promote(target, told=False)
    assert "no standby confirms its commits yet" in rig.said
    timelines = [
        rig.cluster.client(
            ordinal, "failover", "select failover.status()", asker=ordinal, database="postgres"
        ).stdout.split()[2]
        for ordinal in (target, other)
    ]
    assert int(timelines[0]) > int(timelines[1])
    return old, target, rows


def reach_everybody_again(rig: Rig, target: int) -> None:
    """The new primary comes back with a network that reaches all."""
    rig.lab.kill(f"postgres-{target}")
    rig.cluster.start(target)


def test_a_former_primary_that_meets_only_a_standby_without_the_new_timeline_waits_for_the_new_primary(
    rig: Rig,
) -> None:
    old, target, rows = leave_a_standby_behind(rig)
    rig.cluster.configure(primary_ordinal=target)
    rig.cluster.start(old)
    rig.cluster.await_says(old, f"this was the primary, but the settings name postgres-{target}; waiting for it")
    assert rig.cluster.admin(old, "select 1") == ""
    reach_everybody_again(rig, target)
    rig.cluster.await_standbys(target, 2)
    assert not rig.missing(rows, target)


def test_with_old_settings_it_runs_as_a_second_primary_that_acknowledges_nothing_until_it_is_told(rig: Rig) -> None:
    """A kubelet that is cut off from the API server mounts what it knew. The standby is bound to the new primary."""
    old, target, rows = leave_a_standby_behind(rig)
    rig.cluster.start(old)
    rig.cluster.await_says(old, "primary: no peer is, the settings name this instance, and no peer is ahead")
    rig.start("fenced", config.member(old))
    waiting = "select count(*) > 0 from pg_stat_activity where wait_event = 'SyncRep'"
    rig.cluster.await_answer(old, waiting, "t")

    rig.cluster.configure(primary_ordinal=target)
    reach_everybody_again(rig, target)
    rig.cluster.await_says(old, "another primary has taken this one's place")
    rig.lab.wait("the container ends", lambda: not rig.lab.pods[f"postgres-{old}"].runs("postgres"))
    assert rig.acknowledged("fenced") == []
    rig.stop()
    rig.lab.kill(f"postgres-{old}")
    rig.cluster.start(old)
    rig.cluster.await_standbys(target, 2)
    rig.await_everywhere(rows)


def test_a_former_primary_takes_over_again_without_a_loss_when_the_new_one_never_comes_back(rig: Rig) -> None:
    old, target, rows = leave_a_standby_behind(rig)
    rig.lab.kill(f"postgres-{target}")
    rig.cluster.start(old)
    rig.cluster.await_says(old, "primary: no peer is, the settings name this instance, and no peer is ahead")
    rig.promote(old)
    rig.cluster.await_standbys(old, 1)
    rig.start()
    rig.await_writes(5)
    assert not rig.missing(rows | rig.stop(), old)
    rig.cluster.lose_volume(target)


def test_a_standby_that_the_job_did_not_reach_and_is_bound_to_a_replaced_primary_follows_the_new_one(rig: Rig) -> None:
    old = rig.cluster.the_primary()
    target, other = (old + 1) % 3, (old + 2) % 3
    nobody = f"select failover.follow('{config.member(other)}')"
    assert rig.cluster.client(other, "failover", nobody, database="postgres").returncode == 0
    rig.cluster.await_standbys(old, 1)
    rig.promote(target, unreached=(other,))
    rig.cluster.await_says(other, "has replaced the primary that it is bound to")
    rig.cluster.await_standbys(target, 2)


def test_without_a_majority_it_refuses_and_names_the_loss_and_does_it_when_the_loss_is_accepted(rig: Rig) -> None:
    old = rig.cluster.the_primary()
    target, other = (old + 1) % 3, (old + 2) % 3
    names = ", ".join(f"postgres-{each}" for each in sorted((old, other)))
    for ordinal in (old, other):
        rig.lab.kill(f"postgres-{ordinal}")
    said = rig.refusal(target)
    assert f"refused: {names} do not answer, and may alone have commits that were acknowledged" in said
    assert said.endswith(f"Bring all but one of them back, or accept the loss: postgres.acceptLoss: [{names}]")
    assert "what came after would be lost" in said
    assert rig.cluster.admin(target, "select pg_is_in_recovery()") == "t"
    assert "what came after would be lost" in rig.refusal(target, accept_loss=f"postgres-{old}")

    rig.promote(target, accept_loss=names.replace(",", ""))
    assert rig.cluster.admin(target, "select pg_is_in_recovery()") == "f"
    for ordinal in (old, other):
        rig.cluster.start(ordinal)
    rig.cluster.await_standbys(target, 2)


def test_a_target_that_does_not_answer_is_refused_and_the_primary_stays(rig: Rig) -> None:
    old = rig.cluster.the_primary()
    target = (old + 1) % 3
    rig.lab.kill(f"postgres-{target}")
    assert f"postgres-{target} is no standby that answers" in rig.refusal(target)
    assert rig.cluster.the_primary() == old


def test_a_job_that_was_cut_short_is_gone_on_with_by_the_next_one(rig: Rig) -> None:
    old = rig.cluster.the_primary()
    target = (old + 1) % 3
    rig.start()
    rig.await_writes(10)
    rig.cut_short(target)
    rig.lab.wait("nobody is the primary", lambda: rig.cluster.admin(old, "select pg_is_in_recovery()") == "t")
    rig.promote(target)
    rig.await_writes(10)
    rig.cluster.await_standbys(target, 2)
    assert not rig.missing(rig.stop(), target)


def test_a_switchover_that_is_taken_back_half_way_leaves_the_old_primary(rig: Rig) -> None:
    old = rig.cluster.the_primary()
    rig.cut_short((old + 1) % 3)
    rig.promote(old)
    rig.cluster.await_standbys(old, 2)


def test_a_job_for_what_is_the_primary_already_changes_nothing(rig: Rig) -> None:
    primary = rig.cluster.the_primary()
    timeline = "select timeline_id from pg_control_checkpoint()"
    before = rig.cluster.admin(primary, timeline)
    rig.promote(primary)
    assert rig.cluster.the_primary() == primary
    assert rig.cluster.admin(primary, timeline) == before


def test_the_role_of_the_job_may_do_no_more_than_its_duty(rig: Rig) -> None:
    primary = rig.cluster.the_primary()

    def asked(sql: str, database: str = "postgres") -> subprocess.CompletedProcess[str]:
        return rig.cluster.client(primary, "failover", sql, database=database)

    assert asked("select failover.status()").stdout.startswith("primary ")
    assert "no instance: evil.example" in asked("select failover.follow('evil.example')").stderr
    assert "no pg_hba.conf entry" in asked("select 1", "gx_protocol").stderr
    assert "permission denied" in asked("create table public.t ()").stderr
    assert "permission denied" in asked("alter system set fsync = off").stderr
    assert "permission denied" in asked("select pg_read_file('/etc/passwd')").stderr
    other = rig.cluster.client(primary, "replication", "select failover.status()", database="postgres")
    assert "permission denied for schema failover" in other.stderr
