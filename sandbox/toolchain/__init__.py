"""Programs the sandbox runs that no package provides, built from the Go module index once per user.

`tool("kubectl")` is the path of a program, built first when it is missing.
"""

from collections.abc import Iterable
from pathlib import Path

from sandbox.toolchain.build import built
from sandbox.toolchain.modules import MODULES, module_of

__all__ = ["MODULES", "ensure", "tool"]


def tool(name: str) -> Path:
    """Path of a program, built first when it is missing. KeyError for an unknown name, SandboxError if it cannot be built."""
    return built(module_of(name)) / name


def ensure(names: Iterable[str] | None = None) -> dict[str, Path]:
    """Paths of the named programs, or of all that are not optional, built first when they are missing."""
    wanted = names or [name for module in MODULES if not module.optional for name in module.tools]
    return {name: tool(name) for name in wanted}
