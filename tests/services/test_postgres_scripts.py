"""The scripts and files of a Postgres pod, run against real servers as pods of their own: what must never happen to data."""

import subprocess
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from components.postgres import config

from settings.model import Postgres
from tests import stacks
from tests.services.pods import Lab, Pod, PodSpec, volume, write_files

UID = 70
PASSWORDS = {role: f"it's a \\ {role}:password" for role in ("admin", "owner", "application", "replication", "backup")}
DATABASE = "gx_protocol"


class Cluster:
    """Three instances of the mainnet settings, made small."""

    def __init__(self, lab: Lab, *, allow_bootstrap: bool = True, members: int = 3) -> None:
        self.lab = lab
        self.members = range(members)
        self._settings = stacks.settings("mainnet").postgres.model_copy(
            update={"replicas": members, "allow_bootstrap": allow_bootstrap}
        )
        self.configure()
        self.set_passwords(PASSWORDS)

    def configure(self, **update: object) -> Postgres:
        """Change settings, as a changed ConfigMap does."""
        self._settings = self._settings.model_copy(update=update)
        small = {"limits": self._settings.limits.model_copy(update={"memory": "256Mi"}), "storage": "1Gi"}
        write_files(self.lab.scratch / "config", config.files(self._settings.model_copy(update=small)))
        return self._settings

    def set_passwords(self, passwords: dict[str, str]) -> None:
        """Change passwords, as a changed Secret does."""
        write_files(self.lab.scratch / "secrets", passwords, mode=0o440, gid=UID)

    def start(self, ordinal: int) -> Pod:
        """Start a pod: its init container runs to its end inside the server's, which runs the same decision."""
        name = f"postgres-{ordinal}"
        data = self.lab.scratch / f"data-{ordinal}"
        scratch = volume(self.lab.scratch / name / "run", UID, UID) if not self._run(name).exists() else self._run(name)
        pod = self.lab.pod(
            PodSpec(
                name=name,
                number=10 + ordinal,
                uid=UID,
                gid=UID,
                mounts={
                    "/etc/postgresql": self.lab.scratch / "config",
                    "/etc/postgresql-secrets": self.lab.scratch / "secrets",
                    "/var/lib/postgresql/data": data if data.exists() else volume(data, UID, UID),
                    "/run/postgresql": scratch,
                },
                env={
                    "PGDATA": "/var/lib/postgresql/data/pgdata",
                    "PGPASSFILE": config.PGPASS,
                    "WATCH_SECONDS": "0.5",
                },
            )
        )
        pod.start("postgres", "sh", "/etc/postgresql/serve.sh")
        return pod

    def _run(self, name: str) -> Path:
        return self.lab.scratch / name / "run"

    def lose_volume(self, ordinal: int) -> None:
        """Replace a volume by an empty one."""
        (self.lab.scratch / f"data-{ordinal}").rename(self.lab.scratch / f"lost-{ordinal}")

    def admin(self, ordinal: int, sql: str) -> str:
        """What an instance answers its administrator; empty when it does not answer."""
        return self._psql(ordinal, ["-h", "/var/run/postgresql", "-U", "gx_admin", DATABASE], sql).stdout.strip()

    def client(
        self, ordinal: int, role: str, sql: str, password: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        """What an instance answers a client from another pod."""
        where = f"host={config.member(ordinal)} user=gx_{role} dbname={DATABASE}"
        other = (ordinal + 1) % len(self.members)
        return self._psql(other, [where], sql, PGPASSWORD=PASSWORDS[role] if password is None else password)

    def _psql(self, ordinal: int, target: list[str], sql: str, **env: str) -> subprocess.CompletedProcess[str]:
        pod = self.lab.pods[f"postgres-{ordinal}"]
        variables = [f"{name}={value}" for name, value in env.items()]
        return pod.run("env", *variables, "psql", "-XqAt", "-v", "ON_ERROR_STOP=1", "-c", sql, *target)

    def await_primary(self, ordinal: int) -> None:
        """Wait until an instance accepts writes."""
        asked = "select pg_is_in_recovery()"
        self.lab.wait(f"postgres-{ordinal} is the primary", lambda: self.admin(ordinal, asked) == "f")

    def await_standbys(self, primary: int, count: int) -> None:
        """Wait until so many standbys confirm commits."""
        asked = "select count(*) from pg_stat_replication where application_name like 'postgres-_' and sync_state = 'quorum'"
        self.lab.wait(f"{count} standbys follow", lambda: self.admin(primary, asked) == str(count))

    def await_says(self, ordinal: int, words: str) -> None:
        """Wait until an instance gives a reason."""
        pod = self.lab.pods[f"postgres-{ordinal}"]
        self.lab.wait(f"postgres-{ordinal} says '{words}'", lambda: words in pod.read("postgres"))

    def start_all(self) -> "Cluster":
        """Start every instance at once and wait until they replicate."""
        for ordinal in self.members:
            self.start(ordinal)
        self.await_primary(0)
        self.await_standbys(0, len(self.members) - 1)
        return self

    def promote(self, ordinal: int) -> None:
        """Make a standby the primary."""
        assert self.admin(ordinal, "select pg_promote(true, 30)") == "t"
        self.await_primary(ordinal)


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with Lab(tmp_path, {config.member(ordinal): 10 + ordinal for ordinal in range(3)}) as running:
        yield running


@pytest.fixture
def cluster(lab: Lab) -> Cluster:
    return Cluster(lab).start_all()


def test_three_empty_instances_become_one_primary_whose_commits_wait_for_a_standby(cluster: Cluster) -> None:
    writable = [cluster.admin(ordinal, "select pg_is_in_recovery()") for ordinal in cluster.members]
    assert writable == ["f", "t", "t"]
    assert cluster.admin(0, "show synchronous_standby_names").startswith("ANY 1")
    assert cluster.admin(0, "show data_checksums") == "on"
    assert cluster.admin(0, "select datcollate from pg_database where datname = 'gx_protocol'") == "C"

    created = cluster.client(0, "owner", "create table ledger (id int primary key); insert into ledger values (1)")
    assert created.returncode == 0, created.stderr
    cluster.lab.wait("the row is on a standby", lambda: cluster.admin(2, "select count(*) from ledger") == "1")
    assert cluster.client(0, "application", "insert into ledger values (2)").returncode == 0
    assert "must be owner" in cluster.client(0, "application", "drop table ledger").stderr
    assert cluster.client(0, "backup", "select count(*) from ledger").stdout.strip() == "2"
    assert "read-only transaction" in cluster.client(0, "backup", "create table other ()").stderr
    assert "no pg_hba.conf entry" in cluster.client(0, "admin", "select 1").stderr
    assert "password authentication failed" in cluster.client(0, "application", "select 1", password="wrong").stderr


def test_a_changed_setting_and_a_changed_password_are_applied_without_a_restart(cluster: Cluster) -> None:
    started = [cluster.admin(ordinal, "select pg_postmaster_start_time()") for ordinal in cluster.members]
    new = PASSWORDS | {"application": "new-password", "replication": "another-password"}
    cluster.set_passwords(new)
    cluster.configure(storage="2Gi")
    cluster.lab.wait(
        "the new password works",
        lambda: cluster.client(0, "application", "select 1", password="new-password").returncode == 0,
    )
    hba = cluster.lab.scratch / "config/postgresql.conf"
    write_files(
        hba.parent,
        {hba.name: hba.read_text().replace("log_min_duration_statement = 1s", "log_min_duration_statement = 7s")},
    )
    for ordinal in cluster.members:
        cluster.lab.wait(
            "the setting is in force", lambda: cluster.admin(ordinal, "show log_min_duration_statement") == "7s"
        )  # noqa: B023
    assert "password authentication failed" in cluster.client(0, "application", "select 1").stderr
    assert [cluster.admin(ordinal, "select pg_postmaster_start_time()") for ordinal in cluster.members] == started

    cluster.admin(0, "select pg_terminate_backend(pid) from pg_stat_replication")
    cluster.await_standbys(0, 2)
    logs = "".join(cluster.lab.pods[f"postgres-{ordinal}"].read("postgres") for ordinal in cluster.members)
    assert logs
    assert not [secret for secret in (*PASSWORDS.values(), *new.values()) if secret in logs]


def test_a_primary_that_lost_its_volume_never_starts_empty_and_becomes_a_standby_of_the_promoted_one(
    cluster: Cluster,
) -> None:
    assert cluster.client(0, "owner", "create table kept (id int); insert into kept values (7)").returncode == 0
    cluster.lab.kill("postgres-0")
    cluster.lose_volume(0)
    cluster.start(0)
    cluster.await_says(0, "this volume is empty and a peer has data, but none is the primary; waiting for one")
    assert not (cluster.lab.scratch / "data-0/pgdata").exists()

    cluster.promote(1)
    cluster.await_standbys(1, 2)
    assert cluster.admin(0, "select pg_is_in_recovery(), id from kept") == "t|7"


def test_a_former_primary_comes_back_as_a_standby_although_the_settings_still_name_it(cluster: Cluster) -> None:
    assert cluster.client(0, "owner", "create table kept (id int)").returncode == 0
    cluster.lab.kill("postgres-0")
    cluster.promote(1)
    cluster.await_standbys(1, 1)
    assert cluster.client(1, "owner", "insert into kept values (8)").returncode == 0

    cluster.start(0)
    cluster.await_standbys(1, 2)
    assert cluster.admin(0, "select pg_is_in_recovery(), id from kept") == "t|8"
    cluster.await_says(0, "rewinding this former primary")


def test_a_former_primary_that_meets_only_a_newer_standby_waits(cluster: Cluster) -> None:
    cluster.lab.kill("postgres-0")
    cluster.promote(1)
    cluster.await_standbys(1, 1)
    cluster.lab.kill("postgres-1")
    cluster.start(0)
    cluster.await_says(0, "waiting for the primary that was promoted")
    assert cluster.admin(0, "select 1") == ""

    cluster.start(1)
    cluster.await_standbys(1, 2)


def test_an_empty_volume_stays_empty_when_a_new_database_is_not_allowed(lab: Lab) -> None:
    cluster = Cluster(lab, allow_bootstrap=False)
    cluster.start(0)
    cluster.await_says(0, "allowBootstrap is false")
    assert not list((lab.scratch / "data-0").iterdir())

    cluster.configure(allow_bootstrap=True)
    cluster.await_primary(0)


def test_a_termination_is_a_clean_shutdown(lab: Lab) -> None:
    cluster = Cluster(lab, members=1)
    pod = cluster.start(0)
    cluster.await_primary(0)
    assert pod.terminate("postgres") == 0
    assert "database system is shut down" in pod.read("postgres")
