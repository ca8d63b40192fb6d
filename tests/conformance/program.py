"""Small Pulumi programs driven by the real engine through ``sandbox/bin/pulumi``, as a user drives the stacks."""

from __future__ import annotations

import json
import shutil
import subprocess
import textwrap
import uuid
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from sandbox import layout as where

ROOT = Path(__file__).resolve().parents[2]
PULUMI = ROOT / "sandbox" / "bin" / "pulumi"
KUBECTL = ROOT / "sandbox" / "bin" / "kubectl"
PAUSE_IMAGE = "registry.k8s.io/pause:3.9"

_COMMAND_SECONDS = 300
_STACK = "s"
_STATE = where.current().runtime / "state" / ".pulumi"
_Test = TypeVar("_Test", bound=Callable[..., object])


def source(reference: str) -> Callable[[_Test], _Test]:
    """Marks where a test's expectation of the real plugin comes from: a URL, an issue, a source file."""

    def mark(test: _Test) -> _Test:
        test.expectation = reference  # type: ignore[attr-defined]
        return test

    return mark


@dataclass(frozen=True)
class Ran:
    """How a command ended and what it printed."""

    status: int
    output: str

    def succeeded(self) -> str:
        """The output of a command that was meant to succeed."""
        assert self.status == 0, self.output
        return self.output

    def failed(self) -> str:
        """The output of a command that was meant to fail."""
        assert self.status != 0, self.output
        return self.output


@dataclass(frozen=True)
class Project:
    """A project whose only stack can be made new again and again."""

    directory: Path
    name: str = field(default_factory=lambda: f"conformance-{uuid.uuid4().hex[:8]}")

    def create(self) -> None:
        """Make the project and its stack."""
        (self.directory / "Pulumi.yaml").write_text(f"name: {self.name}\nruntime: python\n")
        Program(self.directory, self.name).run("stack", "init", _STACK).succeeded()
        shutil.copy(self._checkpoint, self._new_checkpoint)

    def program(self, directory: Path) -> Program:
        """An empty program in ``directory``, whose stack is as it was when it was created."""
        for name in ("Pulumi.yaml", f"Pulumi.{_STACK}.yaml"):
            shutil.copy(self.directory / name, directory)
        shutil.copy(self._new_checkpoint, self._checkpoint)
        program = Program(directory, f"conformance-{uuid.uuid4().hex[:8]}")
        program.write("")
        return program

    def remove(self) -> None:
        """Take the project's state, history and backups out of the backend."""
        for directory in _STATE.glob(f"*/{self.name}"):
            shutil.rmtree(directory)

    @property
    def _checkpoint(self) -> Path:
        return _STATE / "stacks" / self.name / f"{_STACK}.json"

    @property
    def _new_checkpoint(self) -> Path:
        return self.directory / "new-stack.json"


@dataclass(frozen=True)
class Program:
    """The program of a project's stack, in a directory of its own. Its resources live in ``namespace``.

    Nobody else uses the namespace's name; the program creates it when it wants one.
    """

    directory: Path
    namespace: str

    def write(self, body: str, provider: str = "enable_config_map_mutable=True, enable_secret_mutable=True") -> None:
        """Make ``body`` the program; ``k8s``, ``pulumi``, ``ns`` and the resource options ``o`` are defined for it."""
        head = f"""\
            import pulumi
            import pulumi_kubernetes as k8s
            ns = {self.namespace!r}
            cluster = k8s.Provider("cluster", cluster_identifier="sandbox", {provider})
            o = pulumi.ResourceOptions(provider=cluster)
            """
        (self.directory / "__main__.py").write_text(textwrap.dedent(head) + textwrap.dedent(body))

    def write_plain(self, text: str) -> None:
        """Make ``text`` the whole program."""
        (self.directory / "__main__.py").write_text(textwrap.dedent(text))

    def run(self, *arguments: str) -> Ran:
        """Run a pulumi command to its end."""
        done = subprocess.run(
            [str(PULUMI), *arguments, "--non-interactive"],
            cwd=self.directory,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
            timeout=_COMMAND_SECONDS,
            check=False,
        )
        return Ran(done.returncode, done.stdout)

    def up(self, *arguments: str) -> Ran:
        """``pulumi up`` without its own preview."""
        return self.run("up", "--yes", "--skip-preview", "--stack", _STACK, *arguments)

    def refresh(self) -> Ran:
        """``pulumi refresh``."""
        return self.run("refresh", "--yes", "--skip-preview", "--stack", _STACK)

    def destroy(self) -> Ran:
        """``pulumi destroy``."""
        return self.run("destroy", "--yes", "--skip-preview", "--stack", _STACK)

    def planned(self, *arguments: str) -> Counter[str]:
        """What a preview would do, as ``operation Kind`` with counts; nothing for what stays the same."""
        printed = self.run("preview", "--json", "--stack", _STACK, *arguments).succeeded()
        steps = json.loads(printed[printed.index("{") :])["steps"]
        return Counter(
            f"{step['op']} {step['urn'].split('::')[2].split(':')[-1]}" for step in steps if step["op"] != "same"
        )

    def state(self) -> str:
        """The stack's exported state, with secrets encrypted."""
        return self.run("stack", "export", "--stack", _STACK).succeeded()

    def resource(self, name: str) -> dict[str, Any]:
        """The state of one resource."""
        exported = json.loads(self.state())
        found = [
            entry
            for entry in exported["deployment"].get("resources", [])
            if entry["urn"].endswith(f"::{name}") and not entry.get("delete")
        ]
        assert len(found) == 1, f"{len(found)} resources named {name}"
        resource: dict[str, Any] = found[0]
        return resource


def kubectl(*arguments: str, stdin: str | None = None) -> str:
    """The output of a kubectl command that has to succeed."""
    done = subprocess.run(
        [str(KUBECTL), *arguments], input=stdin, capture_output=True, text=True, timeout=_COMMAND_SECONDS, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def objects(kind: str, namespace: str) -> list[str]:
    """Names of the objects of a kind in a namespace; none when the namespace does not exist."""
    return [line.split("/", 1)[1] for line in kubectl("get", kind, "-n", namespace, "-o", "name").splitlines()]


def get(kind: str, name: str, namespace: str) -> dict[str, Any]:
    """A live object."""
    found: dict[str, Any] = json.loads(kubectl("get", kind, name, "-n", namespace, "-o", "json"))
    return found
