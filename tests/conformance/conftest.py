"""A fresh project per test, removed with everything it made; and the choice of plugins: ``GX_PLUGINS=real|standin``."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox import layout as where
from tests.conformance.program import Program, kubectl


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Refuse an expectation of the real plugins that does not say where it comes from."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents and isinstance(item, pytest.Function) and not hasattr(item.obj, "expectation"):
            message = f"{item.nodeid} has no source: decorate it with @source(...) or @unverified(...)"
            raise pytest.UsageError(message)


@pytest.fixture(scope="session")
def plugins(cluster: None) -> str:
    """The plugins under test. ``real`` fails at once when a stand-in would take a real plugin's place."""
    wanted = os.environ.get("GX_PLUGINS", "standin")
    home = where.current().runtime / "pulumi"
    stand_ins = [path.name for path in home.glob("plugins/*/pulumi-resource-*") if path.is_symlink()]
    if wanted == "real" and stand_ins:
        pytest.fail(f"GX_PLUGINS=real, but these are stand-ins: {', '.join(stand_ins)}. Install the real ones on PATH.")
    return wanted


@pytest.fixture
def program(tmp_path: Path, plugins: str) -> Iterator[Program]:
    """A project with an empty program; destroyed afterwards, whatever the test left."""
    project = Program(tmp_path)
    project.create()
    yield project
    project.destroy()
    for directory in (where.current().runtime / "state" / ".pulumi").glob(f"*/{project.name}"):
        shutil.rmtree(directory)
    kubectl("delete", "namespace", project.namespace, "--ignore-not-found", "--wait=false")
