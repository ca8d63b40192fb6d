"""The versions that a report compares: this tree, and a git revision in a tree of its own or another stack file."""

import subprocess
import sys
import tempfile
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from pydantic import ValidationError

from operations.report.facts import ADAPTER, Facts
from settings.stackfile import ROOT


class VersionError(Exception):
    """A version that cannot be had, in one line with the remedy."""


@dataclass(frozen=True, kw_only=True)
class Version:
    """What is known of a version. ``facts`` are None when its own code gives none, and ``why`` says why."""

    label: str
    facts: Facts | None = None
    why: str = ""


def both(stack: str, base: str, today: date) -> tuple[Facts, Version]:
    """The facts of this tree, and of ``base``: a stack file, or a git revision. Raises ``VersionError``."""
    with tempfile.TemporaryDirectory(prefix="report-") as scratch:
        tree, file = Path(scratch) / "base", Path(base)
        tree.mkdir()
        if file.is_file():
            label, asked = file.name, _Asked(stack, ROOT, today, Path(scratch) / "base.json", file.resolve())
        else:
            label = f"{base} ({_unpack(base, tree)[:12]})"
            asked = _Asked(stack, tree, today, Path(scratch) / "base.json")
        head = _Asked(stack, ROOT, today, Path(scratch) / "head.json")
        facts, why = head.answer()
        before, no_facts = asked.answer()
    if facts is not None and facts.absent and (before is None or before.absent):
        raise VersionError(f"Pulumi.{stack}.yaml: no such file. Fix: name an existing stack")
    if facts is None:
        raise VersionError(f"this tree says nothing of {stack}: {why}. Fix: python -m operations.report.facts")
    return facts, Version(label=label, facts=before, why=no_facts)


class _Asked:
    """A tree that is being asked by its own code; several are at once."""

    def __init__(self, stack: str, tree: Path, today: date, output: Path, file: Path | None = None) -> None:
        self.tree, self.output = tree, output
        argv = ["-m", "operations.report.facts", stack, "--today", str(today), "--output", str(output)]
        argv += ["--file", str(file)] if file else []
        self.process = subprocess.Popen(
            [sys.executable, *argv], cwd=tree, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )

    def answer(self) -> tuple[Facts | None, str]:
        """The facts, or why there are none."""
        _, told = self.process.communicate()
        if self.process.returncode or not self.output.exists():
            if not (self.tree / "operations" / "report" / "facts.py").exists():
                return None, "its code cannot tell yet"
            return None, (told.strip().splitlines() or ["no reason given"])[-1]
        try:
            return ADAPTER.validate_json(self.output.read_bytes()), ""
        except ValidationError:
            return None, "its own code gives facts of another form"


def _unpack(revision: str, tree: Path) -> str:
    """Write the files of a revision into a directory, and nothing into the repository; the commit it stands for."""
    try:
        commit = _git("rev-parse", "--verify", "--end-of-options", f"{revision}^{{commit}}").decode().strip()
        files = _git("archive", "--format=tar", commit)
    except subprocess.CalledProcessError:
        raise VersionError(
            f"--base: neither a file nor a revision that is here. Got '{revision}'. Fix: fetch it, or name another"
        ) from None
    # By tar: Python unpacks safely from 3.11.4 on, and Debian 12 has 3.11.2.
    subprocess.run(["tar", "--extract", "--directory", str(tree)], input=files, capture_output=True, check=True)
    return commit


def _git(*argv: str) -> bytes:
    return subprocess.run(["git", *argv], cwd=ROOT, capture_output=True, check=True).stdout
