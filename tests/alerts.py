"""The cases of ``tests/services/alert_cases.yaml``."""

import re
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import yaml

_FILE = Path(__file__).parent / "services" / "alert_cases.yaml"
OWN = 'namespace="backend-mainnet"'
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


@dataclass(frozen=True, kw_only=True)
class Fires:
    """Series on which an alert's expression holds from ``after`` on, and the labels that it takes from them."""

    series: dict[str, str]
    labels: dict[str, str]
    after: str = "0s"


@dataclass(frozen=True, kw_only=True)
class Case:
    """When an alert fires, and series on which it does not; ``step`` is the time between two samples."""

    fires: tuple[Fires, ...]
    silent: dict[str, str] | None = None
    step: str = field(default="15s")


@cache
def cases() -> dict[str, Case]:
    """Every case by its alert."""
    # Every value as text: 0x20 is 21 samples here, not a number.
    found = yaml.load(_FILE.read_text(), Loader=yaml.BaseLoader)  # noqa: S506 - makes nothing but text
    return {alert: _case(source) for alert, source in found.items()}


def _case(source: dict[str, object]) -> Case:
    fires = source["fires"]
    silent = source.get("silent")
    assert isinstance(fires, dict | list)
    assert silent is None or isinstance(silent, dict)
    every = fires if isinstance(fires, list) else [fires]
    return Case(
        fires=tuple(
            Fires(series=_series(each["series"]), labels=each["labels"], after=each.get("after", "0s"))
            for each in every
        ),
        silent=None if silent is None else _series(silent["series"]),
        step=str(source.get("step", "15s")),
    )


def _series(source: dict[str, object]) -> dict[str, str]:
    return {name.replace("$ns", OWN): str(values) for name, values in source.items()}


def seconds(duration: str) -> int:
    """A duration as Prometheus writes it, in one unit."""
    match = re.fullmatch(r"(\d+)([smhd])", duration)
    assert match is not None, duration
    return int(match[1]) * _SECONDS[match[2]]
