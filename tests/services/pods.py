"""Pods without a cluster: each a network, mount and process namespace with a read-only root and its own user.

The containers' scripts and files stand at the paths they have in production, names resolve as cluster DNS has them, and
a killed pod is gone with its address, like a node that loses power. All of it is private: nothing listens on the host.
"""

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sandbox import processes

NAMESPACE = "backend-test"
_DOMAIN = f"{NAMESPACE}.svc.cluster.local"
_NETWORK = "10.99.0"
_GATEWAY = f"{_NETWORK}.1"
_DNS = Path(__file__).with_name("dns_server.py")
_PATH = "/usr/lib/postgresql/15/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_USERS = """
root:x:0:0:root:/root:/bin/sh
postgres:x:70:70::/:/bin/sh
haproxy:x:99:99::/:/bin/sh
redis:x:999:1000::/:/bin/sh
""".lstrip()
# $1 the skeleton of mount points, $2 the root to make, then pairs of a directory and where it is mounted.
_ROOT = """
set -eu
skeleton=$1 root=$2
shift 2
ip link set lo up
# A layer may not lie inside another one, so the upper one is a file system of its own.
mkdir -p "$root.layer"
mount -t tmpfs tmpfs "$root.layer"
cp -a "$skeleton/." "$root.layer"
mount -t overlay overlay -o ro,lowerdir="$root.layer":/ "$root"
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
mount -t tmpfs tmpfs "$root/dev/shm"
while [ $# -gt 0 ]; do
    mount --bind "$1" "$root$2"
    shift 2
done
"""


@dataclass(frozen=True, kw_only=True)
class PodSpec:
    """One pod: its address is the number in the network, its directories appear at the paths given."""

    name: str
    number: int
    uid: int
    gid: int
    mounts: Mapping[str, Path]
    env: Mapping[str, str] = field(default_factory=dict)


class Pod:
    """A running pod; containers are started in it by name."""

    def __init__(self, spec: PodSpec, scratch: Path, lab: int) -> None:
        self.spec = spec
        self._scratch = scratch / spec.name
        self._lab = lab
        self._root = self._scratch / "root"
        self._holder = _hold("--mount", "--pid", "--mount-proc")
        self._init = _inner(self._holder)
        self._containers: dict[str, subprocess.Popen[bytes]] = {}
        self._prepare()
        self._connect()

    def start(self, container: str, *command: str) -> None:
        """Start a container; its output goes to its log, in place of what one before it said."""
        with self.log(container).open("wb") as log:
            self._containers[container] = subprocess.Popen(self._argv(command), stdout=log, stderr=subprocess.STDOUT)

    def run(self, *command: str, timeout: float = 30) -> subprocess.CompletedProcess[str]:
        """Run a command in the pod as its user."""
        return subprocess.run(self._argv(command), check=False, capture_output=True, text=True, timeout=timeout)

    def terminate(self, container: str, timeout: float = 30) -> int:
        """End a container as the kubelet does: SIGTERM to its first process. Returns its status."""
        process = self._containers[container]
        child = processes.child_of(process.pid)
        assert child, f"container {container} of {self.spec.name} is gone already: {self.read(container)}"
        processes.kill(child, signal.SIGTERM)
        return process.wait(timeout)

    def wait(self, container: str, timeout: float) -> int:
        """Wait for a container to end by itself. Returns its status."""
        return self._containers[container].wait(timeout)

    def cut(self, number: int) -> None:
        """Cut this pod off from the address with a number."""
        own = ["nsenter", "-t", str(self._init), "--net", "ip"]
        _check([*own, "route", "add", "blackhole", f"{_NETWORK}.{number}/32"])

    def mend(self, number: int) -> None:
        """Undo `cut`."""
        own = ["nsenter", "-t", str(self._init), "--net", "ip"]
        _check([*own, "route", "del", "blackhole", f"{_NETWORK}.{number}/32"])

    def isolate(self) -> None:
        """Cut this pod off from everything, without a word to either side, as a pulled cable does."""
        self._in_lab("link", "set", self._port, "down")

    def rejoin(self) -> None:
        """Put it back after `isolate`."""
        self._in_lab("link", "set", self._port, "up")

    def runs(self, container: str) -> bool:
        """Whether a container has not ended yet."""
        return self._containers[container].poll() is None

    def log(self, container: str) -> Path:
        """Where a container's output goes; kept when the pod is killed."""
        return self._scratch / f"{container}.log"

    def read(self, container: str) -> str:
        """What a container has said so far."""
        return self.log(container).read_text(errors="replace")

    def kill(self) -> None:
        """End everything in the pod at once, without a word."""
        self.strike()
        self._holder.wait(60)
        for process in self._containers.values():
            process.wait(60)
        processes.wait_until("the pod is gone", lambda: not Path(f"/proc/{self._init}").exists(), timeout=60)

    def strike(self) -> None:
        """Begin to end everything in the pod; nothing of it runs any more once `kill` has returned."""
        processes.kill(self._holder.pid)

    def _prepare(self) -> None:
        skeleton = self._scratch / "skeleton"
        shutil.rmtree(skeleton, ignore_errors=True)
        for path in (*self.spec.mounts, "/etc"):
            (skeleton / path.lstrip("/")).mkdir(parents=True, exist_ok=True)
        # Links of the host stay links: /var/run is one.
        self._root.mkdir(exist_ok=True)
        (skeleton / "etc/passwd").write_text(_USERS)
        (skeleton / "etc/hosts").write_text("127.0.0.1 localhost\n")
        search = f"search {_DOMAIN} svc.cluster.local cluster.local"
        (skeleton / "etc/resolv.conf").write_text(
            f"nameserver {_GATEWAY}\n{search}\noptions ndots:5 timeout:1 attempts:2\n"
        )
        mounts = [part for path, directory in self.spec.mounts.items() for part in (str(directory), path)]
        entered = ["nsenter", "-t", str(self._init), "--net", "--mount", "--pid"]
        _check([*entered, "sh", "-c", _ROOT, "sh", str(skeleton), str(self._root), *mounts])

    @property
    def _port(self) -> str:
        return f"pod{self.spec.number}"

    def _in_lab(self, *command: str) -> None:
        _check(["nsenter", "-t", str(self._lab), "--net", "ip", *command])

    def _connect(self) -> None:
        inside = ["nsenter", "-t", str(self._lab), "--net", "ip"]
        # The kernel takes a killed pod's network away in its own time.
        processes.succeeds([*inside, "link", "delete", self._port])
        self._in_lab("link", "add", self._port, "type", "veth", "peer", "name", "eth0", "netns", str(self._init))
        self._in_lab("link", "set", self._port, "master", "br0", "up")
        own = ["nsenter", "-t", str(self._init), "--net", "ip"]
        _check([*own, "address", "add", f"{_NETWORK}.{self.spec.number}/24", "dev", "eth0"])
        _check([*own, "link", "set", "eth0", "up"])

    def _argv(self, command: Sequence[str]) -> list[str]:
        env = {"PATH": _PATH, "LANG": "C.UTF-8", "POD_NAME": self.spec.name, "NAMESPACE": NAMESPACE, **self.spec.env}
        return [
            *["nsenter", "-t", str(self._init), "--net", "--mount", "--pid", "chroot", str(self._root)],
            *["setpriv", f"--reuid={self.spec.uid}", f"--regid={self.spec.gid}", "--clear-groups", "--no-new-privs"],
            *["--inh-caps=-all", "--bounding-set=-all"],
            *["env", "-i", *(f"{name}={value}" for name, value in env.items())],
            *command,
        ]


class Lab:
    """A network for pods, with a DNS server. Use it as a context manager."""

    def __init__(self, scratch: Path, names: Mapping[str, int]) -> None:
        self.scratch = scratch
        self._table = {f"{name}.{_DOMAIN}": f"{_NETWORK}.{number}" for name, number in names.items()}
        self.pods: dict[str, Pod] = {}

    def __enter__(self) -> "Lab":
        """Create the network and start the DNS server."""
        self._holder = _hold()
        self._init = _inner(self._holder)
        entered = ["nsenter", "-t", str(self._init), "--net"]
        for command in (
            ["ip", "link", "set", "lo", "up"],
            # With an address of its own, or it would take another one with every port that comes and goes.
            ["ip", "link", "add", "br0", "address", "02:00:00:00:00:01", "type", "bridge", "forward_delay", "0"],
            ["ip", "address", "add", f"{_GATEWAY}/24", "dev", "br0"],
            ["ip", "link", "set", "br0", "up"],
        ):
            _check([*entered, *command])
        self._dns = subprocess.Popen([*entered, sys.executable, str(_DNS), _GATEWAY, json.dumps(self._table)])
        return self

    def __exit__(self, *_: object) -> None:
        """Kill every pod and remove the network."""
        # All at once, then wait for each.
        for pod in self.pods.values():
            pod.strike()
        for pod in self.pods.values():
            pod.kill()
        self._dns.kill()
        self._dns.wait(10)
        processes.kill(self._holder.pid)
        self._holder.wait(10)

    def pod(self, spec: PodSpec) -> Pod:
        """Start a pod, in place of one of the same name that was killed."""
        pod = Pod(spec, self._directory(spec.name), self._init)
        self.pods[spec.name] = pod
        return pod

    def kill(self, name: str) -> None:
        """Kill a pod."""
        self.pods.pop(name).kill()

    def _directory(self, name: str) -> Path:
        (self.scratch / name).mkdir(parents=True, exist_ok=True)
        return self.scratch

    def wait(self, what: str, holds: Callable[[], bool], timeout: float = 120) -> None:
        """Wait for a condition; a failure shows the end of every container's log."""
        try:
            processes.wait_until(what, holds, timeout=timeout)
        except processes.SandboxError as error:
            logs = sorted(self.scratch.glob("*/*.log"))
            said = "\n".join(
                f"--- {log.parent.name}/{log.name}\n{log.read_text(errors='replace')[-700:]}" for log in logs
            )
            raise AssertionError(f"{error}\n{said}") from None


def write_files(directory: Path, files: Mapping[str, str], *, mode: int = 0o444, gid: int = 0) -> Path:
    """Write the files of a ConfigMap or Secret as the kubelet mounts them: each one whole or not at all."""
    directory.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        new = directory / f".{name}"
        new.write_text(text)
        new.chmod(mode)
        shutil.chown(new, 0, gid)
        new.rename(directory / name)
    return directory


def volume(directory: Path, uid: int, gid: int) -> Path:
    """A directory of a user, empty when it is new."""
    directory.mkdir(parents=True, exist_ok=True)
    shutil.chown(directory, uid, gid)
    return directory


def _hold(*kinds: str) -> subprocess.Popen[bytes]:
    """A process that keeps new namespaces alive; the network's always, and of the kinds given."""
    # Where processes are counted anew, the first one buries the orphans, and takes all others with it.
    first = ["tini", "-s", "--"] if "--pid" in kinds else []
    return subprocess.Popen(["unshare", "--net", *kinds, "--fork", "--kill-child", *first, "sleep", "infinity"])


def _inner(holder: subprocess.Popen[bytes]) -> int:
    def ready() -> bool:
        child = processes.child_of(holder.pid)
        return child is not None and Path(f"/proc/{child}/comm").read_text().strip() in {"tini", "sleep"}

    processes.wait_until("the namespaces exist", ready, timeout=60)
    child = processes.child_of(holder.pid)
    assert child is not None
    return child


def _check(argv: Sequence[str]) -> None:
    processes.run(argv)
