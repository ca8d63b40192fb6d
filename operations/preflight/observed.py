"""What was seen of the live systems: the API server's own answers, and what each host printed."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

Document = Mapping[str, Any]
"""JSON of the API server."""


@dataclass(frozen=True, kw_only=True)
class Host:
    """A node as it sees itself.

    Attributes:
        listening: Program behind each TCP port; empty text when the system does not tell.
        proxy_mode: How kube-proxy forwards; empty when it does not say.
        round_trip: Average in milliseconds to other nodes, by address; those that do not answer are left out.
    """

    listening: Mapping[int, str]
    proxy_mode: str
    round_trip: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class Observed:
    """All of it. ``unreachable`` says for a host that was not asked or did not answer why."""

    version: Document
    nodes: tuple[Document, ...]
    namespaces: tuple[Document, ...]
    services: tuple[Document, ...]
    pods: tuple[Document, ...]
    storage_classes: tuple[Document, ...]
    hosts: Mapping[str, Host] = field(default_factory=dict)
    unreachable: Mapping[str, str] = field(default_factory=dict)


def parsed(printed: str) -> Host:
    """What ``host.sh`` printed."""
    listening: dict[int, str] = {}
    for line in _after(printed, "listen"):
        found = re.match(r"LISTEN\s+\d+\s+\d+\s+\S+:(\d+)\s+\S+(?:\s+users:\(\(\"([^\"]+)\")?", line)
        if found and (found[2] or int(found[1]) not in listening):
            listening[int(found[1])] = found[2] or ""
    round_trip = {}
    for line in _after(printed, "rtt"):
        address, _, milliseconds = line.partition(" ")
        if milliseconds:
            round_trip[address] = float(milliseconds)
    return Host(listening=listening, proxy_mode=next(_after(printed, "proxy"), ""), round_trip=round_trip)


def _after(printed: str, word: str) -> Iterator[str]:
    for line in printed.splitlines():
        first, _, rest = line.partition(" ")
        if first == word and rest:
            yield rest
