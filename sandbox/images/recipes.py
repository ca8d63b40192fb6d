"""Build the archives: what goes into each, and the key under which it is cached."""

import hashlib
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from sandbox import toolchain
from sandbox.images import definitions, oci
from sandbox.images.definitions import APPLICATIONS, application
from sandbox.layout import cache
from sandbox.processes import run
from sandbox.toolchain.build import lock, require_disk

_HERE = Path(__file__).resolve().parent
_FINISH = _HERE / "finish-rootfs.sh"
_FORMAT = (_HERE / "oci.py", _HERE / "definitions.py", _HERE / "recipes.py")
_NEEDED_DISK_BYTES = 3 * 1024**3
_DEBIAN_SUITE = "bookworm"
_BOOTSTRAP_TIMEOUT = 600
"""Seconds for Debian's packages to arrive over a slow line; 30 s when the mirror is near."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One archive. `inputs` decide its key besides this code; `build` makes its images, with files in a directory."""

    name: str
    inputs: Callable[[], Sequence[bytes]]
    build: Callable[[Path], Sequence[oci.Image]]

    @property
    def archive(self) -> Path:
        """Where the archive is, or will be."""
        digest = hashlib.sha256()
        for part in (*(path.read_bytes() for path in _FORMAT), *self.inputs()):
            digest.update(hashlib.sha256(part).digest())
        return cache() / "images" / f"{self.name}-{digest.hexdigest()[:12]}.tar"

    def ensure(self) -> Path:
        """The archive, built first when it is missing; complete or absent, and built by one process at a time."""
        target = self.archive
        if not target.exists():
            with lock(target.with_suffix(".lock")):
                if not target.exists():
                    self._write(target)
        return target

    def _write(self, target: Path) -> None:
        require_disk(target.parent, _NEEDED_DISK_BYTES)
        started = time.monotonic()
        print(f"image {self.name}: building", flush=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{self.name}-") as scratch:
            unfinished = Path(scratch) / "archive.tar"
            oci.write_archive(self.build(Path(scratch)), unfinished)
            size = unfinished.stat().st_size / 1024**2
            unfinished.rename(target)
        print(f"image {self.name}: {size:.0f} MB in {time.monotonic() - started:.0f} s", flush=True)


def _debian(scratch: Path) -> list[oci.Image]:
    """Postgres, Redis, HAProxy, Prometheus and Alertmanager on one shared layer, which every node stores once."""
    rootfs = scratch / "rootfs"
    run(
        [
            "mmdebstrap",
            "--mode=root",
            "--variant=minbase",
            '--aptopt=APT::Install-Recommends "false"',
            f"--include={','.join(definitions.DEBIAN_PACKAGES)}",
            _DEBIAN_SUITE,
            str(rootfs),
        ],
        timeout=_BOOTSTRAP_TIMEOUT,
    )
    run([str(_FINISH), str(rootfs)])
    layer = oci.layer_from_directory(rootfs, scratch / "rootfs.tar")
    return [oci.Image(refs=[ref], layer=layer, config=config) for ref, config in definitions.DEBIAN_CONFIGS.items()]


def _program(tool: str, refs: Sequence[str], config: oci.ImageConfig) -> Recipe:
    def build(scratch: Path) -> list[oci.Image]:
        layer = oci.layer_from_program(toolchain.tool(tool), tool, scratch / "layer.tar")
        return [oci.Image(refs=refs, layer=layer, config=config)]

    return Recipe(name=tool, inputs=lambda: [str(toolchain.tool(tool).parent.name).encode()], build=build)


RECIPES = (
    Recipe(name="debian", inputs=lambda: [_FINISH.read_bytes(), _DEBIAN_SUITE.encode()], build=_debian),
    _program("pause", [definitions.PAUSE], definitions.PAUSE_CONFIG),
    _program("standin", [application(service) for service in APPLICATIONS], definitions.STANDIN_CONFIG),
    _program("coredns", [definitions.COREDNS], definitions.COREDNS_CONFIG),
    *(_program(tool, [ref], definitions.exporter_config(tool)) for tool, ref in definitions.EXPORTERS.items()),
)
