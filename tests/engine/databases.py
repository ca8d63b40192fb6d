"""The Postgres of a deployed stack, as its administrator meets it."""

import json
from pathlib import Path
from typing import Any

from tests.engine.stack import BIN, Stack, kubectl, run

_PSQL = ("psql", "-XqAt", "-h", "/var/run/postgresql", "-U", "gx_admin", "-c")
_IN_SERVER = ("-c", "postgres", "--")
STANDBYS = "select count(*) from pg_stat_replication where sync_state = 'quorum' and state = 'streaming'"
_SETTINGS = "/etc/postgresql/cluster.env"


class Databases:
    """The Postgres instances of a stack."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.namespace = stack.namespace

    def pod(self, ordinal: int) -> dict[str, Any]:
        """The pod of an instance as the API server has it."""
        found: dict[str, Any] = json.loads(
            kubectl("get", "pod", "-n", self.namespace, f"postgres-{ordinal}", "-o", "json")
        )
        return found

    def node(self, ordinal: int) -> str:
        """The node of an instance."""
        return str(self.pod(ordinal)["spec"]["nodeName"])

    def exec(self, ordinal: int, *argv: str) -> str:
        """What a command in an instance's container prints."""
        return kubectl("exec", "-n", self.namespace, f"postgres-{ordinal}", *_IN_SERVER, *argv).strip()

    def ask(self, ordinal: int, sql: str, database: str = "postgres") -> str:
        """What an instance answers its administrator."""
        return self.exec(ordinal, *_PSQL, sql, "-d", database)

    def answers(self, ordinal: int, sql: str, wanted: str) -> bool:
        """Whether an instance answers, and with that."""
        argv = ("exec", "-n", self.namespace, f"postgres-{ordinal}", *_IN_SERVER, *_PSQL, sql, "-d", "postgres")
        return run(BIN / "kubectl", *argv).output.strip() == wanted

    def redundant(self, primary: int) -> bool:
        """Whether both others confirm a primary's commits."""
        return self.answers(primary, STANDBYS, "2")

    def told(self, primary: int) -> bool:
        """Whether the settings have reached every instance: the kubelets deliver them within a minute or two."""
        line = f"PRIMARY_ORDINAL={primary}"
        return all(self.exec(each, "sed", "-n", "/^PRIMARY_ORDINAL/p", _SETTINGS) == line for each in range(3))

    def rows(self, ordinal: int) -> set[str]:
        """The rows of all writers that an instance has."""
        return set(self.ask(ordinal, "select writer || '|' || number from faults.ledger", "gx_protocol").splitlines())

    def container(self, ordinal: int) -> str:
        """Identifier of the server's running container."""
        (status,) = self.pod(ordinal)["status"]["containerStatuses"]
        return str(status["containerID"]).rpartition("/")[2]

    def first_process(self, ordinal: int) -> int:
        """The first process of the server's container, as the host numbers it."""
        return first_process(self.container(ordinal))

    def volume(self, ordinal: int) -> str:
        """Directory of an instance's volume on its node."""
        claim = json.loads(
            kubectl("get", "pvc", "-n", self.namespace, f"postgres-data-postgres-{ordinal}", "-o", "json")
        )
        return kubectl("get", "pv", claim["spec"]["volumeName"], "-o", "jsonpath={.spec.local.path}").strip()

    def lose_volumes(self, *ordinals: int) -> None:
        """Delete instances with all that they have, at once; new ones are made."""
        pods = [f"postgres-{ordinal}" for ordinal in ordinals]
        kubectl("delete", "pvc", "-n", self.namespace, *(f"postgres-data-{pod}" for pod in pods), "--wait=false")
        kubectl("delete", "pod", "-n", self.namespace, *pods, "--wait")


def first_process(container: str) -> int:
    """The first process of a container, as the host numbers it."""
    for directory in Path("/proc").iterdir():
        try:
            inside = container in (directory / "cgroup").read_text()
            if inside and _number_inside(directory) == "1":
                return int(directory.name)
        except (FileNotFoundError, NotADirectoryError, ProcessLookupError):
            continue
    raise AssertionError(f"no process of container {container}")


def _number_inside(process: Path) -> str:
    for line in (process / "status").read_text().splitlines():
        if line.startswith("NSpid:"):
            return line.split()[-1]
    return ""
