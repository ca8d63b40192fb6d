"""``python -m checks.paths OLD.yaml NEW.yaml``: which network paths a changed stack file opens and which it closes.

Read from the policies that each stack declares, not from the intent: what a reviewer sees is what the cluster enforces.
"""

import argparse
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from checks.policy_engine import ANY_PORT, Direction, End, PodPort, allowed, selects
from checks.reachability import declaration, foreign_parties, own_parties, told_apart
from checks.tables import Table
from components.network_policies import Policy
from settings.loader import SettingsError
from settings.model import Settings
from settings.stackfile import StackFileError
from settings.standins import read


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

    def table(self) -> Table:
        """One row for all ways that share their ports and one of their ends; the same for the same difference."""
        opened = (("opens", *row) for row in _rows(self.opened))
        closed = (("closes", *row) for row in _rows(self.closed))
        return Table(header=("", "from", "to", "ports"), rows=(*opened, *closed))

    def markdown(self) -> str:
        """The table, or that there is nothing to tell."""
        if not self.opened and not self.closed:
            return "No network path opens or closes.\n"
        return self.table().markdown()


@dataclass(frozen=True, kw_only=True)
class Declared:
    """What one version of a stack declares: its policies by namespace, its pods, and every end they could meet."""

    policies: Mapping[str, tuple[Policy, ...]]
    own: tuple[End, ...]
    foreign: tuple[End, ...]


def declared(settings: Settings) -> Declared:
    """The policies of a stack and the ends they are about."""
    policies = declaration(settings)
    return Declared(
        policies=policies,
        own=tuple(party.end for party in own_parties(settings)),
        foreign=tuple(party.end for party in foreign_parties(settings, policies)),
    )


def compare(before: Declared, after: Declared) -> Difference:
    """The paths that only one of two versions of a stack opens: between its pods, and with all other ends."""
    # Judged against the ends of both: an address that one of them names is an address in the other too.
    foreign = _alike({end.name: end for version in (before, after) for end in version.foreign}, before, after)
    kinds = _kinds(before, after)
    opened: set[Way] = set()
    closed: set[Way] = set()
    for sources in kinds:
        for targets in kinds:
            old = _open(before, sources.before, targets.before)
            new = _open(after, sources.after, targets.after)
            pairs = [(source, target) for source in sources.names for target in targets.names] if old != new else []
            opened |= {Way(*pair, port) for port in new - old for pair in pairs}
            closed |= {Way(*pair, port) for port in old - new for pair in pairs}
    for pods in kinds:
        old_ends = _open_outside(before, pods.before, foreign)
        new_ends = _open_outside(after, pods.after, foreign)
        opened |= {end.of(name) for end in new_ends - old_ends for name in pods.names}
        closed |= {end.of(name) for end in old_ends - new_ends for name in pods.names}
    return Difference(opened=frozenset(opened), closed=frozenset(closed))


@dataclass(frozen=True, kw_only=True)
class _Kind:
    """Pods that no policy of either version tells apart; hundreds of services are a few kinds."""

    before: End | None
    after: End | None
    names: tuple[str, ...]


@dataclass(frozen=True)
class _Outside:
    """A way between a pod, not named here, and an end that is none of the stack's pods."""

    outward: bool
    other: str
    port: PodPort

    def of(self, pod: str) -> Way:
        return Way(pod, self.other, self.port) if self.outward else Way(self.other, pod, self.port)


def _kinds(before: Declared, after: Declared) -> list[_Kind]:
    old, new = ({end.name: end for end in version.own} for version in (before, after))
    selectors = [told_apart(version.policies) for version in (before, after)]
    found: dict[object, list[str]] = {}
    for name in dict.fromkeys((*old, *new)):
        ends = (old.get(name), new.get(name))
        key = tuple(
            None if end is None else (end.namespace, *(selects(pods, end.labels) for pods in known))
            for end, known in zip(ends, selectors, strict=True)
        )
        found.setdefault(key, []).append(name)
    return [_Kind(before=old.get(names[0]), after=new.get(names[0]), names=tuple(names)) for names in found.values()]


def _alike(foreign: Mapping[str, End], before: Declared, after: Declared) -> list[tuple[End, tuple[str, ...]]]:
    """One end for all that no policy of either version tells apart, and their names; those without labels first."""
    selectors = (*told_apart(before.policies), *told_apart(after.policies))
    found: dict[object, tuple[End, list[str]]] = {}
    for end in sorted(foreign.values(), key=lambda each: len(each.labels)):
        selected = tuple(selects(pods, end.labels) for pods in selectors)
        # The labels count only where some are worn: a pod without any stands for its whole namespace.
        key = (end.namespace, end.address, end.pod_addresses, bool(end.labels), selected)
        found.setdefault(key, (end, []))[1].append(end.name)
    return [(end, tuple(names)) for end, names in found.values()]


def _open(version: Declared, source: End | None, target: End | None) -> frozenset[PodPort]:
    """The ports on which both ends of a way are open."""
    if source is None or target is None:
        return frozenset()
    out = allowed(version.policies.get(source.namespace, ()), Direction.EGRESS, source, target)
    return _both(out, allowed(version.policies.get(target.namespace, ()), Direction.INGRESS, target, source))


def _open_outside(
    version: Declared, pod: End | None, foreign: Iterable[tuple[End, tuple[str, ...]]]
) -> frozenset[_Outside]:
    # What is open to a pod without labels is open to every pod of its namespace, and is told once.
    to_all: dict[str, set[tuple[bool, PodPort]]] = {}
    ways: set[_Outside] = set()
    for end, names in foreign:
        found = {(True, port) for port in _open(version, pod, end)}
        found |= {(False, port) for port in _open(version, end, pod)}
        known = to_all.setdefault(end.namespace, found) if end.address is None else set()
        new = found if known is found else found - known
        ways |= {_Outside(outward, name, port) for outward, port in new for name in names}
    return frozenset(ways)


def _both(one: frozenset[PodPort], other: frozenset[PodPort]) -> frozenset[PodPort]:
    if ANY_PORT in one:
        return other
    return one if ANY_PORT in other else one & other


def _rows(ways: Iterable[Way]) -> Iterator[tuple[str, str, str]]:
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
        yield ", ".join(from_all), ", ".join(to), ", ".join(map(str, on_ports))


def main() -> int:
    """Print the difference as a Markdown table; 1 when a stack file cannot be used."""
    parser = argparse.ArgumentParser(prog="python -m checks.paths", description="Network paths that a change opens.")
    parser.add_argument("old", type=Path, help="the stack file as it is")
    parser.add_argument("new", type=Path, help="the stack file as it will be")
    arguments = parser.parse_args()
    try:
        before, after = (declared(read(path).settings) for path in (arguments.old, arguments.new))
        print(compare(before, after).markdown(), end="")
    except (SettingsError, StackFileError) as error:
        print(error, file=sys.stderr)
        return 1
    except OSError as error:
        print(f"{error.filename}: {error.strerror}. Fix: name an existing stack file", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
