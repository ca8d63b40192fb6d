"""OCI images by hand: layers, configuration, manifest and an archive that containerd imports.

Everything is a pure function of content: entries sorted, times zero, no compression, so equal content has an equal
digest.
Format: OCI image specification 1.0 (https://github.com/opencontainers/image-spec).
"""

import hashlib
import io
import json
import os
import stat
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

_INDEX = "application/vnd.oci.image.index.v1+json"
_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_CONFIG = "application/vnd.oci.image.config.v1+json"
_LAYER = "application/vnd.oci.image.layer.v1.tar"
_NAME_ANNOTATION = "io.containerd.image.name"
"""containerd imports a manifest of the index under the name in this annotation, unchanged."""


@dataclass(frozen=True, kw_only=True)
class Layer:
    """An uncompressed layer: a tar file and its digest."""

    path: Path
    digest: str


@dataclass(frozen=True, kw_only=True)
class ImageConfig:
    """How a container of an image starts, as the image itself says. The pod's own settings win."""

    user: str = ""
    env: Mapping[str, str]
    working_directory: str = "/"
    entrypoint: Sequence[str] = ()
    command: Sequence[str] = ()
    volumes: Sequence[str] = ()
    ports: Sequence[str] = ()
    stop_signal: str = "SIGTERM"
    labels: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Image:
    """One manifest and every name it is imported under, such as docker.io/library/redis:7-alpine."""

    refs: Sequence[str]
    layer: Layer
    config: ImageConfig


def layer_from_directory(directory: Path, target: Path) -> Layer:
    """Write a directory's content as a layer. Owners, modes and links are kept; devices and sockets are left out."""
    with target.open("wb") as raw, tarfile.open(fileobj=raw, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for path in _walk(directory):
            entry = tar.gettarinfo(str(path), str(path.relative_to(directory)))
            _add(tar, entry, path)
    return Layer(path=target, digest=_digest_of(target))


def layer_from_program(program: Path, name: str, target: Path) -> Layer:
    """Write a layer that holds one executable at `/<name>`."""
    with target.open("wb") as raw, tarfile.open(fileobj=raw, mode="w", format=tarfile.GNU_FORMAT) as tar:
        entry = tar.gettarinfo(str(program), name)
        entry.mode, entry.uid, entry.gid = 0o755, 0, 0
        _add(tar, entry, program)
    return Layer(path=target, digest=_digest_of(target))


def write_archive(images: Sequence[Image], target: Path) -> None:
    """Write images that may share layers as one OCI archive."""
    blobs: dict[str, bytes | Path] = {}
    descriptors: list[dict[str, object]] = []
    for image in images:
        blobs[image.layer.digest] = image.layer.path
        config = _store(blobs, _config(image), _CONFIG)
        layer = _descriptor(image.layer.digest, image.layer.path.stat().st_size, _LAYER)
        body = {"schemaVersion": 2, "mediaType": _MANIFEST, "config": config, "layers": [layer]}
        manifest = _store(blobs, body, _MANIFEST)
        for name in _names(image.refs, str(manifest["digest"])):
            descriptors.append({**manifest, "annotations": {_NAME_ANNOTATION: name}})
    index = {"schemaVersion": 2, "mediaType": _INDEX, "manifests": descriptors}
    with target.open("wb") as raw, tarfile.open(fileobj=raw, mode="w", format=tarfile.GNU_FORMAT) as tar:
        _add_bytes(tar, "index.json", _encode(index))
        _add_bytes(tar, "oci-layout", _encode({"imageLayoutVersion": "1.0.0"}))
        for digest, content in sorted(blobs.items()):
            name = f"blobs/{digest.replace(':', '/')}"
            if isinstance(content, bytes):
                _add_bytes(tar, name, content)
            else:
                _add(tar, _plain(name, content.stat().st_size), content)


def names(archive: Path) -> dict[str, str]:
    """Manifest digest of every name in an archive. Quick: the index is the archive's first entry."""
    with tarfile.open(archive) as tar:
        first = tar.next()
        content = tar.extractfile(first) if first else None
        if content is None:
            raise ValueError(f"{archive} does not begin with its index")
        index = json.load(content)
    return {entry["annotations"][_NAME_ANNOTATION]: entry["digest"] for entry in index["manifests"]}


def digests(archive: Path) -> dict[str, str]:
    """Manifest digest of every tagged reference in an archive."""
    return {name: digest for name, digest in names(archive).items() if "@" not in name}


def _names(refs: Sequence[str], digest: str) -> list[str]:
    """Each reference, and its repository with the digest: what a pod's `repo:tag@digest` is looked up as."""
    return [name for ref in refs for name in (ref, f"{ref.rpartition(':')[0]}@{digest}")]


def _config(image: Image) -> dict[str, object]:
    config = image.config
    return {
        "architecture": "amd64",
        "os": "linux",
        "created": "1970-01-01T00:00:00Z",
        "config": {
            "User": config.user,
            "Env": [f"{name}={value}" for name, value in config.env.items()],
            "WorkingDir": config.working_directory,
            "Entrypoint": list(config.entrypoint),
            "Cmd": list(config.command),
            "Volumes": {path: {} for path in config.volumes},
            "ExposedPorts": {port: {} for port in config.ports},
            "StopSignal": config.stop_signal,
            "Labels": dict(config.labels),
        },
        "rootfs": {"type": "layers", "diff_ids": [image.layer.digest]},
        "history": [{"created": "1970-01-01T00:00:00Z", "created_by": "sandbox/images"}],
    }


def _store(blobs: dict[str, bytes | Path], body: Mapping[str, object], media_type: str) -> dict[str, object]:
    content = _encode(body)
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    blobs[digest] = content
    return _descriptor(digest, len(content), media_type)


def _descriptor(digest: str, size: int, media_type: str) -> dict[str, object]:
    return {"mediaType": media_type, "digest": digest, "size": size}


def _encode(body: Mapping[str, object]) -> bytes:
    return json.dumps(body, sort_keys=True, separators=(",", ":")).encode()


def _digest_of(path: Path) -> str:
    with path.open("rb") as content:
        return f"sha256:{hashlib.file_digest(content, 'sha256').hexdigest()}"


def _walk(directory: Path) -> list[Path]:
    """Everything below a directory, parents first, in one order on every machine."""
    found = [Path(parent) / name for parent, folders, files in os.walk(directory) for name in (*folders, *files)]
    kinds = (stat.S_ISREG, stat.S_ISDIR, stat.S_ISLNK)
    return sorted(path for path in found if any(kind(path.lstat().st_mode) for kind in kinds))


def _plain(name: str, size: int) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = size, 0o644
    return entry


def _add_bytes(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    tar.addfile(_plain(name, len(content)), io.BytesIO(content))


def _add(tar: tarfile.TarFile, entry: tarfile.TarInfo, path: Path) -> None:
    entry.mtime, entry.uname, entry.gname = 0, "", ""
    if not entry.isreg():
        tar.addfile(entry)
        return
    content: IO[bytes]
    with path.open("rb") as content:
        tar.addfile(entry, content)
