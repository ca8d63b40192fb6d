"""Short questions and orders to the API server, as the operator, from inside the control plane's own machine.

From there they also work while the API is made unreachable for the operator.
"""

import json
from collections.abc import Iterable
from pathlib import Path

from sandbox import layout as where
from sandbox import netns
from sandbox.layout import Layout
from sandbox.toolchain import tool

FIELD_MANAGER = "gx-sandbox"


def kubectl(layout: Layout, *argv: str, stdin: str | None = None) -> str:
    """Run kubectl with the operator's credentials and return what it printed."""
    command = [str(tool("kubectl")), f"--kubeconfig={layout.kubeconfig}", *argv]
    # Longer than any command waits by its own --timeout.
    return netns.run_in(layout, where.CONTROL_PLANE, command, stdin=stdin, timeout=330)


def apply(layout: Layout, objects: Iterable[dict[str, object]]) -> None:
    """Server-side apply of objects given as data."""
    listed = {"apiVersion": "v1", "kind": "List", "items": list(objects)}
    _apply(layout, json.dumps(listed))


def apply_file(layout: Layout, path: Path) -> None:
    """Server-side apply of a manifest."""
    _apply(layout, path.read_text())


def _apply(layout: Layout, manifest: str) -> None:
    flags = ["--server-side", "--force-conflicts", f"--field-manager={FIELD_MANAGER}", "--validate=false"]
    kubectl(layout, "apply", *flags, "-f", "-", stdin=manifest)
