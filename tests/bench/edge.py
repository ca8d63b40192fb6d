"""Throughput and latency through the rendered Nginx configuration, beside an expert's and the source document's own.

One host of `tests.services.edge_hosts` with a certificate, Debian's Nginx and real clients; needs no sandbox. The three
configurations stand side by side on ports of their own, and lead to the same NodePort.
"""

import os
import re
from dataclasses import dataclass
from pathlib import Path

from sandbox import layout as where
from sandbox import processes
from settings.loader import load
from tests.bench.engine import BenchError
from tests.bench.timing import Comparison, Figure, Rate, interleaved
from tests.services import edge_hosts
from tests.services.edge_hosts import FIRST, HOSTS, STACK, Rig

EXPERT_GOAL, DOCUMENT_GOAL = 0.98, 3.5
CONNECTIONS = 64
URL = "https://api.gxcoin.money/identity/accounts/1"
_FILES = Path(edge_hosts.__file__).parent / "nginx"
_HOME = "/root/bench"
# The same for all: a rate that no client reaches.
_UNLIMITED = (("rate=10r/s", "rate=1000000r/s"), ("burst=20", "burst=10000000"))
# Those beside the host's own Nginx stand on ports of their own.
_OUT_OF_THE_WAY = (*_UNLIMITED, ("listen 80;", "listen 8080;"))
_NODE_PORT = """
table ip nodeport {
    chain out {
        type nat hook output priority -100
        ip daddr 127.0.0.1 tcp dport 30001 redirect to :8081
    }
}
"""
_HEADERS = ("strict-transport-security", "x-frame-options", "x-content-type-options", "x-xss-protection")


@dataclass(frozen=True, kw_only=True)
class _Load:
    """What one run of h2load found: requests a second, and the time in which 99 of 100 were answered."""

    rate: float
    slowest_ms: float


class _Place:
    """The host, with what is measured on it."""

    ports = {"ours": 443, "expert": 4443, "document": 5443}  # noqa: RUF012 - never changed

    def __init__(self, rig: Rig, scratch: Path) -> None:
        self._rig = rig
        self._log = scratch / "requests"
        self._processors = sorted(os.sched_getaffinity(0))
        rig.provision_all()
        rig.stop_backend(FIRST)
        done = rig.ssh(FIRST, "nft -f -", _NODE_PORT)
        if done.returncode:
            raise BenchError(f"no NodePort: {done.stderr}")
        edits = " ".join(f"-e 's,{old},{new},'" for old, new in _UNLIMITED)
        rig.run(
            FIRST, f"find /etc/nginx/gx/ -name '*.conf' -exec sed -i {edits} {{}} + && nginx -t -q && nginx -s reload"
        )
        rig.run(FIRST, f"mkdir -p {_HOME}")
        for name in ("backend", "expert", "document", "debian"):
            rig.write(FIRST, f"{_HOME}/{name}.conf", self._beside((_FILES / f"{name}.conf").read_text(), name))
        for name in ("backend", "expert", "debian"):
            started = f"nginx -c {_HOME}/{name}.conf -g 'pid /run/bench-{name}.pid;'"
            # A daemon that kept the connection's output would keep the connection.
            rig.run(FIRST, f"{started} -t -q && {started} >/dev/null 2>&1")
        self._share_a_processor()
        self._compare_answers()

    def _beside(self, text: str, name: str) -> str:
        for old, new in (*_OUT_OF_THE_WAY, ("listen 443 ", f"listen {self.ports.get(name)} ")):
            text = text.replace(old, new)
        return text

    def _share_a_processor(self) -> None:
        pin = f"taskset --cpu-list --pid {self._processors[0]}"
        self._rig.run(FIRST, f"for each in $(pgrep -x nginx); do {pin} $each >/dev/null; done")

    def _compare_answers(self) -> None:
        """A configuration that refuses or leaves something out would be the quickest."""
        answers = {}
        for name, port in self.ports.items():
            reply = self._rig.get(URL.replace(".money/", f".money:{port}/"))
            answers[name] = (reply.status, reply.body, *(reply.headers.get(header) for header in _HEADERS))
        if len(set(answers.values())) != 1 or answers["ours"][0] != 200:
            raise BenchError(f"not measured: the configurations do not answer alike: {answers}")

    def load(self, name: str, seconds: int) -> _Load:
        """Ask one configuration for some seconds, with every connection in use."""
        address = f"{where.node(FIRST).public_address}:{self.ports[name]}"
        argv = ["taskset", "--cpu-list", str(self._processors[-1]), "h2load", "--warm-up-time=1"]
        argv += [f"--duration={seconds}", f"--clients={CONNECTIONS}", "--max-concurrent-streams=1"]
        argv += [f"--connect-to={address}", f"--log-file={self._log}", URL]
        printed = processes.run([*where.nsenter_argv(self._rig.layout.netns(where.INTERNET)), *argv])
        rate = re.search(r"^finished in .*, ([0-9.]+) req/s", printed, re.MULTILINE)
        counts = re.search(r"(\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout", printed)
        if rate is None or counts is None or int(counts[1]) == 0 or {*counts.groups()[1:]} != {"0"}:
            raise BenchError(f"not measured: requests of {name} failed:\n{printed}")
        rows = [line.split("\t") for line in self._log.read_text().splitlines()]
        self._log.unlink()
        if {status for _, status, _ in rows} != {"200"}:
            raise BenchError(f"not measured: {name} answered other than 200")
        times = sorted(int(microseconds) for *_, microseconds in rows)
        return _Load(rate=float(rate[1]), slowest_ms=times[len(times) * 99 // 100] / 1000)


def measure(directory: Path, runs: int, seconds: int = 5) -> tuple[Figure, ...]:
    """Load each configuration in turn. Leaves nothing behind."""
    directory.mkdir(exist_ok=True)
    try:
        bare = edge_hosts.start(directory, HOSTS[:1])
        place = _Place(Rig(bare.layout, load(bare.config, stack=STACK), bare.config, bare.hosts), directory)
        found: dict[str, list[_Load]] = {name: [] for name in place.ports}

        def loaded(name: str) -> float:
            found[name].append(place.load(name, seconds))
            return found[name][-1].rate

        ours, expert, document = interleaved(
            runs, lambda: loaded("ours"), lambda: loaded("expert"), lambda: loaded("document")
        )
    finally:
        edge_hosts.stop(directory)
    slowest = {name: tuple(each.slowest_ms for each in loads) for name, loads in found.items()}
    return (
        Rate(title="Requests a second, against an expert's configuration", ours=ours, other=expert, goal=EXPERT_GOAL),
        Rate(title="… against the source document's own", ours=ours, other=document, goal=DOCUMENT_GOAL),
        Comparison(
            title="Time of 99 in 100, against the expert's", ours=slowest["ours"], floor=slowest["expert"], unit="ms"
        ),
        Comparison(title="… against the document's", ours=slowest["ours"], floor=slowest["document"], unit="ms"),
    )
