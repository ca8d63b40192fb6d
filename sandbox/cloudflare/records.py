"""DNS records: what the API accepts, and how it echoes it.

Rules: https://developers.cloudflare.com/api/resources/dns/ and, for proxied records,
https://developers.cloudflare.com/dns/proxy-status/. Codes 9005, 81044, 81053, 81054 and 81058 are as users report them
from the real API; the other codes are unverified.
"""

import ipaddress
import re
import uuid
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from sandbox.cloudflare.errors import ApiError, invalid

JsonObject = dict[str, Any]

AUTOMATIC_TTL = 1
_TTL_RANGE = range(60, 86401)
_COMMENT_LIMIT = 100
_ADDRESS_TYPES = ("A", "AAAA")
_PROXIABLE_TYPES = ("A", "AAAA", "CNAME")
_LABEL = re.compile(r"^(\*|@|[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?)$")


def now() -> str:
    """The present as the API writes times."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def new_id() -> str:
    """An identifier as the API makes them: 32 hexadecimal digits."""
    return uuid.uuid4().hex


def create(zone: str, body: Mapping[str, Any], existing: Iterable[JsonObject]) -> JsonObject:
    """The record a POST makes. Raise ApiError when the real API would refuse it."""
    stamp = now()
    identity = {"id": new_id(), "created_on": stamp, "modified_on": stamp}
    return _checked(zone, {**_writable(zone, body), **identity}, existing)


def replace(zone: str, old: JsonObject, body: Mapping[str, Any], existing: Iterable[JsonObject]) -> JsonObject:
    """The record after a PUT: what the body leaves out falls back to its default."""
    return _checked(zone, {**_writable(zone, body), **_identity(old)}, existing)


def edit(zone: str, old: JsonObject, body: Mapping[str, Any], existing: Iterable[JsonObject]) -> JsonObject:
    """The record after a PATCH: what the body leaves out stays."""
    kept = {key: old.get(key) for key in ("name", "type", "content", "ttl", "proxied", "comment", "tags", "priority")}
    return _checked(zone, {**_writable(zone, {**kept, **body}), **_identity(old)}, existing)


def fqdn(zone: str, name: str) -> str:
    """A name as the API stores it: lower case, in full, the zone appended to what does not end in it."""
    name = name.lower().rstrip(".")
    if name in ("@", zone):
        return zone
    return name if name.endswith("." + zone) else f"{name}.{zone}"


def matches(record: JsonObject, query: Mapping[str, str]) -> bool:
    """Whether a record passes the filters of a list request (`match` any or all; all is the default)."""
    wanted = [test(record) for key, value in query.items() if (test := _filter(key, value))]
    if not wanted:
        return True
    return any(wanted) if query.get("match") == "any" else all(wanted)


def _identity(old: JsonObject) -> JsonObject:
    return {"id": old["id"], "created_on": old["created_on"], "modified_on": now()}


def _writable(zone: str, body: Mapping[str, Any]) -> JsonObject:
    kind, name = str(body.get("type") or "").upper(), body.get("name")
    if not kind:
        raise invalid(9103, "Missing record type.")
    if not isinstance(name, str) or not name:
        raise invalid(9000, "DNS name is invalid.")
    proxied = body.get("proxied") or False
    if not isinstance(proxied, bool):
        raise invalid(9003, "Invalid 'proxied' value, must be a boolean")
    record: JsonObject = {
        "name": fqdn(zone, name),
        "type": kind,
        "content": body.get("content"),
        "proxiable": kind in _PROXIABLE_TYPES,
        "proxied": proxied,
        "ttl": AUTOMATIC_TTL if proxied else body.get("ttl", AUTOMATIC_TTL),
        "settings": body.get("settings") or {},
        "meta": {},
        "comment": body.get("comment") or None,
        "tags": body.get("tags") or [],
    }
    if "priority" in body and kind in ("MX", "SRV", "URI"):
        record["priority"] = body["priority"]
    return record


def _checked(zone: str, record: JsonObject, existing: Iterable[JsonObject]) -> JsonObject:
    _check_values(record)
    same_name = [r for r in existing if r["id"] != record["id"] and r["name"] == record["name"]]
    if any((r["type"], r["content"]) == (record["type"], record["content"]) for r in same_name):
        raise invalid(81058, "An identical record already exists.")
    if record["type"] == "CNAME" and any(r["type"] in _PROXIABLE_TYPES for r in same_name):
        raise invalid(81053, "An A, AAAA, or CNAME record with that host already exists.")
    if record["type"] in _ADDRESS_TYPES and any(r["type"] == "CNAME" for r in same_name):
        raise invalid(81054, "A CNAME record with that host already exists.")
    return record


def _check_values(record: JsonObject) -> None:
    if len(record["name"]) > 253 or not all(_LABEL.match(label) for label in record["name"].split(".")):
        raise invalid(9000, "DNS name is invalid.")
    kind, content, ttl = record["type"], record["content"], record["ttl"]
    if kind not in _CONTENT:
        raise invalid(9103, f"The sandbox knows no record type {kind}; it knows {', '.join(_CONTENT)}.")
    code, message, accepts = _CONTENT[kind]
    if not isinstance(content, str) or not accepts(content):
        raise invalid(code, message)
    if record["proxied"] and not record["proxiable"]:
        raise invalid(9004, "This record type cannot be proxied.")
    whole = isinstance(ttl, int | float) and not isinstance(ttl, bool) and ttl == int(ttl)
    if not whole or (ttl != AUTOMATIC_TTL and int(ttl) not in _TTL_RANGE):
        raise invalid(9021, "TTL must be between 60 and 86400 seconds, or 1 for Automatic.")
    record["ttl"] = int(ttl)
    comment = record["comment"]
    if comment is not None and (not isinstance(comment, str) or len(comment) > _COMMENT_LIMIT):
        raise invalid(9300, f"DNS record comment exceeds the limit of {_COMMENT_LIMIT} characters.")
    if record["tags"]:
        raise invalid(9301, f"DNS record has {len(record['tags'])} tags, exceeding the quota of 0.")


def _address(version: int) -> Callable[[str], bool]:
    def accepts(text: str) -> bool:
        try:
            return ipaddress.ip_address(text).version == version
        except ValueError:
            return False

    return accepts


def _hostname(text: str) -> bool:
    return bool(text) and all(_LABEL.match(label) for label in text.lower().rstrip(".").split("."))


_CONTENT: dict[str, tuple[int, str, Callable[[str], bool]]] = {
    "A": (9005, "Content for A record must be a valid IPv4 address.", _address(4)),
    "AAAA": (9006, "Content for AAAA record must be a valid IPv6 address.", _address(6)),
    "CNAME": (9007, "Content for CNAME record is invalid.", _hostname),
    "MX": (9009, "Content for MX record must be a hostname.", _hostname),
    "TXT": (9010, "Content for TXT record must not be empty.", bool),
}

_OPERATORS: dict[str, Callable[[str, str], bool]] = {
    "exact": lambda have, want: have == want,
    "contains": lambda have, want: want in have,
    "startswith": lambda have, want: have.startswith(want),
    "endswith": lambda have, want: have.endswith(want),
}


def _filter(key: str, value: str) -> Callable[[JsonObject], bool] | None:
    field, _, operator = key.partition(".")
    if field == "type":
        return lambda record: bool(record["type"] == value.upper())
    if field == "proxied":
        return lambda record: bool(record["proxied"]) == (value == "true")
    if field == "comment" and operator in ("present", "absent"):
        return lambda record: bool(record["comment"]) == (operator == "present")
    if field in ("name", "content", "comment"):
        return lambda record: _OPERATORS[operator or "exact"](str(record[field] or "").lower(), value.lower())
    if field == "search":
        return lambda record: any(value.lower() in str(record[f] or "").lower() for f in ("name", "content", "comment"))
    return None


def not_found() -> ApiError:
    """The answer for an identifier that names no record."""
    return ApiError(404, 81044, "Record does not exist.")
