"""Taking a dead region out of DNS: one line of stack config, one deletion, and nothing else is touched."""

import json
import time

import pytest

from tests.engine.failover import dials, fault, origins
from tests.engine.stack import Stack, cloudflare_mutations
from tests.pace import pace

NODE = "srv1089624"
ADDRESS = "217.196.51.190"
GOAL_SECONDS = 15


@pytest.fixture
def failed_over(mainnet: Stack) -> Stack:
    """Mainnet with one line of its stack file changed."""
    return mainnet.edited(f"{NODE}: enabled", f"{NODE}: disabled")


def test_the_edit_previews_as_exactly_one_deletion(failed_over: Stack) -> None:
    assert failed_over.changes() == {"delete cloudflare:index/dnsRecord:DnsRecord": 1}


@pytest.mark.parametrize("kind", ["node cut off", "API refusing", "API black-holed"])
def test_failing_over_and_back_touches_one_record_and_nothing_else(
    mainnet: Stack, failed_over: Stack, kind: str
) -> None:
    with fault(kind, NODE):
        before = cloudflare_mutations()
        started = time.monotonic()
        with dials() as counted:
            failed_over.pulumi("up", "--yes").ok()
        seconds = time.monotonic() - started
        assert [call.split()[0] for call in cloudflare_mutations()[len(before) :]] == ["DELETE"]
        assert counted == [0, 0], f"SSH dials and Kubernetes connections: {counted}"
        assert ADDRESS not in origins()

    before = cloudflare_mutations()
    with dials() as counted:
        mainnet.up().ok()
    assert [call.split()[0] for call in cloudflare_mutations()[len(before) :]] == ["POST"]
    assert counted == [0, 0]
    print(f"failover with {kind}: {seconds:.1f} s on a machine {pace():.1f} times slower (goal {GOAL_SECONDS} s)")
    assert seconds < 3 * GOAL_SECONDS * pace()


def test_after_failing_over_and_back_nothing_is_left_to_do(mainnet: Stack) -> None:
    mainnet.pulumi("preview", "--expect-no-changes").ok()


def test_the_drill_fails_over_and_back_and_leaves_nothing_to_do(mainnet: Stack) -> None:
    before = cloudflare_mutations()
    assert "ready: one record would go and come back" in mainnet.operate("dns_drill", NODE).ok().output
    assert cloudflare_mutations() == before
    print(mainnet.operate("dns_drill", NODE, "--execute").ok().output)
    assert [call.split()[0] for call in cloudflare_mutations()[len(before) :]] == ["DELETE", "POST"]


def test_removing_the_last_origin_is_refused_at_preview(mainnet: Stack) -> None:
    edited = mainnet
    for node in ("srv1089618", "srv1089624", "srv1092158"):
        edited = edited.edited(f"{node}: enabled", f"{node}: disabled")
    refused = edited.pulumi("preview")
    assert refused.code != 0
    assert "dns.origins" in refused.output
    assert "Fix:" in refused.output
    assert "Traceback" not in refused.output


def test_the_state_of_the_failed_over_stack_holds_every_other_resource(mainnet: Stack) -> None:
    types = [resource["type"] for resource in mainnet.state()["deployment"]["resources"]]
    assert types.count("cloudflare:index/dnsRecord:DnsRecord") == 3, json.dumps(sorted(set(types)))
