"""How a mistake in a stack file is told: one line with the path, the problem, the value and the remedy."""

from collections.abc import Mapping
from dataclasses import dataclass

LONGEST_VALUE = 80


@dataclass(frozen=True)
class Problem:
    """One mistake.

    ``path`` is that of the stack file (``services.svc-identity.nodePort``); ``got`` is the offending value as text, or
    None where showing it would not help or would reveal a secret.
    """

    path: str
    problem: str
    fix: str
    got: str | None = None

    def __str__(self) -> str:
        got = "" if self.got is None else f" Got {self.got}."
        return f"{self.path}: {self.problem}.{got} Fix: {self.fix}"


class SettingsError(Exception):
    """A stack file that cannot be used. Its text is the whole report, one line per mistake."""

    def __init__(self, stack: str, problems: tuple[Problem, ...]) -> None:
        self.problems = problems
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        lines = "\n".join(f"  {problem}" for problem in problems)
        super().__init__(f"Pulumi.{stack}.yaml: {count}. Nothing was deployed.\n{lines}")


def shown(value: object) -> str:
    """A value of a stack file as a report shows it."""
    if isinstance(value, Mapping):
        return "an object"
    if isinstance(value, list | tuple):
        return "a list"
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "nothing"}[value]
    return f"'{_one_line(str(value))}'"


def _one_line(text: str) -> str:
    """Text that neither breaks a line nor fills the screen."""
    short = text if len(text) <= LONGEST_VALUE else text[:LONGEST_VALUE] + "…"
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in short)


def path_of(location: tuple[str | int, ...]) -> str:
    """Keys and list positions as one path: ``edge.nodes[0]``."""
    path = ""
    for part in location:
        path += f"[{part}]" if isinstance(part, int) else f".{_one_line(part)}" if path else _one_line(part)
    return path
