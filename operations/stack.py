"""A stack as the operators' commands see it: its settings, and Pulumi's own commands on it."""

import argparse
import json
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from settings.loader import SettingsError, load
from settings.model import Settings
from settings.stackfile import PROJECT, StackFileError, path
from settings.standins import Judged, read

UNREADABLE = 2
"""Exit status of a command that cannot read its stack."""


class OperationError(Exception):
    """A step that failed; the message says which and what to do."""


def last_line(printed: str) -> str:
    """What a program ended with: after pages of text, that line says why."""
    return (printed.strip().splitlines() or ["no reason given"])[-1]


def run_pulumi(argv: Sequence[str], *, shown: bool = False) -> subprocess.CompletedProcess[str]:
    """A command of Pulumi, with what it prints, or ``shown`` as it runs. Raises ``OperationError`` when there is none.

    It is never killed. An interruption reaches it too, and it then ends what is under way and gives its lock back: only
    after that is ``KeyboardInterrupt`` raised. ``subprocess.run`` kills it after a quarter of a second.
    """
    pipe = None if shown else subprocess.PIPE
    try:
        process = subprocess.Popen(["pulumi", *argv], stdout=pipe, stderr=pipe, text=True)
    except FileNotFoundError:
        raise OperationError("pulumi is not on PATH. Fix: install it, or put sandbox/bin on PATH") from None
    with process:
        try:
            out, error = process.communicate()
        except KeyboardInterrupt:
            process.communicate()
            raise
    return subprocess.CompletedProcess(process.args, process.returncode, out or "", error or "")


@dataclass(frozen=True)
class Stack:
    """A stack and its stack file."""

    name: str
    file: Path

    def pulumi(self, command: str, *argv: str) -> str:
        """Output of a Pulumi command on this stack. Raises ``OperationError`` with what it printed when it fails."""
        # Commands that only move the state know no stack file.
        config = [] if command == "stack" else ["--config-file", str(self.file)]
        words = [command, argv[0]] if command == "stack" else [command]
        rest = argv[1:] if command == "stack" else argv
        done = run_pulumi([*words, "--stack", self.name, *config, "--non-interactive", *rest])
        if done.returncode:
            raise OperationError(f"pulumi {command} failed:\n{done.stdout}{done.stderr}")
        return done.stdout

    def settings(self) -> Settings:
        """The stack's settings, decrypted. Raises ``SettingsError``, and ``OperationError`` when Pulumi fails."""
        config = json.loads(self.pulumi("config", "--show-secrets", "--json"))
        prefix = f"{PROJECT}:"
        return load(
            {
                key.removeprefix(prefix): entry.get("objectValue", entry.get("value"))
                for key, entry in config.items()
                if key.startswith(prefix)
            },
            stack=self.name,
        )


def add_config_file(parser: argparse.ArgumentParser) -> None:
    """The option that names another stack file than the stack's own."""
    parser.add_argument("--config-file", type=Path, help="the stack file, when it is not Pulumi.<stack>.yaml")


def decrypted(parser: argparse.ArgumentParser, stack: Stack) -> Settings:
    """The stack's settings, decrypted; without them the command ends with ``UNREADABLE`` and the reason."""
    try:
        return stack.settings()
    except (OperationError, SettingsError) as error:
        parser.exit(UNREADABLE, f"{error}\n")


def encrypted(stack: str, config_file: Path | None) -> Judged:
    """What a stack file says, its secrets still encrypted. Raises ``OperationError`` and ``SettingsError``."""
    file = config_file or path(stack, Path.cwd())
    try:
        return read(file)
    except OSError as error:
        raise OperationError(f"{file.name}: {error.strerror}. Fix: name an existing stack") from None
    except StackFileError as error:
        raise OperationError(f"{file.name}: {error}") from None


def of_arguments(parser: argparse.ArgumentParser, *more: str) -> tuple[Stack, argparse.Namespace]:
    """The stack that the command line names, and the rest of what it says; ``more`` are words that follow the stack."""
    for word in ("stack", *more):
        parser.add_argument(word)
    add_config_file(parser)
    arguments = parser.parse_args()
    return Stack(arguments.stack, arguments.config_file or Path(f"Pulumi.{arguments.stack}.yaml")), arguments
