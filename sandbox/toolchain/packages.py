"""Debian packages of the sandbox: install what is missing, and start or enable nothing of it."""

import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from sandbox.processes import LAST_WORDS, SandboxError, run

LIST = Path(__file__).resolve().parent.parent / "packages.txt"
_POLICY = Path("/usr/sbin/policy-rc.d")
_FORBIDDEN = "#!/bin/sh\n# Services of packages that are being installed do not start.\nexit 101\n"
_APT_TIMEOUT = 900
_APT_ENVIRONMENT = {"DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"}


def wanted(text: str) -> dict[str, str]:
    """Package and reason of each line `package # reason`. SandboxError for a line without a reason."""
    found = {}
    for number, line in enumerate(text.splitlines(), start=1):
        name, _, reason = (part.strip() for part in line.partition("#"))
        if name and not reason:
            raise SandboxError(f"{LIST}:{number}: {name!r} has no reason. Write `{name}  # what needs it`")
        if name:
            found[name] = reason
    return found


def install() -> list[str]:
    """Install what is missing and return its names. SandboxError names what cannot be installed, and what for."""
    packages = wanted(LIST.read_text())
    before = _installed()
    missing = {name: reason for name, reason in packages.items() if name not in before}
    if not missing:
        return []
    started = time.monotonic()
    print(f"packages: installing {', '.join(missing)}", flush=True)
    with _nothing_starts():
        _apt("update")
        if _apt("install", *missing) is not None:
            _one_by_one(missing)
    _disable_units(_installed() - before)
    print(f"packages: installed in {time.monotonic() - started:.0f} s", flush=True)
    return list(missing)


def _one_by_one(missing: Mapping[str, str]) -> None:
    """Install what can be installed, so that the error names only what cannot."""
    problems = {name: _apt("install", name) for name in missing}
    lines = [
        f"package {name} cannot be installed; it is needed for: {missing[name]}. apt-get says: {said}"
        for name, said in problems.items()
        if said is not None
    ]
    if lines:
        raise SandboxError("\n".join(lines))


def _apt(command: str, *names: str) -> str | None:
    """Run apt-get; what it said last if it failed."""
    argv = ["apt-get", "-q", "-y", "--no-install-recommends", command, *names]
    try:
        done = subprocess.run(
            argv,
            env={**os.environ, **_APT_ENVIRONMENT},
            capture_output=True,
            text=True,
            timeout=_APT_TIMEOUT,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"no end after {_APT_TIMEOUT} s"
    return None if done.returncode == 0 else (done.stderr.strip() or done.stdout.strip())[-LAST_WORDS:]


def _installed() -> set[str]:
    listing = run(["dpkg-query", "--show", "--showformat", "${Package} ${db:Status-Status}\\n"])
    return {name for name, status in (line.split() for line in listing.splitlines()) if status == "installed"}


@contextmanager
def _nothing_starts() -> Iterator[None]:
    """Keep maintainer scripts from starting servers (policy-rc.d, Debian policy 9.3.3). A policy that exists stays."""
    if _POLICY.exists():
        yield
        return
    _POLICY.write_text(_FORBIDDEN)
    _POLICY.chmod(0o755)
    try:
        yield
    finally:
        _POLICY.unlink()


def _disable_units(packages: set[str]) -> None:
    """Keep what was just installed from starting at the next boot. Units of other packages stay as they are."""
    if not packages or shutil.which("systemctl") is None:
        return
    files = run(["dpkg-query", "--listfiles", *sorted(packages)]).splitlines()
    directory = "/lib/systemd/system/"
    units = {Path(file).name for file in files if file.removeprefix("/usr").startswith(directory)}
    startable = sorted(unit for unit in units if unit.endswith((".service", ".socket", ".timer")) and "@." not in unit)
    if startable:
        subprocess.run(["systemctl", "--no-reload", "disable", *startable], capture_output=True, check=False)
