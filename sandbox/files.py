"""Files that another command may be reading at any moment."""

import os
from pathlib import Path


def replace(path: Path, text: str, *, mode: int = 0o666) -> None:
    """Write a file at once: a reader sees the old one or the new one, whole. ``mode`` is subject to the umask."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(f".{os.getpid()}.new")
    fresh.touch(mode=mode)
    fresh.write_text(text, encoding="utf-8")
    fresh.rename(path)
