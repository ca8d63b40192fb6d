"""Backup and restore of a database of a gigabyte by the jobs' own scripts, against bare `pg_dump` and `pg_restore`.

A real server and the jobs as pods of a lab, with the settings, certificates and connections of production; needs no
sandbox. What our jobs do on top is measured by itself: they prove more than that a program ended well.
"""

import subprocess
from dataclasses import dataclass
from pathlib import Path

from components.backups.pod import postgres
from tests import stacks
from tests.bench.engine import BenchError
from tests.bench.timing import Amount, Comparison, Figure, interleaved, seconds
from tests.services.backup_jobs import Jobs
from tests.services.pods import Lab
from tests.services.test_postgres_scripts import ADDRESSES, DATABASE, PASSWORDS, UID, Cluster

ROWS = 3_600_000
"""Entries of the ledger: with its indexes and the accounts a gigabyte."""
GOAL = 1.1
_PATIENCE_SECONDS = 1800
_LEDGER = """
set statement_timeout = 0;
create table account (id bigint primary key, owner uuid not null, balance numeric(20, 4) not null);
create table entry (
    id bigint primary key, account bigint not null, amount numeric(20, 4) not null, memo text not null,
    payload jsonb not null, at timestamptz not null
);
insert into account select n, md5(n::text)::uuid, n * 1.25 from generate_series(1, {accounts}) n;
insert into entry
    select n, 1 + n % {accounts}, n % 100000 / 7.0, 'transfer ' || md5((n * 7)::text),
        jsonb_build_object('tx', md5(n::text), 'kind', (array['mint', 'transfer', 'fee'])[1 + n % 3], 'height', n / 50),
        timestamptz '2026-01-01' + n * interval '1 second'
    from generate_series(1, {rows}) n;
create index on entry (account, at);
alter table entry add foreign key (account) references account;
"""
_BARE = "/backups/.bare.dump"
_PART = "/backups/.part"
_DUMP = ("pg_dump", "--no-password", "--format=custom", "--compress=1", f"--file={_BARE}")
_RECORDED = """
rm -rf "$PARTIAL" && mkdir "$PARTIAL"
psql --no-psqlrc -qAt --set=ON_ERROR_STOP=1 --file=/etc/backups/snapshot.sql && rm "$PARTIAL/dump-is-complete"
"""
_VERIFIED = '. /etc/backups/lib.sh; . /etc/backups/postgres-lib.sh; verify "$1"'
_REPLAYED = """
{ echo 'BEGIN; SET LOCAL statement_timeout = 0;' && pg_restore --no-owner --file=- "$1" && echo 'COMMIT;'; } |
    psql --no-psqlrc -qAt --set=ON_ERROR_STOP=1 >/dev/null
"""
_HASHED = "psql --no-psqlrc -qAt --set=ON_ERROR_STOP=1 --file=/etc/backups/tables.sql >/scratch/tables"


@dataclass(frozen=True, kw_only=True)
class Backed:
    """The measurement's figures, and the sizes of the database and of its dump in bytes."""

    figures: tuple[Figure, ...]
    database: int
    dump: int


class _Place:
    """A server with the ledger, and jobs beside it."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.cluster = Cluster(lab, members=1)
        self.cluster.configure(limits=stacks.settings("mainnet").postgres.limits)
        self.cluster.start(0)
        self.cluster.await_says(0, "primary: slots and passwords are as the settings say")
        connection = {**postgres(DATABASE).host, **postgres(DATABASE).reader}
        env = connection | {"PGPASSWORD": PASSWORDS["backup"], "KEEP": "2", "PARTIAL": _PART}
        self.jobs = Jobs(lab=lab, uid=UID, gid=UID, env=env)
        self.owner = {"PGUSER": "gx_owner", "PGPASSWORD": PASSWORDS["owner"]}

    def took(self, *command: str, **env: str) -> float:
        """Seconds of a command in a job's pod; what its pod needs to start is not among them."""
        pod = self.jobs.pod(**env)
        return seconds(lambda: _good(pod.run(*command, timeout=_PATIENCE_SECONDS)))

    def sql(self, text: str) -> str:
        """What the server answers the owner of the schema."""
        where = f"host=/var/run/postgresql user=gx_admin dbname={DATABASE}"
        command = ("psql", "-XqAt", "-v", "ON_ERROR_STOP=1", "-c", f"set role gx_owner; {text}", where)
        return _good(self.lab.pods["postgres-0"].run(*command, timeout=_PATIENCE_SECONDS))

    def emptied(self, *command: str, **env: str) -> float:
        """Seconds of a command that meets an empty database, and a server with nothing left to write."""
        self.sql("drop owned by gx_owner cascade")
        self.cluster.admin(0, "checkpoint")
        return self.took(*command, **self.owner, **env)


def _good(done: subprocess.CompletedProcess[str]) -> str:
    if done.returncode:
        raise BenchError(f"a job failed with {done.returncode}:\n{done.stderr[-3000:]}")
    return done.stdout.strip()


def measure(directory: Path, runs: int, rows: int = ROWS) -> Backed:
    """Fill a database, back it up and restore it each way in turn. Leaves nothing behind."""
    directory.mkdir(exist_ok=True)
    with Lab(directory, ADDRESSES | {"postgres-primary": 10}) as lab:
        place = _Place(lab)
        place.sql(_LEDGER.format(rows=rows, accounts=max(1, rows // 20)))
        place.cluster.admin(0, "vacuum analyze")
        size = int(place.cluster.admin(0, "select pg_database_size(current_database())"))
        backups = _backups(place, runs)
        newest = f"/backups/{place.jobs.newest().name}"
        dump = (place.jobs.newest() / "database.dump").stat().st_size
        return Backed(figures=(*backups, *_restores(place, runs, newest)), database=size, dump=dump)


def _backups(place: _Place, runs: int) -> tuple[Figure, ...]:
    def backed_up() -> float:
        return place.took("sh", "/etc/backups/postgres-backup.sh")

    # The first one reads the database from the disk, and is there to be verified by the others.
    backed_up()
    ours, bare, recorded, verified = interleaved(
        runs,
        backed_up,
        lambda: place.took(*_DUMP),
        lambda: place.took("sh", "-ec", _RECORDED),
        lambda: place.took("sh", "-c", _VERIFIED, "/etc/backups/x", f"/backups/{place.jobs.newest().name}"),
    )
    for left in (_BARE, f"{_PART}/database.dump"):
        (place.jobs.backups / left.removeprefix("/backups/")).unlink()
    return (
        Comparison(title="Backup: the job, against bare `pg_dump`", ours=ours, floor=bare, goal=GOAL),
        Comparison(title="… its dump and the hash of every table beside it", ours=recorded, floor=bare),
        Amount(title="… its checksums compared and all of it read back", values=verified),
    )


def _restores(place: _Place, runs: int, backup: str) -> tuple[Figure, ...]:
    dump = f"{backup}/database.dump"
    bare_restore = ("pg_restore", "--no-owner", "--single-transaction", "--exit-on-error", f"--dbname={DATABASE}", dump)
    ours, bare, replayed, hashed, tested = interleaved(
        runs,
        lambda: place.emptied("sh", "/etc/backups/postgres-restore.sh", WHAT="database", EXECUTE="yes"),
        lambda: place.emptied(*bare_restore),
        lambda: place.emptied("sh", "-ec", _REPLAYED, "sh", dump),
        lambda: place.took("sh", "-ec", _HASHED, **place.owner),
        lambda: place.took("sh", "/etc/backups/postgres-restore-test.sh"),
    )
    return (
        Comparison(title="Restore: the job, against bare `pg_restore`", ours=ours, floor=bare, goal=GOAL),
        Comparison(title="… its transaction alone", ours=replayed, floor=bare),
        Amount(title="… the hash of every table after it", values=hashed),
        Comparison(
            title="Restore test, into a server of its own, against the same", ours=tested, floor=bare, goal=GOAL
        ),
    )
