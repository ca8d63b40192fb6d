"""Faults of the deployed Postgres on the sandbox's real nodes, and writers that know what was acknowledged to them.

A writer's word is a line in its log: who wrote, the row's number, the instance that acknowledged it. The kubelet's log
has the time.
"""

import json
import re
import shlex
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from components.network_policies import POSTGRES_ACCESS
from components.postgres.pod import UID
from components.security import CONTAINER_SECURITY_CONTEXT, pod_security_context
from operations.manifest import in_camel_case
from sandbox import layout as where
from sandbox import netns, processes
from tests.engine.databases import Databases
from tests.engine.stack import BIN, LAYOUT, awaited, get, kubectl, run, sandbox

WORKER = where.NODES[3].name
"""The node that holds no database: a writer there meets none of the faults."""
_SCRIPT = Path(__file__).with_name("writer.sh")
QUORUM, LOCAL = "on", "local"
# Time, row and instance; the kubelet and the API server say other things there when they have no log.
_WORD = re.compile(r"^(\S+Z) (\S+\|\d+)\|(postgres-\d)$", re.MULTILINE)


@dataclass(frozen=True, kw_only=True)
class Acknowledged:
    """A row that a writer was told is committed: when (Unix time), by which instance, and how durably."""

    at: float
    row: str
    by: str
    durability: str


@dataclass(frozen=True, kw_only=True)
class _Writer:
    name: str
    node: str
    instances: Sequence[int]
    durability: str
    pause: float


class Writers:
    """Clients in pods of their own: two that go wherever writes are accepted, and one beside each instance."""

    def __init__(self, databases: Databases) -> None:
        self._namespace = databases.namespace
        self._writers = [
            _Writer(name="quorum", node=WORKER, instances=(0, 1, 2), durability=QUORUM, pause=0.1),
            _Writer(name="local", node=WORKER, instances=(0, 1, 2), durability=LOCAL, pause=0.3),
            *(
                _Writer(name=f"beside-{n}", node=databases.node(n), instances=(n,), durability=QUORUM, pause=0.5)
                for n in range(3)
            ),
        ]
        self._harvest: dict[str, Acknowledged] = {}

    def start(self) -> None:
        """Create the pods."""
        script = {"writer.sh": _SCRIPT.read_text()}
        config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "writers"}, "data": script}
        objects = [config, *(self._pod(writer) for writer in self._writers)]
        kubectl_apply(self._namespace, objects)

    def stop(self) -> None:
        """Delete the pods."""
        kubectl("delete", "pod", "-n", self._namespace, "-l", "app=writers", "--grace-period=0", "--force", "--wait")
        kubectl("delete", "configmap", "-n", self._namespace, "writers")

    def acknowledged(self) -> list[Acknowledged]:
        """Everything acknowledged so far, in order of time. A pod that cannot be asked is asked again the next time."""
        for writer in self._writers:
            self._read(writer)
        return sorted(self._harvest.values(), key=lambda each: each.at)

    def await_rows(self, count: int, by: int, since: float, timeout: float = 120) -> Acknowledged:
        """Wait for rows with the quorum's word from an instance after a time; the first of them."""
        found: list[Acknowledged] = []

        def enough() -> bool:
            # The one beside it: a client that tries several stays with one that takes its password and then fails.
            self._read(self._writers[2 + by])
            found[:] = [
                each
                for each in self._harvest.values()
                if each.by == f"postgres-{by}" and each.at > since and each.durability == QUORUM
            ]
            return len(found) >= count

        awaited(f"{count} rows acknowledged by postgres-{by}", enough, timeout)
        return min(found, key=lambda each: each.at)

    def _read(self, writer: _Writer) -> None:
        # A container that was killed with its node has left its words to `--previous`.
        for earlier in ([], ["--previous"]):
            argv = ("logs", "-n", self._namespace, f"writer-{writer.name}", "--timestamps", *earlier)
            done = run(BIN / "kubectl", *argv)
            for stamp, row, instance in _WORD.findall(done.output):
                moment = datetime.fromisoformat(f"{stamp[:26]}+00:00").timestamp()
                word = Acknowledged(at=moment, row=row, by=instance, durability=writer.durability)
                self._harvest.setdefault(row, word)

    def _pod(self, writer: _Writer) -> Mapping[str, Any]:
        env = {
            "WRITER": writer.name,
            "INSTANCES": " ".join(map(str, writer.instances)),
            "SYNCHRONOUS_COMMIT": writer.durability,
            "PAUSE": str(writer.pause),
        }
        password = {"secret_key_ref": {"name": "postgres-secrets", "key": "owner"}}
        size = {"cpu": "100m", "memory": "128Mi"}
        container = {
            "name": "writer",
            "image": "docker.io/library/postgres:15-alpine",
            "image_pull_policy": "IfNotPresent",
            "command": ["sh", "/writer/writer.sh"],
            "env": [
                *({"name": name, "value": value} for name, value in env.items()),
                {"name": "PGPASSWORD", "value_from": password},
            ],
            "resources": {"requests": size, "limits": {"cpu": "200m", "memory": "128Mi"}},
            "security_context": CONTAINER_SECURITY_CONTEXT,
            "volume_mounts": [
                {"name": "script", "mount_path": "/writer"},
                {"name": "tmp", "mount_path": "/tmp"},  # noqa: S108 - a volume of the pod's own
            ],
        }
        spec = {
            "node_name": writer.node,
            "security_context": pod_security_context(UID),
            "automount_service_account_token": False,
            "termination_grace_period_seconds": 0,
            # It stays where it is whatever happens to its node.
            "tolerations": [{"operator": "Exists"}],
            "containers": [container],
            "volumes": [{"name": "script", "config_map": {"name": "writers"}}, {"name": "tmp", "empty_dir": {}}],
        }
        labels = {"app": "writers", POSTGRES_ACCESS: "true"}
        metadata = {"name": f"writer-{writer.name}", "labels": labels}
        return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": in_camel_case(spec)}


def kubectl_apply(namespace: str, objects: Sequence[Mapping[str, Any]]) -> None:
    """Create or change objects in a namespace."""
    whole = json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)})
    run(BIN / "kubectl", "apply", "-n", namespace, "-f", "-", stdin=whole).ok()


# --- faults -----------------------------------------------------------------------------------------------------------
# Each strikes the primary when it is entered, and is healed when it is left.


@contextmanager
def killed_server(databases: Databases, ordinal: int) -> Iterator[None]:
    """SIGKILL to the server; its container ends, and the kubelet starts it again."""
    databases.exec(ordinal, "sh", "-c", 'kill -9 "$(head -n 1 "$PGDATA/postmaster.pid")"')
    yield


@contextmanager
def killed_container(databases: Databases, ordinal: int) -> Iterator[None]:
    """SIGKILL to the container's first process, and with it to all of them."""
    processes.kill(databases.first_process(ordinal))
    yield


@contextmanager
def dead_node(databases: Databases, ordinal: int) -> Iterator[None]:
    """The node loses power, and has it back later."""
    node = databases.node(ordinal)
    sandbox("node", "stop", node)
    try:
        yield
    finally:
        sandbox("node", "start", node)


@contextmanager
def cut_node(databases: Databases, ordinal: int) -> Iterator[None]:
    """The node's network swallows every packet; the primary and a client beside it go on."""
    node = databases.node(ordinal)
    sandbox("node", "cut", node)
    try:
        yield
    finally:
        sandbox("node", "heal", node)


@contextmanager
def full_disk(databases: Databases, ordinal: int) -> Iterator[None]:
    """The volume is full: the server gives up, or runs on and lets nobody in."""
    node, directory = databases.node(ordinal), databases.volume(ordinal)
    with _small_volume(databases, ordinal, node, directory):
        in_node(node, f"cat /dev/zero >{shlex.quote(directory)}/filler || true")
        container = databases.container(ordinal)
        awaited("the server takes no write", lambda: _gives_up(databases, ordinal, container))
        yield
        in_node(node, f"rm {shlex.quote(directory)}/filler")


def _gives_up(databases: Databases, ordinal: int, container: str) -> bool:
    """Have the server need more room. It has given up when it lets nobody in, or its container has ended."""
    message = "select 'written' from pg_logical_emit_message(true, 'filler', repeat('x', 100000))"
    written = databases.answers(ordinal, f"{message}, pg_switch_wal()", "written")
    return not written or databases.container(ordinal) != container


@contextmanager
def _small_volume(databases: Databases, ordinal: int, node: str, directory: str) -> Iterator[None]:
    """An instance's volume on a file system of its own with little room, while the pod is away for a moment."""
    quoted = shlex.quote(directory)
    used = int(in_node(node, f"du -sm {quoted} | cut -f1"))
    small = "/run/small-volume"
    with _away(databases, ordinal, node):
        in_node(
            node,
            f"mkdir -p {small} && mount -t tmpfs -o size={used + 100}m tmpfs {small} && cp -a {quoted}/. {small}/"
            f" && mount --bind {small} {quoted} && umount {small}",
        )
    yield
    with _away(databases, ordinal, node):
        in_node(
            node,
            f"mount --bind {quoted} {small} && umount {quoted} && find {quoted} -mindepth 1 -delete"
            f" && cp -a {small}/. {quoted}/ && umount {small}",
        )


@contextmanager
def _away(databases: Databases, ordinal: int, node: str) -> Iterator[None]:
    """The pod of an instance ends, and another starts in the end."""
    name = f"postgres-{ordinal}"
    kubectl("cordon", node)
    try:
        kubectl("delete", "pod", "-n", databases.namespace, name, "--wait")
        yield
    finally:
        kubectl("uncordon", node)
    awaited(
        f"{name} runs again",
        lambda: any(
            pod["metadata"]["name"] == name and pod["status"]["phase"] == "Running"
            for pod in get("pods", databases.namespace)
        ),
    )


def in_node(node: str, command: str) -> str:
    """What a shell command on a node prints."""
    return netns.run_in(LAYOUT, node, ["sh", "-euc", command])


FAULTS = {
    "server killed": killed_server,
    "container killed": killed_container,
    "node dead": dead_node,
    "node cut off": cut_node,
    "disk full": full_disk,
}


def now() -> float:
    """The clock of the writers' logs."""
    return time.time()
