"""The Cloudflare stand-in against a small HTTP server that plays the API's answers."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from sandbox.plugins.cloudflare.plugin import CloudflareProvider
from sandbox.plugins.provider import ChangeKind, ProviderError, Severity
from sandbox.plugins.values import UNKNOWN

_RECORD = "urn:pulumi:s::p::cloudflare:index/dnsRecord:DnsRecord::record"
_SETTING = "urn:pulumi:s::p::cloudflare:index/zoneSetting:ZoneSetting::setting"
_INPUTS = {"zoneId": "z", "name": "a.example.org", "type": "A", "content": "192.0.2.1", "ttl": 1, "proxied": True}


@dataclass
class Api:
    """Answers to give, in order, and the requests that came."""

    url: str = ""
    answers: list[tuple[int, dict[str, str], Any]] = field(default_factory=list)
    requests: list[tuple[str, str, Any]] = field(default_factory=list)


class _Log:
    def __init__(self) -> None:
        self.lines: list[str] = []

    def log(self, severity: Severity, message: str, urn: str = "") -> None:
        """Keep the line."""
        self.lines.append(message)

    def status(self, severity: Severity, message: str, urn: str) -> None:
        """Keep the line."""
        self.lines.append(message)


@pytest.fixture
def api() -> Iterator[Api]:
    """A server on loopback."""
    played = Api()

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else None
            played.requests.append((self.command, self.path, body))
            status, headers, result = played.answers.pop(0)
            payload = json.dumps({"success": status < 400, "result": result, "errors": []}).encode()
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(payload))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(payload)

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _answer  # noqa: N815

        def log_message(self, *_: object) -> None:
            """Nothing is printed."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    played.url = f"http://127.0.0.1:{server.server_port}"
    yield played
    server.shutdown()


def configured(api: Api, log: _Log | None = None) -> CloudflareProvider:
    provider = CloudflareProvider()
    provider.configure({"apiToken": "t", "baseUrl": api.url}, log or _Log())
    return provider


def test_a_record_is_posted_with_the_apis_names_and_without_what_is_unset(api: Api) -> None:
    api.answers = [(200, {}, {"id": "r1", "name": "a.example.org", "comment": None, "created_on": "now"})]
    given = {**_INPUTS, "settings": {"ipv4Only": True}, "comment": None}
    identifier, state = configured(api).create(_RECORD, given, 0, preview=False)
    method, path, body = api.requests[0]
    assert (method, path) == ("POST", "/zones/z/dns_records")
    assert body == {
        "name": "a.example.org",
        "type": "A",
        "content": "192.0.2.1",
        "ttl": 1,
        "proxied": True,
        "settings": {"ipv4_only": True},
    }
    assert identifier == "r1"
    assert (state["createdOn"], state["zoneId"]) == ("now", "z")


def test_previews_ask_nothing(api: Api) -> None:
    provider = configured(api)
    assert provider.create(_RECORD, _INPUTS, 0, preview=True) == ("", _INPUTS)
    assert provider.diff(_RECORD, _INPUTS, _INPUTS, _INPUTS, []).changes == {}
    assert api.requests == []


@pytest.mark.parametrize(
    ("news", "expected"),
    [
        ({**_INPUTS, "content": "192.0.2.2"}, {"content": ChangeKind.UPDATE}),
        ({**_INPUTS, "zoneId": "y"}, {"zoneId": ChangeKind.UPDATE_REPLACE}),
        ({**_INPUTS, "content": UNKNOWN}, {"content": ChangeKind.UPDATE}),
        ({**_INPUTS, "comment": "new"}, {"comment": ChangeKind.ADD}),
        ({key: value for key, value in _INPUTS.items() if key != "proxied"}, {"proxied": ChangeKind.DELETE}),
    ],
)
def test_changes_are_found_against_the_recorded_state(
    api: Api, news: dict[str, Any], expected: dict[str, ChangeKind]
) -> None:
    assert configured(api).diff(_RECORD, _INPUTS, _INPUTS, news, []).changes == expected


def test_a_throttled_request_is_repeated_after_the_time_cloudflare_names(api: Api) -> None:
    api.answers = [(429, {"Retry-After": "0"}, None), (503, {"Retry-After": "0"}, None), (200, {}, {"id": "r1"})]
    log = _Log()
    assert configured(api, log).create(_RECORD, _INPUTS, 0, preview=False)[0] == "r1"
    assert len(api.requests) == 3
    assert "retry 1/10" in log.lines[0]


def test_a_refusal_is_not_repeated_and_shows_cloudflares_answer(api: Api) -> None:
    api.answers = [(400, {}, {"code": 81058})]
    with pytest.raises(ProviderError, match="81058"):
        configured(api).create(_RECORD, _INPUTS, 0, preview=False)
    assert len(api.requests) == 1


def test_a_proxied_record_with_a_ttl_of_its_own_is_refused_before_any_request(api: Api) -> None:
    with pytest.raises(ProviderError, match="ttl must be set to 1"):
        configured(api).create(_RECORD, {**_INPUTS, "ttl": 300}, 0, preview=False)
    assert api.requests == []


def test_a_record_that_is_gone_is_read_as_gone(api: Api) -> None:
    api.answers = [(404, {}, None)]
    assert configured(api).read(_RECORD, "r1", _INPUTS, _INPUTS) is None


def test_an_import_needs_zone_and_id(api: Api) -> None:
    with pytest.raises(ProviderError, match="<zone_id>/<id>"):
        configured(api).read(_RECORD, "r1", {}, {})
    api.answers = [(200, {}, {"id": "r1", "name": "a.example.org", "ttl": 1, "type": "A"})]
    found = configured(api).read(_RECORD, "z/r1", {}, {})
    assert found is not None
    assert found.inputs == {"zoneId": "z", "name": "a.example.org", "type": "A", "ttl": 1}


def test_deleting_a_zone_setting_changes_nothing_and_says_so(api: Api) -> None:
    log = _Log()
    configured(api, log).delete(_SETTING, "ssl", {"zoneId": "z", "settingId": "ssl", "value": "strict"}, 0)
    assert api.requests == []
    assert "ssl keeps its value" in log.lines[0]


def test_unknown_types_inputs_and_arguments_are_refused_by_name(api: Api) -> None:
    provider = configured(api)
    with pytest.raises(ProviderError, match="ruleset"):
        provider.check("urn:pulumi:s::p::cloudflare:index/ruleset:Ruleset::r", {}, {}, b"")
    failures = provider.check(_RECORD, {}, {**_INPUTS, "colour": "red"}, b"").failures
    assert [name for name, _ in failures] == ["colour"]
    assert [name for name, _ in provider.check(_RECORD, {}, {"zoneId": "z"}, b"").failures] == ["name", "type", "ttl"]
    with pytest.raises(ProviderError, match="apiUserServiceKey"):
        provider.check_config({}, {"apiUserServiceKey": "k"})
