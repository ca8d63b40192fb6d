"""The stand-in's load balancing against the double: what is made shows no difference, and a drain is one request."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer

from sandbox.cloudflare.api import Api
from sandbox.cloudflare.gate import Gate, Journal
from sandbox.cloudflare.resolver import Resolver
from sandbox.cloudflare.state import ACCOUNT_ID, State, fixed_id
from sandbox.plugins.cloudflare.plugin import CloudflareProvider
from sandbox.plugins.provider import Change, Properties, Severity

ZONE, TOKEN = "gxcoin.money", "token"


class Silent:
    """A log that nobody reads."""

    def log(self, severity: Severity, message: str, urn: str = "") -> None:
        """Nothing."""

    def status(self, severity: Severity, message: str, urn: str) -> None:
        """Nothing."""


def urn(kind: str) -> str:
    return f"urn:pulumi:s::p::cloudflare:index/{kind[0].lower()}{kind[1:]}:{kind}::x"


def scenario(url: str, state: State) -> None:
    provider = CloudflareProvider()
    provider.configure({"apiToken": TOKEN, "baseUrl": url}, Silent())

    def make(kind: str, **inputs: object) -> tuple[str, Properties, Properties]:
        assert provider.check(urn(kind), {}, inputs, b"").failures == []
        identifier, made = provider.create(urn(kind), inputs, 0, preview=False)
        found = provider.read(urn(kind), identifier, made, inputs)
        assert found is not None
        for known in (made, found.properties):
            assert not provider.diff(urn(kind), known, inputs, inputs, []).changes, f"{kind} differs from itself"
        refreshed = provider.diff(urn(kind), found.properties, found.inputs, inputs, [])
        assert not refreshed.changes, f"{kind} differs from itself once it was refreshed"
        return identifier, inputs, made

    account: Any = {"accountId": ACCOUNT_ID}
    monitor, _, _ = make("LoadBalancerMonitor", **account, type="https", path="/health", header={"Host": ["a"]})
    pools = [
        make(
            "LoadBalancerPool",
            **account,
            name=name,
            origins=[{"name": name, "address": f"192.0.2.{number}", "enabled": True}],
            monitor=monitor,
            enabled=True,
        )
        for number, name in enumerate(("kul", "phx"), start=1)
    ]
    first, second = (identifier for identifier, _, _ in pools)
    balanced = {"zoneId": fixed_id(ZONE), "name": f"api.{ZONE}", "defaultPools": [first, second], "fallbackPool": first}
    steered = {"SEAS": [first, second], "WNAM": [second, first]}
    balancer, inputs, made = make("LoadBalancer", **balanced, regionPools=steered, proxied=True)

    identifier, drained, before = pools[0]
    after = {**drained, "enabled": False}
    assert list(provider.diff(urn("LoadBalancerPool"), before, drained, after, []).changes) == ["enabled"]
    provider.update(Change(urn("LoadBalancerPool"), identifier, before, drained, after, 0, [], preview=False))
    assert [state.pools[each]["enabled"] for each in (first, second)] == [False, True]

    fewer = {**inputs, "regionPools": {"SEAS": [first, second]}}
    assert list(provider.diff(urn("LoadBalancer"), made, inputs, fewer, []).changes) == ["regionPools"]

    provider.delete(urn("LoadBalancer"), balancer, made, 0)
    provider.delete(urn("LoadBalancerPool"), identifier, before, 0)
    assert list(state.pools) == [second]


def test_what_is_made_shows_no_difference_and_a_drain_is_one_request(tmp_path: Path) -> None:
    async def run() -> None:
        state = State(tmp_path / "state.json", [ZONE])
        gate = Gate({TOKEN: frozenset({"load_balancers"})}, Journal(tmp_path / "journal.jsonl"))
        api = Api(state, gate, Resolver(state, "104.16.0.1", None))
        async with TestClient(TestServer(api.application())) as client:
            await asyncio.to_thread(scenario, str(client.make_url("/client/v4")), state)

    asyncio.run(run())


def test_a_pool_without_origins_is_refused_before_any_request() -> None:
    provider = CloudflareProvider()
    failures = provider.check(urn("LoadBalancerPool"), {}, {"accountId": ACCOUNT_ID, "name": "x"}, b"").failures
    assert [name for name, _ in failures] == ["origins"]


@pytest.mark.parametrize("kind", ["LoadBalancer", "LoadBalancerPool", "LoadBalancerMonitor"])
def test_an_import_id_names_the_owner(kind: str) -> None:
    provider = CloudflareProvider()
    provider.configure({"apiToken": TOKEN, "baseUrl": "http://127.0.0.1:9"}, Silent())
    with pytest.raises(Exception, match="invalid import id"):
        provider.read(urn(kind), "alone", {}, {})
