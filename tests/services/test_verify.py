"""What the deployment checklist asks of others than the API server, asked of real ones: Postgres, and a web server."""

import json
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from operations.verify import live
from sandbox.processes import wait_until

BIN = Path("/usr/lib/postgresql/15/bin")
READ_ONLY = "-c default_transaction_read_only=on -c statement_timeout=10s"


@pytest.fixture(scope="module")
def socket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The directory of the socket of a fresh server, which listens nowhere else."""
    home = tmp_path_factory.mktemp("postgres")
    temporary = Path(tempfile.gettempdir())
    for directory in (home, *(each for each in home.parents if temporary in each.parents)):
        directory.chmod(0o755)
    shutil.chown(home, "postgres")
    run("initdb", "--auth=trust", "--username=gx_admin", str(home / "data"))
    options = ["-k", str(home), "-c", "listen_addresses=", "-c", "fsync=off"]
    argv = ["runuser", "-u", "postgres", "--", str(BIN / "postgres"), "-D", str(home / "data"), *options]
    with (home / "log").open("wb") as log:
        server = subprocess.Popen(argv, stdout=log, stderr=subprocess.STDOUT)
    try:
        wait_until("Postgres answers", lambda: answers(home), timeout=60, log=home / "log")
        yield home
    finally:
        run("pg_ctl", "stop", "-m", "immediate", "-D", str(home / "data"))
        server.wait(30)


def run(program: str, *argv: str) -> None:
    subprocess.run(["runuser", "-u", "postgres", "--", str(BIN / program), *argv], check=True, capture_output=True)


def answers(socket: Path) -> bool:
    return subprocess.run([BIN / "pg_isready", "-h", socket], check=False, capture_output=True).returncode == 0


def psql(socket: Path, sql: str, options: str = "") -> str:
    argv = [
        str(BIN / "psql"),
        "-h",
        str(socket),
        "-U",
        "gx_admin",
        "-d",
        "postgres",
        "-AtX",
        "-v",
        "ON_ERROR_STOP=1",
        "-c",
        sql,
    ]
    done = subprocess.run(argv, env={"PGOPTIONS": options}, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_database_says_what_it_holds_and_how_its_migrations_ended(socket: Path) -> None:
    def said() -> object:
        return json.loads(psql(socket, live.SCHEMA.read_text(), READ_ONLY))

    empty = {"recovery": False, "standbys": 0, "tables": 0, "unfinished": 0}
    assert said() == empty
    psql(
        socket,
        "CREATE TABLE country (code text); CREATE TABLE _prisma_migrations (finished_at date, rolled_back_at date)",
    )
    psql(socket, "INSERT INTO _prisma_migrations VALUES (now(), null), (null, now())")
    assert said() == empty | {"tables": 2}
    psql(socket, "INSERT INTO _prisma_migrations VALUES (null, null)")
    assert said() == empty | {"tables": 2, "unfinished": 1}


def test_the_question_may_not_write(socket: Path) -> None:
    with pytest.raises(AssertionError, match="read-only transaction"):
        psql(socket, "CREATE TABLE written (a text)", READ_ONLY)


def test_a_visitor_is_told_the_status_and_that_nobody_answers() -> None:
    class Service(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(int(self.path.strip("/")))
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Service) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        base = f"http://127.0.0.1:{server.server_address[1]}"
        assert [live.status_of(f"{base}/{status}") for status in (200, 401, 503)] == [200, 401, 503]
        server.shutdown()
    assert live.status_of(base) == 0
