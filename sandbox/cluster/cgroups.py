"""Control groups of a node, in every hierarchy of cgroup v1 or in the single tree of v2.

With the cgroupfs driver kubelet wants its root group to exist everywhere, `systemd` included, before it starts.
"""

import time
from contextlib import suppress
from pathlib import Path

from sandbox.processes import SandboxError

ROOT = Path("/sys/fs/cgroup")
_UNIFIED_MARK = "cgroup.controllers"
# Processor time of all containers against that of each single thread outside them, by version of cgroups. With the
# defaults all containers of all nodes together would get as much of a busy machine as one thread of a kubelet.
_WEIGHT = {"cpu.shares": 20 * 1024, "cpu.weight": 20 * 100}


def is_unified(root: Path = ROOT) -> bool:
    """Whether the machine has cgroup v2 only."""
    return (root / _UNIFIED_MARK).exists()


def create(group: str, root: Path = ROOT) -> None:
    """Create a group such as `/gx-1a2b3c/srv1089618` in every hierarchy, ready to hold further groups."""
    for hierarchy in _hierarchies(root):
        path = hierarchy
        for part in group.strip("/").split("/"):
            parent, path = path, path / part
            if is_unified(hierarchy):
                _delegate(parent)
            path.mkdir(exist_ok=True)
            _inherit_cpuset(parent, path)
            if parent == hierarchy:
                _weigh(path)
        if is_unified(hierarchy):
            _delegate(path)


def remove(group: str, root: Path = ROOT, timeout: float = 10) -> None:
    """Remove a group and everything below it. Its processes must be dead; the kernel may need a moment to let go."""
    deadline = time.monotonic() + timeout
    for hierarchy in _hierarchies(root):
        top = hierarchy / group.strip("/")
        while top.exists():
            for path in [*sorted(top.rglob("*/"), key=lambda p: len(p.parts), reverse=True), top]:
                _try_to_remove(path)
            if top.exists() and time.monotonic() > deadline:
                raise SandboxError(
                    f"control group {top} is still in use. Look for its processes: find {top} -name tasks"
                )


def _hierarchies(root: Path) -> list[Path]:
    """Mount points of the hierarchies: the root itself on v2; on v1 each directory below it, links left out."""
    if is_unified(root):
        return [root]
    return [path for path in sorted(root.iterdir()) if path.is_dir() and not path.is_symlink()]


def _delegate(path: Path) -> None:
    """Let groups below `path` use every controller it has; kubelet names those a group with processes refuses."""
    for controller in (path / _UNIFIED_MARK).read_text().split():
        with suppress(OSError):
            (path / "cgroup.subtree_control").write_text(f"+{controller}")


def _inherit_cpuset(parent: Path, path: Path) -> None:
    """On v1 a new cpuset is empty, and an empty cpuset holds no process."""
    if is_unified(path):
        return
    for name in ("cpuset.mems", "cpuset.cpus"):
        source, target = parent / name, path / name
        if source.exists() and not target.read_text().strip():
            target.write_text(source.read_text())


def _weigh(path: Path) -> None:
    for name, weight in _WEIGHT.items():
        if (path / name).exists():
            (path / name).write_text(str(weight))


def _try_to_remove(path: Path) -> None:
    try:
        path.rmdir()
    except FileNotFoundError:
        return
    except OSError:
        time.sleep(0.01)
