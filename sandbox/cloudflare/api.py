"""The API's routes: zones, DNS records, zone settings, load balancing, address ranges; and the double's switches."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from aiohttp import web

from sandbox.cloudflare import load_balancing, records, zone_settings
from sandbox.cloudflare.errors import ApiError, invalid
from sandbox.cloudflare.gate import API_PREFIX, CONTROL_PREFIX, Fault, Gate, envelope
from sandbox.cloudflare.resolver import Resolver
from sandbox.cloudflare.state import ACCOUNT_ID, JsonObject, State, Zone

_RECORDS_PER_PAGE = 100
_ZONES_PER_PAGE = 20
_EDGE_RANGES_V4 = ("104.16.0.0/13", "173.245.48.0/20")
_EDGE_RANGES_V6 = ("2400:cb00::/32",)
_IDENTIFIER = "[0-9a-f]{32}"


class Api:
    """Handlers over one account. A change answers once the public DNS follows it."""

    def __init__(self, state: State, gate: Gate, resolver: Resolver) -> None:
        self._state = state
        self._gate = gate
        self._resolver = resolver

    def application(self) -> web.Application:
        """The API as a web application."""
        app = web.Application(middlewares=[self._gate.middleware])
        self._add_zone_routes(app.router)
        self._add_load_balancing_routes(app.router)
        app.router.add_get(f"{API_PREFIX}/ips", self._ips)
        app.router.add_get(f"{API_PREFIX}/user/tokens/verify", self._verify_token)
        for method, handler in (("GET", self._faults), ("POST", self._add_fault), ("DELETE", self._clear_faults)):
            app.router.add_route(method, f"{CONTROL_PREFIX}/faults", handler)
        app.router.add_put(f"{CONTROL_PREFIX}/rate-limit", self._set_rate_limit)
        app.router.add_post(f"{CONTROL_PREFIX}/dns/sync", self._synchronise)
        app.router.add_get(f"{CONTROL_PREFIX}/healthz", self._healthy)
        return app

    def _add_zone_routes(self, router: web.UrlDispatcher) -> None:
        zone = f"{API_PREFIX}/zones/{{zone:{_IDENTIFIER}}}"
        router.add_get(f"{API_PREFIX}/zones", self._zones)
        router.add_get(zone, self._zone)
        router.add_get(f"{zone}/dns_records", self._list_records)
        router.add_post(f"{zone}/dns_records", self._create_record)
        router.add_get(f"{zone}/dns_records/{{id}}", self._get_record)
        router.add_put(f"{zone}/dns_records/{{id}}", self._replace_record)
        router.add_patch(f"{zone}/dns_records/{{id}}", self._edit_record)
        router.add_delete(f"{zone}/dns_records/{{id}}", self._delete_record)
        router.add_get(f"{zone}/settings", self._settings)
        router.add_get(f"{zone}/settings/{{name}}", self._setting)
        router.add_patch(f"{zone}/settings/{{name}}", self._set_setting)

    def _add_load_balancing_routes(self, router: web.UrlDispatcher) -> None:
        groups = {
            f"{API_PREFIX}/zones/{{zone:{_IDENTIFIER}}}/load_balancers": _Balancers(self._state, self._resolver),
            f"{API_PREFIX}/accounts/{ACCOUNT_ID}/load_balancers/pools": _Pools(self._state, self._resolver),
            f"{API_PREFIX}/accounts/{ACCOUNT_ID}/load_balancers/monitors": _Monitors(self._state, self._resolver),
        }
        for path, group in groups.items():
            router.add_get(path, group.list)
            router.add_post(path, group.create)
            router.add_get(f"{path}/{{id}}", group.get)
            router.add_put(f"{path}/{{id}}", group.replace)
            router.add_patch(f"{path}/{{id}}", group.edit)
            router.add_delete(f"{path}/{{id}}", group.delete)

    async def _ips(self, _request: web.Request) -> web.Response:
        return envelope({"ipv4_cidrs": _EDGE_RANGES_V4, "ipv6_cidrs": _EDGE_RANGES_V6, "etag": "sandbox"})

    async def _verify_token(self, _request: web.Request) -> web.Response:
        return envelope({"id": ACCOUNT_ID, "status": "active"})

    # --- zones and their records

    def _zone_of(self, request: web.Request) -> Zone:
        return self._state.zone(request.match_info["zone"])

    async def _zones(self, request: web.Request) -> web.Response:
        name = request.query.get("name")
        zones = [_zone_json(z) for z in self._state.zones.values() if name in (None, z.name)]
        return _page(request, zones, _ZONES_PER_PAGE)

    async def _zone(self, request: web.Request) -> web.Response:
        return envelope(_zone_json(self._zone_of(request)))

    async def _list_records(self, request: web.Request) -> web.Response:
        found = [r for r in self._zone_of(request).records.values() if records.matches(r, request.query)]
        key = request.query.get("order", "name")
        backwards = request.query.get("direction") == "desc"
        found.sort(key=lambda r: (str(r.get(key)), r["type"], r["content"]), reverse=backwards)
        return _page(request, found, _RECORDS_PER_PAGE)

    async def _create_record(self, request: web.Request) -> web.Response:
        zone = self._zone_of(request)
        record = records.create(zone.name, await _object(request), zone.records.values())
        zone.records[record["id"]] = record
        await self._changed(record["name"])
        return envelope(record)

    async def _get_record(self, request: web.Request) -> web.Response:
        return envelope(self._record(request))

    async def _replace_record(self, request: web.Request) -> web.Response:
        old, zone, body = self._record(request), self._zone_of(request), await _object(request)
        return await self._update(zone, old, records.replace(zone.name, old, body, zone.records.values()))

    async def _edit_record(self, request: web.Request) -> web.Response:
        old, zone, body = self._record(request), self._zone_of(request), await _object(request)
        return await self._update(zone, old, records.edit(zone.name, old, body, zone.records.values()))

    async def _update(self, zone: Zone, old: JsonObject, new: JsonObject) -> web.Response:
        zone.records[old["id"]] = new
        await self._changed(old["name"], new["name"])
        return envelope(new)

    async def _delete_record(self, request: web.Request) -> web.Response:
        record = self._record(request)
        del self._zone_of(request).records[record["id"]]
        await self._changed(record["name"])
        return envelope({"id": record["id"]})

    def _record(self, request: web.Request) -> JsonObject:
        record = self._zone_of(request).records.get(request.match_info["id"])
        if record is None:
            raise records.not_found()
        return record

    async def _changed(self, *hosts: str) -> None:
        self._state.save()
        await self._resolver.publish(*hosts)

    # --- zone settings

    async def _settings(self, request: web.Request) -> web.Response:
        return envelope([_setting_json(name, value) for name, value in self._zone_of(request).settings.items()])

    async def _setting(self, request: web.Request) -> web.Response:
        name = zone_settings.known(request.match_info["name"])
        return envelope(_setting_json(name, self._zone_of(request).settings[name]))

    async def _set_setting(self, request: web.Request) -> web.Response:
        name, zone = request.match_info["name"], self._zone_of(request)
        zone.settings[name] = zone_settings.checked(name, await _object(request))
        self._state.save()
        return envelope(_setting_json(name, zone.settings[name]))

    # --- the double's own switches

    async def _faults(self, _request: web.Request) -> web.Response:
        return web.json_response([asdict(fault) for fault in self._gate.faults])

    async def _add_fault(self, request: web.Request) -> web.Response:
        try:
            fault = Fault(**await _object(request))
        except TypeError as error:
            raise invalid(1, f"a fault has method, path, count, status, delay_ms and drop: {error}") from error
        self._gate.faults.append(fault)
        return web.json_response(asdict(fault))

    async def _clear_faults(self, _request: web.Request) -> web.Response:
        self._gate.faults.clear()
        return web.json_response([])

    async def _set_rate_limit(self, request: web.Request) -> web.Response:
        try:
            self._gate.rate = type(self._gate.rate)(**await _object(request))
        except TypeError as error:
            raise invalid(1, f"a rate limit has enabled, limit, window_seconds, block_seconds: {error}") from error
        return web.json_response({"enabled": self._gate.rate.enabled, "limit": self._gate.rate.limit})

    async def _synchronise(self, _request: web.Request) -> web.Response:
        return web.json_response({"published": await self._resolver.publish(*self._state.hosts())})

    async def _healthy(self, _request: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})


class _Collection:
    """Objects of one kind with the API's six methods; subclasses know where they are kept and what is accepted."""

    what = "object"

    def __init__(self, state: State, resolver: Resolver) -> None:
        self._state = state
        self._resolver = resolver

    def _kept(self, request: web.Request) -> dict[str, JsonObject]:
        raise NotImplementedError

    def _made(self, request: web.Request, body: Mapping[str, Any], old: JsonObject | None) -> JsonObject:
        raise NotImplementedError

    def _ensure_unused(self, _identifier: str) -> None:
        return

    async def list(self, request: web.Request) -> web.Response:
        return _page(request, [*self._kept(request).values()], _RECORDS_PER_PAGE)

    async def create(self, request: web.Request) -> web.Response:
        return await self._store(request, self._made(request, await _object(request), None))

    async def get(self, request: web.Request) -> web.Response:
        return envelope(self._found(request))

    async def replace(self, request: web.Request) -> web.Response:
        old = self._found(request)
        return await self._store(request, self._made(request, await _object(request), old))

    async def edit(self, request: web.Request) -> web.Response:
        old = self._found(request)
        return await self._store(request, self._made(request, {**old, **await _object(request)}, old))

    async def delete(self, request: web.Request) -> web.Response:
        identifier = self._found(request)["id"]
        self._ensure_unused(identifier)
        del self._kept(request)[identifier]
        await self._saved()
        return envelope({"id": identifier})

    def _found(self, request: web.Request) -> JsonObject:
        identifier = request.match_info["id"]
        if identifier not in self._kept(request):
            raise ApiError(404, 1001, f"{self.what} not found")
        return self._kept(request)[identifier]

    async def _store(self, request: web.Request, made: JsonObject) -> web.Response:
        self._kept(request)[made["id"]] = made
        await self._saved()
        return envelope(made)

    async def _saved(self) -> None:
        self._state.save()
        await self._resolver.publish(*self._state.hosts())


class _Balancers(_Collection):
    what = "load balancer"

    def _kept(self, request: web.Request) -> dict[str, JsonObject]:
        return self._state.zone(request.match_info["zone"]).load_balancers

    def _made(self, request: web.Request, body: Mapping[str, Any], old: JsonObject | None) -> JsonObject:
        return load_balancing.balancer(self._state, self._state.zone(request.match_info["zone"]), body, old)


class _Pools(_Collection):
    what = "pool"

    def _kept(self, _request: web.Request) -> dict[str, JsonObject]:
        return self._state.pools

    def _made(self, _request: web.Request, body: Mapping[str, Any], old: JsonObject | None) -> JsonObject:
        return load_balancing.pool(self._state, body, old)

    def _ensure_unused(self, identifier: str) -> None:
        load_balancing.ensure_pool_unused(self._state, identifier)


class _Monitors(_Collection):
    what = "monitor"

    def _kept(self, _request: web.Request) -> dict[str, JsonObject]:
        return self._state.monitors

    def _made(self, _request: web.Request, body: Mapping[str, Any], old: JsonObject | None) -> JsonObject:
        return load_balancing.monitor(body, old)

    def _ensure_unused(self, identifier: str) -> None:
        load_balancing.ensure_monitor_unused(self._state, identifier)


async def _object(request: web.Request) -> JsonObject:
    try:
        body = json.loads(await request.text() or "{}")
    except json.JSONDecodeError as error:
        raise invalid(9207, "Request body is invalid.") from error
    if not isinstance(body, dict):
        raise invalid(9207, "Request body is invalid.")
    return body


def _page(request: web.Request, entries: list[JsonObject], default_size: int) -> web.Response:
    try:
        size, number = int(request.query.get("per_page", default_size)), int(request.query.get("page", 1))
    except ValueError as error:
        raise invalid(1004, "page and per_page must be numbers") from error
    if size < 1 or number < 1:
        raise invalid(1004, "page and per_page must be at least 1")
    shown = entries[(number - 1) * size : number * size]
    info = {
        "page": number,
        "per_page": size,
        "count": len(shown),
        "total_count": len(entries),
        "total_pages": -(-len(entries) // size),
    }
    return envelope(shown, result_info=info)


def _zone_json(zone: Zone) -> JsonObject:
    return {
        "id": zone.id,
        "name": zone.name,
        "status": "active",
        "paused": False,
        "type": "full",
        "development_mode": 0,
        "name_servers": ["ada.ns.cloudflare.com", "bob.ns.cloudflare.com"],
        "account": {"id": ACCOUNT_ID, "name": "sandbox"},
        "plan": {"id": "free", "name": "Free Website", "legacy_id": "free"},
        "permissions": ["#dns_records:edit", "#dns_records:read", "#zone:read", "#zone_settings:edit"],
    }


def _setting_json(name: str, value: object) -> JsonObject:
    return {"id": name, "value": value, "modified_on": None, "editable": True}
