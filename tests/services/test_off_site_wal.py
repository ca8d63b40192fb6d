"""Base backups and the archived WAL in an object store: a second is restored from the copies alone."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from components.backups.off_site import environment, secret_data
from components.observability.metrics import OFF_SITE_WAL
from components.postgres import config
from tests.services.backup_jobs import Jobs
from tests.services.pods import NAMESPACE, Lab
from tests.services.test_off_site import ADDRESS, SECRETS, SETTINGS, Store, start_store
from tests.services.test_postgres_archive_failover import Members, commit_for_nobody, fail_over, restored
from tests.services.test_postgres_point_in_time import Archive, insert, next_second, owner, switch
from tests.services.test_postgres_scripts import ADDRESSES, UID

NOT_COPIED = "the WAL was not copied: see the reason above"


@dataclass(frozen=True)
class Copied:
    """An archive with its first base backup, and jobs that copy and fetch."""

    archive: Archive
    copier: Jobs
    fetcher: Jobs

    def start(self) -> None:
        """Start the container beside the archive."""
        self.copier.pod().start("off-site-wal", "sh", "/etc/backups/off-site-wal.sh")

    def said(self) -> str:
        """What the container has said, which is never a secret."""
        said = self.archive.lab.pods["copier"].read("off-site-wal")
        assert not [value for value in secret_data(SECRETS).values() if value in said and value != "key"]
        return said

    def told(self) -> float:
        """The newest second that monitoring is told is in the store; 0 before there is one."""
        report = self.copier.backups / "reports/off-site-wal.prom"
        (name,) = OFF_SITE_WAL
        return self.copier.metrics("off-site-wal")[name] if report.exists() else 0

    def await_copied(self, moment: float) -> None:
        """Wait until everything until a moment is in the store."""
        self.archive.await_reach(moment)
        self.archive.lab.wait(f"the copies reach {moment}", lambda: self.told() >= moment, timeout=90)

    def lose_the_volume(self) -> None:
        """Take away the node of the backups."""
        for name in ("archive", "copier"):
            self.archive.lab.kill(name)
        shutil.rmtree(self.copier.backups)

    def fetch(self, name: str) -> str:
        """Bring a base backup and its WAL back, and return what was said."""
        done = self.fetcher.run("off-site-fetch.sh", BACKUP=name)
        assert done.returncode == 0, done.stderr
        return done.stderr


@contextmanager
def copied(scratch: Path, *, members: int, service: int) -> Iterator[Copied]:
    """An archive of so many instances; restores come in by the address of one of them."""
    with Lab(scratch, ADDRESSES | ADDRESS | {"postgres-primary": 10 + service}) as lab:
        cluster = Members(lab, members=members)
        for ordinal in cluster.members:
            cluster.start(ordinal)
        lab.wait("there is a primary", lambda: cluster.primary() == 0, timeout=90)
        cluster.await_says(0, "primary: slots and passwords are as the settings say")
        if members > 1:
            cluster.await_standbys(0, members - 1)
        owner(cluster, "create table ledger (id int primary key)")
        archive = Archive(cluster)
        archive.start()
        archive.await_base()
        told = environment(SETTINGS, NAMESPACE, "postgres-base") | secret_data(SECRETS)
        env = told | {"COPY_SECONDS": "1", "RCLONE_LOW_LEVEL_RETRIES": "1"}
        copier = Jobs(lab=lab, uid=UID, gid=UID, env=env, name="copier", number=33, volume="archive")
        fetcher = Jobs(lab=lab, uid=UID, gid=UID, env=env, name="fetcher", number=34, volume="archive")
        yield Copied(archive, copier, fetcher)


def stored(store: Store, prefix: str = "") -> str:
    """Names in the store."""
    return store.ask(f"gx-backups?list-type=2&prefix={NAMESPACE}/postgres-base/{prefix}")


def test_a_second_is_restored_from_the_copies_alone(tmp_path: Path) -> None:
    with copied(tmp_path, members=1, service=0) as off_site:
        archive = off_site.archive
        cluster = archive.cluster
        name = archive.await_base()
        store = start_store(archive.lab)
        off_site.start()
        insert(cluster, 1)
        switch(cluster, 2)
        insert(cluster, 2)
        wanted = next_second()
        insert(cluster, 3)
        end = next_second()
        off_site.await_copied(end)
        assert archive.jobs.metrics("off-site")["gx_off_site_copies"] == 1
        chain = archive.chain.name
        assert f"wal/{chain}/{archive.segments()[-1]}.bin" in stored(store)
        assert "SHA256SUMS" in stored(store, name)
        assert "partial" not in stored(store)
        assert store.ask(f"gx-backups/{NAMESPACE}/postgres-base/wal/{chain}/system.bin").startswith("RCLONE")
        assert NOT_COPIED not in off_site.said()

        off_site.lose_the_volume()
        refused = off_site.fetcher.run("off-site-fetch.sh", BACKUP="list")
        assert (refused.returncode, f"Fix: one of: {name} " in refused.stderr) == (2, True), refused.stderr
        assert f"fetched: {name}, and WAL up to " in off_site.fetch(name)
        for moment, expected in ((wanted, [1, 2]), (end, [1, 2, 3])):
            assert restored(archive, moment) == expected
        status, told = archive.restore(next_second() + 60)
        assert (status, "cannot be reached" in told) == (2, True), told


def test_what_a_failover_put_aside_is_in_the_store_and_in_no_restore(tmp_path: Path) -> None:
    """Commits that no standby confirmed were copied before anybody knew that they would be lost."""
    with copied(tmp_path, members=3, service=1) as off_site:
        archive = off_site.archive
        cluster = archive.cluster
        name = archive.await_base()
        store = start_store(archive.lab)
        off_site.start()
        insert(cluster, 1)
        before = next_second()
        off_site.await_copied(before)
        lost = commit_for_nobody(cluster)
        off_site.await_copied(next_second())
        chain = archive.chain.name
        assert f"wal/{chain}/{lost}.bin" in stored(store)
        fail_over(archive)
        archive.await_says("put aside: ")
        archive.await_says(f"receiving from {config.member(1)}, timeline 2")
        insert(cluster, 2)
        after = next_second()
        off_site.await_copied(after)
        assert archive.chain.name == chain

        off_site.lose_the_volume()
        off_site.fetch(name)
        assert f"wal/{chain}/{lost}.bin" in stored(store), "nothing is ever deleted there"
        assert lost not in archive.segments()
        for moment, expected in ((before, [1]), (after, [1, 2])):
            assert restored(archive, moment) == expected
