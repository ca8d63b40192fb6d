"""The proxy in front of the origins: what a visitor of a proxied name talks to.

As the real edge it picks one origin at random for each request, without regard for distance, verifies the origin as the
zone's SSL mode says, and repeats a failed request once at another origin (zero-downtime failover) when the failure was
one of 521, 522, 523, 525, 526. An answer of an origin, 502 to 504 included, is never repeated. A load balancer's pools
come in their order, by the visitor's region where it is known.
https://developers.cloudflare.com/dns/manage-dns-records/how-to/round-robin-dns/
"""

import errno
import json
import secrets
import ssl
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import aiohttp
from aiohttp import web
from multidict import CIMultiDict
from yarl import URL

from sandbox.cloudflare.gate import Journal
from sandbox.cloudflare.origins import origin_pools
from sandbox.cloudflare.state import State

_HOP_BY_HOP = (
    "Connection",
    "Keep-Alive",
    "Proxy-Authenticate",
    "Proxy-Authorization",
    "Proxy-Connection",
    "Te",
    "Trailer",
    "Transfer-Encoding",
    "Upgrade",
)
_REPEATABLE_METHODS = ("GET", "HEAD")
_REPEATABLE_FAILURES = (521, 522, 523, 525, 526)
_NO_ORIGIN = 530
_MAX_BODY = 100 * 1024 * 1024
_READ_SECONDS = 100.0
_REASONS = {
    520: "Web server returned an unknown error",
    521: "Web server is down",
    522: "Connection timed out",
    523: "Origin is unreachable",
    524: "A timeout occurred",
    525: "SSL handshake failed",
    526: "Invalid SSL certificate",
    530: "Origin DNS error: the name has no proxied record",
}
_BY_ERRNO = {
    errno.ECONNREFUSED: 521,
    errno.ETIMEDOUT: 522,
    errno.EHOSTUNREACH: 523,
    errno.ENETUNREACH: 523,
    errno.ECONNRESET: 525,
}


class OriginError(Exception):
    """An origin that could not be asked, with the status Cloudflare shows for it."""

    def __init__(self, status: int) -> None:
        super().__init__(_REASONS[status])
        self.status = status


@dataclass(frozen=True)
class EdgeSettings:
    """Where the proxy speaks from and whom it trusts. `connect_seconds` is 19 at the real edge."""

    address: str
    origin_roots: Path
    connect_seconds: float


class Edge:
    """Answers visitors by the account's present records and settings.

    Every request opens a connection of its own to the origin, where the real edge keeps connections open.
    """

    def __init__(self, state: State, settings: EdgeSettings, journal: Journal) -> None:
        self._state = state
        self._settings = settings
        self._journal = journal
        self._session: aiohttp.ClientSession | None = None

    def application(self) -> web.Application:
        """The proxy as a web application, to be served on port 80 and, with a certificate, on 443."""
        app = web.Application(client_max_size=_MAX_BODY)
        app.router.add_route("*", "/{path:.*}", self._serve)
        app.cleanup_ctx.append(self._open_session)
        return app

    async def _open_session(self, _app: web.Application) -> AsyncIterator[None]:
        connector = aiohttp.TCPConnector(local_addr=(self._settings.address, 0), force_close=True, limit=0)
        timeout = aiohttp.ClientTimeout(
            sock_connect=self._settings.connect_seconds, sock_read=_READ_SECONDS, total=None
        )
        async with aiohttp.ClientSession(
            connector=connector, timeout=timeout, auto_decompress=False, cookie_jar=aiohttp.DummyCookieJar()
        ) as self._session:
            yield

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        started = time.monotonic()
        tried: list[str] = []
        status = 0
        try:
            response = await self._respond(request, tried)
            status = response.status
            return response
        finally:
            self._journal.write(
                method=request.method,
                scheme=request.scheme,
                host=_host(request),
                path=request.path_qs,
                status=status,
                tried=tried,
                ms=round((time.monotonic() - started) * 1000, 1),
            )

    async def _respond(self, request: web.Request, tried: list[str]) -> web.StreamResponse:
        """Ask one origin, and a second one when the first could not be asked. `tried` collects their addresses."""
        host = _host(request)
        zone = self._state.zone_of(host)
        pools = origin_pools(self._state, host, self._state.regions.get(request.remote or ""))
        if zone is None or not pools:
            return _error_page(_NO_ORIGIN)
        if request.scheme == "http" and zone.settings["always_use_https"] == "on":
            return web.Response(status=301, headers={"Location": f"https://{host}{request.path_qs}"})
        body = await request.read()
        attempts = 2 if request.method in _REPEATABLE_METHODS else 1
        failure = OriginError(_NO_ORIGIN)
        while len(tried) < attempts:
            untried = ([address for address in pool if address not in tried] for pool in pools)
            origin = secrets.choice(next(filter(None, untried), pools[0]))
            tried.append(origin)
            try:
                return await self._forward(request, host, origin, body, str(zone.settings["ssl"]))
            except OriginError as error:
                failure = error
                if error.status not in _REPEATABLE_FAILURES:
                    break
        return _error_page(failure.status)

    async def _forward(
        self, request: web.Request, host: str, origin: str, body: bytes, ssl_mode: str
    ) -> web.StreamResponse:
        if self._session is None:
            raise RuntimeError("the proxy serves before it has started")
        encrypted = request.scheme == "https" and ssl_mode not in ("off", "flexible")
        url = URL(f"{'https' if encrypted else 'http'}://{origin}{request.raw_path}", encoded=True)
        try:
            answer = await self._session.request(
                request.method,
                url,
                headers=_towards_origin(request, host),
                data=body or None,
                allow_redirects=False,
                ssl=self._trust(ssl_mode) if encrypted else True,
                server_hostname=host if encrypted else None,
            )
        except (aiohttp.ClientError, OSError) as error:
            raise OriginError(_status_for(error)) from error
        async with answer:
            return await _relay(request, answer, origin)

    def _trust(self, ssl_mode: str) -> ssl.SSLContext:
        """Verification of the origin's certificate: `strict` checks issuer, date and host name, `full` nothing."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        if ssl_mode in ("strict", "origin_pull"):
            if self._settings.origin_roots.exists():
                context.load_verify_locations(self._settings.origin_roots)
        else:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context


def _host(request: web.Request) -> str:
    return request.host.rsplit(":", 1)[0].lower()


def _towards_origin(request: web.Request, host: str) -> CIMultiDict[str]:
    """The visitor's headers, without those that claim to come from the edge."""
    headers = CIMultiDict(
        (name, value)
        for name, value in request.headers.items()
        if name.title() not in _HOP_BY_HOP and not name.lower().startswith("cf-")
    )
    visitor = request.remote or ""
    forwarded = request.headers.getall("X-Forwarded-For", [])
    headers["Host"] = host
    headers["CF-Connecting-IP"] = visitor
    headers["X-Forwarded-For"] = ", ".join([*forwarded, visitor])
    headers["X-Forwarded-Proto"] = request.scheme
    headers["CF-Visitor"] = json.dumps({"scheme": request.scheme}, separators=(",", ":"))
    headers["CF-Ray"] = f"{secrets.token_hex(8)}-SBX"
    headers.setdefault("Accept-Encoding", "identity")
    headers.setdefault("User-Agent", "")
    return headers


async def _relay(request: web.Request, answer: aiohttp.ClientResponse, origin: str) -> web.StreamResponse:
    """Pass the origin's answer on as it arrives."""
    headers = CIMultiDict((n, v) for n, v in answer.headers.items() if n.title() not in _HOP_BY_HOP)
    headers["Server"] = "cloudflare"
    headers["CF-Ray"] = answer.request_info.headers["CF-Ray"]
    headers["X-Sandbox-Origin"] = origin
    response = web.StreamResponse(status=answer.status, reason=answer.reason, headers=headers)
    await response.prepare(request)
    async for chunk in answer.content.iter_any():
        await response.write(chunk)
    await response.write_eof()
    return response


def _status_for(error: Exception) -> int:
    """The status Cloudflare shows for a failure towards an origin."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return 526
    if isinstance(error, aiohttp.ClientConnectorSSLError):
        return 525
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return 522
    if isinstance(error, aiohttp.ClientConnectorError):
        return _BY_ERRNO.get(error.os_error.errno or 0, 520)
    if isinstance(error, aiohttp.SocketTimeoutError):
        return 524
    return 520


def _error_page(status: int) -> web.Response:
    text = f"error code: {status}\n{_REASONS[status]} (from the sandbox's Cloudflare double)\n"
    return web.Response(status=status, text=text, headers={"Server": "cloudflare", "Cache-Control": "no-store"})
