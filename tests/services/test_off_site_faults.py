"""Copies of the archive while the object store is away or the way there is bad: late, but never half and never lost."""

import re
from dataclasses import dataclass
from pathlib import Path

from tests.services.pods import NAMESPACE, Lab
from tests.services.test_off_site import Store, start_store
from tests.services.test_off_site_wal import NOT_COPIED, Copied, copied, stored
from tests.services.test_postgres_archive_failover import restored
from tests.services.test_postgres_point_in_time import insert, next_second, switch

WAY = Path(__file__).with_name("faulty_store.py").read_text()


@dataclass(frozen=True)
class FaultyStore:
    """An object store, and the way there that can be made to fail."""

    lab: Lab
    store: Store

    def becomes(self, fault: str) -> None:
        """Have another fault on the way from now on, or ``none``."""
        pod = self.lab.pods["store"]
        if self.reachable():
            pod.terminate("way")
        pod.start("way", "python3", "-c", WAY, fault)
        self.lab.wait(f"the store has the fault {fault}", self.reachable)

    def goes_away(self) -> None:
        """Have nobody there who answers."""
        self.lab.pods["store"].terminate("way")

    def reachable(self) -> bool:
        """Whether somebody answers clients."""
        return self.lab.pods["store"].run("curl", "-s", "http://127.0.0.1:9000/").returncode == 0


def start_faulty_store(off_site: Copied) -> FaultyStore:
    """An empty store without a fault so far."""
    faulty = FaultyStore(off_site.archive.lab, start_store(off_site.archive.lab, port=9001))
    faulty.becomes("none")
    return faulty


def await_failures(off_site: Copied) -> None:
    """Wait until the container has failed to copy twice more, and goes on."""
    before = off_site.said().count(NOT_COPIED)
    off_site.archive.lab.wait(
        "the container fails and tries again", lambda: off_site.said().count(NOT_COPIED) >= before + 2, timeout=90
    )


def commit_and_fill(off_site: Copied, number: int) -> float:
    """Commit a row, fill a segment, and return a second that the archive has reached with both."""
    cluster = off_site.archive.cluster
    insert(cluster, number)
    moment = next_second()
    switch(cluster)
    off_site.archive.await_reach(next_second())
    return moment


def first_second(off_site: Copied) -> tuple[str, list[float]]:
    """Start the copies. Returns a base backup's name and the second after it that the store has, with one row."""
    name = off_site.archive.await_base()
    off_site.start()
    moment = commit_and_fill(off_site, 1)
    off_site.await_copied(next_second())
    return name, [moment]


def assert_restorable(off_site: Copied, name: str, moments: list[float]) -> None:
    """From the copies alone each second comes back, of which number N has the rows 1 to N."""
    off_site.fetch(name)
    for number, moment in enumerate(moments, start=1):
        assert restored(off_site.archive, moment) == list(range(1, number + 1))


def test_what_is_archived_while_the_store_is_away_is_copied_when_it_is_back(tmp_path: Path) -> None:
    with copied(tmp_path, members=1, service=0) as off_site:
        archive = off_site.archive
        faulty = start_faulty_store(off_site)
        name, moments = first_second(off_site)

        faulty.goes_away()
        await_failures(off_site)
        told, in_store = off_site.told(), stored(faulty.store)
        moments.append(commit_and_fill(off_site, 2))
        archive.back_up()
        # A pod that starts anew while the store is away.
        off_site.start()
        moments.append(commit_and_fill(off_site, 3))
        await_failures(off_site)
        assert archive.lab.pods["copier"].runs("off-site-wal")
        assert off_site.told() == told < moments[1], "nothing is told that is not in the store"
        assert stored(faulty.store) == in_store
        archived = archive.segments()
        assert len(archived) >= 3

        faulty.becomes("none")
        off_site.await_copied(next_second())
        words = f"the WAL of {archive.chain.name} is copied"
        archive.lab.wait("it is said", lambda: words in off_site.said())
        assert set(archived) <= set(segments_in(faulty.store, archive.chain.name))
        moments.append(commit_and_fill(off_site, 4))
        off_site.await_copied(next_second())
        off_site.lose_the_volume()
        assert_restorable(off_site, name, moments)


def test_an_upload_that_is_cut_or_is_not_confirmed_leaves_nothing_half(tmp_path: Path) -> None:
    with copied(tmp_path, members=1, service=0) as off_site:
        archive = off_site.archive
        faulty = start_faulty_store(off_site)
        name, moments = first_second(off_site)

        in_store = segments_in(faulty.store, archive.chain.name)
        faulty.becomes("cut")
        moments.append(commit_and_fill(off_site, 2))
        await_failures(off_site)
        assert segments_in(faulty.store, archive.chain.name) == in_store
        assert off_site.told() < moments[1], "nothing is told that is not in the store"
        assert newest_mark(faulty.store, archive.chain.name) < moments[1], "not even by the store itself"
        # Each copy is looked at when it is tried again, and is there.
        faulty.becomes("unanswered")
        moments.append(commit_and_fill(off_site, 3))
        off_site.await_copied(next_second())
        assert "503" in off_site.said()
        # A container that ends before it has told, and then comes to the same second: the archive has no newer one.
        faulty.becomes("none")
        archive.pod.terminate("archive")
        off_site.await_copied(archive.reached())
        marks = marks_in(faulty.store, archive.chain.name)
        (off_site.copier.backups / "reports/off-site-wal.prom").unlink()
        off_site.start()
        off_site.await_copied(archive.reached())
        assert NOT_COPIED not in off_site.said()
        # The archive may have come further within that second.
        assert marks <= marks_in(faulty.store, archive.chain.name), "a copy was changed"

        off_site.lose_the_volume()
        faulty.becomes("cut")
        refused = off_site.fetcher.run("off-site-fetch.sh", BACKUP=name)
        assert (refused.returncode, "the volume is as it was" in refused.stderr) == (1, True), refused.stderr
        assert off_site.fetcher.sets() == []
        faulty.becomes("none")
        assert_restorable(off_site, name, moments)


def test_a_segment_that_is_half_in_the_store_ends_what_a_base_backup_before_it_restores(tmp_path: Path) -> None:
    """As one that was never copied does, where the store was away for longer than base backups are kept."""
    with copied(tmp_path, members=1, service=0) as off_site:
        archive = off_site.archive
        cluster = archive.cluster
        store = start_store(archive.lab)
        first, moments = first_second(off_site)
        lost = cluster.admin(0, "select pg_walfile_name(pg_current_wal_lsn())")
        moments.append(commit_and_fill(off_site, 2))
        archive.back_up()
        second = archive.jobs.sets()[-1]
        moments.append(commit_and_fill(off_site, 3))
        off_site.await_copied(next_second())
        # Whole blocks of rclone's, as whoever decrypts them sees it: https://rclone.org/crypt/#file-formats
        store.shorten(
            f"gx-backups/{NAMESPACE}/postgres-base/wal/{archive.chain.name}/{lost}.bin", 32 + 100 * (65536 + 16)
        )

        off_site.lose_the_volume()
        told = off_site.fetch(first)
        assert f"the object store lacks segment {lost[8:]} of " in told
        assert restored(archive, moments[0]) == [1]
        status, refusal = archive.restore(moments[1])
        assert (status, "cannot be reached. Fix: a second from " in refusal) == (2, True), refusal
        off_site.fetch(second)
        assert restored(archive, moments[2]) == [1, 2, 3]


def newest_mark(store: Store, chain: str) -> float:
    """The newest second that the store says it has."""
    return max(float(each) for each in re.findall(r"/reached/(\d+)\.", stored(store, f"wal/{chain}/reached/")))


def marks_in(store: Store, chain: str) -> set[str]:
    """What the store says of each snapshot: its name, content and when it was written."""
    return set(re.findall("<Contents>.*?</Contents>", stored(store, f"wal/{chain}/reached/"), re.DOTALL))


def segments_in(store: Store, chain: str) -> list[str]:
    """Whole segments of a chain that the store says it has."""
    return re.findall(rf"wal/{chain}/([0-9A-F]{{24}})\.bin<", stored(store, f"wal/{chain}/"))
