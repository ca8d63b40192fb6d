"""Probes that the databases have in common."""

from typing import Any


def command_probe(command: str, *, period: int, failures: int) -> dict[str, Any]:
    """Probe by a shell command in the container, every `period` seconds; `failures` in a row are a verdict.

    The node starts processes for it, so a busy node answers late: the time allowed is long, and `period` should be.
    """
    return {
        "exec": {"command": ["sh", "-c", command]},
        "period_seconds": period,
        "timeout_seconds": 10,
        "failure_threshold": failures,
    }
