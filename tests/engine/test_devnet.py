"""Devnet beside the other two on the same four nodes: it clashes with neither, answers, and leaves as it came."""

import json
from collections.abc import Iterator

import pytest

from sandbox import layout as where
from tests.engine.outages import on_host
from tests.engine.stack import Stack, get, kubectl, sandbox

OTHERS = ("mainnet", "testnet")
WORKER = where.node("srv1117946")
NODE_PORTS = {"svc-identity": 30021, "svc-tax": 30027}


def pods() -> set[tuple[str, int]]:
    """Pods of the other two that stay, and how often their containers have started."""
    found = (pod for name in OTHERS for pod in get("pods", f"backend-{name}") if "ownerReferences" in pod["metadata"])
    return {
        (pod["metadata"]["uid"], sum(each["restartCount"] for each in pod["status"]["containerStatuses"]))
        for pod in found
        if pod["metadata"]["ownerReferences"][0]["kind"] != "Job"
    }


@pytest.fixture
def others(deployed: None) -> set[tuple[str, int]]:
    """The pods of mainnet and testnet before there is a devnet."""
    return pods()


@pytest.fixture
def devnet(others: set[tuple[str, int]]) -> Iterator[Stack]:
    """Devnet as `python -m sandbox up --deploy devnet` brings it up; in the end its volumes are given up as well."""
    stack = Stack("devnet")
    try:
        sandbox("up", "--deploy", "devnet")
        yield stack
    finally:
        stack.pulumi("destroy", "--yes").ok()
        volumes = json.loads(kubectl("get", "pv", "-o", "json"))["items"]
        own = [each["metadata"]["name"] for each in volumes if each["spec"]["claimRef"]["namespace"] == stack.namespace]
        assert own, "a volume outlives its stack"
        kubectl("delete", "pv", *own)


def test_devnet_is_deployed_beside_the_other_two_without_a_clash(others: set[tuple[str, int]], devnet: Stack) -> None:
    devnet.pulumi("preview", "--expect-no-changes").ok()
    own = [pod for pod in get("pods", devnet.namespace) if pod["metadata"]["ownerReferences"][0]["kind"] != "Job"]
    assert len(own) == len({pod["metadata"]["labels"]["app"] for pod in own}) == 15
    assert {pod["spec"]["nodeName"] for pod in own} == {WORKER.name}
    for service, port in NODE_PORTS.items():
        answer = json.loads(on_host(WORKER, f"curl -fsS --max-time 5 http://127.0.0.1:{port}/ping"))
        assert answer["service"] == service
    quota = get("resourcequota", devnet.namespace)[0]["status"]
    assert (quota["hard"]["requests.cpu"], quota["hard"]["requests.memory"]) == ("4", "8Gi")
    assert pods() == others, "pods of the other two were touched"
    for name in OTHERS:
        Stack(name).pulumi("preview", "--expect-no-changes").ok()
