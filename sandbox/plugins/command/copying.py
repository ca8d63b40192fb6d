"""Copies of assets to a remote host over SFTP, with pulumi-command's rules for where they land.

https://github.com/pulumi/pulumi-command/blob/v1.2.1/provider/pkg/provider/remote/copyController.go
"""

from __future__ import annotations

import stat
from pathlib import Path, PurePosixPath
from typing import Any

import paramiko

from sandbox.plugins.command.ssh import Session
from sandbox.plugins.provider import ProviderError


def copy(session: Session, source: dict[str, Any], remote_path: str) -> None:
    """Copy an asset (``text`` or ``path``) or a directory archive (``path``) to ``remote_path``, written in place."""
    sftp = paramiko.SFTPClient.from_transport(session.transport)
    if sftp is None:
        raise ProviderError("the server offers no SFTP")
    try:
        if "text" in source:
            _text(sftp, str(source["text"]), remote_path)
        elif "path" in source:
            _path(sftp, str(source["path"]), remote_path)
        else:
            raise ProviderError("only text assets, file assets and directory archives can be copied")
    except OSError as error:
        message = f"failed to copy to remote path {remote_path}: {error}"
        raise ProviderError(message) from error
    finally:
        sftp.close()


def _text(sftp: paramiko.SFTPClient, text: str, target: str) -> None:
    if _kind(sftp, target) == "directory":
        message = f"remote path {target} is a directory; when using a text asset, remotePath must be a file path"
        raise ProviderError(message)
    _make_directories(sftp, str(PurePosixPath(target).parent))
    with sftp.open(target, "w") as remote:
        remote.write(text.encode())


def _path(sftp: paramiko.SFTPClient, source: str, target: str) -> None:
    local = Path(source)
    kind = _kind(sftp, target)
    if local.is_dir():
        if kind == "file":
            message = f"remote path {target} exists but is not a directory"
            raise ProviderError(message)
        _make_directories(sftp, target)
        _tree(sftp, local, target if source.endswith("/") else f"{target.rstrip('/')}/{local.name}")
        return
    if kind == "directory":
        target = f"{target.rstrip('/')}/{local.name}"
    else:
        _make_directories(sftp, str(PurePosixPath(target).parent))
    sftp.put(str(local), target)


def _tree(sftp: paramiko.SFTPClient, local: Path, target: str) -> None:
    _make_directories(sftp, target)
    for entry in sorted(local.iterdir()):
        if entry.is_dir():
            _tree(sftp, entry, f"{target}/{entry.name}")
        else:
            sftp.put(str(entry), f"{target}/{entry.name}")


def _kind(sftp: paramiko.SFTPClient, path: str) -> str:
    try:
        mode = sftp.stat(path).st_mode
    except FileNotFoundError:
        return ""
    return "directory" if mode is not None and stat.S_ISDIR(mode) else "file"


def _make_directories(sftp: paramiko.SFTPClient, path: str) -> None:
    for directory in [*reversed(PurePosixPath(path).parents), PurePosixPath(path)]:
        if not _kind(sftp, str(directory)):
            sftp.mkdir(str(directory))
