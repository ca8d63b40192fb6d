"""``python -m operations.report.facts STACK``: all that one version of the project says of a stack, as JSON.

Every version is asked in its own tree and by its own code, and only the answers are compared: a change of the program
shows as much as a change of a stack file. It needs no access: secrets are stood in for, and what is declared reaches
nobody.
"""

import argparse
import hashlib
import json
import runpy
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter

from checks.objects.model import Declared as DeclaredObject
from checks.objects.rules import RULES
from checks.paths import Declared, declared
from checks.summary import Summary, summarise
from settings import stackfile
from settings.loader import SettingsError
from settings.standins import Judged, leaves, opened, read

if TYPE_CHECKING:
    from operations.capture import Registered

HIDDEN = "[secret]"


@dataclass(frozen=True, kw_only=True)
class Object:
    """A resource as the program declares it, with ``[secret]`` for everything that is encrypted.

    ``ignored`` are the paths of inputs that an update leaves as they are.
    """

    type: str
    name: str
    urn: str
    inputs: Mapping[str, Any]
    protect: bool = False
    aliases: tuple[tuple[str, str], ...] = ()
    ignored: tuple[str, ...] = ()


@dataclass(frozen=True, order=True)
class Breach:
    """A rule of the policy pack that something declared breaks, and the one line that tells it."""

    rule: str
    text: str


@dataclass(frozen=True, kw_only=True)
class Policies:
    """What the rules of the policy pack say of the declared objects."""

    rules: int
    objects: int
    breaches: tuple[Breach, ...]


@dataclass(frozen=True, kw_only=True)
class Facts:
    """One version of a stack.

    Attributes:
        absent: There is no stack file.
        problems: Why the stack file or the program cannot be used, a line each; what rests on it is None then.
        missing: Paths that a stand-in fills.
        sealed: A digest of every encrypted value as it stands in the file, by path.
        objects: What the program declares; None when it is refused before it declares anything.
        policies: What the policy pack says of it; None with it.
    """

    stack: str
    absent: bool = False
    problems: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    sealed: Mapping[str, str] = field(default_factory=dict)
    summary: Summary | None = None
    declared: Declared | None = None
    objects: tuple[Object, ...] | None = None
    policies: Policies | None = None


ADAPTER = TypeAdapter(Facts)


def gather(stack: str, path: Path, today: date) -> Facts:
    """The facts of a stack file and of the program of this tree."""
    if not path.exists():
        return Facts(stack=stack, absent=True)
    try:
        judged = read(path)
    except SettingsError as error:
        return Facts(stack=stack, problems=tuple(str(problem) for problem in error.problems))
    except stackfile.StackFileError as error:
        return Facts(stack=stack, problems=(f"{path.name}: {error}",))
    summary = summarise(judged.settings, today)
    problems: tuple[str, ...] = ()
    objects = policies = None
    if not summary.refused:
        try:
            registered = _registered(stack, judged)
            objects = tuple(sorted(map(_object, registered), key=lambda each: each.urn))
            policies = _policies(stack, registered)
        except Exception as error:  # whatever the reviewed program raises is told
            problems = (f"__main__.py: the program fails: {type(error).__name__}: {error}".splitlines()[0],)
    return Facts(
        stack=stack,
        problems=problems,
        missing=judged.missing,
        sealed=_sealed(path),
        summary=summary,
        declared=declared(judged.settings),
        objects=objects,
        policies=policies,
    )


def _sealed(path: Path) -> dict[str, str]:
    secrets = stackfile.config(stackfile.text_of(path)).get("secrets", {})
    return {
        name: hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
        for name, value in leaves(secrets)
        if stackfile.is_secure(value)
    }


def _registered(stack: str, judged: Judged) -> list["Registered"]:
    """What the program registers at a provider."""
    # Imported here: a stack file that is refused is told without the second that Pulumi takes to import.
    from operations.capture import run  # noqa: PLC0415

    config = stackfile.prefixed(opened(judged.config))
    captured = run(
        lambda: runpy.run_path(str(stackfile.ROOT / "__main__.py"), run_name="__main__"),
        stack=stack,
        config={key: json.dumps(value) for key, value in config.items()},
        secret_keys=stackfile.prefixed({"secrets": None}),
    )
    return [resource for resource in captured.resources if resource.custom]


def _object(resource: "Registered") -> Object:
    return Object(
        type=resource.type,
        name=resource.name,
        urn=resource.urn,
        inputs=_hidden(resource.inputs, "", resource.secrets),
        protect=resource.protect,
        aliases=resource.aliases,
        ignored=resource.ignore_changes,
    )


def _policies(stack: str, registered: Sequence["Registered"]) -> Policies:
    """Judged as in the engine, which hands secrets over too; no rule tells one."""
    stack_of = [
        DeclaredObject(urn=each.urn, type=each.type, stack=stack, protect=each.protect, inputs=each.inputs)
        for each in registered
    ]
    breaches = {Breach(rule.name, str(problem)) for rule in RULES for _, problem in rule.find(stack_of)}
    return Policies(rules=len(RULES), objects=len(stack_of), breaches=tuple(sorted(breaches)))


def _hidden(value: Any, path: str, secrets: frozenset[str]) -> Any:  # noqa: ANN401 - JSON
    if path in secrets:
        return HIDDEN
    if isinstance(value, dict):
        return {key: _hidden(each, f"{path}.{key}" if path else key, secrets) for key, each in value.items()}
    if isinstance(value, list):
        return [_hidden(each, f"{path}[{index}]", secrets) for index, each in enumerate(value)]
    return value


def main() -> int:
    """Write the facts of this tree to a file."""
    parser = argparse.ArgumentParser(prog="python -m operations.report.facts", description=__doc__)
    parser.add_argument("stack")
    parser.add_argument("--file", type=Path, help="the stack file, when it is not Pulumi.<stack>.yaml of this tree")
    parser.add_argument("--today", type=date.fromisoformat, required=True, help="day on which acceptances are judged")
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    path = arguments.file or stackfile.path(arguments.stack)
    arguments.output.write_bytes(ADAPTER.dump_json(gather(arguments.stack, path, arguments.today)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
