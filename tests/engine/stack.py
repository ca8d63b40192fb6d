"""A stack of the sandbox as its user meets it: the ordinary commands, the objects in the API server, the edge."""

import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sandbox import layout as sandbox_layout
from sandbox import processes
from sandbox.layout import INTERNET, nsenter_argv
from sandbox.processes import SandboxError
from sandbox.stacks import render
from settings import stackfile

ROOT = Path(__file__).resolve().parents[2]
BIN = ROOT / "sandbox" / "bin"
LAYOUT = sandbox_layout.current()
JOURNAL = LAYOUT.runtime / "cloudflare" / "journal.jsonl"


@dataclass(frozen=True)
class Ran:
    """What a command printed and how it ended."""

    code: int
    output: str

    def ok(self) -> "Ran":
        """The result itself; an assertion with the whole output when the command failed."""
        assert self.code == 0, self.output
        return self


def run(*argv: str | Path, stdin: str | None = None, timeout: int = 900) -> Ran:
    """Run a command to its end, with both output streams in order."""
    done = subprocess.run(
        [str(part) for part in argv],
        cwd=ROOT,
        input=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=timeout,
        check=False,
    )
    return Ran(done.returncode, done.stdout)


def kubectl(*argv: str) -> str:
    """Output of a kubectl command that has to succeed."""
    return run(BIN / "kubectl", *argv).ok().output


LASTING = ("-l", "!batch.kubernetes.io/job-name")
"""Selects the pods of workloads alone: those of scheduled jobs come and go by the clock."""


def get(kind: str, namespace: str, *argv: str) -> list[dict[str, Any]]:
    """Objects of a kind in a namespace."""
    items: list[dict[str, Any]] = json.loads(kubectl("get", kind, "-n", namespace, "-o", "json", *argv))["items"]
    return items


def sandbox(*argv: str) -> None:
    """A sandbox command that has to succeed."""
    run(LAYOUT.root / ".venv/bin/python", "-m", "sandbox", *argv).ok()


def awaited(what: str, holds: Callable[[], bool], timeout: float = 300) -> None:
    """Wait for a condition on the platform; a command of it that fails is no answer yet."""
    failed: list[AssertionError] = []

    def so_far() -> bool:
        try:
            return holds()
        except AssertionError as error:
            failed[:] = [error]
            return False

    try:
        processes.wait_until(what, so_far, timeout=timeout)
    except SandboxError as error:
        raise error from (failed[0] if failed else None)


def cloudflare_mutations() -> list[str]:
    """Every request to the Cloudflare double so far that changed something, as ``METHOD path``."""
    calls = [json.loads(line) for line in JOURNAL.read_text().splitlines()]
    return [f"{call['method']} {call['path']}" for call in calls if call["method"] not in {"GET", "HEAD"}]


@dataclass(frozen=True)
class Stack:
    """One stack, driven by ``sandbox/bin/pulumi`` and nothing else."""

    name: str
    config: Path | None = None

    @property
    def namespace(self) -> str:
        """Namespace of the environment."""
        return f"backend-{self.name}"

    def config_text(self) -> str:
        """The stack file: as edited, or as the sandbox renders it."""
        return (self.config or render(self.name)).read_text()

    def edited(self, old: str, new: str) -> "Stack":
        """The stack with one piece of its stack file changed; the piece must occur exactly once."""
        text = self.config_text()
        assert text.count(old) == 1, f"{old!r} occurs {text.count(old)} times in the stack file"
        return self._with(text.replace(old, new))

    def patched(self, patch: Mapping[str, object]) -> "Stack":
        """The stack with a patch laid over its stack file, keyed as in the file but for the project's prefix."""
        whole = stackfile.merge(stackfile.parse(self.config_text()), {"config": stackfile.prefixed(patch)})
        return self._with(stackfile.dump(whole))

    def _with(self, text: str) -> "Stack":
        directory = Path(tempfile.mkdtemp(prefix="stack-", dir=LAYOUT.runtime))
        path = directory / f"Pulumi.{self.name}.yaml"
        path.write_text(text)
        return Stack(self.name, path)

    def pulumi(self, command: str, *argv: str, timeout: int = 900) -> Ran:
        """Run a Pulumi command on this stack."""
        config = ("--config-file", str(self.config)) if self.config else ()
        return run(BIN / "pulumi", command, "--stack", self.name, *config, *argv, timeout=timeout)

    def up(self, *argv: str) -> Ran:
        """``pulumi up`` without its own preview."""
        return self.pulumi("up", "--yes", "--skip-preview", "--parallel", "32", *argv)

    def changes(self, *argv: str) -> Counter[str]:
        """What ``pulumi preview`` would do: operation and type, counted, without what stays the same."""
        printed = self.pulumi("preview", "--json", *argv).ok().output
        steps = json.loads(printed[printed.index("{") :])["steps"]
        return Counter(
            f"{step['op']} {step['urn'].split('::')[2].split('$')[-1]}" for step in steps if step["op"] != "same"
        )

    def operate(self, module: str, *argv: str) -> Ran:
        """One of the operators' commands on this stack (``python -m operations.…``), run at their desk."""
        inside = nsenter_argv(LAYOUT.netns(INTERNET))
        path = f"PATH={BIN}:{os.environ['PATH']}"
        config = ("--config-file", str(self.config or render(self.name)))
        return run(*inside, "env", path, sys.executable, "-m", f"operations.{module}", self.name, *argv, *config)

    def state(self) -> dict[str, Any]:
        """The stack's exported state, secrets encrypted."""
        exported: dict[str, Any] = json.loads(run(BIN / "pulumi", "stack", "export", "--stack", self.name).ok().output)
        return exported
