"""Programs the sandbox runs that no package provides, built from the Go module index once per user.

`tool("kubectl")` is the path of a program, built first when it is missing.
"""

from collections.abc import Iterable
from pathlib import Path

from sandbox.toolchain.build import built
from sandbox.toolchain.modules import MODULES, module_of

__all__ = ["REQUIRED", "ensure", "tool"]

REQUIRED = tuple(name for module in MODULES if not module.optional for name in module.tools)
"""Every program a sandbox cannot do without."""


def tool(name: str) -> Path:
    """Path of a program, built first when it is missing.

    KeyError for an unknown name, SandboxError if it cannot be built.
    """
    return built(module_of(name)) / name


def ensure(names: Iterable[str] = REQUIRED) -> dict[str, Path]:
    """Paths of the named programs, built first when they are missing."""
    return {name: tool(name) for name in names}
