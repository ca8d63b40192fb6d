"""The Cloudflare double answers as the real API does wherever the program, its plugin or certbot could notice."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientError
from aiohttp.test_utils import TestClient, TestServer

from sandbox.cloudflare.api import Api
from sandbox.cloudflare.gate import Gate, Journal, RateLimit
from sandbox.cloudflare.origins import origin_pools, origins, public_records
from sandbox.cloudflare.resolver import Resolver
from sandbox.cloudflare.state import ACCOUNT_ID, State, fixed_id

ZONE = "gxcoin.money"
HOST = "api.gxcoin.money"
TOKEN, CERTBOT = "operator-token-value", "certbot-token-value"
RECORDS = f"/zones/{fixed_id(ZONE)}/dns_records"
SETTINGS = f"/zones/{fixed_id(ZONE)}/settings"
BALANCERS = f"/zones/{fixed_id(ZONE)}/load_balancers"
POOLS = f"/accounts/{ACCOUNT_ID}/load_balancers/pools"
MONITORS = f"/accounts/{ACCOUNT_ID}/load_balancers/monitors"
EDGE = "104.16.0.1"
PERMISSIONS = {TOKEN: frozenset({"dns_records", "settings", "load_balancers"}), CERTBOT: frozenset({"dns_records"})}


@dataclass(frozen=True)
class Answer:
    """Status, headers and decoded body of one response."""

    status: int
    headers: dict[str, str]
    body: dict[str, Any]

    @property
    def result(self) -> Any:  # noqa: ANN401 - an object or a list, as the API gives
        assert self.body["success"] is True, self.body
        return self.body["result"]

    @property
    def code(self) -> int:
        assert self.body["success"] is False, self.body
        assert self.body["result"] is None
        return int(self.body["errors"][0]["code"])


class Double:
    """A running double and a client of it."""

    def __init__(self, client: TestClient[Any, Any], state: State, directory: Path) -> None:
        self._client = client
        self.state = state
        self.directory = directory

    async def call(self, method: str, path: str, body: object = None, bearer: str | None = TOKEN) -> Answer:
        headers = {"Authorization": f"Bearer {bearer}"} if bearer else {}
        async with self._client.request(method, f"/client/v4{path}", json=body, headers=headers) as response:
            return Answer(response.status, dict(response.headers), await response.json())

    async def control(self, method: str, path: str, body: object = None) -> None:
        async with self._client.request(method, f"/__sandbox{path}", json=body) as response:
            assert response.status == 200, await response.text()

    async def add(self, content: str = "72.60.210.201", **fields: object) -> Answer:
        record = {"type": "A", "name": HOST, "content": content, "ttl": 1, "proxied": True, **fields}
        return await self.call("POST", RECORDS, record)

    def journal(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.directory / "journal.jsonl").read_text().splitlines()]


@asynccontextmanager
async def double(directory: Path) -> AsyncIterator[Double]:
    state = State(directory / "state.json", [ZONE])
    gate = Gate(PERMISSIONS, Journal(directory / "journal.jsonl"))
    api = Api(state, gate, Resolver(state, EDGE, None))
    async with TestClient(TestServer(api.application())) as client:
        yield Double(client, state, directory)


Scenario = Callable[[Double], Awaitable[None]]


@pytest.fixture
def play(tmp_path: Path) -> Callable[[Scenario], None]:
    """Run a scenario against a fresh double."""

    async def run(scenario: Scenario) -> None:
        async with double(tmp_path) as running:
            await scenario(running)

    return lambda scenario: asyncio.run(run(scenario))


Play = Callable[[Scenario], None]


def test_a_zone_is_found_by_its_name_and_no_other_is(play: Play) -> None:
    async def scenario(cf: Double) -> None:
        found = (await cf.call("GET", f"/zones?name={ZONE}&per_page=1")).result
        assert [zone["id"] for zone in found] == [fixed_id(ZONE)]
        assert (await cf.call("GET", "/zones?name=example.com")).result == []

    play(scenario)


@pytest.mark.parametrize(
    ("token", "path", "status", "code"),
    [
        (None, RECORDS, 400, 9106),
        ("", RECORDS, 400, 9106),
        ("somebody else's", RECORDS, 401, 10000),
        (CERTBOT, SETTINGS, 403, 10000),
    ],
)
def test_a_request_without_a_token_that_permits_it_is_refused(
    play: Play, token: str | None, path: str, status: int, code: int
) -> None:
    async def scenario(cf: Double) -> None:
        answer = await cf.call("GET", path, bearer=token)
        assert (answer.status, answer.code) == (status, code)

    play(scenario)


def test_a_malformed_authorization_header_is_explained_by_its_cause(play: Play) -> None:
    async def scenario(cf: Double) -> None:
        answer = await cf.call("GET", RECORDS, bearer=" ")
        assert (answer.status, answer.code) == (400, 6003)
        assert answer.body["errors"][0]["error_chain"][0]["code"] == 6111

    play(scenario)


def test_a_created_record_is_echoed_in_full_and_can_be_read_again(play: Play) -> None:
    async def scenario(cf: Double) -> None:
        made = (await cf.add(comment="gx-backend-infra mainnet")).result
        assert made["name"] == HOST
        assert (made["proxied"], made["ttl"], made["comment"]) == (True, 1, "gx-backend-infra mainnet")
        assert (await cf.call("GET", f"{RECORDS}/{made['id']}")).result == made

    play(scenario)


def test_a_bare_label_and_the_apex_sign_are_stored_as_full_names(play: Play) -> None:
    async def scenario(cf: Double) -> None:
        assert (await cf.add(name="api")).result["name"] == HOST
        assert (await cf.add(name="@")).result["name"] == ZONE
        assert (await cf.add(name="API.GXcoin.money.", content="72.61.81.3")).result["name"] == HOST

    play(scenario)


def test_proxying_makes_the_ttl_automatic(play: Play) -> None:
    async def scenario(cf: Double) -> None:
        assert (await cf.add(ttl=300)).result["ttl"] == 1
        assert (await cf.add(name="grey", ttl=300, proxied=False)).result["ttl"] == 300

    play(scenario)


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"content": "72.60.210"}, 9005),
        ({"content": "not an address"}, 9005),
        ({"type": "AAAA", "content": "72.60.210.201"}, 9006),
        ({"name": "a b"}, 9000),
        ({"name": ""}, 9000),
        ({"ttl": 30, "proxied": False}, 9021),
        ({"ttl": 86401, "proxied": False}, 9021),
        ({"ttl": True, "proxied": False}, 9021),
        ({"proxied": "yes"}, 9003),
        ({"type": "TXT", "content": "x", "proxied": True}, 9004),
        ({"type": "NOPE"}, 9103),
        ({"comment": "c" * 101}, 9300),
        ({"tags": ["owner:gx"]}, 9301),
    ],
)
def test_an_invalid_record_is_refused_and_not_stored(play: Play, fields: dict[str, object], code: int) -> None:
    async def scenario(cf: Double) -> None:
        answer = await cf.call(
            "POST",
            RECORDS,
            {"type": "A", "name": HOST, "content": "72.60.210.201", "ttl": 1, "proxied": True, **fields},
        )
        assert (answer.status, answer.code) == (400, code)
        assert (await cf.call("GET", RECORDS)).result == []

    play(scenario)


def test_an_identical_record_is_refused_even_when_only_the_proxying_differs(play: Play) -> None:
    async def scenario(cf: Double) -> None:
        await cf.add()
        again = await cf.add(proxied=False, comment="another")
        assert (again.status, again.code) == (400, 81058)
        assert again.body["errors"][0]["message"] == "An identical record already exists."
        other = (await cf.add("72.61.81.3")).result
        assert (await cf.call("PATCH", f"{RECORDS}/{other['id']}", {"content": "72.60.210.201"})).code == 81058

    play(scenario)


def test_an_alias_and_an_address_cannot_share_a_name(play: Play) -> None:
    async def scenario(cf: Double) -> None:
        await cf.add()
        assert (await cf.add(type="CNAME", content="elsewhere.example")).code == 81053
        await cf.add(name="alias", type="CNAME", content="elsewhere.example")
        assert (await cf.add(name="alias")).code == 81054

    play(scenario)


def test_put_resets_what_it_leaves_out_and_patch_keeps_it(play: Play) -> None:
    async def scenario(cf: Double) -> None:
        made = (await cf.add(comment="kept?")).result
        path = f"{RECORDS}/{made['id']}"
        patched = (await cf.call("PATCH", path, {"content": "72.61.81.3"})).result
        assert (patched["content"], patched["comment"], patched["proxied"]) == ("72.61.81.3", "kept?", True)
        whole = {"type": "A", "name": HOST, "content": "72.61.81.3", "ttl": 1}
        put = (await cf.call("PUT", path, whole)).result
        assert (put["comment"], put["proxied"], put["id"]) == (None, False, made["id"])
        assert put["created_on"] == made["created_on"]

    play(scenario)


def test_a_deleted_record_is_gone_for_every_method(play: Play) -> None:
    async def scenario(cf: Double) -> None:
        made = (await cf.add()).result
        path = f"{RECORDS}/{made['id']}"
        assert (await cf.call("DELETE", path)).result == {"id": made["id"]}
        for method in ("GET", "PUT", "PATCH", "DELETE"):
            answer = await cf.call(method, path, {})
            assert (answer.status, answer.code) == (404, 81044)

    play(scenario)


def test_records_are_listed_by_filter_and_page(play: Play) -> None:
    async def scenario(cf: Double) -> None:
        for content in ("72.60.210.201", "217.196.51.190", "72.61.81.3"):
            await cf.add(content, comment="gx mainnet" if content.startswith("72") else None)
        await cf.add(name="_acme-challenge.api", type="TXT", content="proof", proxied=False)

        async def contents(query: str) -> list[str]:
            return sorted(r["content"] for r in (await cf.call("GET", f"{RECORDS}?{query}")).result)

        assert await contents(f"type=A&name={HOST}&content=72.61.81.3") == ["72.61.81.3"]
        assert await contents("type=TXT&name.exact=_acme-challenge.api.gxcoin.money") == ["proof"]
        assert await contents("comment.startswith=gx") == ["72.60.210.201", "72.61.81.3"]
        assert await contents("comment.absent=&type=A") == ["217.196.51.190"]
        assert await contents("match=any&content=proof&content.contains=196") == ["217.196.51.190", "proof"]
        assert await contents("proxied=false") == ["proof"]
        page = await cf.call("GET", f"{RECORDS}?per_page=3&page=2")
        assert len(page.result) == 1
        expected = {"page": 2, "per_page": 3, "count": 1, "total_count": 4, "total_pages": 2}
        assert page.body["result_info"] == expected

    play(scenario)


def test_a_setting_is_changed_and_an_empty_patch_is_refused(play: Play) -> None:
    async def scenario(cf: Double) -> None:
        assert (await cf.call("GET", f"{SETTINGS}/ssl")).result["value"] == "full"
        assert (await cf.call("PATCH", f"{SETTINGS}/ssl", {"value": "strict"})).result["value"] == "strict"
        assert (await cf.call("GET", f"{SETTINGS}/ssl")).result["value"] == "strict"
        for body in ({}, {"value": "stricter"}):
            answer = await cf.call("PATCH", f"{SETTINGS}/ssl", body)
            assert (answer.status, answer.code) == (400, 1007)
        assert (await cf.call("GET", f"{SETTINGS}/no_such_setting")).code == 1006

    play(scenario)


def test_a_pool_in_use_cannot_be_deleted_until_its_load_balancer_is(play: Play) -> None:
    async def scenario(cf: Double) -> None:
        monitor = (await cf.call("POST", MONITORS, {"type": "https", "path": "/health"})).result
        origins_given = [{"name": "phx", "address": "217.196.51.190"}, {"name": "kul", "address": "72.60.210.201"}]
        pool = (
            await cf.call("POST", POOLS, {"name": "all", "origins": origins_given, "monitor": monitor["id"]})
        ).result
        assert [origin["name"] for origin in pool["origins"]] == ["kul", "phx"]
        body = {"name": HOST, "default_pools": [pool["id"]], "fallback_pool": pool["id"], "proxied": True}
        balancer = (await cf.call("POST", BALANCERS, body)).result
        assert sorted(origins(cf.state, HOST)) == ["217.196.51.190", "72.60.210.201"]
        for path in (f"{POOLS}/{pool['id']}", f"{MONITORS}/{monitor['id']}"):
            refused = await cf.call("DELETE", path)
            assert (refused.status, refused.code) == (412, 1005)
        for path in (f"{BALANCERS}/{balancer['id']}", f"{POOLS}/{pool['id']}", f"{MONITORS}/{monitor['id']}"):
            assert (await cf.call("DELETE", path)).status == 200

    play(scenario)


def test_pools_are_asked_in_the_order_of_the_visitors_region_and_passed_over_while_disabled(play: Play) -> None:
    async def scenario(cf: Double) -> None:
        pools = []
        for name, address in (("kul", "72.60.210.201"), ("phx", "217.196.51.190"), ("fra", "72.61.81.3")):
            one = {"name": name, "origins": [{"name": name, "address": address}]}
            pools.append((await cf.call("POST", POOLS, one)).result["id"])
        kul, phx, fra = pools
        body: dict[str, Any] = {
            "name": HOST,
            "default_pools": pools,
            "fallback_pool": kul,
            "proxied": True,
            "steering_policy": "geo",
        }
        body |= {"region_pools": {"WEU": [fra, phx, kul]}, "adaptive_routing": {"failover_across_pools": True}}
        balancer = (await cf.call("POST", BALANCERS, body)).result["id"]
        europe = [["72.61.81.3"], ["217.196.51.190"], ["72.60.210.201"]]
        assert origin_pools(cf.state, HOST, "WEU")[:3] == europe
        assert origins(cf.state, HOST, "OC") == origins(cf.state, HOST) == ["72.60.210.201"]
        await cf.call("PATCH", f"{POOLS}/{fra}", {"enabled": False})
        assert origin_pools(cf.state, HOST, "WEU")[:2] == europe[1:]
        await cf.call("PATCH", f"{BALANCERS}/{balancer}", {"adaptive_routing": {"failover_across_pools": False}})
        assert origin_pools(cf.state, HOST, "WEU") == europe[1:2]

    play(scenario)


def test_a_load_balancer_over_an_unknown_pool_is_refused(play: Play) -> None:
    async def scenario(cf: Double) -> None:
        body = {"name": HOST, "default_pools": ["none"], "fallback_pool": "none"}
        assert (await cf.call("POST", BALANCERS, body)).code == 1002

    play(scenario)


def test_too_many_requests_are_told_how_long_to_wait(play: Play) -> None:
    async def scenario(cf: Double) -> None:
        await cf.control("PUT", "/rate-limit", {"limit": 3, "block_seconds": 7})
        answers = [await cf.call("GET", RECORDS) for _ in range(4)]
        assert [answer.status for answer in answers] == [200, 200, 200, 429]
        assert answers[-1].headers["Retry-After"] == "7"
        assert (await cf.call("GET", RECORDS, bearer=CERTBOT)).status == 200
        await cf.control("PUT", "/rate-limit", {"enabled": False})
        assert (await cf.call("GET", RECORDS)).status == 200

    play(scenario)


def test_the_limit_out_of_the_box_is_the_real_one() -> None:
    rate = RateLimit()
    waits = [rate.retry_after(TOKEN) for _ in range(1201)]
    assert waits == [None] * 1200 + [300]


def test_an_injected_failure_hits_what_it_names_as_often_as_told(play: Play) -> None:
    async def scenario(cf: Double) -> None:
        await cf.control("POST", "/faults", {"method": "POST", "path": "dns_records", "status": 500, "count": 2})
        assert [(await cf.add()).status for _ in range(3)] == [500, 500, 200]
        assert (await cf.call("GET", RECORDS)).status == 200
        await cf.control("POST", "/faults", {"status": 503})
        assert (await cf.call("GET", "/ips")).status == 503
        await cf.control("DELETE", "/faults")
        assert (await cf.call("GET", "/ips")).status == 200

    play(scenario)


@pytest.mark.parametrize(("kind", "carried_out"), [("drop", 0), ("lose_reply", 1)])
def test_a_lost_request_is_not_carried_out_and_one_whose_reply_is_lost_is(
    play: Play, kind: str, carried_out: int
) -> None:
    async def scenario(cf: Double) -> None:
        await cf.control("POST", "/faults", {"method": "POST", kind: True, "count": 1})
        with pytest.raises(ClientError):
            await cf.add()
        assert len((await cf.call("GET", RECORDS)).result) == carried_out

    play(scenario)


def test_the_journal_holds_every_request_and_no_token(play: Play) -> None:
    async def scenario(cf: Double) -> None:
        await cf.add()
        await cf.add()
        await cf.call("GET", f"{RECORDS}?name={HOST}", bearer="wrong")
        lines = [(line["method"], line["path"], line["status"]) for line in cf.journal()]
        assert lines == [("POST", RECORDS, 200), ("POST", RECORDS, 400), ("GET", RECORDS, 401)]
        assert cf.journal()[0]["body"]["content"] == "72.60.210.201"
        assert TOKEN not in (cf.directory / "journal.jsonl").read_text()

    play(scenario)


def test_a_restarted_double_knows_what_it_knew(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with double(tmp_path) as first:
            made = (await first.add()).result
            await first.call("PATCH", f"{SETTINGS}/ssl", {"value": "strict"})
        async with double(tmp_path) as second:
            assert (await second.call("GET", RECORDS)).result == [made]
            assert (await second.call("GET", f"{SETTINGS}/ssl")).result["value"] == "strict"

    asyncio.run(scenario())


def test_an_unknown_route_is_answered_in_the_apis_own_form(play: Play) -> None:
    async def scenario(cf: Double) -> None:
        for path in ("/nothing", f"/zones/{'0' * 31}/dns_records"):
            answer = await cf.call("GET", path)
            assert (answer.status, answer.code) == (404, 7000)
        assert (await cf.call("GET", f"/zones/{'0' * 32}/dns_records")).code == 7003

    play(scenario)


def test_the_public_dns_shows_the_edge_for_proxied_names_and_the_record_for_others(play: Play) -> None:
    async def scenario(cf: Double) -> None:
        await cf.add()
        await cf.add(name="grey", content="72.61.81.3", proxied=False)
        await cf.add(name="_acme-challenge.api", type="TXT", content='"proof"', proxied=False)
        assert public_records(cf.state, HOST, EDGE).a == (EDGE,)
        assert public_records(cf.state, f"grey.{ZONE}", EDGE).a == ("72.61.81.3",)
        assert public_records(cf.state, f"_acme-challenge.{HOST}", EDGE).txt == ("proof",)
        assert public_records(cf.state, f"none.{ZONE}", EDGE).a == ()

    play(scenario)


def test_a_name_is_proxied_until_its_last_proxied_record_is_gone(play: Play) -> None:
    async def scenario(cf: Double) -> None:
        orange = (await cf.add()).result
        await cf.add("72.61.81.3", proxied=False)
        assert public_records(cf.state, HOST, EDGE).a == (EDGE,)
        assert sorted(origins(cf.state, HOST)) == ["72.60.210.201", "72.61.81.3"]
        await cf.call("DELETE", f"{RECORDS}/{orange['id']}")
        assert public_records(cf.state, HOST, EDGE).a == ("72.61.81.3",)
        assert origins(cf.state, HOST) == []

    play(scenario)
