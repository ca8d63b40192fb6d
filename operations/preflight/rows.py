"""What every check of the preflight answers with."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from operations.preflight.observed import Document, Observed
from settings.model import Settings


class Level(StrEnum):
    """How a row ends; *look* is what only a person can see."""

    OK = "ok"
    LOOK = "look"
    WARN = "warn"
    STOP = "stop"


@dataclass(frozen=True, kw_only=True)
class Row:
    """One thing that was looked at; ``fix`` is empty when there is nothing to do."""

    name: str
    level: Level
    said: str
    fix: str = ""

    def __str__(self) -> str:
        return f"{self.level:<4}  {self.name}: {self.said}" + (f". Fix: {self.fix}" if self.fix else "")


Check = Callable[[Settings, Observed], Iterator[Row]]
"""A pure function that answers with at least one row; one that finds nothing wrong says what it looked at."""


def counts(rows: Iterable[Row]) -> str:
    """How many rows end in which way."""
    counted = Counter(row.level for row in rows)
    return ", ".join(f"{counted[level]} {level}" for level in Level if counted[level])


def by_name(documents: Iterable[Document]) -> dict[str, Document]:
    """Objects without a namespace, by name."""
    return {str(each["metadata"]["name"]): each for each in documents}
