"""The load balancing routes: load balancers of a zone, pools and monitors of the account."""

from collections.abc import Mapping
from typing import Any

from aiohttp import web

from sandbox.cloudflare import load_balancing
from sandbox.cloudflare.errors import ApiError
from sandbox.cloudflare.gate import API_PREFIX
from sandbox.cloudflare.messages import IDENTIFIER, RECORDS_PER_PAGE, envelope, json_object, page
from sandbox.cloudflare.resolver import Resolver
from sandbox.cloudflare.state import ACCOUNT_ID, JsonObject, State


def add_routes(router: web.UrlDispatcher, state: State, resolver: Resolver) -> None:
    """Add the routes to a web application."""
    groups = {
        f"{API_PREFIX}/zones/{{zone:{IDENTIFIER}}}/load_balancers": _Balancers(state, resolver),
        f"{API_PREFIX}/accounts/{ACCOUNT_ID}/load_balancers/pools": _Pools(state, resolver),
        f"{API_PREFIX}/accounts/{ACCOUNT_ID}/load_balancers/monitors": _Monitors(state, resolver),
    }
    for path, group in groups.items():
        router.add_get(path, group.list)
        router.add_post(path, group.create)
        router.add_get(f"{path}/{{id}}", group.get)
        router.add_put(f"{path}/{{id}}", group.replace)
        router.add_patch(f"{path}/{{id}}", group.edit)
        router.add_delete(f"{path}/{{id}}", group.delete)


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
        return page(request, [*self._kept(request).values()], RECORDS_PER_PAGE)

    async def create(self, request: web.Request) -> web.Response:
        return await self._store(request, self._made(request, await json_object(request), None))

    async def get(self, request: web.Request) -> web.Response:
        return envelope(self._found(request))

    async def replace(self, request: web.Request) -> web.Response:
        old = self._found(request)
        return await self._store(request, self._made(request, await json_object(request), old))

    async def edit(self, request: web.Request) -> web.Response:
        old = self._found(request)
        return await self._store(request, self._made(request, {**old, **await json_object(request)}, old))

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
