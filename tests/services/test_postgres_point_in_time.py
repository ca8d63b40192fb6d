"""The archive of WAL, base backups, and restores to a second on real servers: no hole, no row too many or too few."""

import random
import re
import shutil
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from components.backups.pod import base
from components.observability import exporters
from components.observability.metrics import WAL_ARCHIVE
from tests import stacks
from tests.services.backup_jobs import Jobs, small_volume
from tests.services.pods import Lab, Pod
from tests.services.test_metrics import exported, names, start_exporter
from tests.services.test_postgres_scripts import ADDRESSES, DATABASE, PASSWORDS, UID, Cluster

SEED = 20261126
KILLS = 8
STORAGE_KIB = 8 * 2**20
SEGMENT = re.compile(r"[0-9A-F]{24}")


class Archive:
    """The archive's pod and the jobs beside it, on one volume."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.lab = cluster.lab
        postgres = stacks.settings("mainnet").postgres
        kind = base(postgres.model_copy(update={"replicas": len(cluster.members)}))
        env = {
            **kind.reader,
            "PGPASSWORD": PASSWORDS["archive"],
            "LOOK_SECONDS": "0.3",
            "RETRY_SECONDS": "5",
            "TRIES": "60",
            "SIZE_KIB": str(STORAGE_KIB),
        }
        owner = {**kind.host, **kind.restorer, "PGPASSWORD": PASSWORDS["owner"], "ADMIN": "gx_admin"}
        self.receiver = Jobs(lab=self.lab, uid=UID, gid=UID, env=env, name="archive", number=30)
        self.jobs = Jobs(
            lab=self.lab,
            uid=UID,
            gid=UID,
            env={**env, "KEEP": "2"},
            name="base",
            number=31,
            volume="archive",
        )
        self.restores = Jobs(lab=self.lab, uid=UID, gid=UID, env=owner, name="restore", number=32, volume="archive")

    @property
    def pod(self) -> Pod:
        """The archive's pod."""
        return self.lab.pods["archive"]

    @property
    def chain(self) -> Path:
        """The newest chain."""
        return self.chains()[-1]

    def chains(self) -> list[Path]:
        """Every chain, oldest first."""
        return sorted((self.receiver.backups / "wal").glob("[0-9]*Z"))

    def start(self, **env: str) -> None:
        """Start the archive's pod, in place of one before it."""
        self.receiver.pod(**env).start("archive", "sh", "/etc/backups/postgres-archive.sh")

    def await_says(self, words: str) -> None:
        """Wait until the archive gives a reason."""
        self.lab.wait(f"the archive says '{words}'", lambda: words in self.pod.read("archive"), timeout=60)

    def await_base(self) -> str:
        """Wait until the newest chain has a base backup. Returns the newest one's name."""

        def of_the_chain() -> list[str]:
            found = [name for name in self.jobs.sets() if self.text(name, "chain") == self.chain.name]
            return found if self.chains() else []

        self.lab.wait("the chain has a base backup", lambda: bool(self.chains()) and bool(of_the_chain()), timeout=90)
        return of_the_chain()[-1]

    def text(self, name: str, file: str) -> str:
        """What a base backup says in one of its files."""
        return (self.jobs.backups / name / file).read_text().strip()

    def back_up(self, **env: str) -> str:
        """Take a base backup that counts, and return what the job said."""
        done = self.jobs.run("postgres-base-backup.sh", **env)
        assert done.returncode == 0, done.stderr
        return done.stderr

    def await_reach(self, moment: float) -> None:
        """Wait until everything until a moment is archived."""
        self.lab.wait(f"the archive reaches {moment}", lambda: self.reached() >= moment, timeout=60)

    def reached(self) -> float:
        """The newest second that can be restored."""
        file = self.chain / "reached"
        return float(file.read_text().split()[0]) if file.exists() else 0

    def restore(self, moment: float, what: str = "database", **env: str) -> tuple[int, str]:
        """Restore to a second; the status and what was said."""
        at = f"{datetime.fromtimestamp(moment, UTC):%Y%m%dT%H%M%SZ}"
        done = self.restores.run("postgres-point-in-time.sh", AT=at, WHAT=what, **env)
        return done.returncode, done.stderr

    def segments(self) -> list[str]:
        """Whole segments of the newest chain."""
        return sorted(path.name for path in self.chain.iterdir() if SEGMENT.fullmatch(path.name))


def insert(cluster: Cluster, *numbers: int) -> None:
    """Commit rows, each by itself."""
    for number in numbers:
        owner(cluster, f"insert into ledger values ({number})")  # noqa: S608


def owner(cluster: Cluster, sql: str) -> str:
    """Run statements as the owner of the schema, on the primary."""
    primary = cluster.the_primary()
    done = cluster.client(primary, "owner", sql, asker=primary)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def ids(cluster: Cluster) -> list[int]:
    return [int(each) for each in owner(cluster, "select id from ledger order by id").split()]


def next_second() -> float:
    """Sleep into the next second, and return it: what came before is before it."""
    second = float(int(time.time()) + 1)
    time.sleep(second - time.time() + 0.05)
    return second


def switch(cluster: Cluster, segments: int = 1) -> None:
    """Fill so many segments."""
    for _ in range(segments):
        cluster.admin(
            cluster.the_primary(), "create table if not exists filler (); drop table filler; select pg_switch_wal()"
        )


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with Lab(tmp_path_factory.mktemp("point-in-time"), ADDRESSES | {"postgres-primary": 10}) as lab:
        cluster = Cluster(lab, members=1)
        cluster.configure(archive=True)
        cluster.start(0)
        cluster.await_says(0, "primary: slots and passwords are as the settings say")
        yield cluster


@pytest.fixture
def archive(started: Cluster) -> Iterator[Archive]:
    """A running archive of its own, with its first base backup, and an empty table."""
    owner(started, "drop schema if exists restored cascade")
    owner(started, "drop table if exists ledger; create table ledger (id int primary key)")
    archive = Archive(started)
    shutil.rmtree(archive.receiver.backups, ignore_errors=True)
    archive.start()
    # The job holds the volume until it has said so.
    archive.await_says(f"{archive.await_base()} is good")
    yield archive
    for name in ("archive", "base", "restore"):
        if name in started.lab.pods:
            started.lab.kill(name)


def test_a_restore_to_a_second_has_exactly_the_rows_that_were_committed_before_it(archive: Archive) -> None:
    cluster = archive.cluster
    moments: list[tuple[float, list[int]]] = []
    for number in range(1, 4):
        next_second()
        insert(cluster, number)
        moments.append((next_second(), ids(cluster)))
    owner(cluster, "delete from ledger")
    archive.await_reach(moments[-1][0])
    damaged = ids(cluster)

    status, said = archive.restore(moments[1][0], EXECUTE="yes")
    # An emptied table holds no rows: nothing is overwritten.
    assert status == 0, said
    assert ids(cluster) == moments[1][1] == [1, 2]
    status, said = archive.restore(moments[0][0], EXECUTE="yes")
    assert (status, "Fix: add --overwrite" in said) == (2, True), said
    status, said = archive.restore(moments[0][0], OVERWRITE="yes")
    assert (status, "dry run: nothing was changed" in said) == (0, True), said
    assert "plan: replace all of it by 1 tables" in said
    assert ids(cluster) == [1, 2]
    status, said = archive.restore(moments[2][0], OVERWRITE="yes", EXECUTE="yes")
    assert status == 0, said
    assert ids(cluster) == [1, 2, 3]
    assert damaged == []
    assert not [password for password in PASSWORDS.values() if password in said + archive.pod.read("archive")]


def test_a_second_after_the_last_commit_is_all_that_is_archived(archive: Archive) -> None:
    """Recovery alone ends with an error then: it sees no commit at which to stop."""
    insert(archive.cluster, 1)
    second = next_second()
    archive.await_reach(second)
    status, said = archive.restore(second, "table", TABLE="public.ledger", OVERWRITE="yes", EXECUTE="yes")
    assert status == 0, said
    assert ids(archive.cluster) == [1]


def test_one_table_comes_back_beside_the_live_one(archive: Archive) -> None:
    owner(archive.cluster, "insert into ledger values (1), (2)")
    second = next_second()
    owner(archive.cluster, "update ledger set id = 3 where id = 2")
    archive.await_reach(second)
    status, said = archive.restore(second, "table", TABLE="public.ledger", EXECUTE="yes")
    assert status == 0, said
    beside = f"restored.ledger_{datetime.fromtimestamp(second, UTC):%Y%m%dt%H%M%Sz}"
    assert owner(archive.cluster, f"select string_agg(id::text, ' ' order by id) from {beside}") == "1 2"  # noqa: S608
    assert ids(archive.cluster) == [1, 3]


def test_a_second_outside_of_the_archive_is_refused_with_the_range(archive: Archive) -> None:
    ended = int(archive.text(archive.await_base(), "ended"))
    archive.await_reach(ended)
    for moment in (ended - 60, time.time() + 3600):
        status, said = archive.restore(moment)
        assert status == 2, said
        earliest = f"{datetime.fromtimestamp(ended, UTC):%Y-%m-%d %H:%M:%S}+00:00"
        assert f"cannot be reached. Fix: a second from {earliest} to " in said


def test_an_archive_killed_at_any_moment_has_no_hole(archive: Archive) -> None:
    chance = random.Random(SEED)  # noqa: S311 - no secret depends on it
    cluster = archive.cluster
    base_backup = archive.await_base()
    chain = archive.chain
    for number in range(KILLS):
        insert(cluster, number)
        if chance.random() < 0.7:
            switch(cluster)
        archive.lab.kill("archive")
        if chance.random() < 0.7:
            insert(cluster, 100 + number)
            switch(cluster)
        archive.start()
        time.sleep(chance.random())
    wanted = ids(cluster)
    second = next_second()
    archive.await_reach(second)
    assert archive.chain == chain, "each restart went on where the one before it had ended"
    first, last = archive.segments()[0], archive.segments()[-1]
    read = archive.restores.pod().run(
        "pg_waldump", "--quiet", f"/backups/wal/{chain.name}/{first}", f"/backups/wal/{chain.name}/{last}"
    )
    assert read.returncode == 0, read.stderr
    owner(cluster, "delete from ledger")
    status, said = archive.restore(second, EXECUTE="yes")
    assert status == 0, said
    assert f"base backup {base_backup}" in said
    assert ids(cluster) == wanted


def test_a_segment_whose_making_was_cut_short_does_not_stop_the_archive(archive: Archive) -> None:
    """The receiver fills it with zeros first, and would refuse it for ever."""
    insert(archive.cluster, 1)
    archive.lab.wait("a segment is begun", lambda: bool(list(archive.chain.glob("*.partial"))))
    archive.lab.kill("archive")
    (partial,) = archive.chain.glob("*.partial")
    with partial.open("r+b") as file:
        file.truncate(2711552)
    insert(archive.cluster, 2)
    archive.start()
    archive.await_says(f"removed: {partial.name}")
    second = next_second()
    archive.await_reach(second)
    owner(archive.cluster, "delete from ledger")
    status, said = archive.restore(second, EXECUTE="yes")
    assert status == 0, said
    assert ids(archive.cluster) == [1, 2]


def test_a_missing_segment_is_refused_by_its_name(archive: Archive) -> None:
    cluster = archive.cluster
    archive.await_base()
    switch(cluster, 3)
    insert(cluster, 1)
    second = next_second()
    archive.await_reach(second)
    missing = archive.segments()[-2]
    (archive.chain / missing).rename(archive.chain / f"taken-{missing}")
    status, said = archive.restore(second, OVERWRITE="yes", EXECUTE="yes")
    assert status == 1, said
    assert f"segment {missing[8:]} is missing in {archive.chain.name}" in said
    assert ids(cluster) == [1]


def test_a_damaged_segment_is_refused_and_never_restored_up_to_the_damage(archive: Archive) -> None:
    cluster = archive.cluster
    archive.await_base()
    insert(cluster, 1)
    switch(cluster)
    insert(cluster, 2)
    switch(cluster)
    insert(cluster, 3)
    second = next_second()
    archive.await_reach(second)
    path = archive.chain / archive.segments()[-1]
    content = bytearray(path.read_bytes())
    content[:8192] = bytes(8192)
    path.write_bytes(content)
    status, said = archive.restore(second, OVERWRITE="yes", EXECUTE="yes")
    assert status == 1, said
    assert "what follows is damaged" in said
    assert ids(cluster) == [1, 2, 3]


def test_a_damaged_base_backup_is_refused(archive: Archive) -> None:
    name = archive.await_base()
    second = next_second()
    archive.await_reach(second)
    file = archive.jobs.backups / name / "base.tar.gz"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    status, said = archive.restore(second, OVERWRITE="yes", EXECUTE="yes")
    assert status == 1, said
    assert f"{name} does not have its checksums: it is damaged" in said


def test_a_file_that_is_not_as_the_server_sent_it_makes_no_base_backup(archive: Archive) -> None:
    """Checksums of the set alone would take what was damaged before they were made."""
    name = archive.await_base()
    pod = archive.jobs.pod()
    directory = f"/backups/{name}"
    check = 'kind=x; . /etc/backups/lib.sh; . /etc/backups/wal-lib.sh; unpack "$1" /scratch/unpacked'
    assert pod.run("sh", "-c", check, "/etc/backups/x", directory).returncode == 0
    damage = (
        "cd /scratch/unpacked && echo x >>PG_VERSION && tar -czf /backups/damaged.tar.gz . && "
        f"mv /backups/damaged.tar.gz {directory}/base.tar.gz"
    )
    assert pod.run("sh", "-c", damage).returncode == 0
    refused = pod.run("sh", "-c", check, "/etc/backups/x", directory)
    assert refused.returncode == 1
    assert "PG_VERSION" in refused.stderr


def test_a_gap_begins_a_new_chain_with_a_base_backup_at_once(archive: Archive) -> None:
    cluster = archive.cluster
    first = archive.await_base()
    insert(cluster, 1)
    before = next_second()
    archive.await_reach(before)
    archive.lab.kill("archive")
    old = archive.chain
    # The slot is gone, as on a new primary, and so is the WAL.
    await_free_slot(cluster)
    cluster.admin(0, "select pg_drop_replication_slot('wal_archive')")
    cluster.admin(0, "alter system set wal_keep_size = 0")
    cluster.admin(0, "select pg_reload_conf()")
    wanted = cluster.admin(0, "select pg_walfile_name(pg_current_wal_lsn())")

    def gone() -> bool:
        # What is recycled depends on the distance between checkpoints.
        switch(cluster, 4)
        cluster.admin(0, "checkpoint")
        return cluster.admin(0, f"select count(*) from pg_ls_waldir() where name = '{wanted}'") == "0"  # noqa: S608

    cluster.lab.wait("the WAL is gone", gone)
    archive.start()
    archive.await_says("a gap: the WAL that comes next is no longer on postgres-0")
    second = archive.await_base()
    cluster.admin(0, "alter system reset wal_keep_size")
    cluster.admin(0, "select pg_reload_conf()")
    assert archive.chain != old
    assert second != first
    insert(cluster, 2)
    after = next_second()
    archive.await_reach(after)
    for moment, expected in ((before, [1]), (after, [1, 2])):
        owner(cluster, "delete from ledger")
        status, said = archive.restore(moment, EXECUTE="yes")
        assert status == 0, said
        assert ids(cluster) == expected
    # What lies in the gap belongs to no chain.
    status, said = archive.restore((archive_end(old) + int(archive.text(second, "ended"))) // 2)
    assert status == 2, said
    assert ", or from " in said


def await_free_slot(cluster: Cluster) -> None:
    cluster.await_answer(0, "select active from pg_replication_slots where slot_name = 'wal_archive'", "f")


def archive_end(chain: Path) -> int:
    return int((chain / "reached").read_text().split()[0])


def test_wal_goes_only_with_the_base_backups_that_need_it(archive: Archive) -> None:
    cluster = archive.cluster
    archive.await_base()
    for number in range(2):
        switch(cluster, 2)
        insert(cluster, number)
        archive.back_up()
    assert len(archive.jobs.sets()) == 2, "KEEP=2"
    oldest = archive.jobs.sets()[0]
    second = float(archive.text(oldest, "ended"))
    (start,) = re.findall(r'"Start-LSN": "([0-9A-F]+/[0-9A-F]+)"', archive.text(oldest, "backup_manifest"))
    high, low = (int(part, 16) for part in start.split("/"))
    first = f"{high:08X}{low // 2**24:08X}"
    assert archive.segments()[0][8:] == first
    archive.await_reach(second)
    kept = archive.segments()
    failed = archive.jobs.run("postgres-base-backup.sh", CONNECTION="user=nobody")
    assert failed.returncode == 1
    assert archive.segments()[: len(kept)] == kept, "a failed one deletes nothing"
    owner(cluster, "delete from ledger")
    status, said = archive.restore(second, EXECUTE="yes")
    assert status == 0, said
    assert ids(cluster) == [0]


def test_a_full_archive_stops_and_says_what_to_do(archive: Archive) -> None:
    cluster = archive.cluster
    archive.await_base()
    archive.lab.kill("archive")
    archive.start(SIZE_KIB="10")
    archive.await_says("Fix: lower backups.pointInTime.keep or raise its storage")
    await_free_slot(cluster)
    archive.lab.wait("it is told", lambda: metrics(archive)["gx_wal_archive_receiving"] == 0)


def metrics(archive: Archive) -> dict[str, float]:
    archive.lab.wait("the state is published", (archive.receiver.backups / "reports/wal-archive.prom").exists)
    return archive.receiver.metrics("wal-archive")


def test_the_state_is_published(archive: Archive) -> None:
    name = archive.await_base()
    archive.await_reach(next_second())
    found: dict[str, float] = {}

    def receives() -> bool:
        found.update(metrics(archive))
        return found["gx_wal_archive_receiving"] == 1 and found["gx_wal_archive_base_timestamp_seconds"] > 0

    archive.lab.wait("it receives", receives)
    assert found.keys() == WAL_ARCHIVE
    assert abs(found["gx_wal_archive_reached_timestamp_seconds"] - time.time()) < 60
    assert found["gx_wal_archive_lag_bytes"] < 16 * 2**20
    assert found["gx_wal_archive_position_bytes"] > 0
    assert archive.jobs.metrics()["gx_backup_sets"] == len(archive.jobs.sets())
    assert name in archive.jobs.sets()


def test_the_state_is_exported_beside_the_report_of_the_base_backups(archive: Archive) -> None:
    archive.await_base()
    archive.await_reach(next_second())
    archive.lab.wait("it receives", lambda: metrics(archive)["gx_wal_archive_base_timestamp_seconds"] > 0)
    backups = stacks.settings("mainnet").backups
    assert backups is not None
    (reader,) = [each for each in exporters.reports("image", backups) if each.app == "postgres-base-backup-reports"]
    pod = start_exporter(archive.lab, reader, "node_exporter", {"/reports": archive.receiver.backups / "reports"})
    series = exported(pod, f"localhost:{reader.port}/metrics")
    archive.lab.kill(reader.app)
    assert series["node_textfile_scrape_error"] == 0
    assert names(series) >= WAL_ARCHIVE
    assert series['gx_wal_archive_receiving{kind="postgres-base"}'] == 1
    assert series['gx_backup_last_run_success{kind="postgres-base"}'] == 1


def test_the_role_may_stream_and_nothing_else(archive: Archive) -> None:
    cluster = archive.cluster
    for database in (DATABASE, "postgres"):
        assert "no pg_hba.conf entry" in cluster.client(0, "archive", "select 1", asker=0, database=database).stderr
    flags = "rolsuper, rolcreaterole, rolcreatedb, rolbypassrls, rolreplication"
    granted = cluster.admin(0, f"select {flags} from pg_roles where rolname = 'gx_archive'")  # noqa: S608
    assert granted == "f|f|f|f|t"
    assert cluster.admin(0, "select count(*) from pg_auth_members where member = 'gx_archive'::regrole") == "0"


def test_without_an_archive_in_the_settings_the_slot_goes(archive: Archive) -> None:
    cluster = archive.cluster
    counted = "select count(*) from pg_replication_slots where slot_name = 'wal_archive'"
    assert cluster.admin(0, counted) == "1"
    archive.lab.kill("archive")
    await_free_slot(cluster)
    cluster.configure(archive=False)
    cluster.await_answer(0, counted, "0")
    cluster.configure(archive=True)


def test_a_base_backup_without_room_is_refused_early(archive: Archive) -> None:
    archive.lab.kill("archive")
    with small_volume(archive.receiver, "256m"):
        archive.start()
        name = archive.await_base()
        # Nothing may make room any more: the job deletes older WAL, the receiver a segment that it cannot fill.
        archive.await_says(f"{name} is good")
        archive.lab.kill("archive")
        filler = archive.receiver.backups / "filler"
        filler.write_bytes(bytes(archive.receiver.free() - 2 * 2**20))
        refused = archive.jobs.run("postgres-base-backup.sh")
        archive.lab.kill("base")
        assert refused.returncode == 4, refused.stderr
        assert "KiB free and a backup needs" in refused.stderr
        assert archive.jobs.sets() == [name]


def test_an_archive_that_is_told_to_end_ends_with_its_receiver(archive: Archive) -> None:
    assert archive.pod.terminate("archive", timeout=20) == 143
    await_free_slot(archive.cluster)
