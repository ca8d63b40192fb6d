"""Build a module's programs once per user.

The result's directory carries a hash of everything that decides it: pins, own sources, flags and Go version. It appears
by a rename, so it is either absent or complete, and a lock keeps two checkouts from building the same thing twice.
"""

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sandbox.layout import cache
from sandbox.processes import LAST_WORDS, SandboxError, run
from sandbox.toolchain.modules import Module

_FLAGS = ("-mod=readonly", "-trimpath", "-buildvcs=false")
_ENVIRONMENT = {"CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GOFLAGS": "", "GOWORK": "off"}
"""Static programs, which run in any root file system; nothing of the user's own Go settings decides the result."""
_PROGRESS_INTERVAL = 15
"""Seconds between two progress lines of one build."""
NEEDED_DISK_BYTES = 8 * 1024**3
"""Measured: 2 GB of modules and 5 GB of compiler cache for everything."""


def built(module: Module) -> Path:
    """Directory of a module's programs, which are built first if they are not there."""
    version = go_version(module)
    target = cache() / "bin" / f"{module.name}-{key(module, version)}"
    if not target.is_dir():
        with lock(target.with_suffix(".lock")):
            if not target.is_dir():
                _build(module, target)
    return target


def key(module: Module, version: str) -> str:
    """Twelve hex digits that change with anything that changes the programs."""
    digest = hashlib.sha256()
    sources = sorted(path for path in module.directory.rglob("*") if path.suffix in {".go", ".mod", ".sum"})
    for path in sources:
        if not path.name.endswith("_test.go"):
            digest.update(f"{path.relative_to(module.directory)}\0".encode())
            digest.update(path.read_bytes())
    digest.update(repr((version, _FLAGS, sorted(_ENVIRONMENT.items()), _ldflags(module), module.tools)).encode())
    return digest.hexdigest()[:12]


def go_version(module: Module) -> str:
    """Version of the `go` on PATH. SandboxError if there is none or it is older than the module asks for."""
    if shutil.which("go") is None:
        raise SandboxError(f"go is not on PATH. Install Go {required_go(module)} or newer")
    version = run(["go", "env", "GOVERSION"]).strip().removeprefix("go")
    if _numbers(version) < _numbers(required_go(module)):
        raise SandboxError(f"go is {version}; {module.name} needs {required_go(module)}. Install a newer Go")
    return version


def required_go(module: Module) -> str:
    """The Go version a module's go.mod asks for."""
    match = re.search(r"^go (\S+)$", (module.directory / "go.mod").read_text(), re.MULTILINE)
    if match is None:
        raise SandboxError(f"{module.directory / 'go.mod'} has no `go` line. Add the Go version the module needs")
    return match.group(1)


@contextmanager
def lock(path: Path) -> Iterator[None]:
    """Hold an exclusive lock on `path`, waiting for another process that builds the same thing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"{path.stem}: another process builds it; waiting", flush=True)
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def require_disk(directory: Path, needed: int) -> None:
    """SandboxError unless `directory`'s file system has `needed` bytes free."""
    directory.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(directory).free
    if free < needed:
        raise SandboxError(
            f"{directory} has {free / 1024**3:.1f} GB free, {needed / 1024**3:.0f} GB are needed. "
            "Free some, or set XDG_CACHE_HOME to a larger disk"
        )


def _build(module: Module, target: Path) -> None:
    require_disk(target.parent, NEEDED_DISK_BYTES)
    started = time.monotonic()
    print(f"{module.name}: building {', '.join(module.tools)}", flush=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{module.name}-") as scratch:
        output = Path(scratch) / "out"
        output.mkdir()
        argv = ["go", "build", "-v", *_FLAGS, "-ldflags", _ldflags(module), "-o", f"{output}/", *module.tools.values()]
        _compile(module, argv, started)
        for tool, package in module.tools.items():
            (output / _produced(module, package)).rename(output / tool)
        output.rename(target)
    print(f"{module.name}: built in {time.monotonic() - started:.0f} s", flush=True)


def _produced(module: Module, package: str) -> str:
    """Name that `go build` gives a package's program: the last element of its path that is no major version."""
    return module.name if package == "." else re.sub(r"/v\d+$", "", package).rpartition("/")[2]


def _compile(module: Module, argv: list[str], started: float) -> None:
    """Run the compiler, which names each package on standard error as it gets to it."""
    said: list[str] = []
    due = started + _PROGRESS_INTERVAL
    with subprocess.Popen(
        argv, cwd=module.directory, env={**os.environ, **_ENVIRONMENT}, stderr=subprocess.PIPE, text=True
    ) as compiler:
        for line in compiler.stderr or ():
            said.append(line)
            if time.monotonic() > due:
                print(f"{module.name}: {time.monotonic() - started:.0f} s, {len(said)} packages", flush=True)
                due = time.monotonic() + _PROGRESS_INTERVAL
    if compiler.returncode != 0:
        raise SandboxError(
            f"go build of {module.name} in {module.directory} failed: {''.join(said)[-LAST_WORDS:].strip()}. "
            "Modules come from the Go proxy; check `go env GOPROXY` and the network"
        )


def _ldflags(module: Module) -> str:
    return " ".join(["-s", "-w", *(f"-X {name}={value}" for name, value in module.variables.items())])


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version)[:3])
