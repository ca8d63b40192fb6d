"""What the command line knows about a part of the sandbox: it starts, stops and tells how it is."""

from dataclasses import dataclass
from typing import Protocol

from sandbox.layout import Layout


@dataclass(frozen=True)
class Health:
    """One line of `status`: what, whether it is well, and where to find it or what is wrong."""

    name: str
    well: bool
    detail: str


class Part(Protocol):
    """A module with these three functions. `start` is idempotent and quick on a running part; `stop` leaves nothing."""

    def start(self, layout: Layout) -> None:
        """Bring the part up and return when it can be used."""

    def stop(self, layout: Layout) -> None:
        """End the part and remove all it made but its logs."""

    def status(self, layout: Layout) -> list[Health]:
        """Say how the part is without changing it."""
        ...


def say(line: str) -> None:
    """Print one line of progress."""
    print(line, flush=True)
