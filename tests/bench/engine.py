"""The sandbox's engine and plugins on a file backend of their own, so that no deployed stack's state is touched."""

import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sandbox import layout as where
from sandbox import toolchain
from sandbox.plugins.install import install
from settings import stackfile
from settings.stackfile import PROJECT, ROOT

LAYOUT = where.current()
BIN = ROOT / "sandbox" / "bin"


class BenchError(Exception):
    """Something could not be measured; the message says what and why."""


def run(
    *argv: str | Path,
    cwd: Path = ROOT,
    env: Mapping[str, str] | None = None,
    stdin: str | None = None,
    timeout: float | None = None,
) -> str:
    """Standard output of a command that has to succeed; ``subprocess.TimeoutExpired`` when it is killed in the end."""
    command = [str(part) for part in argv]
    done = subprocess.run(
        command, cwd=cwd, env=env, input=stdin, capture_output=True, text=True, check=False, timeout=timeout
    )
    if done.returncode:
        raise BenchError(f"{' '.join(command[:8])} failed:\n{(done.stderr + done.stdout)[-3000:]}")
    return done.stdout


@dataclass(frozen=True)
class Engine:
    """One engine with its home and state below ``directory``."""

    directory: Path

    def pulumi(self, *argv: str | Path, cwd: Path = ROOT, timeout: float | None = None) -> str:
        """Output of a Pulumi command, run as ``sandbox/bin/pulumi`` would but for the backend."""
        environment = self._environment()
        # The wrapper finds the engine anew on each call; a bare program should not be charged for that.
        engine = self.directory / "home" / "engine"
        if not engine.is_symlink():
            found = shutil.which("pulumi", path=environment["PATH"])
            built = Path(found) if found else toolchain.tool("pulumi")
            engine.symlink_to(install(engine.parent, built, environment["PATH"]).engine)
        inside = where.nsenter_argv(LAYOUT.netns(where.INTERNET))
        return run(*inside, engine.readlink(), *argv, "--non-interactive", cwd=cwd, env=environment, timeout=timeout)

    def create(self, project: str, stack: str) -> None:
        """An empty stack; in a scratch project, because the engine writes a stack file beside the project's."""
        scratch = self.directory / "new" / project
        scratch.mkdir(parents=True, exist_ok=True)
        (scratch / "Pulumi.yaml").write_text(f"name: {project}\nruntime: python\n", encoding="utf-8")
        self.pulumi("stack", "init", stack, "--no-select", cwd=scratch)

    def load(self, project: str, stack: str, state: Mapping[str, Any]) -> None:
        """Replace a stack's state."""
        file = self.directory / f"{project}.{stack}.state.json"
        file.write_text(json.dumps(state), encoding="utf-8")
        self.pulumi("stack", "import", "--stack", stack, "--file", file, cwd=self.directory / "new" / project)
        file.unlink()

    def state(self, project: str, stack: str, *flags: str) -> dict[str, Any]:
        """A stack's exported state."""
        directory = self.directory / "new" / project
        exported: dict[str, Any] = json.loads(self.pulumi("stack", "export", "--stack", stack, *flags, cwd=directory))
        return exported

    def _environment(self) -> dict[str, str]:
        home, backend = self.directory / "home", self.directory / "state"
        for path in (home, backend):
            path.mkdir(parents=True, exist_ok=True)
        entries = [entry for entry in os.environ.get("PATH", os.defpath).split(":") if entry != str(BIN)]
        return {
            **{key: value for key, value in os.environ.items() if key != "PYTHONPATH"},
            "PATH": ":".join([str(ROOT / ".venv" / "bin"), *entries]),
            "PULUMI_HOME": str(home),
            "PULUMI_BACKEND_URL": f"file://{backend}",
            "PULUMI_CONFIG_PASSPHRASE_FILE": str(LAYOUT.runtime / "passphrase"),
            "PULUMI_SKIP_UPDATE_CHECK": "1",
            "KUBECONFIG": str(LAYOUT.kubeconfig),
            "CLOUDFLARE_BASE_URL": where.CLOUDFLARE_API_URL,
        }


def deployed_state(stack: str, *flags: str) -> dict[str, Any]:
    """The state of a deployed stack, read and never written."""
    exported: dict[str, Any] = json.loads(run(BIN / "pulumi", "stack", "export", "--stack", stack, *flags))
    return exported


def write_config(path: Path, rendered: Path, patch: Mapping[str, object] | None = None) -> Path:
    """A stack file for a measurement: the sandbox's rendering of a deployed stack's, with ``patch`` laid over it."""
    document = stackfile.parse(rendered.read_text(encoding="utf-8"))
    whole = stackfile.merge(document, {"config": stackfile.prefixed(patch or {})})
    path.write_text(stackfile.dump(whole), encoding="utf-8")
    return path


def decrypted(engine: Engine, stack: str, file: Path) -> dict[str, str]:
    """The config of a stack file as the engine hands it to the program."""
    printed = engine.pulumi("config", "--stack", stack, "--config-file", file, "--show-secrets", "--json")
    values: dict[str, dict[str, Any]] = json.loads(printed)
    return {key: value["value"] for key, value in values.items() if key.startswith(f"{PROJECT}:")}
