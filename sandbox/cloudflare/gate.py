"""What every API request passes: journal, faults, rate limit, token, and errors in the API's own form."""

import asyncio
import hmac
import json
import re
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

from aiohttp import web

from sandbox.cloudflare.errors import ApiError, Problem

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

API_PREFIX = "/client/v4"
CONTROL_PREFIX = "/__sandbox"
RATE_LIMIT = 1200
RATE_WINDOW_SECONDS = 300
"""https://developers.cloudflare.com/fundamentals/api/reference/limits/"""
_BLOCK_SECONDS = 300
_PERMISSION = re.compile(
    r"^/(?:zones/[^/]+/(?P<zone>dns_records|settings|load_balancers)|accounts/[^/]+/(?P<account>load_balancers))"
)


class Journal:
    """Append-only JSON lines: what was asked, with which outcome. Never a token."""

    def __init__(self, path: Path) -> None:
        self._file: TextIO = path.open("a", buffering=1)

    def write(self, **entry: object) -> None:
        """Add one line, stamped with the time in seconds since the epoch."""
        self._file.write(json.dumps({"ts": round(time.time(), 6), **entry}) + "\n")


@dataclass
class Fault:
    """A failure to inject into requests that match: a status, a delay, or a connection closed without an answer.

    ``drop`` loses the request, which nobody carries out; ``lose_reply`` has it carried out, and the answer is lost.
    """

    method: str = "*"
    path: str = ""
    count: int | None = None
    status: int | None = None
    retry_after: int | None = None
    delay_ms: int = 0
    drop: bool = False
    lose_reply: bool = False

    def applies(self, request: web.Request) -> bool:
        """Whether the request is to fail; a counted fault is used up by it."""
        matching = self.method in ("*", request.method) and re.search(self.path, request.path) is not None
        if not matching or self.count == 0:
            return False
        if self.count is not None:
            self.count -= 1
        return True


@dataclass
class RateLimit:
    """The API's limit of requests per token, a sliding window; over it the token is blocked for five minutes."""

    enabled: bool = True
    limit: int = RATE_LIMIT
    window_seconds: float = RATE_WINDOW_SECONDS
    block_seconds: float = _BLOCK_SECONDS
    _requests: dict[str, deque[float]] = field(default_factory=dict)
    _blocked: dict[str, float] = field(default_factory=dict)

    def retry_after(self, token: str) -> int | None:
        """Seconds to wait when the token has used its share; None when the request may pass."""
        if not self.enabled:
            return None
        now = time.monotonic()
        if self._blocked.get(token, 0) > now:
            return max(1, round(self._blocked[token] - now))
        times = self._requests.setdefault(token, deque())
        while times and times[0] <= now - self.window_seconds:
            times.popleft()
        if len(times) >= self.limit:
            self._blocked[token] = now + self.block_seconds
            return max(1, round(self.block_seconds))
        times.append(now)
        return None


class Gate:
    """Middleware of the API. `tokens` maps each token to the permissions it has, such as `dns_records`."""

    def __init__(self, tokens: Mapping[str, frozenset[str]], journal: Journal) -> None:
        self._tokens = tokens
        self._journal = journal
        self.faults: list[Fault] = []
        self.rate = RateLimit()

    @web.middleware
    async def middleware(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Answer, fail or refuse one request, and write it down."""
        if request.path.startswith(CONTROL_PREFIX):
            return await _explained(request, handler)
        started = time.monotonic()
        body = await _body(request)
        response: web.StreamResponse | None = None
        try:
            response = await self._answer(request, handler)
            return response
        finally:
            self._journal.write(
                method=request.method,
                path=request.path.removeprefix(API_PREFIX),
                query=dict(request.query),
                body=body,
                status=response.status if response is not None else None,
                ms=round((time.monotonic() - started) * 1000, 1),
            )

    async def _answer(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        fault = next((f for f in self.faults if f.applies(request)), None)
        if fault is None:
            return await self._regular(request, handler)
        await asyncio.sleep(fault.delay_ms / 1000)
        if fault.lose_reply:
            answer = await self._regular(request, handler)
            _hang_up(request)
            return answer
        if fault.drop:
            _hang_up(request)
        if fault.drop or fault.status is not None:
            status = fault.status or 500
            refusal = _refusal(status, Problem(status, "Injected by the sandbox"))
            if fault.retry_after is not None:
                refusal.headers["Retry-After"] = str(fault.retry_after)
            return refusal
        return await self._regular(request, handler)

    async def _regular(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            token = self._authenticate(request)
        except ApiError as error:
            return _refusal(error.status, error.problem)
        wait = self.rate.retry_after(token)
        if wait is not None:
            refusal = _refusal(429, Problem(971, "Please wait and consider throttling your request speed"))
            refusal.headers["Retry-After"] = str(wait)
            return refusal
        return await _explained(request, handler)

    def _authenticate(self, request: web.Request) -> str:
        header = request.headers.get("Authorization")
        if header is None:
            raise ApiError(400, 9106, "Missing X-Auth-Key, X-Auth-Email or Authorization headers")
        scheme, _, given = header.partition(" ")
        if scheme.lower() != "bearer" or not given.strip():
            cause = Problem(6111, "Invalid format for Authorization header")
            raise ApiError(400, 6003, "Invalid request headers", cause)
        for token, permissions in self._tokens.items():
            if hmac.compare_digest(token.encode(), given.strip().encode()):
                wanted = _PERMISSION.match(request.path.removeprefix(API_PREFIX))
                if wanted and (wanted["zone"] or wanted["account"]) not in permissions:
                    raise ApiError(403, 10000, "Authentication error")
                return token
        raise ApiError(401, 10000, "Authentication error")


def _hang_up(request: web.Request) -> None:
    if request.transport is not None:
        request.transport.abort()


async def _explained(request: web.Request, handler: Handler) -> web.StreamResponse:
    """The handler's answer, refusals and unknown routes in the API's form."""
    try:
        return await handler(request)
    except ApiError as error:
        return _refusal(error.status, error.problem)
    except web.HTTPNotFound:
        return _refusal(404, Problem(7000, "No route for that URI"))
    except web.HTTPMethodNotAllowed:
        return _refusal(405, Problem(7001, f"Method {request.method} not available for that URI."))


def _refusal(status: int, problem: Problem) -> web.Response:
    body = {"success": False, "errors": [problem.as_json()], "messages": [], "result": None}
    return web.json_response(body, status=status)


async def _body(request: web.Request) -> Any:  # noqa: ANN401 - whatever JSON the client sent
    text = await request.text()
    try:
        return json.loads(text) if text else None
    except json.JSONDecodeError:
        return text
