"""The archive of the WAL across a change of the primary: what is restored is the history that survived."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from components.postgres import config
from tests.services.pods import Lab
from tests.services.test_postgres_point_in_time import Archive, ids, insert, next_second, owner, switch
from tests.services.test_postgres_scripts import ADDRESSES, Cluster


class Members(Cluster):
    """Three instances whose WAL is archived."""

    def configure(self, *, archive: bool = True, **update: object) -> None:
        """Change settings, as a changed ConfigMap does."""
        super().configure(archive=archive, **update)


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[Archive]:
    """A primary with two standbys and an archive that has its first base backup."""
    # Restores come in by the primary's Service: of whoever is the primary at the end of a test.
    with Lab(tmp_path, ADDRESSES | {"postgres-primary": 11}) as lab:
        cluster = Members(lab)
        for ordinal in cluster.members:
            cluster.start(ordinal)
        lab.wait("there is a primary", lambda: cluster.primary() == 0, timeout=90)
        cluster.await_standbys(0, 2)
        owner(cluster, "create table ledger (id int primary key)")
        archive = Archive(cluster)
        archive.start()
        archive.await_base()
        yield archive


def commit_for_nobody(cluster: Cluster) -> str:
    """Commit on a primary that reaches no standby any more, and the archive still; the segment where that ends."""
    # Last the one that will be promoted: it has most.
    for standby in (2, 1):
        cluster.lab.pods["postgres-0"].cut(10 + standby)
    owner(cluster, "set synchronous_commit = local; insert into ledger values (666)")
    for _ in range(3):
        owner(cluster, "set synchronous_commit = local; create table filler (); drop table filler")
        ended = cluster.admin(0, "select pg_walfile_name(pg_switch_wal())")
    return ended


def restored(archive: Archive, moment: float) -> list[int]:
    """The rows as they were at a second."""
    owner(archive.cluster, "delete from ledger")
    status, said = archive.restore(moment, EXECUTE="yes")
    assert status == 0, said
    return ids(archive.cluster)


def fail_over(archive: Archive, *, bystander: int = 2) -> None:
    """The primary, 0, is gone; 1 is promoted."""
    cluster = archive.cluster
    cluster.lab.kill("postgres-0")
    cluster.configure(primary_ordinal=1)
    cluster.promote(1)
    cluster.await_standbys(1, 1)
    assert bystander in cluster.running()


def test_restores_to_a_second_before_and_after_a_failover(archive: Archive) -> None:
    cluster = archive.cluster
    insert(cluster, 1)
    before = next_second()
    insert(cluster, 2)
    fail_over(archive)
    archive.await_says(f"receiving from {config.member(1)}, timeline 2")
    insert(cluster, 3)
    after = next_second()
    insert(cluster, 4)
    archive.await_reach(next_second())
    assert len(archive.chains()) == 1, "the new primary goes on where the old one ended"
    assert (archive.chain / "00000002.history").exists()
    for moment, expected in ((before, [1]), (after, [1, 2, 3])):
        assert restored(archive, moment) == expected


def test_what_the_archive_alone_got_of_the_old_primary_is_put_aside_and_never_restored(archive: Archive) -> None:
    """Commits that no standby confirmed, some segments of them: the archive is ahead of where the histories part."""
    cluster = archive.cluster
    insert(cluster, 1)
    before = next_second()
    archive.await_reach(before)
    diverged = commit_for_nobody(cluster)
    archive.await_reach(next_second())
    ahead = set(archive.segments())
    assert diverged in ahead
    fail_over(archive)
    archive.await_says("put aside: ")
    archive.await_says(f"receiving from {config.member(1)}, timeline 2")
    insert(cluster, 2)
    after = next_second()
    archive.await_reach(after)
    aside = {path.name for path in (archive.receiver.backups / "wal").glob("aside-*/*")}
    assert diverged in aside
    assert len(aside & ahead) >= 3, "the whole segments of the tail"
    assert not aside & set(archive.segments())
    assert not [name for name in aside if name.startswith("00000002")]
    assert len(archive.chains()) == 1
    for moment, expected in ((before, [1]), (after, [1, 2])):
        assert restored(archive, moment) == expected


def test_a_replaced_primary_that_still_runs_is_left_for_the_new_one(archive: Archive) -> None:
    """The archive reaches both: the one on the newer timeline is the primary."""
    cluster = archive.cluster
    # The one that will be promoted comes last, and so has most.
    for standby in (2, 1):
        cluster.lab.pods[f"postgres-{standby}"].cut(10)
    # Unaware of the other one: its container would end it.
    cluster.promote(1)
    assert cluster.admin(0, "select pg_is_in_recovery()") == "f"
    archive.await_says(f"receiving from {config.member(1)}, timeline 2")
    cluster.lab.kill("postgres-0")
    cluster.configure(primary_ordinal=1)
    cluster.await_standbys(1, 1)
    insert(cluster, 1)
    second = next_second()
    switch(cluster)
    archive.await_reach(second)
    owner(cluster, "delete from ledger")
    status, said = archive.restore(second, EXECUTE="yes")
    assert status == 0, said
    assert ids(cluster) == [1]


def test_the_archive_confirms_no_commit(archive: Archive) -> None:
    """With both standbys gone a commit waits, although the archive has it on its disk."""
    cluster = archive.cluster
    for standby in (1, 2):
        cluster.lab.kill(f"postgres-{standby}")
    primary = cluster.lab.pods["postgres-0"]
    waiting = "select count(*) from pg_stat_activity where wait_event = 'SyncRep'"
    primary.start(
        "writer",
        "psql",
        "-Xq",
        "-h",
        "/var/run/postgresql",
        "-U",
        "gx_admin",
        "gx_protocol",
        "-c",
        "insert into ledger values (1)",
    )
    cluster.await_answer(0, waiting, "1")
    flushed = (
        "select flush_lsn >= pg_current_wal_flush_lsn() from pg_stat_replication where application_name = 'wal_archive'"
    )
    cluster.await_answer(0, flushed, "t")
    time.sleep(1)
    assert cluster.admin(0, waiting) == "1"
    assert (
        cluster.admin(0, "select sync_state from pg_stat_replication where application_name = 'wal_archive'") == "async"
    )
