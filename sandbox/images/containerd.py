"""Bring the images into a node's containerd: into a running one, or into the directory of one not yet started."""

import hashlib
import shutil
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from sandbox.images import oci
from sandbox.images.recipes import RECIPES
from sandbox.layout import cache
from sandbox.processes import SandboxError, run, succeeds, wait_until
from sandbox.toolchain.build import lock

_NAMESPACE = "k8s.io"
"""Where the kubelet looks for images."""
_IMPORT_TIMEOUT = 300
_RUNTIME = "/run"
"""Paths of unix sockets are limited to 108 characters, which a cache directory may exceed."""
_CONFIG = """version = 2
root = "{root}"
state = "{runtime}/state"
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
  address = "{runtime}/socket"
"""


def load(socket: Path, prefix: Sequence[str] = ()) -> None:
    """Import the images that the containerd behind `socket` does not have.

    `prefix` is a command that enters containerd's namespaces. With nothing to do it is one question to containerd.
    """
    ctr = [*prefix, "ctr", "--address", str(socket), "--namespace", _NAMESPACE]
    present = set(run([*ctr, "images", "ls", "--quiet"]).split())
    for archive in (recipe.ensure() for recipe in RECIPES):
        if not present.issuperset(oci.names(archive)):
            run([*ctr, "images", "import", str(archive)], timeout=_IMPORT_TIMEOUT)


def seed(root: Path) -> None:
    """Fill the root directory of a containerd that has not been started yet with every image, already unpacked.

    The large files are hard links into the user's cache. containerd and the kernel's overlay never change them: content
    is addressed by digest, and unpacked layers are the read-only lower directories of containers.
    """
    store = _store()
    root.mkdir(parents=True, exist_ok=True)
    run(["cp", "-a", *(["-l"] if can_link(store, root) else []), f"{store}/.", str(root)], timeout=_IMPORT_TIMEOUT)
    for database in store.rglob("*.db"):
        copy = root / database.relative_to(store)
        copy.unlink()
        shutil.copy2(database, copy)


def can_link(store: Path, root: Path) -> bool:
    """Whether files of one directory can be linked into the other: the kernel asks for one mount, not for one disk."""
    probe = root / ".probe"
    try:
        probe.hardlink_to(next(path for path in store.rglob("*") if path.is_file()))
    except OSError:
        return False
    probe.unlink()
    return True


def _store() -> Path:
    """A containerd root that holds every image, made once per set of archives."""
    archives = [recipe.ensure() for recipe in RECIPES]
    key = hashlib.sha256(" ".join(archive.name for archive in archives).encode()).hexdigest()[:12]
    target = cache() / "images" / f"store-{key}"
    if not target.is_dir():
        with lock(target.with_suffix(".lock")):
            if not target.is_dir():
                _fill(target)
    return target


def _fill(target: Path) -> None:
    started = time.monotonic()
    print("images: unpacking for the nodes", flush=True)
    with (
        tempfile.TemporaryDirectory(dir=target.parent, prefix=".store-") as disk,
        tempfile.TemporaryDirectory(dir=_RUNTIME, prefix="gx-images-") as runtime,
    ):
        root, socket, log = Path(disk) / "root", Path(runtime) / "socket", Path(runtime) / "log"
        config = Path(runtime) / "config.toml"
        config.write_text(_CONFIG.format(root=root, runtime=runtime))
        with log.open("wb") as output:
            daemon = subprocess.Popen(["containerd", "--config", str(config)], stdout=output, stderr=output)
        try:
            wait_until("containerd answers", lambda: _answers(daemon, socket), timeout=30, log=log)
            load(socket)
        finally:
            daemon.terminate()
            daemon.wait(timeout=30)
        root.rename(target)
    print(f"images: unpacked in {time.monotonic() - started:.0f} s", flush=True)


def _answers(daemon: subprocess.Popen[bytes], socket: Path) -> bool:
    if daemon.poll() is not None:
        raise SandboxError(f"containerd ended with {daemon.returncode}; `containerd --log-level debug` says why")
    return succeeds(["ctr", "--address", str(socket), "version"])
