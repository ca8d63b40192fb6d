"""The namespace and the databases' Services as the source document names them, read from what each stack registers."""

import json
from typing import Any

import pytest
from cryptography import x509

from settings import certificates
from tests.capture import Capture
from tests.stacks import authority, settings


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


@pytest.mark.parametrize("server", ["postgres", "redis"])
def test_the_certificates_cover_every_service_of_the_databases(program: Capture, server: str) -> None:
    secret = inputs(program, "Secret", f"{server}-tls")
    held = certificates.loaded(secret["stringData"]["tls.crt"])[0]
    namespace = f"backend-{stack_of(program)}"
    services = [
        service.kubernetes_name
        for service in program.of("Service")
        if service.inputs["spec"]["selector"]["app"] in {server, f"{server}-proxy"}
    ]
    assert len(services) >= 3
    hosts = [f"*.{name}" if name.endswith("-headless") else name for name in services]
    names = [f"{host}.{namespace}.svc.cluster.local" for host in hosts]
    alternative = held.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert set(names) <= set(alternative.get_values_for_type(x509.DNSName))
    assert secret["type"] == "kubernetes.io/tls"


def test_the_key_of_the_authority_reaches_no_object(program: Capture) -> None:
    key = authority().key.splitlines()[1]
    assert not [resource.name for resource in program.resources if key in json.dumps(resource.inputs, default=str)]
