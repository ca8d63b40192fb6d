"""The Cloudflare resources the stand-in knows, as the API sees them.

https://github.com/cloudflare/terraform-provider-cloudflare/tree/main/internal/services (``dns_record``,
``zone_setting``, ``load_balancer``, ``load_balancer_pool``, ``load_balancer_monitor``)
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from sandbox.plugins.provider import Properties, ProviderError
from sandbox.plugins.values import Json

ANNOUNCEMENT = "sandbox stand-in for pulumi-cloudflare, acts on the Cloudflare API it is pointed at"


@dataclass(frozen=True)
class Resource:
    """One resource type: its inputs, which of them are required, which replace, and where it lives."""

    type_token: str
    inputs: tuple[str, ...]
    required: tuple[str, ...]
    replace_on: tuple[str, ...]
    collection: str
    """Path of the collection, with the input that names its owner in braces."""
    kept_when_unset: frozenset[str] = frozenset()
    """Inputs whose recorded value stays when the program stops giving one ("optional and computed")."""


DNS_RECORD = Resource(
    type_token="cloudflare:index/dnsRecord:DnsRecord",  # noqa: S106 - a type, not a credential
    inputs=(
        *("zoneId", "name", "type", "ttl", "content", "proxied", "comment", "data", "priority", "settings", "tags"),
        "privateRouting",
    ),
    required=("zoneId", "name", "type", "ttl"),
    replace_on=("zoneId", "type"),
    collection="/zones/{zoneId}/dns_records",
    kept_when_unset=frozenset({"settings", "tags", "data", "priority"}),
)
ZONE_SETTING = Resource(
    type_token="cloudflare:index/zoneSetting:ZoneSetting",  # noqa: S106 - a type, not a credential
    inputs=("zoneId", "settingId", "value", "enabled"),
    required=("zoneId", "settingId", "value"),
    replace_on=("zoneId", "settingId"),
    collection="/zones/{zoneId}/settings",
)
_MONITOR = Resource(
    type_token="cloudflare:index/loadBalancerMonitor:LoadBalancerMonitor",  # noqa: S106 - a type, not a credential
    inputs=(
        *("accountId", "type", "method", "path", "port", "expectedCodes", "expectedBody", "interval", "timeout"),
        *("retries", "header", "followRedirects", "allowInsecure", "description", "consecutiveUp", "consecutiveDown"),
    ),
    required=("accountId",),
    replace_on=("accountId",),
    collection="/accounts/{accountId}/load_balancers/monitors",
)
_POOL = Resource(
    type_token="cloudflare:index/loadBalancerPool:LoadBalancerPool",  # noqa: S106 - a type, not a credential
    inputs=("accountId", "name", "origins", "monitor", "enabled", "minimumOrigins", "checkRegions", "description"),
    required=("accountId", "name", "origins"),
    replace_on=("accountId",),
    collection="/accounts/{accountId}/load_balancers/pools",
)
_BALANCER = Resource(
    type_token="cloudflare:index/loadBalancer:LoadBalancer",  # noqa: S106 - a type, not a credential
    inputs=(
        *("zoneId", "name", "defaultPools", "fallbackPool", "proxied", "ttl", "steeringPolicy", "regionPools"),
        *("countryPools", "sessionAffinity", "adaptiveRouting", "enabled", "description"),
    ),
    required=("zoneId", "name", "defaultPools", "fallbackPool"),
    replace_on=("zoneId",),
    collection="/zones/{zoneId}/load_balancers",
)
_RESOURCES = {resource.type_token: resource for resource in (DNS_RECORD, ZONE_SETTING, _MONITOR, _POOL, _BALANCER)}
OWNERS = ("zoneId", "accountId")


def resource_of(token: str) -> Resource:
    """The resource of a type token. Raises :class:`ProviderError` for one the stand-in does not know."""
    resource = _RESOURCES.get(token)
    if resource is None:
        message = (
            f"{ANNOUNCEMENT}: {token} is not available. Known: {', '.join(sorted(_RESOURCES))}. Use the real plugin."
        )
        raise ProviderError(message)
    return resource


def to_api(inputs: Properties) -> Json:
    """Inputs as an API body: names in snake case, nothing that is unset, and not the owner, which is in the path."""
    return _rename({key: value for key, value in inputs.items() if key not in OWNERS and value is not None}, _snake)


def from_api(result: Json, owner: Properties) -> Properties:
    """An API result as outputs: names in camel case, nothing that is null; ``meta`` as the JSON text the SDK takes."""
    outputs: Properties = _rename({key: value for key, value in result.items() if value is not None}, _camel)
    outputs.pop("id", None)
    if "meta" in outputs:
        outputs["meta"] = json.dumps(outputs["meta"])
    return {**outputs, **owner}


def _rename(value: Json, name: Json) -> Json:
    if isinstance(value, dict):
        return {name(key): _rename(item, name) for key, item in value.items()}
    if isinstance(value, list):
        return [_rename(item, name) for item in value]
    return value


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])([A-Z])", lambda match: "_" + match[1].lower(), name)


def _camel(name: str) -> str:
    return re.sub(r"_([a-z0-9])", lambda match: match[1].upper(), name)
