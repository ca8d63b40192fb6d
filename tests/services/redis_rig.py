"""Redis under writers that record what was acknowledged to them, and the faults that its master is struck with."""

import itertools
import os
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from components.redis import config
from components.tls import AUTHORITY
from sandbox import processes
from tests.services.pods import NAMESPACE, Lab, Pod, PodSpec, volume, write_files
from tests.services.test_redis_scripts import ADDRESSES, GID, PROXY, UID, Cluster, host

PRODUCTION = os.environ.get("GX_REDIS_TIMINGS") == "production"
"""The timings of the stacks instead of shorter ones in the same proportion."""
MAX_LAG_SECONDS = config.MAX_LAG_SECONDS if PRODUCTION else 3
WINDOW_SECONDS = MAX_LAG_SECONDS + config.LOSS_WINDOW_SECONDS - config.MAX_LAG_SECONDS
"""The stated loss window with the timings of the rig."""
BEFORE_SECONDS = 2
"""What was acknowledged so shortly before a fault may be on its way to a replica, or to the disk."""
NAMES = ADDRESSES | {"redis-master": ADDRESSES[PROXY]}
BALLAST = 1000
"""Keys that are there from the start: an instance that lost its data and became the master would erase them all."""
_WRITER = Path(__file__).with_name("redis_writer.py").read_text()
_WRITER_NUMBER = 30
_CLIENT_UID = 65534
# Nobody else may turn the user of the sentinels off and on again, so that it does both itself, on one connection.
# Sentinels log in when they connect, and one whose login failed does not do it anew for a minute: it has to reconnect.
_HIDE = """
{
    echo 'ACL SETUSER sentinel off'
    echo 'CLIENT KILL USER sentinel'
    until [ -e /tmp/show ]; do sleep 0.1; done
    echo 'ACL SETUSER sentinel on'
    echo 'CLIENT KILL USER default'
} | "$@"
rm -f /tmp/show
"""


class FaultCluster(Cluster):
    """Instances with small disks of their own, and timings in the proportion that they have in production."""

    replicas_to_write = 1

    def files(self) -> dict[str, str]:
        """The files of the ConfigMap as they are here."""
        files = config.files(self._settings)
        redis, timing = files["redis.conf"], files["timing.conf"]
        redis = redis.replace("min-replicas-to-write 1", f"min-replicas-to-write {self.replicas_to_write}")
        redis = redis.replace(f"max-lag {config.MAX_LAG_SECONDS}", f"max-lag {MAX_LAG_SECONDS}")
        if not PRODUCTION:
            timing = timing.replace(f"gx {config.DOWN_AFTER_MS}", f"gx {1000 * MAX_LAG_SECONDS}")
            timing = timing.replace("failover-timeout gx 30000", "failover-timeout gx 5000")
        return files | {"redis.conf": redis, "timing.conf": timing}

    def guard(self, replicas: int) -> None:
        """Change how many replicas a master has to see to accept writes, and wait until all instances do so."""
        words = "the settings changed: applying them"
        logs = [self.lab.pods[f"redis-{ordinal}"].log("redis") for ordinal in self.members]
        before = [log.read_text().count(words) for log in logs]
        self.replicas_to_write = replicas
        self.configure()
        self.lab.wait(
            "all apply the change",
            lambda: all(log.read_text().count(words) > count for log, count in zip(logs, before, strict=True)),
        )


@dataclass(frozen=True, kw_only=True)
class Write:
    """One write that was acknowledged: when, which, and by which run of which server."""

    at: float
    number: int
    run: str


class Writer:
    """A client in a pod; what it was told is read from its log."""

    def __init__(self, pod: Pod, name: str, authority: str, *where: str, password: str) -> None:
        self.name = name
        self._pod = pod
        login = ("env", f"REDISCLI_AUTH={password}", "/usr/bin/python3", "-c", _WRITER)
        pod.start(name, *login, name, authority, *where)

    def acknowledged(self) -> list[Write]:
        """What was acknowledged so far."""
        return [
            Write(at=float(at), number=int(number), run=rest)
            for what, at, number, rest in self._lines()
            if what == "acknowledged"
        ]

    def refused(self, since: float, reason: str) -> bool:
        """Whether a write after a moment was refused for a reason."""
        return any(what == "refused" and float(at) > since and rest == reason for what, at, _, rest in self._lines())

    def stop(self) -> None:
        """Stop writing."""
        if self._pod.runs(self.name):
            self._pod.terminate(self.name)

    def _lines(self) -> Iterator[list[str]]:
        for line in self._pod.read(self.name).splitlines(keepends=True):
            fields = line.split()
            # The last one may be half written.
            if line.endswith("\n") and len(fields) == 4:
                yield fields


class Rig:
    """The cluster, its writers, and ways to harm its master."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.cluster = FaultCluster(lab)
        self._writers = 0
        self._clients: dict[str, Pod] = {}

    def start(self) -> None:
        """Start everything, and put the ballast in."""
        for ordinal in self.cluster.members:
            self.cluster.start(ordinal)
        self.cluster.start_proxy()
        authority = write_files(self.lab.scratch / "authority", {AUTHORITY: self.cluster.authority})
        for index, name in enumerate(("through", "sentinels")):
            spec = PodSpec(
                name=name, number=_WRITER_NUMBER + index, uid=_CLIENT_UID, gid=_CLIENT_UID, mounts={"/ca": authority}
            )
            self._clients[name] = self.lab.pod(spec)
        self.cluster.await_replicated()
        script = f"for n = 1, {BALLAST} do redis.call('SET', 'ballast:' .. n, n) end return redis.call('DBSIZE')"
        assert self.cluster.command(PROXY, "EVAL", script, "0").isdigit()

    def writer(self, kind: str) -> Writer:
        """Start a writer: `through` the proxy, by the `sentinels`, or beside an instance as `redis-N`."""
        self._writers += 1
        password = self.cluster.passwords["application"]
        name = f"{kind}-{self._writers}"
        if kind == "through":
            master = f"redis-master.{NAMESPACE}.svc.cluster.local"
            where, authority, pod = ("direct", master, master), f"/ca/{AUTHORITY}", self._clients[kind]
        elif kind == "sentinels":
            names = [host(ordinal) for ordinal in self.cluster.members]
            where, authority, pod = ("sentinels", *names), f"/ca/{AUTHORITY}", self._clients[kind]  # type: ignore[assignment]
        else:
            own = host(int(kind.removeprefix("redis-")))
            where, authority, pod = ("direct", "127.0.0.1", own), f"{config.TLS}/{AUTHORITY}", self.lab.pods[kind]
        return Writer(pod, name, authority, *where, password=password)

    def await_calm(self) -> None:
        """Wait until there is one master that is replicated, and every sentinel knows all of its replicas and peers."""
        self.cluster.await_replicated()
        others = len(self.cluster.members) - 1

        def known(ordinal: int) -> bool:
            said = self.cluster.command(host(ordinal), "-p", str(config.SENTINEL_PORT), "SENTINEL", "MASTERS").split()
            told = dict(itertools.pairwise(said))
            return told.get("num-slaves") == told.get("num-other-sentinels") == str(others)

        self.lab.wait("every sentinel knows every instance", lambda: all(map(known, self.cluster.members)), timeout=60)

    def await_writes(
        self, writer: Writer, since: float, *, but: str = "", count: int = 20, meanwhile: Callable[[], object] = int
    ) -> Write:
        """Wait for writes that were acknowledged after a moment, by another run than one. Returns the first."""

        def found() -> list[Write]:
            meanwhile()
            return [write for write in writer.acknowledged() if write.at > since and write.run != but]

        self.lab.wait(f"{count} writes of {writer.name}", lambda: len(found()) >= count, timeout=90)
        return found()[0]

    def run_of(self, ordinal: int) -> str:
        """The run that an instance is in."""
        pod = self.lab.pods[f"redis-{ordinal}"]
        said = self.cluster.command("127.0.0.1", "INFO", "server", asker=pod.spec.name).splitlines()
        return next(line.split(":")[1].strip() for line in said if line.startswith("run_id:"))

    def signal(self, ordinal: int, sign: str) -> None:
        """Send a signal to the server of an instance, not to its sentinel."""
        pod = self.lab.pods[f"redis-{ordinal}"]
        script = 'for each in /proc/[0-9]*; do case $(tr "\\0" " " <"$each/cmdline") in "redis-server "*:6379*)'
        done = pod.run("sh", "-c", f'{script} kill -"$1" "${{each#/proc/}}" ;; esac; done', "sh", sign)
        assert done.returncode == 0, done.stderr

    def held(self, ordinal: int, key: str) -> set[int]:
        """Numbers of the writes that an instance has of a writer."""
        pod = f"redis-{ordinal}"
        return {int(line) for line in self.cluster.command("127.0.0.1", "SMEMBERS", key, asker=pod).split()}

    def ballast(self, ordinal: int) -> int:
        """How much of the ballast an instance has."""
        script = f"local n = 0 for i = 1, {BALLAST} do n = n + redis.call('EXISTS', 'ballast:' .. i) end return n"
        return int(self.cluster.command("127.0.0.1", "EVAL_RO", script, "0", asker=f"redis-{ordinal}"))


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One kind: how the master is struck with it and healed.

    ``lives`` is whether the master's pod outlives it, so that a client beside it may still reach it; ``refusal`` what
    that one is told while the fault lasts; ``passes`` whether another run of a server takes over before it is healed;
    ``replicated`` whether the replicas stay with the master until another one is elected.
    """

    name: str
    strike: Callable[[Rig, int], object]
    heal: Callable[[Rig, int], object]
    lives: bool = True
    refusal: str = ""
    passes: bool = True
    replicated: bool = False


def _kill_server(rig: Rig, ordinal: int) -> None:
    pod = rig.lab.pods[f"redis-{ordinal}"]
    rig.signal(ordinal, "KILL")
    pod.wait("redis", 30)
    # The kubelet starts the container again at once.
    pod.start("redis", "sh", "/etc/redis/serve.sh")


def _lose_volume(rig: Rig, ordinal: int) -> None:
    rig.lab.kill(f"redis-{ordinal}")
    for path in (rig.lab.scratch / f"data-{ordinal}").iterdir():
        subprocess.run(["rm", "-rf", str(path)], check=True)
    rig.cluster.start(ordinal)


def _hide(rig: Rig, ordinal: int) -> None:
    pod = rig.lab.pods[f"redis-{ordinal}"]
    login = ("env", f"REDISCLI_AUTH={rig.cluster.passwords['sentinel']}")
    pod.start("hide", *login, "sh", "-c", _HIDE, "sh", *rig.cluster.cli(pod), "--user", "sentinel")


def _show(rig: Rig, ordinal: int) -> None:
    rig.lab.pods[f"redis-{ordinal}"].run("touch", "/tmp/show").check_returncode()  # noqa: S108 - in the pod


def _fill(rig: Rig, ordinal: int) -> None:
    rig.lab.pods[f"redis-{ordinal}"].run("dd", "if=/dev/zero", "of=/data/filler", "bs=64k")


def _free(rig: Rig, ordinal: int) -> None:
    rig.lab.pods[f"redis-{ordinal}"].run("rm", "/data/filler").check_returncode()


def _nothing(rig: Rig, ordinal: int) -> None:
    del rig, ordinal


FAULTS = (
    Fault(
        name="partition",
        strike=lambda rig, ordinal: rig.lab.pods[f"redis-{ordinal}"].isolate(),
        heal=lambda rig, ordinal: rig.lab.pods[f"redis-{ordinal}"].rejoin(),
        refusal="NOREPLICAS",
    ),
    Fault(
        name="hang",
        strike=lambda rig, ordinal: rig.signal(ordinal, "STOP"),
        heal=lambda rig, ordinal: rig.signal(ordinal, "CONT"),
    ),
    Fault(name="sentinels cut off", strike=_hide, heal=_show, refusal="NOREPLICAS", replicated=True),
    Fault(name="server killed", strike=_kill_server, heal=_nothing, lives=False),
    Fault(name="volume lost", strike=_lose_volume, heal=_nothing, lives=False),
    Fault(name="disk full", strike=_fill, heal=_free, refusal="MISCONF", passes=False),
    Fault(
        name="pod killed",
        strike=lambda rig, ordinal: rig.lab.kill(f"redis-{ordinal}"),
        heal=lambda rig, ordinal: rig.cluster.start(ordinal),
        lives=False,
    ),
)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What one fault did. Times are seconds since it struck; ``last`` is the old master's last acknowledgement."""

    fault: str
    elected: float | None
    first: float
    by_sentinels: float
    last: float
    acknowledged: int
    lost: tuple[float, ...]

    def row(self) -> str:
        """One line of the table."""
        elected = "" if self.elected is None else f"{self.elected:.1f} s"
        span = f"{max(self.lost) - min(self.lost):.1f} s" if self.lost else ""
        figures = (elected, f"{self.first:.1f} s", f"{self.by_sentinels:.1f} s", f"{self.last:.1f} s")
        return f"| {self.fault} | {' | '.join(figures)} | {len(self.lost)} of {self.acknowledged} | {span} |"


HEAD = """\
| Fault | New master | First write by redis-master | … by Sentinel | Last write by the old one | Lost | Their span |
|---|---|---|---|---|---|---|"""


@contextmanager
def small_disks(directory: Path, members: Sequence[int], size: str = "160m") -> Iterator[None]:
    """A file system of its own for each instance's data, so that one can be full."""
    with ExitStack() as undo:
        for ordinal in members:
            data = volume(directory / f"data-{ordinal}", UID, GID)
            subprocess.run(
                ["mount", "-t", "tmpfs", "-o", f"size={size},uid={UID},gid={GID}", "tmpfs", data], check=True
            )
            undo.callback(processes.run, ["umount", "--lazy", str(data)])
        yield


def now() -> float:
    """A moment, on the clock of the writers."""
    return time.monotonic()
