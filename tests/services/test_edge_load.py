"""Many requests while Nginx is reloaded, and while a pod behind its NodePort is lost. Real hosts and curl; needs root.

A client takes another connection for a request that the server has said it did not begin (RFC 9113, 6.8 and 8.7), as
Cloudflare does. That nothing was carried out twice is read from the pods.
"""

import os
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sandbox import layout as where
from sandbox import netns, processes
from settings import stackfile
from settings.loader import load
from tests.services import edge_hosts
from tests.services.edge_hosts import FIRST, HOSTS, STACK, Rig

REQUESTS = int(os.environ.get("GX_EDGE_REQUESTS", "10000"))
RELOADS = REQUESTS // 2000
# Nginx closes a connection whose TLS handshake a reload meets, and no client can know better: a reload comes when the
# clients of the one before are connected again.
SETTLED_SECONDS = 0.5
PODS_LOST = int(os.environ.get("GX_EDGE_PODS_LOST", "2"))
SITE = "https://api.gxcoin.money"
CLIENTS, STREAMS = 4, 16
GIVEN_UP = "0 000 "
PODS = (9001, 9002, 9003)
# From a container's end to the rules of kube-proxy without it: the kubelet looks once a second.
NOTICED_SECONDS = 1.5
RULES = """
table ip pods
delete table ip pods
table ip pods {
    chain out {
        type nat hook output priority -100
        ip daddr 127.0.0.1 tcp dport 30001 redirect to :numgen random mod %d map { %s }
    }
}
"""


class Pods:
    """Pods behind the NodePort of a host, led to at random for each connection, as kube-proxy does it."""

    def __init__(self, rig: Rig, milliseconds: int) -> None:
        self.rig = rig
        self._milliseconds = milliseconds
        self._directory = netns.host_path(rig.layout, FIRST, "/root/pods")
        self._directory.mkdir(exist_ok=True)
        for log in self._directory.glob("*.log"):
            log.unlink()
        program = Path(__file__).with_name("edge_pod.py").read_text()
        (self._directory / "pod.py").write_text(program)
        for port in PODS:
            self.start(port)
        self.route(*PODS)

    def start(self, port: int) -> None:
        argv = ["/usr/bin/python3", "/root/pods/pod.py", str(port), f"/root/pods/{port}.log", str(self._milliseconds)]
        processes.spawn(self.rig.layout, f"pod-{port}", [*netns.enter_argv(self.rig.layout, FIRST), *argv])
        self.rig.run(FIRST, f"until ss -Hltn 'sport = :{port}' | grep -q .; do sleep 0.05; done")

    def kill(self, port: int) -> None:
        processes.stop(self.rig.layout, f"pod-{port}", grace=0)

    def route(self, *ports: int) -> None:
        """Let the NodePort lead to the pods given."""
        choice = ", ".join(f"{index} : {port}" for index, port in enumerate(ports))
        done = self.rig.ssh(FIRST, "nft -f -", RULES % (len(ports), choice))
        assert done.returncode == 0, done.stderr

    def carried_out(self) -> Counter[str]:
        """How often each request of a client was carried out, by whichever pod."""
        lines = [line for log in self._directory.glob("*.log") for line in log.read_text().splitlines()]
        return Counter(line for line in lines if "/identity/" in line)

    def stop(self) -> None:
        for port in PODS:
            self.kill(port)
        self.rig.run(FIRST, "nft delete table ip pods")


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """One host, whose rate limit is out of the way."""
    root = tmp_path_factory.mktemp("load")
    try:
        bare = edge_hosts.start(root, HOSTS[:1])
        limit = {"rateLimit": {"requestsPerSecond": 10_000, "burst": 100_000}}
        config = stackfile.merge(bare.config, {"edge": limit})
        rig = Rig(bare.layout, load(config, stack=STACK), config, bare.hosts)
        rig.provision_all()
        rig.stop_backend(FIRST)
        yield rig
    finally:
        edge_hosts.stop(root)


@contextmanager
def pods(rig: Rig, milliseconds: int) -> Iterator[Pods]:
    behind = Pods(rig, milliseconds)
    try:
        yield behind
    finally:
        behind.stop()


class Clients:
    """Clients of a connection each over HTTP/2, with as many requests at a time as they have streams."""

    def __init__(self, rig: Rig, directory: Path, requests: int, *options: str) -> None:
        self._each = requests // CLIENTS
        self._outputs = [directory / f"client-{number}" for number in range(CLIENTS)]
        address = where.node(FIRST).public_address
        self._running = []
        for number, output in enumerate(self._outputs):
            argv = [
                "curl",
                "-skq",
                "--no-progress-meter",
                "--http2",
                "--connect-to",
                f"::{address}:",
                "-o",
                "/dev/null",
                *options,
            ]
            argv += ["-w", "%{http_version} %{http_code} %{url_effective} %{errormsg}\\n"]
            argv += ["--parallel", "--parallel-max", str(STREAMS), f"{SITE}/identity/{number}-[1-{self._each}]"]
            prefix = where.nsenter_argv(rig.layout.netns(where.INTERNET))
            self._running.append(subprocess.Popen([*prefix, *argv], stdout=output.open("w")))

    def answered(self) -> int:
        """Requests that have come to an end so far."""
        return sum(output.read_bytes().count(b"\n") for output in self._outputs)

    def await_connections(self) -> None:
        """Return once every client has got an answer."""
        served = "every client is served"
        processes.wait_until(served, lambda: all(each.stat().st_size for each in self._outputs), timeout=20)

    def running(self) -> bool:
        return any(client.poll() is None for client in self._running)

    def answers(self) -> dict[str, str]:
        """What each path got, as "<version of HTTP> <status>", when all clients have ended."""
        for client in self._running:
            client.wait(timeout=300)
        lines = [line.split(" ", 3) for output in self._outputs for line in output.read_text().splitlines()]
        found = {url.removeprefix(SITE): f"{version} {status} {error}".strip() for version, status, url, error in lines}
        assert len(found) == CLIENTS * self._each, "a request without an end"
        return found


def test_reloads_fail_no_request_and_repeat_none(rig: Rig, tmp_path: Path) -> None:
    # Slow enough that so many requests take longer than so many reloads.
    with pods(rig, milliseconds=30) as behind:
        clients, reloads, last = Clients(rig, tmp_path, REQUESTS), 0, 0.0
        clients.await_connections()
        while clients.running():
            # The last of them well before the end.
            due = clients.answered() > reloads * REQUESTS / (RELOADS + 1)
            if due and time.monotonic() - last > SETTLED_SECONDS:
                processes.run([*netns.enter_argv(rig.layout, FIRST), "sh", "-c", "kill -HUP $(cat /run/nginx.pid)"])
                reloads, last = reloads + 1, time.monotonic()
            time.sleep(0.02)
        answers = clients.answers()
        carried_out = behind.carried_out()
        # curl gives up on a few that it is told to ask again. They were not begun; the next time has an answer.
        again = {path for path, answer in answers.items() if answer.startswith(GIVEN_UP)}
        assert {path: carried_out[f"GET {path}"] for path in again} == dict.fromkeys(again, 0)
        answers |= {path: f"2 {rig.get(SITE + path).status}" for path in again}
        carried_out = behind.carried_out()
    print(f"{len(answers)} requests over {reloads} reloads; {len(again)} of them asked a second time")
    assert reloads >= RELOADS
    assert Counter(answers.values()) == {"2 200": REQUESTS}
    assert carried_out == {f"GET {path}": 1 for path in answers}
    assert len(again) <= REQUESTS // 500


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_lost_pod_fails_no_idempotent_request_and_repeats_no_other(rig: Rig, tmp_path: Path, method: str) -> None:
    """The pod dies with its connections; until kube-proxy knows it, a third of the new ones leads to it still."""
    options = () if method == "GET" else ("-X", "POST", "-d", "amount=1")
    for lost in range(PODS_LOST):
        dead = PODS[lost % len(PODS)]
        directory = tmp_path / str(lost)
        directory.mkdir()
        with pods(rig, milliseconds=20) as behind:
            clients = Clients(rig, directory, 12_000, *options)
            while clients.answered() < 1000:
                time.sleep(0.01)
            behind.kill(dead)
            time.sleep(NOTICED_SECONDS)
            assert clients.running(), "the load ended before the loss was noticed"
            behind.route(*(port for port in PODS if port != dead))
            answers, carried_out = clients.answers(), behind.carried_out()
        print(f"{method}, pod lost: {dict(Counter(answers.values()))}")
        if method == "GET":
            assert set(answers.values()) == {"2 200"}
        else:
            assert max(carried_out.values()) == 1, "a payment was made twice"
            assert all(carried_out[f"POST {path}"] == 1 for path, answer in answers.items() if answer == "2 200")
            # Those under way in the pod when it died: whether they were carried out, nobody can tell.
            assert sum(answer != "2 200" for answer in answers.values()) <= CLIENTS * STREAMS
