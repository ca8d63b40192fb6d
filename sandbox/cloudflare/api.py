"""The API's routes: zones, DNS records, zone settings and address ranges."""

from aiohttp import web

from sandbox.cloudflare import load_balancing_api, records, zone_settings
from sandbox.cloudflare.control import Control
from sandbox.cloudflare.gate import API_PREFIX, Gate
from sandbox.cloudflare.messages import IDENTIFIER, RECORDS_PER_PAGE, envelope, json_object, page
from sandbox.cloudflare.resolver import Resolver
from sandbox.cloudflare.state import ACCOUNT_ID, JsonObject, State, Zone

_ZONES_PER_PAGE = 20
_EDGE_RANGES_V4 = ("104.16.0.0/13", "173.245.48.0/20")
_EDGE_RANGES_V6 = ("2400:cb00::/32",)


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
        load_balancing_api.add_routes(app.router, self._state, self._resolver)
        Control(self._state, self._gate, self._resolver).add_routes(app.router)
        app.router.add_get(f"{API_PREFIX}/ips", self._ips)
        app.router.add_get(f"{API_PREFIX}/user/tokens/verify", self._verify_token)
        return app

    def _add_zone_routes(self, router: web.UrlDispatcher) -> None:
        zone = f"{API_PREFIX}/zones/{{zone:{IDENTIFIER}}}"
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
        return page(request, zones, _ZONES_PER_PAGE)

    async def _zone(self, request: web.Request) -> web.Response:
        return envelope(_zone_json(self._zone_of(request)))

    async def _list_records(self, request: web.Request) -> web.Response:
        found = [r for r in self._zone_of(request).records.values() if records.matches(r, request.query)]
        key = request.query.get("order", "name")
        backwards = request.query.get("direction") == "desc"
        found.sort(key=lambda r: (str(r.get(key)), r["type"], r["content"]), reverse=backwards)
        return page(request, found, RECORDS_PER_PAGE)

    async def _create_record(self, request: web.Request) -> web.Response:
        zone = self._zone_of(request)
        record = records.create(zone.name, await json_object(request), zone.records.values())
        zone.records[record["id"]] = record
        await self._changed(record["name"])
        return envelope(record)

    async def _get_record(self, request: web.Request) -> web.Response:
        return envelope(self._record(request))

    async def _replace_record(self, request: web.Request) -> web.Response:
        old, zone, body = self._record(request), self._zone_of(request), await json_object(request)
        return await self._update(zone, old, records.replace(zone.name, old, body, zone.records.values()))

    async def _edit_record(self, request: web.Request) -> web.Response:
        old, zone, body = self._record(request), self._zone_of(request), await json_object(request)
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
        zone.settings[name] = zone_settings.checked(name, await json_object(request))
        self._state.save()
        return envelope(_setting_json(name, zone.settings[name]))


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
