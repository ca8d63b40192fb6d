"""What a failover is judged by: the operator's connections, the origins that answer, the ways a region dies."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager

from sandbox import layout as where
from sandbox.layout import INTERNET, nsenter_argv
from tests.engine.stack import BIN, LAYOUT, run, sandbox

ORIGINS = {node.name: node.public_address for node in where.NODES if node.public_address}


@contextmanager
def dials() -> Iterator[list[int]]:
    """Connections that the operator's machine opens, counted by its kernel: SSH and the Kubernetes API."""
    inside = nsenter_argv(LAYOUT.netns(INTERNET))
    rules = [("22", "sandbox-test-ssh"), ("6443", "sandbox-test-api")]
    for port, comment in rules:
        rule = ("OUTPUT", "-p", "tcp", "--syn", "--dport", port, "-m", "comment", "--comment", comment)
        run(*inside, "iptables", "-I", *rule).ok()
    counted: list[int] = []
    try:
        yield counted
        listing = run(*inside, "iptables", "-L", "OUTPUT", "-v", "-n", "-x").ok().output
        for _, comment in rules:
            line = next(line for line in listing.splitlines() if comment in line)
            counted.append(int(line.split()[0]))
    finally:
        for port, comment in rules:
            rule = ("OUTPUT", "-p", "tcp", "--syn", "--dport", port, "-m", "comment", "--comment", comment)
            run(*inside, "iptables", "-D", *rule).ok()


@contextmanager
def fault(kind: str, node: str) -> Iterator[None]:
    """The ways a region dies: its node cut off, and the API endpoint refusing or silent."""
    if kind == "node cut off":
        sandbox("node", "cut", node)
    else:
        sandbox("api", {"API refusing": "refuse", "API black-holed": "blackhole"}[kind])
    try:
        yield
    finally:
        sandbox("node", "heal", node) if kind == "node cut off" else sandbox("api", "heal")


def answered(visitor: str) -> tuple[str, str]:
    """Status of a visitor's request for ``/health`` through the double's proxy, and the origin that answered."""
    argv = ("--interface", visitor, "-s", "-D", "-", "-o", "/dev/null", "https://api.gxcoin.money/health")
    answer = run(BIN / "curl", *argv).ok().output
    match = re.search(r"(?im)^x-sandbox-origin: (\S+)", answer)
    return answer.split()[1], match[1] if match else ""


def origins(visitor: str = where.INTERNET_ADDRESS, requests: int = 12) -> set[str]:
    """Addresses that answered a visitor, whatever they said: a dead node may have taken a primary along."""
    found = {origin for _, origin in (answered(visitor) for _ in range(requests))}
    assert "" not in found, "no origin answered"
    return found


def double(method: str, path: str, body: object = None) -> object:
    """Turn one of the switches of the Cloudflare double (``sandbox/cloudflare/control.py``); what it answers."""
    url = f"http://{where.CLOUDFLARE_ADDRESS}:8787/__sandbox{path}"
    argv = ("-s", "-X", method, *(("--json", json.dumps(body)) if body is not None else ()), url)
    answered: object = json.loads(run(BIN / "curl", "--fail-with-body", *argv).ok().output)
    return answered
