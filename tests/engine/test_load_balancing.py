"""Cloudflare Load Balancing by the real engine: made, left alone, steering, drained in one line, taken away (CF-13)."""

from collections import Counter
from collections.abc import Iterator

import pytest

from sandbox import layout as where
from sandbox.cloudflare.state import ACCOUNT_ID
from tests.engine.failover import ORIGINS, answered, dials, double, fault, origins
from tests.engine.stack import Stack, cloudflare_mutations

KUL, PHX, FRA = ORIGINS
AMERICAN, EUROPEAN = where.CLIENT_ADDRESSES
# CF-14 to CF-17: the document's lists of countries by Cloudflare's regions, and who takes over for whom.
SETTING: dict[str, object] = {
    "dns": {
        "loadBalancing": {
            "accountId": ACCOUNT_ID,
            "regions": {
                KUL: {"serves": ["SEAS", "NEAS", "OC", "SAS"], "then": [FRA, PHX]},
                PHX: {"serves": ["WNAM", "ENAM", "NSAM", "SSAM"], "then": [FRA, KUL]},
                FRA: {"serves": ["WEU", "EEU", "ME", "NAF", "SAF"], "then": [PHX, KUL]},
            },
        }
    }
}
RECORD = "cloudflare:index/dnsRecord:DnsRecord"
MONITOR, POOL, BALANCER = (
    f"cloudflare:index/{kind[0].lower()}{kind[1:]}:{kind}"
    for kind in ("LoadBalancerMonitor", "LoadBalancerPool", "LoadBalancer")
)


def requests(since: int) -> list[str]:
    """What changed something at Cloudflare since then, as the method and the kind of object."""
    kinds = ("dns_records", "monitors", "pools", "load_balancers")
    return [
        f"{method} {next(kind for kind in kinds if kind in path)}"
        for method, path in (call.split() for call in cloudflare_mutations()[since:])
    ]


@pytest.fixture
def drained(balanced: Stack) -> Stack:
    """One line of the stack file changed."""
    return balanced.edited(f"{PHX}: enabled", f"{PHX}: disabled")


@pytest.fixture(scope="module")
def balanced(deployed: None) -> Iterator[Stack]:
    """Mainnet with a load balancer, and visitors whose regions Cloudflare knows; afterwards the records alone."""
    plain = Stack("mainnet")
    stack = plain.patched(SETTING)
    assert stack.changes() == {f"create {MONITOR}": 1, f"create {POOL}": 3, f"create {BALANCER}": 1}
    before = len(cloudflare_mutations())
    double("PUT", "/visitors", {AMERICAN: "WNAM", EUROPEAN: "WEU"})
    try:
        with dials() as counted:
            stack.up().ok()
        assert requests(before) == ["POST monitors", *["POST pools"] * 3, "POST load_balancers"]
        assert counted == [0, 0], f"SSH dials and Kubernetes connections: {counted}"
        yield stack
    finally:
        double("PUT", "/visitors", {})
        plain.up().ok()


def test_what_was_made_is_left_alone(balanced: Stack) -> None:
    balanced.pulumi("preview", "--expect-no-changes").ok()
    balanced.pulumi("refresh", "--yes", "--expect-no-changes").ok()


def test_visitors_come_to_the_origin_of_their_region_and_the_others_to_the_first(balanced: Stack) -> None:
    home = {AMERICAN: PHX, EUROPEAN: FRA, where.INTERNET_ADDRESS: KUL}
    for visitor, region in home.items():
        assert {answered(visitor) for _ in range(12)} == {("200", ORIGINS[region])}


def test_draining_a_dead_region_is_one_line_and_its_return_another(balanced: Stack, drained: Stack) -> None:
    assert drained.changes() == {f"delete {RECORD}": 1, f"update {POOL}": 1}
    with fault("node cut off", PHX):
        # Each of these waits for the dead one first; a drained region costs nobody anything.
        assert origins(AMERICAN, requests=2) == {ORIGINS[FRA]}
        before = len(cloudflare_mutations())
        with dials() as counted:
            drained.up().ok()
        assert Counter(requests(before)) == {"DELETE dns_records": 1, "PUT pools": 1}
        assert counted == [0, 0], f"SSH dials and Kubernetes connections: {counted}"
        assert origins(AMERICAN) == origins(EUROPEAN) == {ORIGINS[FRA]}
    drained.pulumi("preview", "--expect-no-changes").ok()

    before = len(cloudflare_mutations())
    balanced.up().ok()
    assert Counter(requests(before)) == {"POST dns_records": 1, "PUT pools": 1}
    assert origins(AMERICAN) == {ORIGINS[PHX]}
    balanced.pulumi("preview", "--expect-no-changes").ok()


def test_taken_away_nothing_is_in_the_way_of_another_and_the_records_answer_again(
    balanced: Stack, mainnet: Stack
) -> None:
    """A pool that a balancer names, and a monitor that a pool names, would be refused (HTTP 412, code 1005)."""
    before = len(cloudflare_mutations())
    mainnet.up().ok()
    assert requests(before) == ["DELETE load_balancers", *["DELETE pools"] * 3, "DELETE monitors"]
    mainnet.pulumi("preview", "--expect-no-changes").ok()
    assert origins(AMERICAN, requests=40) == set(ORIGINS.values())
