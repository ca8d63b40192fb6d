"""``sandbox/bin/pulumi``: the ordinary ``pulumi`` command, where the sandbox's cluster, DNS and nodes can be reached.

It enters the sandbox's internet namespace, gives the engine a home, a file backend and a passphrase of the checkout's
own, and hands commands that read a stack file the sandbox's rendering of it, so that the committed stack files stay as
they are.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from sandbox import files
from sandbox import layout as where
from sandbox.layout import Layout
from sandbox.plugins.install import install

_STACK_FILE_COMMANDS = frozenset(
    {"preview", "pre", "up", "update", "refresh", "destroy", "down", "dn", "watch", "import", "config"}
)
_VALUE_FLAGS = frozenset({"--stack", "-s", "--cwd", "-C", "--color", "--config-file", "--verbose", "-v"})


def main() -> None:
    """Replace this process by the engine; never returns."""
    layout = where.current()
    namespace = layout.netns(where.INTERNET)
    if not Path("/run/netns", namespace).exists():
        sys.exit("The sandbox is not running. Start it with: python -m sandbox up")
    arguments = sys.argv[1:]
    environment = _environment(layout)
    home = layout.runtime / "pulumi"
    installed = install(home, _engine(layout), environment["PATH"])
    command = [*where.nsenter_argv(namespace), str(installed.engine)]
    stack = stack_of(arguments) or selected_stack(home)
    if stack and takes_stack_file(arguments) and _working_directory(arguments) == layout.root:
        _create(layout, stack, command, environment)
        arguments += _rendered(stack)
    os.execvpe(command[0], [*command, *arguments], environment)  # noqa: S606 - the command line is the user's own


def _rendered(stack: str) -> list[str]:
    from sandbox.stacks import render  # noqa: PLC0415 - only commands that read a stack file pay for this import

    return ["--config-file", str(render(stack))]


def _create(layout: Layout, stack: str, command: list[str], environment: dict[str, str]) -> None:
    """Create the stack's state on first use.

    In a scratch project, because the engine writes a salt into the stack file beside the project file.
    """
    project = "gx-backend-infra"
    if (layout.runtime / "state" / ".pulumi" / "stacks" / project / f"{stack}.json").exists():
        return
    if not (layout.root / f"Pulumi.{stack}.yaml").exists():
        return
    scratch = layout.runtime / "pulumi" / "new-stacks"
    scratch.mkdir(parents=True, exist_ok=True)
    (scratch / "Pulumi.yaml").write_text(f"name: {project}\nruntime: python\n", encoding="utf-8")
    subprocess.run([*command, "stack", "init", stack, "--no-select"], cwd=scratch, env=environment, check=True)


def _working_directory(arguments: list[str]) -> Path:
    """The directory the engine looks for a project in: the current one or that of ``--cwd``."""
    return Path(_value(arguments, "--cwd", "-C") or ".").resolve()


def _environment(layout: Layout) -> dict[str, str]:
    runtime = layout.runtime
    passphrase = runtime / "passphrase"
    state = runtime / "state"
    state.mkdir(parents=True, exist_ok=True)
    if not passphrase.exists():
        files.replace(passphrase, "sandbox\n", mode=0o600)
    search_path = [str(layout.root / ".venv" / "bin"), *_path_without_wrappers(layout)]
    return {
        **{key: value for key, value in os.environ.items() if key != "PYTHONPATH"},
        "PATH": ":".join(search_path),
        "PULUMI_HOME": str(runtime / "pulumi"),
        "PULUMI_BACKEND_URL": f"file://{state}",
        "PULUMI_CONFIG_PASSPHRASE_FILE": str(passphrase),
        "PULUMI_SKIP_UPDATE_CHECK": "1",
        "KUBECONFIG": str(layout.kubeconfig),
        "CLOUDFLARE_BASE_URL": where.CLOUDFLARE_API_URL,
    }


def _path_without_wrappers(layout: Layout) -> list[str]:
    wrappers = str(layout.root / "sandbox" / "bin")
    return [entry for entry in os.environ.get("PATH", os.defpath).split(":") if entry != wrappers]


def _engine(layout: Layout) -> Path:
    """The ``pulumi`` on PATH if there is one, else the one the toolchain builds."""
    found = shutil.which("pulumi", path=":".join(_path_without_wrappers(layout)))
    if found:
        return Path(found)
    from sandbox import toolchain  # noqa: PLC0415 - only a machine without pulumi pays for this import

    return toolchain.tool("pulumi")


def takes_stack_file(arguments: list[str]) -> bool:
    """Whether the command reads a stack file and none is named already."""
    words = _words(arguments)
    named = any(argument.split("=")[0] == "--config-file" for argument in arguments)
    return bool(words) and words[0] in _STACK_FILE_COMMANDS and not named


def stack_of(arguments: list[str]) -> str:
    """The stack's name given by ``--stack``, without organization and project; empty when none is given."""
    return _value(arguments, "--stack", "-s").rsplit("/", 1)[-1]


def _value(arguments: list[str], *flags: str) -> str:
    """The value of a flag given as ``--flag value`` or ``--flag=value``; empty when it is not given."""
    for index, argument in enumerate(arguments):
        flag, _, value = argument.partition("=")
        if flag in flags:
            return value or (arguments[index + 1] if index + 1 < len(arguments) else "")
    return ""


def selected_stack(home: Path) -> str:
    """The stack that ``pulumi stack select`` chose last; empty when none is."""
    workspaces = sorted((home / "workspaces").glob("*-workspace.json"), key=lambda path: path.stat().st_mtime)
    if not workspaces:
        return ""
    selected = json.loads(workspaces[-1].read_text(encoding="utf-8")).get("stack", "")
    return str(selected).rsplit("/", 1)[-1]


def _words(arguments: list[str]) -> list[str]:
    """Arguments that are neither flags nor the values of flags."""
    words, skip = [], False
    for argument in arguments:
        if skip:
            skip = False
        elif argument.startswith("-"):
            skip = argument in _VALUE_FLAGS
        else:
            words.append(argument)
    return words


if __name__ == "__main__":
    main()
