"""`python -m sandbox`: start, inspect and stop the embedded platform, and break it on purpose.

Every command acts on this checkout's sandbox alone. A part is added by naming its module in PARTS; they start in this
order and stop in the reverse one.
"""

import argparse
import fcntl
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from sandbox import images, netns, toolchain
from sandbox import layout as where
from sandbox.acme import service as acme
from sandbox.cloudflare import service as cloudflare
from sandbox.cluster import control_plane, node
from sandbox.cluster import service as cluster
from sandbox.edge import service as edge
from sandbox.layout import Layout
from sandbox.parts import Health, Part, say
from sandbox.processes import SandboxError
from sandbox.toolchain import packages, prerequisites

PARTS: tuple[Part, ...] = (cluster, acme, cloudflare, edge)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; 0 when it did what it says, 1 with a line on standard error when not, 130 when interrupted."""
    arguments = _parser().parse_args(argv)
    layout = where.current()
    try:
        if os.geteuid() != 0:
            raise SandboxError("The sandbox makes network namespaces and mounts: run it as root (sudo)")
        return int(arguments.run(layout, arguments) or 0)
    except SandboxError as error:
        print(f"sandbox: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("sandbox: interrupted; the same command again goes on from here", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m sandbox", description="The embedded platform of this checkout.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, run: object, help_text: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=help_text, description=help_text)
        added.set_defaults(run=run)
        return added

    up = command("up", _up, "start what is not running; harmless on a running platform")
    up.add_argument(
        "--deploy", nargs="+", default=[], metavar="STACK", help="then bring these stacks up, in this order"
    )
    command("status", _status, "say how every part is; status 1 when one is not well")
    command("down", _down, "stop everything and remove all it made but its logs")

    fault = command("node", _node, "stop (power off), start, cut off silently or heal one node")
    fault.add_argument("change", choices=sorted(_NODE_CHANGES))
    fault.add_argument("name", choices=[spec.name for spec in where.NODES])

    fault = command("api", _api, "make the Kubernetes API refuse or swallow the operator's connections, or heal it")
    fault.add_argument("change", choices=sorted(_API_CHANGES))

    shared = command("monitoring", _monitoring, "start or stop what stands for the cluster's shared monitoring")
    shared.add_argument("change", choices=["start", "stop"])
    shared.add_argument("stacks", nargs="*", default=["mainnet", "testnet"], metavar="STACK")

    held = command(
        "run", _run, "run a program on the running platform; stop the platform afterwards if this started it"
    )
    held.add_argument("argv", nargs=argparse.REMAINDER, metavar="-- PROGRAM …")

    inside = command("exec", _exec, "run a program inside a machine")
    inside.add_argument("machine", choices=[where.INTERNET, *(spec.name for spec in where.MACHINES)])
    inside.add_argument("argv", nargs=argparse.REMAINDER, metavar="-- PROGRAM …")
    return parser


def _up(layout: Layout, arguments: argparse.Namespace) -> None:
    _start(layout)
    if arguments.deploy:
        from sandbox import deploy  # noqa: PLC0415 - the platform alone does not need the program's settings

        deploy.deploy(layout, arguments.deploy)
        deploy.tour(arguments.deploy)


def _start(layout: Layout) -> None:
    begun = time.monotonic()
    with _alone(layout):
        prerequisites.check()
        packages.install()
        toolchain.ensure()
        images.ensure()
        for part in PARTS:
            part.start(layout)
    say(f"sandbox {layout.id} is up after {time.monotonic() - begun:.0f} s")


def _down(layout: Layout, _arguments: argparse.Namespace) -> None:
    _stop(layout)


def _stop(layout: Layout) -> None:
    with _alone(layout):
        for part in reversed(PARTS):
            part.stop(layout)
        shutil.rmtree(layout.sockets, ignore_errors=True)
        for path in layout.runtime.iterdir():
            if path.is_dir() and path != layout.logs:
                shutil.rmtree(path)
            elif path.is_file() and path != _lock(layout):
                path.unlink()
    say(f"sandbox {layout.id} is down; its logs are in {layout.logs}")


def _status(layout: Layout, _arguments: argparse.Namespace) -> int:
    lines = _lines(layout)
    width = max(len(line.name) for line in lines)
    for line in lines:
        say(f"{'ok  ' if line.well else 'DOWN'}  {line.name:<{width}}  {line.detail}")
    return 0 if _well(lines) else 1


def _lines(layout: Layout) -> list[Health]:
    return [line for part in PARTS for line in part.status(layout)]


def _well(lines: list[Health]) -> bool:
    return all(line.well for line in lines)


def _run(layout: Layout, arguments: argparse.Namespace) -> int:
    argv = _program(arguments, "run needs a program: python -m sandbox run -- make test-engine")
    found_running = _well(_lines(layout))
    try:
        if not found_running:
            _start(layout)
        return subprocess.run(argv, check=False).returncode
    finally:
        if not found_running:
            _stop(layout)


def _node(layout: Layout, arguments: argparse.Namespace) -> None:
    _NODE_CHANGES[arguments.change](layout, arguments.name)


def _start_node(layout: Layout, name: str) -> None:
    node.start(layout, where.node(name))
    edge.start(layout)


def _api(layout: Layout, arguments: argparse.Namespace) -> None:
    _API_CHANGES[arguments.change](layout)


def _monitoring(layout: Layout, arguments: argparse.Namespace) -> None:
    from sandbox.monitoring import outside, service  # noqa: PLC0415 - it reads the program, which takes a second

    if arguments.change == "stop":
        service.stop(layout)
        return
    service.start(layout, arguments.stacks)
    say(f"ask it: sandbox/bin/kubectl get --raw '{service.PROMETHEUS}/api/v1/query?query=up'")
    say(f"receivers are {outside.URL}; what they are told: {service.messages(layout)}")


def _exec(layout: Layout, arguments: argparse.Namespace) -> None:
    argv = _program(arguments, "exec needs a program: python -m sandbox exec internet -- ip route")
    directory = os.getcwd() if arguments.machine == where.INTERNET else "/"  # noqa: PTH109 - a string is wanted
    command = [*netns.enter_argv(layout, arguments.machine, directory), *argv]
    os.execvp(command[0], command)  # noqa: S606 - the user's own command, as the user


def _program(arguments: argparse.Namespace, missing: str) -> list[str]:
    argv: list[str] = arguments.argv[1:] if arguments.argv[:1] == ["--"] else arguments.argv
    if not argv:
        raise SandboxError(missing)
    return argv


@contextmanager
def _alone(layout: Layout) -> Iterator[None]:
    """Keep two commands that change the same sandbox from running at once."""
    layout.runtime.mkdir(parents=True, exist_ok=True)
    with _lock(layout).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("waiting for another sandbox command of this checkout")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _lock(layout: Layout) -> Path:
    return layout.runtime / "lock"


_NODE_CHANGES = {
    "stop": lambda layout, name: node.stop(layout, where.node(name)),
    "start": _start_node,
    "cut": netns.cut,
    "heal": netns.heal,
}
_API_CHANGES = {"refuse": control_plane.refuse, "blackhole": control_plane.blackhole, "heal": control_plane.heal}
