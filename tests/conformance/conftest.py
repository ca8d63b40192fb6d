"""A fresh project per test, removed with everything it made; and the choice of plugins: ``GX_PLUGINS=real|standin``."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox import layout as where
from tests.conformance.program import Program, Project, kubectl


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


@pytest.fixture(scope="session")
def project(plugins: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """One project with one stack for all tests of a process, because making a stack costs as much as an update."""
    made = Project(tmp_path_factory.mktemp("project"))
    made.create()
    yield made
    made.remove()


@pytest.fixture
def program(tmp_path: Path, project: Project) -> Iterator[Program]:
    """The project's stack as new, with an empty program and a namespace of the test's own.

    The namespace and all in it is deleted afterwards. What a test makes outside of it, it destroys itself.
    """
    fresh = project.program(tmp_path)
    yield fresh
    kubectl("delete", "namespace", fresh.namespace, "--ignore-not-found", "--wait=false")
