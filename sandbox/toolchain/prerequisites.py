"""What the sandbox needs from the machine and cannot install itself."""

import os
import platform
import shutil
from collections.abc import Mapping
from pathlib import Path

from sandbox.layout import cache
from sandbox.processes import SandboxError
from sandbox.toolchain.build import NEEDED_DISK_BYTES, go_version, require_disk
from sandbox.toolchain.modules import MODULES

DEBIAN_VERSION = "12"


def check() -> None:
    """SandboxError with one line for everything that is missing and its remedy."""
    problems = [
        problem
        for problem in (
            _root(os.geteuid()),
            _system(platform.freedesktop_os_release(), platform.machine()),
            _go(),
            _disk(),
        )
        if problem
    ]
    if problems:
        raise SandboxError("\n".join(problems))


def _root(user_id: int) -> str | None:
    if user_id == 0:
        return None
    return f"user id is {user_id}: namespaces and mounts need root. Use sudo or a virtual machine"


def _system(release: Mapping[str, str], machine: str) -> str | None:
    if (release.get("ID"), release.get("VERSION_ID"), machine) == ("debian", DEBIAN_VERSION, "x86_64"):
        return None
    found = f"{release.get('PRETTY_NAME', 'this system')} on {machine}"
    return f"{found}: Debian {DEBIAN_VERSION} on x86_64 is needed. Use a virtual machine of it"


def _go() -> str | None:
    """Every module's demand, unless all of its programs are built already."""
    if shutil.which("go") is None:
        return "go is not on PATH: the cluster's programs are built with it. Install Go 1.26 from https://go.dev/dl/"
    try:
        for module in MODULES:
            go_version(module)
    except SandboxError as error:
        return f"{error}, from https://go.dev/dl/ (Debian's own is too old)"
    return None


def _disk() -> str | None:
    """A cache that is filled needs no more room."""
    directory: Path = cache()
    if (directory / "bin").is_dir() and len(list((directory / "bin").glob("*-*"))) >= len(MODULES) - 1:
        return None
    try:
        require_disk(directory, NEEDED_DISK_BYTES)
    except SandboxError as error:
        return str(error)
    return None
