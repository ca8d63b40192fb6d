"""Moving the Postgres primary on real nodes: one line of the stack file, planned and with its node dead."""

import time
from collections.abc import Iterator

import pytest

from tests.engine.databases import STANDBYS
from tests.engine.stack import Stack, awaited, get, kubectl, sandbox

SERVER = (
    "-c",
    "postgres",
    "--",
    "psql",
    "-XqAt",
    "-h",
    "/var/run/postgresql",
    "-U",
    "gx_admin",
    "-d",
    "postgres",
    "-c",
)
GOAL_SECONDS = 20


@pytest.fixture
def moved(mainnet: Stack) -> Iterator[Stack]:
    """Mainnet with another primary, and back to the committed one at the end."""
    yield mainnet.edited("primaryOrdinal: 0", "primaryOrdinal: 1")
    mainnet.up().ok()
    awaited("the redundancy is back", lambda: asked(mainnet, 0, STANDBYS) == "2")


def asked(stack: Stack, ordinal: int, sql: str) -> str:
    """What an instance answers."""
    return kubectl("exec", "-n", stack.namespace, f"postgres-{ordinal}", *SERVER, sql).strip()


def selected(stack: Stack) -> str:
    """The pod that `postgres-primary` selects."""
    (service,) = (each for each in get("services", stack.namespace) if each["metadata"]["name"] == "postgres-primary")
    return str(service["spec"]["selector"]["statefulset.kubernetes.io/pod-name"])


def template(stack: Stack) -> int:
    """Generation of the StatefulSet: grows with every change of its specification."""
    (owner,) = (each for each in get("statefulsets", stack.namespace) if each["metadata"]["name"] == "postgres")
    return int(owner["metadata"]["generation"])


def test_a_switchover_is_one_line_that_touches_no_database_pod(mainnet: Stack, moved: Stack) -> None:
    kinds = {change.split(" ")[1].rsplit(":", 1)[-1] for change in moved.changes()}
    assert kinds == {"Job", "ConfigMap", "Service"}
    before = template(mainnet)
    started = time.monotonic()
    moved.up().ok()
    print(f"switchover, the whole command: {time.monotonic() - started:.1f} s (goal {GOAL_SECONDS} s from the Job)")
    assert selected(mainnet) == "postgres-1"
    assert template(mainnet) == before
    assert asked(mainnet, 1, "select pg_is_in_recovery()") == "f"
    awaited("both others confirm commits", lambda: asked(mainnet, 1, STANDBYS) == "2")
    moved.pulumi("preview", "--expect-no-changes").ok()


def test_a_failover_works_with_the_primarys_node_dead_and_its_instance_follows_when_it_returns(
    mainnet: Stack, moved: Stack
) -> None:
    (node,) = (
        pod["spec"]["nodeName"] for pod in get("pods", mainnet.namespace) if pod["metadata"]["name"] == "postgres-0"
    )
    sandbox("node", "cut", node)
    try:
        moved.up().ok()
        assert selected(mainnet) == "postgres-1"
        assert asked(mainnet, 1, STANDBYS) == "1"
    finally:
        sandbox("node", "heal", node)
    awaited("the old primary follows", lambda: asked(mainnet, 1, STANDBYS) == "2")
