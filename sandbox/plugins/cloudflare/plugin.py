"""The Cloudflare provider: DNS records, zone settings and load balancing.

Configure, Check, Diff and previews make no request.
"""

from __future__ import annotations

import os
import threading

import urllib3
from typing_extensions import override

from sandbox.plugins import versions
from sandbox.plugins.cloudflare.client import DEFAULT_BASE_URL, Client, CloudflareError
from sandbox.plugins.cloudflare.resources import (
    ANNOUNCEMENT,
    DNS_RECORD,
    OWNERS,
    ZONE_SETTING,
    Resource,
    from_api,
    resource_of,
    to_api,
)
from sandbox.plugins.provider import (
    Change,
    ChangeKind,
    CheckResult,
    Diff,
    EngineLog,
    Existing,
    Properties,
    Provider,
    ProviderError,
    Severity,
    resource_type,
)
from sandbox.plugins.values import Json, Unknown, plain, with_secrets_of

_KNOWN_SETTINGS = frozenset({"apiToken", "baseUrl", "version", "pluginDownloadURL"})
_POOL_SIZE = 16


class CloudflareProvider(Provider):
    """See :class:`sandbox.plugins.provider.Provider`."""

    version = versions.CLOUDFLARE
    announcement = ANNOUNCEMENT

    def __init__(self) -> None:
        self._cancelled = threading.Event()

    @override
    def check_config(self, olds: Properties, news: Properties) -> CheckResult:
        unknown = sorted(key for key in news.keys() - _KNOWN_SETTINGS if not key.startswith("__"))
        if unknown:
            message = (
                f"{ANNOUNCEMENT}: provider argument(s) {', '.join(unknown)} are not available; use the real plugin"
            )
            raise ProviderError(message)
        return CheckResult(news)

    @override
    def diff_config(self, olds: Properties, news: Properties) -> Diff:
        old, new = plain(olds), plain(news)
        return Diff({key: ChangeKind.UPDATE for key in sorted({*old, *new}) if old.get(key) != new.get(key)})

    @override
    def configure(self, inputs: Properties, log: EngineLog) -> None:
        given = plain(inputs)
        self._log = log
        self._client = Client(
            base_url=str(given.get("baseUrl") or os.environ.get("CLOUDFLARE_BASE_URL") or DEFAULT_BASE_URL).rstrip("/"),
            token=str(given.get("apiToken") or os.environ.get("CLOUDFLARE_API_TOKEN") or ""),
            cancelled=self._cancelled,
            pool=urllib3.PoolManager(maxsize=_POOL_SIZE),
        )

    @override
    def cancel(self) -> None:
        self._cancelled.set()

    @override
    def check(self, urn: str, olds: Properties, news: Properties, seed: bytes) -> CheckResult:
        resource = resource_of(resource_type(urn))
        failures = [
            (name, f'Missing required property "{name}"') for name in resource.required if news.get(name) is None
        ]
        failures += [
            (name, f"{ANNOUNCEMENT}: {resource.type_token} has no input {name!r}")
            for name in sorted(news.keys() - set(resource.inputs))
            if not name.startswith("__")
        ]
        return CheckResult(news, failures)

    @override
    def diff(self, urn: str, olds: Properties, old_inputs: Properties, news: Properties, ignore: list[str]) -> Diff:
        resource = resource_of(resource_type(urn))
        state, before, after = plain(olds), plain(old_inputs), plain(news)
        found: dict[str, ChangeKind] = {}
        for name in resource.inputs:
            if name in ignore or (name not in after and name in resource.kept_when_unset):
                continue
            kind = _change(name, state, before, after)
            if kind:
                found[name] = kind.replacing() if name in resource.replace_on else kind
        return Diff(found)

    @override
    def create(self, urn: str, inputs: Properties, timeout: float, preview: bool) -> tuple[str, Properties]:
        resource = resource_of(resource_type(urn))
        if preview:
            return "", inputs
        given = plain(inputs)
        if resource is ZONE_SETTING:
            return given["settingId"], self._set(urn, inputs)
        if resource is DNS_RECORD and given.get("proxied") is True and given["ttl"] != 1:
            raise ProviderError(
                "ttl must be set to 1 when `proxied` is true. When a DNS record is marked as `proxied` the TTL "
                "must be 1 as Cloudflare will control the TTL internally."
            )
        result = self._call(urn, "POST", resource.collection.format(**given), to_api(given))
        return result["id"], with_secrets_of({**given, **from_api(result, _owner(given))}, inputs)

    def _set(self, urn: str, inputs: Properties) -> Properties:
        given = plain(inputs)
        body = {"value": given["value"]}
        result = self._call(urn, "PATCH", f"/zones/{given['zoneId']}/settings/{given['settingId']}", body)
        state: Properties = with_secrets_of({**given, **from_api(result or {}, _owner(given))}, inputs)
        return state

    @override
    def update(self, change: Change) -> Properties:
        resource = resource_of(resource_type(change.urn))
        if change.preview:
            return {**{key: value for key, value in change.olds.items() if key not in resource.inputs}, **change.news}
        if resource is ZONE_SETTING:
            return self._set(change.urn, change.news)
        given = plain(change.news)
        path = f"{resource.collection.format(**given)}/{change.resource_id}"
        result = self._call(change.urn, "PUT", path, to_api(given))
        state: Properties = with_secrets_of({**given, **from_api(result, _owner(given))}, change.news)
        return state

    @override
    def delete(self, urn: str, resource_id: str, olds: Properties, timeout: float) -> None:
        resource = resource_of(resource_type(urn))
        if resource is ZONE_SETTING:
            setting = plain(olds).get("settingId", resource_id)
            self._log.log(
                Severity.WARNING,
                f"zone setting {setting} keeps its value: Cloudflare has no default to return to. "
                "Applying this resource destruction will remove the resource from the state but "
                "will not change it in the API",
                urn,
            )
            return
        self._call(urn, "DELETE", f"{resource.collection.format(**plain(olds))}/{resource_id}", None)

    @override
    def read(self, urn: str, resource_id: str, olds: Properties, old_inputs: Properties) -> Existing | None:
        resource = resource_of(resource_type(urn))
        owner, own_id = _located(resource, resource_id, plain(olds))
        try:
            result = self._call(urn, "GET", f"{resource.collection.format(**owner)}/{own_id}", None)
        except CloudflareError as error:
            if error.status == 404:
                return None
            raise
        live = from_api(result, owner)
        if resource is ZONE_SETTING:
            live["settingId"] = own_id
        names = old_inputs.keys() if old_inputs else resource.inputs
        inputs = {key: _as_given(live[key], old_inputs.get(key)) for key in names if key in live}
        state = {**{key: value for key, value in plain(olds).items() if key not in live}, **live}
        return Existing(own_id, with_secrets_of(state, old_inputs), with_secrets_of(inputs, old_inputs))

    def _call(self, urn: str, method: str, path: str, body: Json) -> Json:
        if not self._client.token:
            raise ProviderError("no Cloudflare API token: set cloudflare:apiToken or CLOUDFLARE_API_TOKEN")
        return self._client.call(method, path, body, lambda reason: self._log.status(Severity.WARNING, reason, urn))


def _change(name: str, state: Properties, before: Properties, after: Properties) -> ChangeKind | None:
    if name not in after:
        return ChangeKind.DELETE if name in before else None
    if isinstance(after[name], Unknown):
        return ChangeKind.UPDATE
    known = state if name in state else before
    if name not in known:
        return ChangeKind.ADD
    same = known[name] == after[name] or (before.get(name) == after[name] and _holds(known[name], after[name]))
    return None if same else ChangeKind.UPDATE


def _holds(known: Json, wanted: Json) -> bool:
    """Whether a recorded value is the wanted one, but for what the API filled in."""
    if isinstance(known, dict) and isinstance(wanted, dict):
        return all(key in known and _holds(known[key], value) for key, value in wanted.items())
    if isinstance(known, list) and isinstance(wanted, list):
        return len(known) == len(wanted) and all(map(_holds, known, wanted))
    return bool(known == wanted)


def _as_given(live: Json, given: Json) -> Json:
    """A live value without what the API filled in below it: a refresh keeps to the keys that the program gave.

    https://github.com/pulumi/pulumi-terraform-bridge/blob/main/pkg/tfbridge/schema.go (``extractInputsObject``)
    """
    if isinstance(live, dict) and isinstance(given, dict):
        return {key: _as_given(value, given[key]) for key, value in live.items() if key in given}
    if isinstance(live, list) and isinstance(given, list) and len(live) == len(given):
        return [_as_given(each, wanted) for each, wanted in zip(live, given, strict=True)]
    return live


def _owner(given: Properties) -> Properties:
    return {name: given[name] for name in OWNERS if name in given}


def _located(resource: Resource, resource_id: str, olds: Properties) -> tuple[Properties, str]:
    """Owner and own id: from the state, or from an import id ``<zone or account>/<id>``."""
    name = next(owner for owner in OWNERS if f"{{{owner}}}" in resource.collection)
    owner, separator, own_id = resource_id.partition("/")
    if separator:
        return {name: owner}, own_id
    if name not in olds:
        message = f"invalid import id {resource_id!r}: expected <zone_id>/<id> for {resource.type_token}"
        raise ProviderError(message)
    return {name: olds[name]}, str(olds.get("settingId", resource_id))
