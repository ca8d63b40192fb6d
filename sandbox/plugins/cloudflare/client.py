"""Requests to the Cloudflare v4 API, retried as cloudflare-go does.

https://developers.cloudflare.com/api/ and https://github.com/cloudflare/cloudflare-go (``internal/requestconfig``)
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass

import urllib3

from sandbox.plugins.provider import ProviderError
from sandbox.plugins.values import Json

DEFAULT_BASE_URL = "https://api.cloudflare.com/client/v4"
MAX_RETRIES = 10
_RETRIED = frozenset({408, 409, 429})
_FIRST_DELAY_SECONDS = 1.0
_LONGEST_DELAY_SECONDS = 30.0
_LONGEST_RETRY_AFTER_SECONDS = 60.0
_TIMEOUT = urllib3.Timeout(connect=10.0, read=60.0)


class CloudflareError(ProviderError):
    """The API refused a request. ``status`` is the HTTP status, 0 when there was no answer."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Client:
    """One account's API. ``cancelled`` ends the wait before a retry; ``on_retry`` is told why there is one."""

    base_url: str
    token: str
    cancelled: threading.Event
    pool: urllib3.PoolManager

    def call(self, method: str, path: str, body: object, on_retry: Callable[[str], None]) -> Json:
        """The ``result`` of an accepted request. Raises :class:`CloudflareError` when it is refused or they run out."""
        url = f"{self.base_url}{path}"
        for attempt in range(MAX_RETRIES + 1):
            delay = min(_FIRST_DELAY_SECONDS * 2**attempt, _LONGEST_DELAY_SECONDS)
            failure = CloudflareError(0, f"{method} {url}: no answer")
            try:
                response = self.pool.request(
                    method,
                    url,
                    body=None if body is None else json.dumps(body).encode(),
                    headers={"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"},
                    retries=False,
                    timeout=_TIMEOUT,
                )
            except urllib3.exceptions.HTTPError as error:
                failure = CloudflareError(0, f"{method} {url}: {error}")
            else:
                if response.status < 400:
                    return json.loads(response.data).get("result")
                failure = CloudflareError(response.status, _refusal(method, url, response))
                if response.status not in _RETRIED and response.status < 500:
                    raise failure
                delay = _retry_after(response, delay)
            if attempt == MAX_RETRIES or self.cancelled.is_set():
                raise failure
            on_retry(f"{failure}; retry {attempt + 1}/{MAX_RETRIES} in {delay:g} s")
            self.cancelled.wait(delay)
        raise AssertionError("unreachable: the last attempt returns or raises")


def _retry_after(response: urllib3.BaseHTTPResponse, otherwise: float) -> float:
    value = response.headers.get("Retry-After", "")
    seconds = float(value) if value.isdecimal() else otherwise
    return seconds if seconds <= _LONGEST_RETRY_AFTER_SECONDS else otherwise


def _refusal(method: str, url: str, response: urllib3.BaseHTTPResponse) -> str:
    text = response.data.decode(errors="replace").strip()
    return f"failed to make http request: {method} {url}: {response.status} {response.reason} {text}"
