"""Container images of the sandbox, built once per user and imported where they are needed, without a registry."""

from dataclasses import dataclass
from pathlib import Path

from sandbox.images import oci
from sandbox.images.containerd import load, seed
from sandbox.images.recipes import RECIPES

__all__ = ["BuiltImage", "ensure", "load", "seed"]


@dataclass(frozen=True, kw_only=True)
class BuiltImage:
    """An image that a pod can name as `ref`, as `<repository>@<digest>` or as `<ref>@<digest>`."""

    ref: str
    digest: str
    archive: Path

    @property
    def pinned(self) -> str:
        """The reference with its digest, as the stack files write it."""
        return f"{self.ref}@{self.digest}"


def ensure() -> dict[str, BuiltImage]:
    """Every image by its reference; archives that are missing are built first."""
    return {
        ref: BuiltImage(ref=ref, digest=digest, archive=archive)
        for archive in (recipe.ensure() for recipe in RECIPES)
        for ref, digest in oci.digests(archive).items()
    }
