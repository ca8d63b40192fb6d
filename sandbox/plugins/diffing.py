"""Differences between the recorded live object and new inputs, by path.

Follows the real plugin: the live object is pruned to the shape of the old inputs and compared with the new inputs, so
that fields the server or a controller fills in never show, and drift shows after a refresh.
https://github.com/pulumi/pulumi-kubernetes/blob/master/provider/pkg/provider/provider.go (``Diff``,
``convertPatchToDiff``)
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from sandbox.plugins.provider import ChangeKind
from sandbox.plugins.quantities import QUANTITY_FIELDS, QUANTITY_MAPS, same_quantity
from sandbox.plugins.values import Json, Unknown

Path = tuple[str | int, ...]

_MISSING = object()


def changes(old: Json, new: Json, replace_on: tuple[str, ...], ignore: list[str]) -> dict[str, ChangeKind]:
    """Changed paths from ``old`` to ``new``; those at, under or above a path of ``replace_on`` force a replacement."""
    forcing = [parse_path(path) for path in replace_on]
    ignored = [parse_path(path) for path in ignore]
    found: dict[str, ChangeKind] = {}
    for path, kind, value in _compare((), old, new):
        if any(path[: len(prefix)] == prefix for prefix in ignored):
            continue
        forces = any(_touches(path, value, prefix) for prefix in forcing)
        found[format_path(path)] = kind.replacing() if forces else kind
    return found


def _touches(path: Path, value: Json, prefix: Path) -> bool:
    if path[: len(prefix)] == prefix:
        return True
    if prefix[: len(path)] != path:
        return False
    for step in prefix[len(path) :]:
        if not isinstance(value, dict) or step not in value:
            return False
        value = value[step]
    return True


def _compare(path: Path, old: Json, new: Json) -> Iterator[tuple[Path, ChangeKind, Json]]:
    if new is _MISSING:
        yield path, ChangeKind.DELETE, None
    elif isinstance(new, Unknown):
        yield path, ChangeKind.ADD if old is _MISSING else ChangeKind.UPDATE, new
    elif old is _MISSING:
        if not _dropped_by_server(new):
            yield path, ChangeKind.ADD, new
    elif isinstance(old, dict) and isinstance(new, dict):
        for key in {**old, **new}:
            yield from _compare((*path, key), old.get(key, _MISSING), new.get(key, _MISSING))
    elif isinstance(old, list) and isinstance(new, list):
        for index in range(max(len(old), len(new))):
            before = old[index] if index < len(old) else _MISSING
            after = new[index] if index < len(new) else _MISSING
            yield from _compare((*path, index), before, after)
    elif not _same(path, old, new):
        yield path, ChangeKind.UPDATE, new


def _dropped_by_server(value: Json) -> bool:
    """Whether the API server leaves a field out that is set to this: the zero values of its types."""
    return value is None or value in ("", 0, False, [], {})


def _same(path: Path, old: Json, new: Json) -> bool:
    if isinstance(old, bool) or isinstance(new, bool):
        return old is new
    if old == new:
        return True
    is_quantity = len(path) > 1 and (path[-2] in QUANTITY_MAPS or path[-1] in QUANTITY_FIELDS)
    return is_quantity and same_quantity(old, new)


_STEP = re.compile(r'\.?(?:\["((?:[^"\\]|\\.)*)"\]|\[(\d+)\]|([^.\[\]]+))')


def parse_path(text: str) -> Path:
    """The steps of a property path such as ``spec.ports[0].port`` or ``metadata.labels["app.kubernetes.io/name"]``."""
    steps: list[str | int] = []
    for quoted, index, name in _STEP.findall(text):
        steps.append(int(index) if index else (quoted.replace('\\"', '"') or name))
    return tuple(steps)


def format_path(path: Path) -> str:
    """The inverse of :func:`parse_path`."""
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        elif re.search(r'[."\[\]]', step):
            escaped = step.replace('"', '\\"')
            text += f'["{escaped}"]'
        else:
            text += f".{step}" if text else step
    return text


def value_at(obj: Json, path: Path) -> Json:
    """The value at ``path``; ``None`` when there is none."""
    for step in path:
        within = (
            step in obj
            if isinstance(obj, dict)
            else isinstance(obj, list) and isinstance(step, int) and step < len(obj)
        )
        if within:
            obj = obj[step]
        else:
            return None
    return obj
