"""A fresh project per test, removed with everything it made; and which plugins have to be the real ones.

``GX_PLUGINS``: ``standin`` for none, ``real`` for all, or some by their names, as ``kubernetes,command``.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox import layout as where
from tests.conformance.program import Program, Project, kubectl

PLUGINS = {"kubernetes", "cloudflare", "command"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Refuse an expectation of the real plugins that does not say where it comes from."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents and isinstance(item, pytest.Function) and not hasattr(item.obj, "expectation"):
            message = f"{item.nodeid} has no source: decorate it with @source(...)"
            raise pytest.UsageError(message)


@pytest.fixture(scope="session")
def plugins(cluster: None) -> str:
    """The choice of plugins. Fails at once when a stand-in would take the place of one that has to be real."""
    wanted = os.environ.get("GX_PLUGINS", "standin")
    real = {"standin": set(), "real": PLUGINS}.get(wanted, set(wanted.split(",")))
    home = where.current().runtime / "pulumi"
    stand_ins = {
        path.name.removeprefix("pulumi-resource-")
        for path in home.glob("plugins/*/pulumi-resource-*")
        if path.is_symlink()
    }
    if not real <= PLUGINS:
        pytest.fail(f"GX_PLUGINS is {wanted!r}. Fix: standin, real, or some of {', '.join(sorted(PLUGINS))}")
    if real & stand_ins:
        missing = ", ".join(sorted(real & stand_ins))
        pytest.fail(f"GX_PLUGINS is {wanted!r}, but stand-ins serve {missing}. Fix: install the real ones on PATH")
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
