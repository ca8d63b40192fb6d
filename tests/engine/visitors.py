"""Visitors who ask without a pause while something is done to the platform, and what each of their requests got.

Run as a program it is the visitors. They keep their connections, and ask once more on another one when a kept one ended
before a request that may be repeated had an answer, as browsers do (RFC 9110, 9.2.2).
"""

import argparse
import asyncio
import json
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from sandbox import layout as where
from sandbox import netns, processes
from sandbox.acme import service as acme
from tests.engine.stack import LAYOUT, ROOT

TIMEOUT_SECONDS = 60.0
PAUSE_SECONDS = 0.1
"""Below the edge's limit of 10 requests a second for each client."""
_FIRST_ANSWERS_SECONDS = 30


@dataclass(frozen=True)
class Asked:
    """One request and what became of it: ``outcome`` is the status of the answer, or the kind of error."""

    method: str
    url: str
    outcome: str
    pod: str
    seconds: float


class Answers:
    """Everything that was asked so far."""

    def __init__(self, output: Path) -> None:
        self._output = output

    def all(self) -> list[Asked]:
        """Every request that has come to an end."""
        whole = self._output.read_text().rpartition("\n")[0]
        return [Asked(**json.loads(line)) for line in whole.splitlines()]

    def outcomes(self, method: str) -> Counter[str]:
        """How often a method had each outcome."""
        return Counter(each.outcome for each in self.all() if each.method == method)


@contextmanager
def visitors(directory: Path, requests: Sequence[str]) -> Iterator[Answers]:
    """Ask each ``METHOD URL`` in turn, at every origin and from every address of visitors, until the block ends."""
    output = directory / f"answers-{time.monotonic_ns()}.jsonl"
    argv = [sys.executable, "-m", "tests.engine.visitors", "--trust", str(acme.root_path(LAYOUT)), *requests]
    prefix = netns.enter_argv(LAYOUT, where.INTERNET, str(ROOT))
    with output.open("w") as stream, subprocess.Popen([*prefix, *argv], stdout=stream) as running:
        answers = Answers(output)
        try:
            processes.wait_until(
                "visitors get answers", lambda: len(answers.all()) > len(requests), timeout=_FIRST_ANSWERS_SECONDS
            )
            yield answers
        finally:
            running.send_signal(signal.SIGTERM)
            running.wait(timeout=3 * TIMEOUT_SECONDS)


class _Origin(AbstractResolver):
    """Resolves every name to one origin, past Cloudflare, which would hide its failures behind others' answers."""

    def __init__(self, address: str) -> None:
        self._address = address

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        return [
            ResolveResult(
                hostname=host, host=self._address, port=port, family=family, proto=0, flags=socket.AI_NUMERICHOST
            )
        ]

    async def close(self) -> None:
        """Nothing is open."""


async def _ask(session: aiohttp.ClientSession, method: str, url: str) -> None:
    begun, pod = time.monotonic(), ""
    try:
        async with session.request(method, url, data=b"amount=1" if method == "POST" else None) as answer:
            body = await answer.read()
            outcome = str(answer.status)
            if answer.status == 200:
                pod = json.loads(body).get("pod", "")
    except (aiohttp.ClientError, TimeoutError) as error:
        outcome = type(error).__name__
    asked = Asked(method, url, outcome, pod, round(time.monotonic() - begun, 3))
    sys.stdout.write(json.dumps(vars(asked)) + "\n")
    sys.stdout.flush()


async def _visit(address: str, origin: str, options: argparse.Namespace, ended: asyncio.Event) -> None:
    """One visitor at one origin: the next request follows the answer, so that a slow platform is asked less."""
    trust = ssl.create_default_context(cafile=options.trust)
    connector = aiohttp.TCPConnector(local_addr=(address, 0), ssl=trust, resolver=_Origin(origin))
    timeout = aiohttp.ClientTimeout(total=TIMEOUT_SECONDS)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
        while not ended.is_set():
            for request in options.requests:
                await _ask(session, *request.split(" ", 1))
                await asyncio.sleep(PAUSE_SECONDS)


async def _main(options: argparse.Namespace) -> None:
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    origins = [node.public_address for node in where.NODES if node.public_address]
    pairs = [(address, origin) for address in where.CLIENT_ADDRESSES for origin in origins]
    await asyncio.gather(*(_visit(*pair, options, ended) for pair in pairs))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--trust", required=True, help="who signs the certificates of the edge")
    parser.add_argument("requests", nargs="+")
    asyncio.run(_main(parser.parse_args()))
