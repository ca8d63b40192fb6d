"""The namespace and the databases' Services as the source document names them, read from what each stack registers."""

from typing import Any

import pytest

from tests.capture import Capture
from tests.stacks import settings


def inputs(program: Capture, kind: str, name: str) -> dict[str, Any]:
    """Inputs of the one object of a kind with a name."""
    found = [
        resource.inputs
        for resource in program.resources
        if resource.type.endswith(f":{kind}") and resource.inputs["metadata"]["name"] == name
    ]
    assert len(found) == 1, f"{kind} {name}: {len(found)}"
    return dict(found[0])


def stack_of(program: Capture) -> str:
    """Name of the stack, from its namespace."""
    (namespace,) = program.of("Namespace")
    return namespace.kubernetes_name.removeprefix("backend-")


def test_the_namespace_carries_its_labels_and_enforces_the_restricted_pod_security(program: Capture) -> None:
    stack = stack_of(program)
    environment = settings(stack).environment
    labels = inputs(program, "Namespace", f"backend-{stack}")["metadata"]["labels"]
    assert labels == environment.labels | {
        f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "warn", "audit")
    }


def test_quota_and_limit_range_are_those_of_the_stack_file(program: Capture) -> None:
    stack = stack_of(program)
    wanted = settings(stack)
    hard = inputs(program, "ResourceQuota", f"backend-{stack}-quota")["spec"]["hard"]
    assert hard["requests.cpu"] == wanted.quota.requests.cpu
    assert hard["limits.memory"] == wanted.quota.limits.memory
    assert hard["requests.storage"] == wanted.quota.requests_storage
    (limits,) = inputs(program, "LimitRange", f"backend-{stack}-limits")["spec"]["limits"]
    assert (limits["type"], limits["max"]["cpu"]) == ("Container", wanted.container_limits.max.cpu)


@pytest.mark.parametrize(
    ("name", "port"),
    [("postgres-primary", 5432), ("postgres-replica", 5432), ("redis-master", 6379), ("redis-replica", 6379)],
)
def test_the_databases_answer_under_their_documented_names_and_ports(program: Capture, name: str, port: int) -> None:
    spec = inputs(program, "Service", name)["spec"]
    assert [each["port"] for each in spec["ports"]] == [port]
    assert spec["selector"]
