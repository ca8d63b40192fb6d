"""The double's own switches, outside the API: failures to inject, the rate limit, what it holds."""

import json
from dataclasses import asdict, fields

from aiohttp import web

from sandbox.cloudflare.errors import invalid
from sandbox.cloudflare.gate import CONTROL_PREFIX, Fault, Gate, RateLimit
from sandbox.cloudflare.messages import json_object
from sandbox.cloudflare.origins import origins
from sandbox.cloudflare.resolver import Resolver
from sandbox.cloudflare.state import JsonObject, State


class Control:
    """Handlers below `/__sandbox`; they need no token and leave no line in the journal."""

    def __init__(self, state: State, gate: Gate, resolver: Resolver) -> None:
        self._state = state
        self._gate = gate
        self._resolver = resolver

    def add_routes(self, router: web.UrlDispatcher) -> None:
        """Add the switches to a web application."""
        for method, path, handler in (
            ("GET", "/faults", self._faults),
            ("POST", "/faults", self._add_fault),
            ("DELETE", "/faults", self._clear_faults),
            ("PUT", "/rate-limit", self._set_rate_limit),
            ("PUT", "/visitors", self._set_visitors),
            ("POST", "/dns/sync", self._synchronise),
            ("GET", "/records", self._records),
            ("GET", "/healthz", self._healthy),
        ):
            router.add_route(method, CONTROL_PREFIX + path, handler)

    async def _faults(self, _request: web.Request) -> web.Response:
        return web.json_response([asdict(fault) for fault in self._gate.faults])

    async def _add_fault(self, request: web.Request) -> web.Response:
        try:
            fault = Fault(**await json_object(request))
        except TypeError as error:
            raise invalid(1, f"a fault has {', '.join(each.name for each in fields(Fault))}: {error}") from error
        self._gate.faults.append(fault)
        return web.json_response(asdict(fault))

    async def _clear_faults(self, _request: web.Request) -> web.Response:
        self._gate.faults.clear()
        return web.json_response([])

    async def _set_rate_limit(self, request: web.Request) -> web.Response:
        try:
            self._gate.rate = RateLimit(**await json_object(request))
        except TypeError as error:
            raise invalid(1, f"a rate limit has enabled, limit, window_seconds, block_seconds: {error}") from error
        return web.json_response({"enabled": self._gate.rate.enabled, "limit": self._gate.rate.limit})

    async def _set_visitors(self, request: web.Request) -> web.Response:
        """Cloudflare's region of visitors, by their address; of the others none is known."""
        regions = await json_object(request)
        self._state.regions = {str(address): str(region) for address, region in regions.items()}
        return web.json_response(self._state.regions)

    async def _synchronise(self, _request: web.Request) -> web.Response:
        return web.json_response({"published": await self._resolver.publish(*self._state.hosts())})

    async def _healthy(self, _request: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    async def _records(self, _request: web.Request) -> web.Response:
        """Every host name with its records and where its visitors are sent."""
        hosts = {host: self._described(host) for host in sorted(set(self._state.hosts()))}
        return web.json_response(hosts, dumps=lambda value: json.dumps(value, indent=2) + "\n")

    def _described(self, host: str) -> JsonObject:
        zone = self._state.zone_of(host)
        records = zone.named(host) if zone else []
        shown = ("type", "content", "proxied", "comment")
        return {"records": [{key: r[key] for key in shown} for r in records], "origins": origins(self._state, host)}
