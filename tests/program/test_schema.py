"""Every Kubernetes object that a stack declares, judged by the published schemas of the cluster's version.

Mocks take any field, and a server drops one it does not know with no more than a warning.
"""

import functools
from collections.abc import Iterator
from typing import Any

import kubernetes_validate
import pytest
from kubernetes_validate import utils

from tests import capture
from tests.capture import Capture

VERSION = "1.33"
"""Of the cluster (CL-01)."""


@pytest.fixture(scope="module", autouse=True)
def schemas() -> Iterator[None]:
    """Read once: the library parses a megabyte of definitions for every object."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(utils, "schema_contents", functools.cache(utils.schema_contents))
        yield


@pytest.fixture(scope="module", params=["mainnet", "testnet", "devnet"])
def objects(request: pytest.FixtureRequest) -> list[dict[str, Any]]:
    program: Capture = capture.stack(request.param)
    found = [resource.inputs for resource in program.resources if resource.type.startswith("kubernetes:")]
    assert len(found) > 40
    return found


def test_every_object_keeps_its_schema(objects: list[dict[str, Any]]) -> None:
    for each in objects:
        kubernetes_validate.validate(each, VERSION, strict=True)


def test_the_schemas_refuse_a_field_that_does_not_exist_and_a_value_of_another_type(
    objects: list[dict[str, Any]],
) -> None:
    deployment = next(each for each in objects if each["kind"] == "Deployment")
    for wrong in ({"replica": 3}, {"replicas": "3"}):
        changed = deployment | {"spec": deployment["spec"] | wrong}
        with pytest.raises(kubernetes_validate.ValidationError):
            kubernetes_validate.validate(changed, VERSION, strict=True)
