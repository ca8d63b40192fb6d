"""The scripts and files of a Postgres pod, run against real servers: what must never happen to data."""

import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pydantic import SecretStr

from components.postgres import config
from components.tls import ServerTls, server_files
from settings import certificates
from settings.certificates import Pair
from tests import stacks
from tests.services.pods import NAMESPACE, Lab, Pod, PodSpec, volume, write_files

UID = 70
PASSWORDS = {
    role: f"it's a \\ {role}:password"
    for role in ("admin", "owner", "application", "replication", "backup", "exporter", "failover", "archive")
}
DATABASE = "gx_protocol"
VERIFIED = f"sslmode=verify-full sslrootcert={config.TLS}/ca.crt"
ADDRESSES = {config.member(ordinal): 10 + ordinal for ordinal in range(3)}


class Cluster:
    """Three instances of the mainnet settings, made small."""

    def __init__(self, lab: Lab, *, allow_bootstrap: bool = True, members: int = 3) -> None:
        self.lab = lab
        self.members = range(members)
        self._settings = stacks.settings("mainnet").postgres
        small = self._settings.limits.model_copy(update={"memory": "256Mi"})
        self.configure(
            replicas=members, allow_bootstrap=allow_bootstrap, limits=small, storage="1Gi", max_connections=40
        )
        self.set_passwords(PASSWORDS)
        self.set_certificate(stacks.server("postgres", NAMESPACE), stacks.authority().certificate)

    def configure(self, *, archive: bool = False, **update: object) -> None:
        """Change settings, as a changed ConfigMap does."""
        self._settings = self._settings.model_copy(update=update)
        files = config.files(self._settings, archive=archive)
        files["postgresql.conf"] = files["postgresql.conf"].replace("_timeout = 15s", "_timeout = 3s")
        write_files(self.lab.scratch / "config", files)

    def set_passwords(self, passwords: dict[str, str]) -> None:
        """Change passwords, as a changed Secret does."""
        write_files(self.lab.scratch / "secrets", passwords, mode=0o440, gid=UID)

    def set_certificate(self, pair: Pair, authority: str) -> None:
        """Change the certificate and the authorities, as a changed Secret does."""
        files = server_files(ServerTls(certificate=pair.certificate, key=SecretStr(pair.key), authority=authority))
        write_files(self.lab.scratch / "tls", files, mode=0o440, gid=UID)

    def start(
        self, ordinal: int, watch_seconds: str = "0.5", *, alone_seconds: int = 4, unreached: Sequence[int] = ()
    ) -> Pod:
        """Start a pod with the server's container, whose script takes the init container's decision too.

        Some of its peers it cannot reach.
        """
        name, data = f"postgres-{ordinal}", self.lab.scratch / f"data-{ordinal}"
        pod = self.lab.pod(
            PodSpec(
                name=name,
                number=10 + ordinal,
                uid=UID,
                gid=UID,
                mounts={
                    "/etc/postgresql": self.lab.scratch / "config",
                    "/etc/postgresql-secrets": self.lab.scratch / "secrets",
                    config.TLS: self.lab.scratch / "tls",
                    "/var/lib/postgresql/data": volume(data, UID, UID),
                    "/run/postgresql": volume(self.lab.scratch / f"run-{ordinal}", UID, UID),
                },
                env={
                    "PGDATA": "/var/lib/postgresql/data/pgdata",
                    "PGPASSFILE": config.PGPASS,
                    "WATCH_SECONDS": watch_seconds,
                    "SETTLE_SECONDS": "3",
                    "ALONE_SECONDS": str(alone_seconds),
                },
            )
        )
        for peer in unreached:
            pod.cut(10 + peer)
        pod.start("postgres", "sh", "/etc/postgresql/serve.sh")
        return pod

    def lose_volume(self, ordinal: int) -> None:
        """Replace a volume by an empty one."""
        shutil.rmtree(self.lab.scratch / f"data-{ordinal}")

    def admin(self, ordinal: int, sql: str) -> str:
        """What an instance answers its administrator; empty when it does not answer."""
        return self._psql(ordinal, ["-h", "/var/run/postgresql", "-U", "gx_admin", DATABASE], sql).stdout.strip()

    def client(
        self,
        ordinal: int,
        role: str,
        sql: str,
        *,
        password: str | None = None,
        asker: int | None = None,
        tls: str = VERIFIED,
        database: str = DATABASE,
    ) -> subprocess.CompletedProcess[str]:
        """What an instance answers a client in another pod, or in the one given."""
        where = f"host={config.member(ordinal)} user=gx_{role} dbname={database} {tls}"
        other = (ordinal + 1) % len(self.members) if asker is None else asker
        return self._psql(other, [where], sql, PGPASSWORD=PASSWORDS[role] if password is None else password)

    def _psql(self, ordinal: int, target: list[str], sql: str, **env: str) -> subprocess.CompletedProcess[str]:
        pod = self.lab.pods[f"postgres-{ordinal}"]
        variables = [f"{name}={value}" for name, value in env.items()]
        return pod.run("env", *variables, "psql", "-XqAt", "-v", "ON_ERROR_STOP=1", "-c", sql, *target)

    def primary(self) -> int | None:
        """The one instance that accepts writes, if there is exactly one."""
        found = [ordinal for ordinal in self.running() if self.admin(ordinal, "select pg_is_in_recovery()") == "f"]
        return found[0] if len(found) == 1 else None

    def the_primary(self) -> int:
        """The one instance that accepts writes."""
        primary = self.primary()
        assert primary is not None
        return primary

    def running(self) -> list[int]:
        """Ordinals of the pods that run."""
        return [ordinal for ordinal in self.members if f"postgres-{ordinal}" in self.lab.pods]

    def await_answer(self, ordinal: int, sql: str, answer: str) -> None:
        """Wait until an instance gives an answer to its administrator."""
        self.lab.wait(f"'{sql}' on {ordinal} is '{answer}'", lambda: self.admin(ordinal, sql) == answer)

    def await_standbys(self, primary: int, count: int) -> None:
        """Wait until so many standbys confirm commits."""
        confirming = "application_name like 'postgres-_' and sync_state = 'quorum'"
        self.await_answer(primary, f"select count(*) from pg_stat_replication where {confirming}", str(count))  # noqa: S608

    def await_says(self, ordinal: int, words: str) -> None:
        """Wait until an instance gives a reason."""
        pod = self.lab.pods[f"postgres-{ordinal}"]
        self.lab.wait(f"postgres-{ordinal} says '{words}'", lambda: words in pod.read("postgres"))

    def promote(self, ordinal: int) -> None:
        """Make a standby the primary."""
        assert self.admin(ordinal, "select pg_promote(true, 30)") == "t"
        self.await_answer(ordinal, "select pg_is_in_recovery()", "f")


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with Lab(tmp_path, ADDRESSES) as running:
        yield running


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with Lab(tmp_path_factory.mktemp("cluster"), ADDRESSES) as lab:
        cluster = Cluster(lab)
        for ordinal in cluster.members:
            cluster.start(ordinal)
        yield cluster


@pytest.fixture
def cluster(started: Cluster) -> Cluster:
    """A primary, which the settings name, and two standbys, whatever an earlier test did to them."""
    for ordinal in started.members:
        if f"postgres-{ordinal}" not in started.lab.pods:
            started.start(ordinal)
    primary = None

    def found() -> bool:
        nonlocal primary
        primary = started.primary()
        return primary is not None

    # An instance that makes a new database answers as the primary, and is gone again for a moment before it is.
    started.lab.wait("an instance is the primary", found)
    assert primary is not None
    started.configure(primary_ordinal=primary)
    started.await_standbys(primary, 2)
    assert started.client(primary, "owner", "drop table if exists ledger; create table ledger (id int)").returncode == 0
    return started


def test_empty_instances_become_one_primary_whose_commits_wait_for_a_standby(cluster: Cluster) -> None:
    writable = sorted(cluster.admin(ordinal, "select pg_is_in_recovery()") for ordinal in cluster.members)
    assert writable == ["f", "t", "t"]
    primary = cluster.the_primary()
    assert cluster.admin(primary, "show synchronous_standby_names").startswith("ANY 1")
    assert cluster.admin(primary, "show data_checksums") == "on"
    assert cluster.admin(primary, "select datcollate from pg_database where datname = current_database()") == "C"


def test_every_role_may_do_its_duty_and_no_more(cluster: Cluster) -> None:
    primary = cluster.the_primary()
    assert cluster.client(primary, "application", "insert into ledger values (2)").returncode == 0
    assert "must be owner" in cluster.client(primary, "application", "drop table ledger").stderr
    assert cluster.client(primary, "backup", "select count(*) from ledger").stdout.strip() == "1"
    assert "read-only transaction" in cluster.client(primary, "backup", "create table other ()").stderr
    # Only who may monitor sees where a standby is.
    assert (
        cluster.client(primary, "exporter", "select count(client_addr) from pg_stat_replication").stdout.strip() == "2"
    )
    assert "permission denied" in cluster.client(primary, "exporter", "select * from public.ledger").stderr
    assert "read-only transaction" in cluster.client(primary, "exporter", "create table other ()").stderr
    assert "no pg_hba.conf entry" in cluster.client(primary, "admin", "select 1").stderr
    assert "password authentication failed" in cluster.client(primary, "owner", "select 1", password="wrong").stderr  # noqa: S106


def test_nobody_connects_over_the_network_without_tls_and_the_authority_and_the_right_name(cluster: Cluster) -> None:
    primary = cluster.the_primary()
    for role in ("application", "owner", "backup"):
        assert "no encryption" in cluster.client(primary, role, "select 1", tls="sslmode=disable").stderr
    other = certificates.new_authority("mainnet", datetime.now(UTC)).certificate
    write_files(cluster.lab.scratch / "config", {"other.crt": other})
    untrusted = cluster.client(
        primary, "application", "select 1", tls="sslmode=verify-full sslrootcert=/etc/postgresql/other.crt"
    )
    assert "certificate verify failed" in untrusted.stderr
    address = f"10.99.0.{10 + primary}"
    misnamed = cluster.client(
        primary, "application", "select 1", tls=f"hostaddr={address} host=postgres-0.elsewhere {VERIFIED}"
    )
    assert "does not match host name" in misnamed.stderr
    used = cluster.client(primary, "application", "select version from pg_stat_ssl where pid = pg_backend_pid()")
    assert used.stdout.strip() == "TLSv1.3"
    assert (
        cluster.client(
            primary, "application", "select 1", tls=f"ssl_max_protocol_version=TLSv1.1 {VERIFIED}"
        ).returncode
        != 0
    )


def test_standbys_stream_over_tls(cluster: Cluster) -> None:
    encrypted = (
        "select string_agg(application_name, ' ' order by application_name) from pg_stat_replication"
        " join pg_stat_ssl using (pid) where ssl and version = 'TLSv1.3'"
    )
    primary = cluster.the_primary()
    others = " ".join(f"postgres-{ordinal}" for ordinal in cluster.members if ordinal != primary)
    cluster.await_answer(primary, encrypted, others)
    for ordinal in cluster.members:
        assert "sslmode=verify-full" in cluster.admin(ordinal, "show primary_conninfo")


def test_another_authority_takes_over_without_a_restart(cluster: Cluster) -> None:
    primary = cluster.the_primary()
    before = [cluster.admin(ordinal, "select pg_postmaster_start_time()") for ordinal in cluster.members]
    now = datetime.now(UTC)
    old, new = stacks.authority(), certificates.new_authority("mainnet", now)
    both = old.certificate + new.certificate
    later = certificates.new_server("postgres", NAMESPACE, authority=Pair(certificate=both, key=new.key), now=now)
    write_files(cluster.lab.scratch / "config", {"new.crt": new.certificate})
    try:
        cluster.set_certificate(later, both)
        only_new = "sslmode=verify-full sslrootcert=/etc/postgresql/new.crt"
        cluster.lab.wait(
            "the new certificate is served",
            lambda: (
                not any(
                    cluster.client(ordinal, "application", "select 1", tls=only_new).returncode
                    for ordinal in cluster.members
                )
            ),
        )
        cluster.admin(primary, "select pg_terminate_backend(pid) from pg_stat_replication")
        cluster.await_standbys(primary, 2)
        assert [cluster.admin(ordinal, "select pg_postmaster_start_time()") for ordinal in cluster.members] == before
    finally:
        cluster.set_certificate(stacks.server("postgres", NAMESPACE), both)


def test_a_certificate_that_has_ended_hides_no_primary(cluster: Cluster) -> None:
    """A former primary that takes the new one for absent would be a second one."""
    long_ago = datetime.now(UTC) - timedelta(days=certificates.SERVER_DAYS + 1)
    ended = certificates.new_server("postgres", NAMESPACE, authority=stacks.authority(), now=long_ago)
    primary = cluster.the_primary()
    heir = (primary + 1) % 3
    try:
        cluster.lab.kill(f"postgres-{primary}")
        cluster.promote(heir)
        cluster.set_certificate(ended, stacks.authority().certificate)
        cluster.lab.wait(
            "the ended certificate is served",
            lambda: "certificate verify failed" in cluster.client(heir, "owner", "select 1", asker=heir).stderr,
        )
        cluster.start(primary)
        cluster.await_says(primary, f"{config.member(heir)} is the primary, and following it did not work yet")
        assert cluster.admin(primary, "select 1") == ""
    finally:
        cluster.set_certificate(stacks.server("postgres", NAMESPACE), stacks.authority().certificate)
    cluster.await_standbys(heir, 2)


def test_a_changed_setting_and_a_changed_password_are_applied_without_a_restart(cluster: Cluster) -> None:
    primary = cluster.the_primary()
    before = [cluster.admin(ordinal, "select pg_postmaster_start_time()") for ordinal in cluster.members]
    new = PASSWORDS | {"application": "new-password", "replication": "another-password"}
    cluster.set_passwords(new)
    cluster.configure(storage="10Gi")
    for ordinal in cluster.members:
        cluster.await_answer(ordinal, "show max_wal_size", "409MB")
    cluster.lab.wait(
        "the new password works",
        lambda: cluster.client(primary, "application", "select 1", password=new["application"]).returncode == 0,
    )
    assert "password authentication failed" in cluster.client(primary, "application", "select 1").stderr
    assert [cluster.admin(ordinal, "select pg_postmaster_start_time()") for ordinal in cluster.members] == before

    cluster.admin(primary, "select pg_terminate_backend(pid) from pg_stat_replication")
    cluster.await_standbys(primary, 2)
    said = "".join(cluster.lab.pods[f"postgres-{ordinal}"].read("postgres") for ordinal in cluster.members)
    assert said
    assert not [password for password in (*PASSWORDS.values(), *new.values()) if password in said]
    cluster.set_passwords(PASSWORDS)
    cluster.lab.wait(
        "the old password works again", lambda: cluster.client(primary, "application", "select 1").returncode == 0
    )


def test_a_primary_that_lost_its_volume_never_starts_empty(cluster: Cluster) -> None:
    """An empty database behind the primary's Service would be every row lost."""
    primary = cluster.the_primary()
    heir = (primary + 1) % 3
    assert cluster.client(primary, "owner", "insert into ledger values (7)").returncode == 0
    cluster.lab.kill(f"postgres-{primary}")
    cluster.lose_volume(primary)
    cluster.start(primary)
    cluster.await_says(primary, "this volume is empty and a peer has data, but none is the primary; waiting for one")
    assert not (cluster.lab.scratch / f"data-{primary}/pgdata").exists()

    cluster.promote(heir)
    cluster.await_standbys(heir, 2)
    assert cluster.admin(primary, "select pg_is_in_recovery(), id from ledger") == "t|7"


def test_a_former_primary_comes_back_as_a_standby_although_the_settings_still_name_it(cluster: Cluster) -> None:
    primary = cluster.the_primary()
    heir = (primary + 1) % 3
    cluster.lab.kill(f"postgres-{primary}")
    cluster.promote(heir)
    cluster.await_standbys(heir, 1)
    assert cluster.client(heir, "owner", "insert into ledger values (8)", asker=heir).returncode == 0

    cluster.start(primary)
    cluster.await_standbys(heir, 2)
    cluster.await_says(primary, "rewinding this former primary")
    assert cluster.admin(primary, "select pg_is_in_recovery(), id from ledger") == "t|8"


def test_a_former_primary_waits_for_a_peer_that_does_not_say_what_it_is(cluster: Cluster) -> None:
    """A busy primary that is taken for a standby would be one of two."""
    primary = cluster.the_primary()
    heir = (primary + 1) % 3
    cluster.lab.kill(f"postgres-{primary}")
    cluster.promote(heir)
    cluster.await_standbys(heir, 1)
    cluster.admin(heir, "alter role gx_replication nologin")
    cluster.start(primary)
    cluster.await_says(primary, "is not permitted to log in")
    cluster.await_says(primary, "does not say whether it is the primary")
    assert cluster.admin(primary, "select 1") == ""
    # A standby that was cut off meanwhile could confirm nothing.
    cluster.admin(heir, "set synchronous_commit = local; alter role gx_replication login")
    cluster.await_standbys(heir, 2)


def test_locks_of_a_killed_server_that_name_another_process_keep_none_from_starting(cluster: Cluster) -> None:
    """A container's process numbers begin anew, so that the one of a killed server may be any other's by then."""
    standby = (cluster.the_primary() + 1) % 3
    pod = cluster.lab.pods[f"postgres-{standby}"]
    locks = ("/var/lib/postgresql/data/pgdata/postmaster.pid", "/run/postgresql/.s.PGSQL.5432.lock")
    held = [pod.run("cat", lock).stdout for lock in locks]
    assert all(held)
    pod.terminate("postgres")
    pod.start("other", "sleep", "1000")
    other = pod.run("pgrep", "--full", "^sleep 1000").stdout.strip()
    for lock, text in zip(locks, held, strict=True):
        renamed = "\n".join([other, *text.splitlines()[1:]])
        assert pod.run("sh", "-c", f"printf '%s' '{renamed}' >{lock}").returncode == 0
    pod.start("postgres", "sh", "/etc/postgresql/serve.sh")
    cluster.await_standbys(cluster.the_primary(), 2)


def test_a_password_that_changes_while_nobody_runs_keeps_no_primary_from_starting(cluster: Cluster) -> None:
    """Standbys that know the old password only, and no primary that could give them the new one."""
    primary = cluster.the_primary()
    for ordinal in cluster.members:
        cluster.lab.kill(f"postgres-{ordinal}")
    cluster.set_passwords(PASSWORDS | {"replication": "another-password"})
    try:
        for ordinal in cluster.members:
            cluster.start(ordinal)
        cluster.lab.wait("the primary has started", lambda: cluster.primary() == primary)
    finally:
        cluster.set_passwords(PASSWORDS)
    cluster.await_standbys(primary, 2)


def test_a_former_primary_that_meets_only_a_newer_standby_waits(cluster: Cluster) -> None:
    """The settings still name it and no primary answers, yet one was promoted: it lacks what that one confirmed."""
    primary = cluster.the_primary()
    heir = (primary + 1) % 3
    cluster.lab.kill(f"postgres-{primary}")
    cluster.promote(heir)
    cluster.await_standbys(heir, 1)
    # A standby names the timeline that it has replayed.
    position, other = cluster.admin(heir, "select pg_current_wal_flush_lsn()"), 3 - primary - heir
    replayed = f"select pg_last_wal_replay_lsn() >= '{position}'"
    cluster.lab.wait("the new timeline is replayed", lambda: cluster.admin(other, replayed) == "t")
    cluster.lab.kill(f"postgres-{heir}")
    cluster.start(primary)
    cluster.await_says(primary, "waiting for the primary that was promoted")
    assert cluster.admin(primary, "select 1") == ""

    cluster.configure(primary_ordinal=heir)
    cluster.start(heir)
    cluster.await_standbys(heir, 2)


def test_an_empty_volume_waits_for_peers_that_hear_of_its_pod_late(cluster: Cluster) -> None:
    """As where network policies learn of a pod after its start (X-71)."""
    primary = cluster.the_primary()
    peers = [ordinal for ordinal in cluster.members if ordinal != primary]
    cluster.lab.kill(f"postgres-{primary}")
    cluster.lose_volume(primary)
    pod = cluster.start(primary, alone_seconds=60, unreached=peers)
    cluster.await_says(primary, "no peer runs; making sure of it")
    # More rounds than an instance that has data waits for its peers.
    time.sleep(8)
    for peer in peers:
        pod.mend(10 + peer)
    cluster.await_says(primary, "this volume is empty and a peer has data")
    assert "creating a new" not in pod.read("postgres")
    heir = peers[0]
    cluster.configure(primary_ordinal=heir)
    cluster.promote(heir)
    cluster.await_standbys(heir, 2)


def test_a_new_database_lets_its_first_client_in_with_its_password(lab: Lab) -> None:
    cluster = Cluster(lab, members=1)
    pod = cluster.start(0, watch_seconds="600")
    # The server that makes the database listens on its socket alone.
    lab.wait("the server listens", lambda: pod.run("pg_isready", "--quiet", "--host=127.0.0.1").returncode == 0)
    first = cluster.client(0, "owner", "select 1")
    assert first.returncode == 0, first.stderr


def test_an_empty_volume_stays_empty_until_a_new_database_is_allowed(lab: Lab) -> None:
    cluster = Cluster(lab, allow_bootstrap=False, members=1)
    pod = cluster.start(0)
    cluster.await_says(0, "allowBootstrap is false")
    assert not list((lab.scratch / "data-0").iterdir())
    assert pod.terminate("postgres") == 143

    cluster.configure(allow_bootstrap=True)
    pod.start("postgres", "sh", "/etc/postgresql/serve.sh")
    cluster.await_says(0, "primary: slots and passwords are as the settings say")
    assert pod.terminate("postgres") == 0
    assert "database system is shut down" in pod.read("postgres")
