"""Reads stack files without Pulumi, for the commands and tests that work on the file itself."""

from collections.abc import Hashable, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import yaml

PROJECT = "gx-backend-infra"
ROOT = Path(__file__).resolve().parents[1]


class StackFileError(ValueError):
    """Text that is no stack file. Its message is one line with the place and the remedy."""


def path(stack: str, directory: Path = ROOT) -> Path:
    """A stack's file in the project's directory."""
    return directory / f"Pulumi.{stack}.yaml"


def text_of(file: Path) -> str:
    """A stack file's text. Raises ``StackFileError`` when it is none, and ``OSError`` when it cannot be read."""
    try:
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise StackFileError(
            f"the file: byte {error.start + 1} is no UTF-8. Fix: save it as plain UTF-8 text"
        ) from None


def parse(text: str) -> dict[str, object]:
    """A whole stack file: ``config``, and what the engine adds to it. Raises ``StackFileError``."""
    try:
        document = yaml.load(text, Loader=_Loader)  # noqa: S506 - a safe loader that knows no key twice
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f"line {mark.line + 1}, column {mark.column + 1}" if mark else "the file"
        raise StackFileError(f"{place}: {error.problem}. Fix: correct the YAML there") from None
    except RecursionError:
        raise StackFileError("the file: nested too deeply. Fix: start it as a copy of another stack's") from None
    except yaml.YAMLError as error:
        raise StackFileError(f"the file: {str(error).splitlines()[0]}. Fix: save it as plain UTF-8 text") from None
    return document if isinstance(document, dict) else {}


def config(text: str) -> dict[str, object]:
    """The project's config of a stack file, keyed without the project's prefix; secrets stay ``{secure: …}``."""
    entries = parse(text).get("config")
    if not isinstance(entries, Mapping):
        return {}
    own = {str(key): value for key, value in entries.items() if str(key).startswith(f"{PROJECT}:")}
    return {key.removeprefix(f"{PROJECT}:"): value for key, value in own.items()}


def prefixed(values: Mapping[str, object]) -> dict[str, object]:
    """Config keyed as a stack file has it."""
    return {f"{PROJECT}:{key}": value for key, value in values.items()}


def dump(document: Mapping[str, object]) -> str:
    """A stack file's text, its keys in the order given."""
    return yaml.dump(dict(document), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=4096)


def merge(base: Mapping[str, object], patch: Mapping[str, object]) -> dict[str, object]:
    """``base`` with ``patch`` laid over it, as RFC 7396 has it: objects merge, null removes, all else replaces."""
    merged = deepcopy(dict(base))
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        elif isinstance(value, Mapping):
            below = merged.get(key)
            merged[key] = merge(below if isinstance(below, Mapping) else {}, value)
        else:
            merged[key] = deepcopy(value)
    return merged


def is_secure(value: object) -> bool:
    """Whether a value of a stack file is encrypted."""
    return isinstance(value, Mapping) and set(value) == {"secure"}


_MERGE, _TEXT = "tag:yaml.org,2002:merge", "tag:yaml.org,2002:str"


class _Loader(yaml.CSafeLoader):
    """Refuses a key that stands twice, as the engine does; PyYAML would take the last one and say nothing.

    A value that is none of its kind, as the day 2027-02-30, is a mistake at its place, and so is one that holds itself.
    """

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:  # noqa: ANN401 - whatever stands there
        del deep
        try:
            return super().construct_object(node, deep=True)
        except (ValueError, KeyError, AttributeError):
            problem = "no such day, number or truth value"
            raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark) from None

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[object] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(None, None, "a key that is no text", key.start_mark)
            if key.value in seen:
                raise yaml.constructor.ConstructorError(None, None, f"{key.value} stands twice", key.start_mark)
            seen.add(key.value)
            if key.tag != _MERGE:
                # A key is text, also one that reads as a day, a number or `on`.
                key.tag = _TEXT
        return super().construct_mapping(node, deep)


class _Dumper(yaml.CSafeDumper):
    """Writes every value out; YAML's anchors and aliases would only puzzle a reader."""

    def ignore_aliases(self, data: object) -> bool:
        return True
