"""Programs of the sandbox: run one, start one that stays, find it again, end it, wait for a condition.

A started program is known by a record (process id and start time), so that a number the kernel has given to somebody
else since is never signalled. Errors are `SandboxError`s that carry the program's own last words.
"""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from sandbox.layout import Layout

LAST_WORDS = 600
"""Characters of a failed program's output that an error repeats."""


class SandboxError(Exception):
    """Something the sandbox needs did not work. The message names it and the remedy; the commands print it alone."""


def run(argv: Sequence[str], *, stdin: str | None = None, timeout: float = 120) -> str:
    """Run a program to its end and return what it printed. Raise SandboxError with its errors when it fails."""
    try:
        done = subprocess.run(argv, input=stdin, capture_output=True, text=True, timeout=timeout, check=False)
    except FileNotFoundError as error:
        raise SandboxError(
            f"{argv[0]} is not installed. Install the Debian packages in sandbox/packages.txt"
        ) from error
    except subprocess.TimeoutExpired as error:
        raise SandboxError(f"`{' '.join(argv)}` gave no answer in {timeout:.0f} s") from error
    if done.returncode != 0:
        said = (done.stderr.strip() or done.stdout.strip())[-LAST_WORDS:]
        raise SandboxError(f"`{' '.join(argv)}` failed with {done.returncode}: {said}")
    return done.stdout


def succeeds(argv: Sequence[str]) -> bool:
    """Whether a program ends with status 0; its output is dropped."""
    return subprocess.run(argv, capture_output=True, check=False).returncode == 0


def spawn(layout: Layout, name: str, argv: Sequence[str], env: Mapping[str, str] | None = None) -> int:
    """Start a program that outlives this one, logging to `.sandbox/log/<name>.log`, and record it under `name`."""
    layout.logs.mkdir(parents=True, exist_ok=True)
    layout.records.mkdir(parents=True, exist_ok=True)
    with layout.log(name).open("wb") as log:
        child = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(env or {})},
            start_new_session=True,
        )
    _record(layout, name).write_text(f"{child.pid} {start_of(child.pid)}\n")
    return child.pid


def pid_of(layout: Layout, name: str) -> int | None:
    """Process id of the program recorded as `name` while it lives."""
    try:
        pid, started = _record(layout, name).read_text().split()
    except (FileNotFoundError, ValueError):
        return None
    _reap(int(pid))
    return int(pid) if start_of(int(pid)) == started else None


def child_of(pid: int) -> int | None:
    """The first child of a process, such as the program behind an `unshare --fork` or `nsenter --pid`."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return int(children[0]) if children else None


def stop(layout: Layout, name: str, grace: float = 5) -> None:
    """End the recorded program: SIGTERM, then SIGKILL after `grace` seconds. Nothing happens when it does not run.

    A program entered with `nsenter --pid` is nsenter's child and gets the signals itself; nsenter then ends with it.
    """
    pid = pid_of(layout, name)
    if pid is not None:
        target = (child_of(pid) or pid) if _command(pid) == "nsenter" else pid
        for sign, patience in ((signal.SIGTERM, grace), (signal.SIGKILL, 10.0)):
            kill(target, sign)
            if _gone(lambda: pid_of(layout, name) is None, patience):
                break
        else:
            raise SandboxError(f"{name} (process {pid}) does not end, not even by SIGKILL; see {layout.log(name)}")
    _record(layout, name).unlink(missing_ok=True)


def lives(pid: int, start: str) -> bool:
    """Whether the process that began at ``start`` has not ended; one whose exit status nobody asked for yet has."""
    return bool(start) and start_of(pid) == start


def command_of(pid: int) -> str:
    """Command line of a process, or what is left of it: its name and state."""
    try:
        argv = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
        return argv or " ".join(Path(f"/proc/{pid}/stat").read_text().split()[1:3])
    except OSError:
        return "(gone)"


def kill(pid: int, sign: signal.Signals = signal.SIGKILL) -> None:
    """Signal a process that may be gone already."""
    try:
        os.kill(pid, sign)
    except ProcessLookupError:
        return


@contextmanager
def paused(layout: Layout, name: str) -> Iterator[None]:
    """Have a program entered with `nsenter --pid` stand still inside the block. SandboxError unless it runs."""
    holder = pid_of(layout, name)
    program = child_of(holder) if holder else None
    if holder is None or program is None:
        raise SandboxError(f"{name} does not run. Start it: python -m sandbox up")
    kill(program, signal.SIGSTOP)
    try:
        yield
    finally:
        # The holder stops with what it holds, and would not see its end.
        for stopped in (program, holder):
            kill(stopped, signal.SIGCONT)


def wait_until(what: str, holds: Callable[[], bool], *, timeout: float, log: Path | None = None) -> None:
    """Return once `holds` is true; after `timeout` seconds raise SandboxError with `what` and the log's last words."""
    if _gone(holds, timeout):
        return
    tail = log.read_text(errors="replace")[-LAST_WORDS:] if log and log.exists() else ""
    raise SandboxError(f"{what}: not so after {timeout:.0f} s" + (f". {log} ends with:\n{tail}" if tail else ""))


def _gone(holds: Callable[[], bool], timeout: float) -> bool:
    deadline = time.monotonic() + timeout
    pause = 0.01
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(pause)
        pause = min(pause * 1.5, 0.25)
    return True


def _record(layout: Layout, name: str) -> Path:
    return layout.records / f"{name}.pid"


def start_of(pid: int) -> str:
    """Start of a process in clock ticks since boot; empty when there is none or only its exit status is left."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return ""
    return "" if fields[0] in "ZX" else fields[19]


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except FileNotFoundError:
        return ""


def _reap(pid: int) -> None:
    """Collect the exit status if the process is an ended child of this one."""
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return
