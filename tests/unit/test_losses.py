"""What the loss of a node leaves of mainnet, wherever the scheduler has put its pods (HA-02, HA-05)."""

import pytest

from checks.fit import Placed, lost, placed
from checks.placement import Outcome
from checks.workloads import Kind
from tests.stacks import settings

CONTROL_PLANE = ("srv1089618", "srv1089624", "srv1092158")
SERVICES = (
    "svc-identity", "svc-admin", "svc-wallet", "svc-tokenomics", "svc-organization", "svc-loanpool", "svc-governance",
    "svc-tax", "api-gateway",
)  # fmt: skip
PAIRS = ("outbox-submitter", "projector", "redis-proxy")


@pytest.fixture(scope="module")
def mainnet() -> Placed:
    stack = placed(settings("mainnet"))
    assert len(stack.verdict.placements) == 60
    return stack


@pytest.mark.parametrize("node", CONTROL_PLANE)
def test_two_thirds_of_databases_and_services_and_half_of_the_workers_go_on_at_once(mainnet: Placed, node: str) -> None:
    """In each of the placements that the scheduler was seen to make, before anything is rescheduled."""
    for placement in mainnet.verdict.placements:
        left = {name: sum(each != node for each in nodes) / len(nodes) for name, nodes in placement.items()}
        assert all(left[name] == 2 / 3 for name in ("postgres", "redis", *SERVICES))
        assert all(left[name] >= 1 / 2 for name in PAIRS)


@pytest.mark.parametrize("node", CONTROL_PLANE)
def test_what_may_move_finds_room_on_the_other_nodes_and_the_databases_keep_their_majority(
    mainnet: Placed, node: str
) -> None:
    left = lost(mainnet, [node])
    assert (left.outcome, left.pending, left.without_majority) == (Outcome.FITS, (), ())
    tied = {mainnet.workload[name].kind for name in left.tied}
    assert tied == {Kind.STATEFUL_SET}, "only a database waits for the node of its volume"


def test_the_loss_of_the_worker_takes_no_service_and_no_database(mainnet: Placed) -> None:
    for placement in mainnet.verdict.placements:
        assert not [name for name in ("postgres", "redis", *SERVICES, *PAIRS) if "srv1117946" in placement[name]]
    assert lost(mainnet, ["srv1117946"]).outcome is Outcome.FITS
