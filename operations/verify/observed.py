"""What was seen of a deployed stack. Where something could not be asked, a text says why in its place."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from operations.preflight.observed import Document


@dataclass(frozen=True, kw_only=True)
class Usage:
    """What a node uses, as the metrics API has it."""

    millicores: int
    bytes: int


@dataclass(frozen=True, kw_only=True)
class Database:
    """What the primary says of itself; ``unfinished`` counts migrations that began and did not end."""

    instance: str
    recovery: bool
    standbys: int
    tables: int
    unfinished: int


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One series of Prometheus, now."""

    labels: Mapping[str, str]
    value: float


@dataclass(frozen=True, kw_only=True)
class Observed:
    """All of it.

    Attributes:
        now: When it was looked.
        nodes: Every node of the cluster.
        usage: What each node uses, by name.
        namespaces: Every namespace.
        objects: What the stack's namespace holds, of every kind that is looked at; no Secret.
        secret_keys: The keys of each Secret there; never a value.
        fabric: EndpointSlices of the Fabric namespace.
        database: What the primary says.
        logs: The last lines of each workload, by its name.
        up: ``up`` of every target of the stack, by the shared Prometheus.
        fabric_connections: ``fabric_sdk_connection_status`` of the stack, by the same.
        log_lines: Lines of the stack of the last five minutes, by the shared Loki.
        answers: HTTP status of each public address; 0 for none.
    """

    now: datetime
    nodes: tuple[Document, ...]
    usage: Mapping[str, Usage] | str
    namespaces: tuple[Document, ...]
    objects: tuple[Document, ...]
    secret_keys: Mapping[str, frozenset[str]]
    fabric: tuple[Document, ...]
    database: Database | str
    logs: Mapping[str, tuple[str, ...]]
    up: tuple[Sample, ...] | str
    fabric_connections: tuple[Sample, ...] | str
    log_lines: float | str
    answers: Mapping[str, int]

    def of_kind(self, kind: str) -> dict[str, Document]:
        """Objects of a kind in the stack's namespace, by name."""
        return {str(each["metadata"]["name"]): each for each in self.objects if each["kind"] == kind}

    def pods(self) -> Iterator[Document]:
        """Pods that are meant to run on: not those of Jobs."""
        for pod in self.of_kind("Pod").values():
            owners = pod["metadata"].get("ownerReferences", [])
            if not any(owner["kind"] == "Job" for owner in owners):
                yield pod


def containers(pod: Document) -> list[dict[str, Any]]:
    """Status of a pod's containers."""
    return list(pod.get("status", {}).get("containerStatuses", []))


def is_ready(pod: Document) -> bool:
    """Whether a pod is sent requests."""
    conditions = pod.get("status", {}).get("conditions", [])
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)
