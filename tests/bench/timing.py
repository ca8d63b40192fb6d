"""Samples, medians and the machine they were taken on."""

import os
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Two ways to the same result, sampled in turn in one run. Samples are times in ``unit``; ``goal`` is a ratio."""

    title: str
    ours: tuple[float, ...]
    floor: tuple[float, ...]
    goal: float | None = None
    unit: str = "s"

    @property
    def ratio(self) -> float:
        """Median of ours over the median of the floor."""
        return statistics.median(self.ours) / statistics.median(self.floor)

    @property
    def figure(self) -> str:
        """The ratio as the report prints it."""
        return f"{self.ratio:.2f} x"

    @property
    def wanted(self) -> str:
        """The goal as the report prints it."""
        return "" if self.goal is None else f"at most {self.goal:g} x"

    @property
    def verdict(self) -> str:
        """Whether the goal is met."""
        return _verdict(self.ratio, self.goal)

    @property
    def samples(self) -> str:
        """Medians and spread of both sides."""
        return f"{spread(self.ours, self.unit)} against {spread(self.floor, self.unit)}"


@dataclass(frozen=True, kw_only=True)
class Rate:
    """Requests a second of two ways to the same result, sampled in turn in one run; ``goal`` is the least ratio."""

    title: str
    ours: tuple[float, ...]
    other: tuple[float, ...]
    goal: float

    @property
    def ratio(self) -> float:
        """Median of ours over the median of the other."""
        return statistics.median(self.ours) / statistics.median(self.other)

    @property
    def figure(self) -> str:
        """The ratio as the report prints it."""
        return f"{self.ratio:.2f} x"

    @property
    def wanted(self) -> str:
        """The goal as the report prints it."""
        return f"at least {self.goal:g} x"

    @property
    def verdict(self) -> str:
        """Whether the goal is met."""
        return _verdict(self.goal, self.ratio)

    @property
    def samples(self) -> str:
        """Medians and spread of both sides."""
        return f"{spread(self.ours, '/s', 0)} against {spread(self.other, '/s', 0)}"


@dataclass(frozen=True, kw_only=True)
class Amount:
    """Seconds of one thing; ``goal`` is in seconds."""

    title: str
    values: tuple[float, ...]
    goal: float | None = None

    @property
    def median(self) -> float:
        """The median of the samples."""
        return statistics.median(self.values)

    @property
    def figure(self) -> str:
        """The median as the report prints it."""
        return f"{self.median:.2f} s"

    @property
    def wanted(self) -> str:
        """The goal as the report prints it."""
        return "" if self.goal is None else f"under {self.goal:g} s"

    @property
    def verdict(self) -> str:
        """Whether the goal is met."""
        return _verdict(self.median, self.goal)

    @property
    def samples(self) -> str:
        """Median and spread, in seconds."""
        return spread(self.values)


Figure = Comparison | Amount | Rate


def _verdict(value: float, goal: float | None) -> str:
    if goal is None:
        return ""
    return "met" if value <= goal else "**missed**"


def spread(values: Sequence[float], unit: str = "s", digits: int = 2) -> str:
    """Median with the smallest and largest sample."""
    middle, least, most = (f"{each:.{digits}f}" for each in (statistics.median(values), min(values), max(values)))
    return f"{middle} {unit} ({least} to {most})" if len(values) > 1 else f"{middle} {unit}"


def seconds(action: Callable[[], object]) -> float:
    """How long an action takes by the clock."""
    begun = time.monotonic()
    action()
    return time.monotonic() - begun


def interleaved(runs: int, *actions: Callable[[], float]) -> tuple[tuple[float, ...], ...]:
    """Samples of several actions taken in turn, so that a busy machine hits all alike.

    Every other round is in the reverse order: what one leaves behind in caches helps none more than the others.
    """
    taken: list[list[float]] = [[] for _ in actions]
    for run in range(runs):
        order = range(len(actions)) if run % 2 == 0 else reversed(range(len(actions)))
        for index in order:
            taken[index].append(actions[index]())
    return tuple(tuple(samples) for samples in taken)


@dataclass(frozen=True, kw_only=True)
class Machine:
    """What the figures were taken on; nothing that tells one machine of the kind from another."""

    cores: int
    memory_gib: int
    kernel: str
    python: str


def machine() -> Machine:
    """The machine that runs this."""
    total = next(line for line in Path("/proc/meminfo").read_text().splitlines() if line.startswith("MemTotal:"))
    return Machine(
        cores=len(os.sched_getaffinity(0)),
        memory_gib=round(int(total.split()[1]) / 2**20),
        kernel=platform.release(),
        python=platform.python_version(),
    )


def load() -> float:
    """The load average of the last minute."""
    return os.getloadavg()[0]
