"""A container runtime's disk with every image imported and unpacked, made once per set of images and given to each node.

Importing unpacks hundreds of megabytes; four nodes would do it four times at every start. A node's disk is a copy by hard
links: contents and unpacked layers are only ever read (containers write to layers of their own), the databases are copied.
"""

import fcntl
import hashlib
import shutil
import subprocess
import tempfile
from pathlib import Path

from sandbox import images
from sandbox import layout as where
from sandbox.processes import LAST_WORDS, SandboxError, run, wait_until

_CONFIG = Path(__file__).parent / "containerd.toml"


def ensure() -> Path:
    """Return the disk that holds the present images, making it first where there is none."""
    shelf = where.cache() / "containerd"
    shelf.mkdir(parents=True, exist_ok=True)
    seed = shelf / _key()
    with (shelf / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not seed.exists():
            _make(seed)
    return seed


def plant(target: Path) -> None:
    """Fill a node's empty container runtime disk. Nothing happens when it has been used before."""
    if (target / "io.containerd.metadata.v1.bolt").exists():
        return
    seed = ensure()
    target.mkdir(parents=True, exist_ok=True)
    linked = seed.stat().st_dev == target.stat().st_dev
    run(["cp", "--archive", *(["--link"] if linked else []), f"{seed}/.", str(target)])
    for database in seed.rglob("*.db"):
        copy = target / database.relative_to(seed)
        copy.unlink()
        shutil.copy2(database, copy)


def _key() -> str:
    parts = sorted(f"{image.ref}@{image.digest}" for image in images.ensure().values())
    parts.append(run(["containerd", "--version"]))
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def _make(seed: Path) -> None:
    """Import every image with a containerd of its own, in mounts of its own so that none is left behind."""
    disk = seed.with_name(f"{seed.name}.part")
    shutil.rmtree(disk, ignore_errors=True)
    disk.mkdir()
    with tempfile.TemporaryDirectory(prefix="gx-seed-", dir="/run") as state, tempfile.TemporaryFile() as log:
        socket = Path(state) / "containerd.sock"
        argv = ["unshare", "--mount", "--propagation", "private", "containerd", f"--config={_CONFIG}"]
        argv += [f"--root={disk}", f"--state={state}/state", f"--address={socket}"]
        runtime = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            wait_until("the importing containerd answers", socket.exists, timeout=30)
            images.load(socket, [])
        except SandboxError as error:
            log.seek(0)
            raise SandboxError(f"{error}. It said: {log.read()[-LAST_WORDS:].decode(errors='replace')}") from error
        finally:
            runtime.terminate()
            runtime.wait()
    disk.rename(seed)
