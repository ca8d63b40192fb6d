"""Files of public repositories that tests hold the program against, from the Go module index, pinned by their hash."""

import json
from dataclasses import dataclass
from pathlib import Path

from sandbox.processes import SandboxError, run


@dataclass(frozen=True, kw_only=True)
class Source:
    """A repository at a tag, as a Go module; ``sum`` is the hash of all its files, as in a go.sum."""

    module: str
    version: str
    sum: str


PROMETHEUS_OPERATOR = Source(
    module="github.com/prometheus-operator/prometheus-operator",
    version="v0.85.0",
    sum="h1:M5xLCLEoaW2IJfnuCwFzzpL+jSVQu3KGT84Pye+fW8s=",
)


def directory(source: Source) -> Path:
    """Where the files are, fetched first when they are not there. SandboxError when they are others than pinned."""
    found = json.loads(run(["go", "mod", "download", "-json", f"{source.module}@{source.version}"]))
    if found["Sum"] != source.sum:
        raise SandboxError(
            f"{source.module}@{source.version} has hash {found['Sum']}, pinned is {source.sum}. Fix: find out which is "
            "the published one, and pin that"
        )
    return Path(found["Dir"])
