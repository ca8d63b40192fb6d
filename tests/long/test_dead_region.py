"""A region that is lost, as people are told of it: by real servers, with waits a third of production's.

Not less: the cluster takes its 40 seconds to call a node lost whatever alerts do, and what a lost node explains must
not be told before.
"""

from collections.abc import Iterator

import pytest

from sandbox.monitoring import service
from tests.engine import monitoring
from tests.engine.databases import Databases
from tests.engine.outages import await_whole
from tests.engine.stack import LAYOUT, Stack, awaited, kubectl, sandbox

HURRY = 3
MAINNET = "backend-mainnet"
LATEST = 5 * 60 / HURRY
"""Seconds that the alerts wait which a lost node explains; the one on workloads, silenced like them, waits longer."""
PATIENT = 600


@pytest.fixture(scope="module")
def watched(deployed: None) -> Iterator[None]:
    """Mainnet, watched by the shared monitoring."""
    service.start(LAYOUT, ["mainnet"], HURRY)
    yield
    service.stop(LAYOUT)


@pytest.fixture
def node(watched: None) -> str:
    """A node with a standby and no exporter: losing the primary's is an outage of its own, told as such.

    An exporter takes its minute and a half to be elsewhere whatever alerts do, too.
    """
    databases = Databases(Stack("mainnet"))
    chosen = min({databases.node(ordinal) for ordinal in range(3)} - {databases.node(0)})
    kubectl("cordon", chosen)
    try:
        for app in ("postgres-exporter", "redis-exporter"):
            kubectl("delete", "pods", "-n", MAINNET, "-l", f"app={app}", "--wait")
        await_whole(MAINNET)
    finally:
        kubectl("uncordon", chosen)
    return chosen


def test_a_lost_region_is_told_as_that_and_as_a_lost_node_once_each_and_so_is_its_return(node: str) -> None:
    await_whole(MAINNET)
    awaited(
        "nothing fires or is about to", lambda: not monitoring.alerts("firing") | monitoring.waiting(LATEST), PATIENT
    )
    before = monitoring.count()
    expected = {
        (receiver, alert)
        for receiver in ("PagerDuty", f"Slack of {MAINNET}")
        for alert in ("RegionDown", "NodeNotReady")
    }
    sandbox("node", "cut", node)
    try:
        awaited("all of it is told", lambda: expected <= set(monitoring.told(before, over=False)), PATIENT)
        awaited("no alert waits to fire", lambda: not monitoring.waiting(LATEST), PATIENT)
    finally:
        sandbox("node", "heal", node)
    await_whole(MAINNET)
    awaited("nothing fires", lambda: not monitoring.alerts("firing"), PATIENT)
    awaited("every end is told", lambda: not monitoring.unended(before), PATIENT)
    for over in (False, True):
        assert sorted(monitoring.told(before, over=over)) == sorted(expected)
