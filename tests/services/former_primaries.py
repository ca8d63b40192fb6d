"""Independent primaries as the source document has them, and the Jobs that adopt what they hold."""

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from components.backups.pod import postgres
from components.tls import CLIENT_DIRECTORY
from operations.adopt_databases import DUMPS, Adoption, Former, compare_environment, dump_environment, scripts
from tests import stacks
from tests.services.pods import Lab, Pod, PodSpec, volume, write_files
from tests.services.test_postgres_scripts import DATABASE, PASSWORDS, UID

NAMES = ("postgres-0", "postgres-1", "postgres-2")
SERVICE = "former"
ADDRESSES = {f"{name}.{SERVICE}": 20 + number for number, name in enumerate(NAMES)}
PASSWORD = "it's the : \\ former one"  # noqa: S105 - of servers that live for a test
FORMER = Former(instances=NAMES, service=SERVICE, user="gx_admin", secret="unused", key="unused")  # noqa: S106
COMPARE = Adoption(what="compare", former=FORMER, chosen="postgres-0")
MOVE = replace(COMPARE, what="move")


@dataclass(frozen=True)
class Primary:
    """One former instance: a server with its own system identifier, without TLS, as the stock image makes it."""

    lab: Lab
    number: int

    @property
    def pod(self) -> Pod:
        """Its pod."""
        return self.lab.pods[f"former-{self.number}"]

    def start(self) -> None:
        """Make the database and start the server."""
        data = volume(self.lab.scratch / f"former-{self.number}-data", UID, UID)
        spec = PodSpec(name=f"former-{self.number}", number=20 + self.number, uid=UID, gid=UID, mounts={"/data": data})
        pod = self.lab.pod(spec)
        (data / "password").write_text(PASSWORD)
        made = pod.run(
            *("initdb", "--pgdata=/data/pgdata", "--username=gx_admin", "--pwfile=/data/password"),
            *("--auth=scram-sha-256", "--no-sync", "--encoding=UTF8", "--locale=C.UTF-8"),
        )
        assert made.returncode == 0, made.stderr
        with (data / "pgdata/pg_hba.conf").open("a") as hba:
            hba.write("host all all all scram-sha-256\n")
        options = ("-c", "fsync=off", "-c", "listen_addresses=*", "-c", "unix_socket_directories=/data")
        pod.start("postgres", "postgres", "-D", "/data/pgdata", *options)
        self.lab.wait(
            f"former-{self.number} answers", lambda: self.psql("select 1", database="postgres").returncode == 0
        )
        self.sql(f"create database {DATABASE}", database="postgres")

    def psql(self, *statements: str, database: str = DATABASE) -> subprocess.CompletedProcess[str]:
        """Run statements one by one as the superuser, who may write although the instance is fenced."""
        words = [word for each in statements for word in ("-c", each)]
        env = (f"PGPASSWORD={PASSWORD}", "PGOPTIONS=-c default_transaction_read_only=off")
        return self.pod.run(
            "env", *env, "psql", "-XqAt", "-v", "ON_ERROR_STOP=1", "-h", "/data", "-U", "gx_admin", *words, database
        )

    def sql(self, *statements: str, database: str = DATABASE) -> str:
        """What the instance answers."""
        done = self.psql(*statements, database=database)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def fence(self, *, fenced: bool = True) -> None:
        """Refuse writes, as the runbook has it."""
        self.sql(
            f"alter system set default_transaction_read_only = {'on' if fenced else 'off'}", "select pg_reload_conf()"
        )
        self.lab.wait("the fence", lambda: self._told() == ("on" if fenced else "off"))

    def _told(self) -> str:
        env = (f"PGPASSWORD={PASSWORD}",)
        show = "show default_transaction_read_only"
        return self.pod.run(
            "env", *env, "psql", "-XqAt", "-h", "/data", "-U", "gx_admin", "-c", show, DATABASE
        ).stdout.strip()


@dataclass(frozen=True)
class AdoptionJobs:
    """The pods of the Jobs, one after the other, around one volume of dumps."""

    lab: Lab

    @property
    def dumps(self) -> Path:
        """The volume of the dumps."""
        return self.lab.scratch / "adoption-volume"

    def dump(self, name: str, *, execute: bool = True) -> subprocess.CompletedProcess[str]:
        """Dump one instance."""
        words = replace(COMPARE, what="dump", execute=execute).words
        env = dump_environment(FORMER, name, DATABASE) | words | {"PGPASSWORD": PASSWORD}
        return self.pod(name, env).run("sh", "/etc/backups/adopt-dump.sh", timeout=120)

    def compare(self, wanted: Adoption) -> subprocess.CompletedProcess[str]:
        """Compare, and move if that is wanted."""
        return self.comparing(wanted).run("sh", "/etc/backups/adopt-compare.sh", timeout=300)

    def comparing(self, wanted: Adoption) -> Pod:
        """A pod for that."""
        env = compare_environment(wanted, postgres(DATABASE), DATABASE) | wanted.words
        return self.pod("merged", env | ({"PGPASSWORD": PASSWORDS["owner"]} if wanted.what == "move" else {}))

    def pod(self, directory: str, env: dict[str, str]) -> Pod:
        """A pod whose backups are a part of the volume."""
        if "adoption" in self.lab.pods:
            self.lab.kill("adoption")
        volume(self.dumps, UID, UID)
        scratch = self.lab.scratch / "adoption-scratch"
        subprocess.run(["rm", "-rf", str(scratch)], check=True)
        return self.lab.pod(
            PodSpec(
                name="adoption",
                number=31,
                uid=UID,
                gid=UID,
                mounts={
                    "/etc/backups": write_files(
                        self.lab.scratch / "adoption-scripts", scripts(stacks.settings("mainnet"))
                    ),
                    DUMPS: self.dumps,
                    "/backups": volume(self.dumps / directory, UID, UID),
                    "/scratch": volume(scratch, UID, UID),
                    CLIENT_DIRECTORY: self.lab.scratch / "tls",
                },
                env={"TRIES": "10", **env},
            )
        )


def everywhere(primaries: Sequence[Primary], *statements: str) -> None:
    """Run the same on every instance, as an application that is balanced over them never does."""
    for primary in primaries:
        primary.sql(*statements)
