"""What a stack declares for the Prometheus Operator, judged by the operator's own definitions in a real API server.

The operator itself does not run here: whether it accepts an object is known, what it makes of it is not.
"""

import json
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest
import yaml

from sandbox import processes
from sandbox.toolchain import sources
from tests import capture
from tests.kubernetes import kubectl
from tests.stacks import OFF_SITE

NAMESPACE = "operator-test"
KINDS = {
    "AlertmanagerConfig": "alertmanagerconfigs",
    "PodMonitor": "podmonitors",
    "PrometheusRule": "prometheusrules",
    "ServiceMonitor": "servicemonitors",
}
DRY_RUN = ("create", "--dry-run=server", "--validate=strict", "-f", "-")


@pytest.fixture(scope="module")
def definitions(cluster: None) -> Iterator[None]:
    """The operator's definitions of the kinds that stacks use, and a namespace."""
    directory = sources.directory(sources.PROMETHEUS_OPERATOR) / "example" / "prometheus-operator-crd"
    files = [directory / f"monitoring.coreos.com_{plural}.yaml" for plural in KINDS.values()]
    flags = [flag for file in files for flag in ("-f", str(file))]
    kubectl("apply", "--server-side", *flags)
    try:
        # One that has just been made has no conditions yet, and `kubectl wait` gives up on it.
        processes.wait_until("the definitions are established", lambda: _established(flags), timeout=60)
        kubectl("create", "namespace", NAMESPACE)
        yield
    finally:
        kubectl("delete", "namespace", NAMESPACE, "--ignore-not-found", "--wait")
        kubectl("delete", "--ignore-not-found", *flags)


def _established(flags: list[str]) -> bool:
    jsonpath = "jsonpath={.items[*].status.conditions[?(@.type=='Established')].status}"
    # kubectl fails where an object has no conditions at all.
    return kubectl("get", *flags, "-o", jsonpath, check=False).stdout.split() == ["True"] * len(KINDS)


@cache
def declared(stack: str) -> list[dict[str, Any]]:
    """The operator's objects of a stack, in the namespace of the test."""
    patch: dict[str, object] = {"observability": {"mode": "operator", "labels": {"release": "monitoring"}}}
    program = capture.stack(stack, patch | (OFF_SITE if stack == "mainnet" else {}))
    found = [each.inputs for each in program.resources if each.type.startswith("kubernetes:monitoring.coreos.com/")]
    return [each | {"metadata": each["metadata"] | {"namespace": NAMESPACE}} for each in found]


@pytest.mark.parametrize("stack", ["mainnet", "testnet", "devnet"])
def test_the_operators_definitions_take_every_object_and_know_every_field(definitions: None, stack: str) -> None:
    objects = declared(stack)
    wanted = set(KINDS) - ({"AlertmanagerConfig"} if stack == "devnet" else set())
    assert {each["kind"] for each in objects} == wanted
    made = kubectl(*DRY_RUN, stdin=yaml.safe_dump_all(objects)).stdout
    assert made.count("created (server dry run)") == len(objects)


@pytest.mark.parametrize("kind", KINDS)
def test_a_field_that_they_do_not_know_is_refused(definitions: None, kind: str) -> None:
    broken = json.loads(json.dumps(next(each for each in declared("mainnet") if each["kind"] == kind)))
    broken["spec"]["unheardOf"] = True
    refused = kubectl(*DRY_RUN, stdin=json.dumps(broken), check=False)
    assert refused.returncode != 0
    assert 'unknown field "spec.unheardOf"' in refused.stderr
