"""Visitors who ask without a pause while something is done to the platform, and what each of their requests got.

Run as a program it is the visitors. They keep their connections, and ask once more on another one when a kept one ended
before a request that may be repeated had an answer, as browsers do (RFC 9110, 9.2.2).
"""

import argparse
import asyncio
import json
import signal
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

from sandbox import layout as where
from sandbox import netns, processes
from sandbox.cloudflare import authority
from tests.engine.stack import LAYOUT, ROOT

TIMEOUT_SECONDS = 20.0
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
def visitors(directory: Path, requests: Sequence[str], *, rate: float) -> Iterator[Answers]:
    """Ask each ``METHOD URL`` in turn, ``rate`` times a second from every address of visitors, until the block ends."""
    output = directory / f"answers-{time.monotonic_ns()}.jsonl"
    argv = [sys.executable, "-m", "tests.engine.visitors", "--rate", str(rate)]
    argv += ["--trust", str(authority.certificate_path(LAYOUT)), *requests]
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


async def _visit(address: str, options: argparse.Namespace, ended: asyncio.Event) -> None:
    trust = ssl.create_default_context(cafile=options.trust)
    connector = aiohttp.TCPConnector(local_addr=(address, 0), ssl=trust)
    timeout = aiohttp.ClientTimeout(total=TIMEOUT_SECONDS)
    asked = [request.split(" ", 1) for request in options.requests]
    begun, number = time.monotonic(), 0
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session, asyncio.TaskGroup() as under_way:
        while not ended.is_set():
            under_way.create_task(_ask(session, *asked[number % len(asked)]))
            number += 1
            # By the clock, so that slow answers do not make for fewer requests.
            await asyncio.sleep(max(0.0, begun + number / options.rate - time.monotonic()))


async def _main(options: argparse.Namespace) -> None:
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    await asyncio.gather(*(_visit(address, options, ended) for address in where.CLIENT_ADDRESSES))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--rate", type=float, required=True, help="requests a second of each visitor")
    parser.add_argument("--trust", required=True, help="who signs the certificates of the edge")
    parser.add_argument("requests", nargs="+")
    asyncio.run(_main(parser.parse_args()))
