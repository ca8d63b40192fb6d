"""``python -m checks.paths OLD.yaml NEW.yaml``: which network paths a changed stack file opens and which it closes.

Read from the policies that each stack declares, not from the intent: what a reviewer sees is what the cluster enforces.
"""

import argparse
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from checks.policy_engine import ANY_PORT, Direction, End, PodPort, allowed
from checks.reachability import declaration, foreign_parties, own_parties
from settings.check import read
from settings.loader import SettingsError
from settings.model import Settings
from settings.stackfile import StackFileError


@dataclass(frozen=True, order=True)
class Way:
    """A way from one end to another on one port of the target, open at both ends."""

    source: str
    target: str
    port: PodPort


@dataclass(frozen=True, kw_only=True)
class Difference:
    """What a change opens and closes."""

    opened: frozenset[Way]
    closed: frozenset[Way]

    def markdown(self) -> str:
        """A table with one line for all ways that share their ports and one of their ends; stable byte by byte."""
        if not self.opened and not self.closed:
            return "No network path opens or closes.\n"
        lines = [f"| opens | {line} |" for line in _lines(self.opened)]
        lines += [f"| closes | {line} |" for line in _lines(self.closed)]
        return "\n".join(("| | from | to | ports |", "| --- | --- | --- | --- |", *lines, ""))


def compare(before: Settings, after: Settings) -> Difference:
    """The paths that only one of two versions of a stack opens."""
    both = (before, after)
    # Judged against the ends of both: an address that one of them names is an address in the other too.
    foreign = {
        party.end.name: party.end for settings in both for party in foreign_parties(settings, declaration(settings))
    }
    old, new = (open_ways(settings, foreign.values()) for settings in both)
    return Difference(opened=new - old, closed=old - new)


def open_ways(settings: Settings, foreign: Iterable[End]) -> frozenset[Way]:
    """Every way that starts or ends in a pod of the stack and that the declared policies leave open."""
    declared = declaration(settings)
    own = [party.end for party in own_parties(settings)]

    def one_end(direction: Direction, end: End, other: End) -> frozenset[PodPort]:
        return allowed(declared.get(end.namespace, ()), direction, end, other)

    def both_ends(source: End, target: End) -> frozenset[PodPort]:
        return _both(one_end(Direction.EGRESS, source, target), one_end(Direction.INGRESS, target, source))

    ways = {
        Way(source.name, target.name, port) for source in own for target in own for port in both_ends(source, target)
    }
    for pod in own:
        # What is open to a pod without labels is open to every pod of its namespace, and is told once.
        to_all: dict[str, set[tuple[bool, PodPort]]] = {}
        for end in sorted(foreign, key=lambda each: len(each.labels)):
            found = {(True, port) for port in both_ends(pod, end)} | {(False, port) for port in both_ends(end, pod)}
            known = to_all.setdefault(end.namespace, found) if end.address is None else set()
            for outward, port in found - known if known is not found else found:
                ends = (pod.name, end.name) if outward else (end.name, pod.name)
                ways.add(Way(*ends, port))
    return frozenset(ways)


def _both(one: frozenset[PodPort], other: frozenset[PodPort]) -> frozenset[PodPort]:
    if ANY_PORT in one:
        return other
    return one if ANY_PORT in other else one & other


def _lines(ways: Iterable[Way]) -> Iterator[str]:
    ports: dict[tuple[str, str], list[PodPort]] = {}
    for way in sorted(ways):
        ports.setdefault((way.source, way.target), []).append(way.port)
    sources: dict[tuple[str, tuple[PodPort, ...]], list[str]] = {}
    for (source, target), on in ports.items():
        sources.setdefault((target, tuple(on)), []).append(source)
    targets: dict[tuple[tuple[str, ...], tuple[PodPort, ...]], list[str]] = {}
    for (target, on_ports), from_ in sources.items():
        targets.setdefault((tuple(from_), on_ports), []).append(target)
    for (from_all, on_ports), to in sorted(targets.items()):
        yield f"{', '.join(from_all)} | {', '.join(to)} | {', '.join(map(str, on_ports))}"


def main() -> int:
    """Print the difference as a Markdown table; 1 when a stack file cannot be used."""
    parser = argparse.ArgumentParser(prog="python -m checks.paths", description="Network paths that a change opens.")
    parser.add_argument("old", type=Path, help="the stack file as it is")
    parser.add_argument("new", type=Path, help="the stack file as it will be")
    arguments = parser.parse_args()
    try:
        print(compare(read(arguments.old), read(arguments.new)).markdown(), end="")
    except (SettingsError, StackFileError) as error:
        print(error, file=sys.stderr)
        return 1
    except OSError as error:
        print(f"{error.filename}: {error.strerror}. Fix: name an existing stack file", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
