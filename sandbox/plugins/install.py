"""Puts the engine and its plugins together under the sandbox's ``PULUMI_HOME``.

The engine takes a language host only from beside its own binary or from PATH, and a resource plugin from its plugin
directory or from PATH (with a warning). So the engine is linked next to the stand-in for the language host, and each
stand-in for a resource plugin becomes an installed plugin of the SDK's version. A real plugin that is on PATH or
installed already is left alone.
"""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sandbox.plugins import versions

_LAUNCHERS = Path(__file__).with_name("path")
_RESOURCE_PLUGINS = {
    "kubernetes": versions.KUBERNETES,
    "cloudflare": versions.CLOUDFLARE,
    "command": versions.COMMAND,
}


@dataclass(frozen=True)
class Installed:
    """The engine to start, and which plugins are stand-ins."""

    engine: Path
    stand_ins: tuple[str, ...]


def install(home: Path, engine: Path, search_path: str) -> Installed:
    """Prepare ``home`` (``PULUMI_HOME``) for ``engine``; real plugins are looked for on ``search_path``.

    Idempotent, and safe in commands that start at once.
    """
    with _alone(home):
        stand_ins = []
        beside = (engine.resolve().parent / "pulumi-language-python").exists()
        if not beside and not _on(search_path, "language-python"):
            engine = _link_engine(home / "bin", engine.resolve())
            _symlink(engine.parent / "pulumi-language-python", _LAUNCHERS / "pulumi-language-python")
            stand_ins.append("language-python")
        plugins = home / "plugins"
        stand_ins += [f"resource-{name}" for name in _RESOURCE_PLUGINS if _stands_in(plugins, name, search_path)]
        return Installed(engine, tuple(stand_ins))


@contextmanager
def _alone(home: Path) -> Iterator[None]:
    home.mkdir(parents=True, exist_ok=True)
    with (home / "install.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _stands_in(plugins: Path, name: str, search_path: str) -> bool:
    """Whether the stand-in for a resource plugin is used; it is put in place, or makes room for the real one."""
    directory = plugins / f"resource-{name}-v{_RESOURCE_PLUGINS[name]}"
    launcher = directory / f"pulumi-resource-{name}"
    ours = launcher.is_symlink()
    if _on(search_path, f"resource-{name}"):
        if ours:
            shutil.rmtree(directory)
        return False
    if launcher.exists() and not ours:
        return False
    directory.mkdir(parents=True, exist_ok=True)
    _symlink(launcher, _LAUNCHERS / launcher.name)
    return True


def _on(search_path: str, plugin: str) -> bool:
    return shutil.which(f"pulumi-{plugin}", path=search_path) is not None


def _link_engine(directory: Path, engine: Path) -> Path:
    """The engine's binary in ``directory``: a hard link, or a copy on another file system; renewed when it changed."""
    directory.mkdir(parents=True, exist_ok=True)
    target = directory / "pulumi"
    stat = engine.stat()
    if target.exists() and (target.stat().st_size, target.stat().st_mtime_ns) == (stat.st_size, stat.st_mtime_ns):
        return target
    temporary = directory / "pulumi.new"
    temporary.unlink(missing_ok=True)
    try:
        temporary.hardlink_to(engine)
    except OSError:
        shutil.copy2(engine, temporary)
    temporary.replace(target)
    return target


def _symlink(link: Path, target: Path) -> None:
    if link.is_symlink() and link.readlink() == target:
        return
    link.unlink(missing_ok=True)
    link.symlink_to(target)
