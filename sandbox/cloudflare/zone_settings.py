"""Zone settings: their values on a new zone and what the API accepts for them.

https://developers.cloudflare.com/api/resources/zones/subresources/settings/
"""

from collections.abc import Mapping
from typing import Any

from sandbox.cloudflare.errors import ApiError, invalid

_SWITCH = ("off", "on")
_CHOICES: dict[str, tuple[str, tuple[str, ...]]] = {
    "0rtt": ("off", _SWITCH),
    "always_online": ("off", _SWITCH),
    "always_use_https": ("off", _SWITCH),
    "automatic_https_rewrites": ("on", _SWITCH),
    "brotli": ("on", _SWITCH),
    "browser_check": ("on", _SWITCH),
    "development_mode": ("off", _SWITCH),
    "email_obfuscation": ("on", _SWITCH),
    "http2": ("on", _SWITCH),
    "http3": ("on", _SWITCH),
    "ip_geolocation": ("on", _SWITCH),
    "ipv6": ("on", _SWITCH),
    "min_tls_version": ("1.0", ("1.0", "1.1", "1.2", "1.3")),
    "opportunistic_encryption": ("on", _SWITCH),
    "security_level": ("medium", ("off", "essentially_off", "low", "medium", "high", "under_attack")),
    "ssl": ("full", ("off", "flexible", "full", "strict", "origin_pull")),
    "tls_1_3": ("on", ("off", "on", "zrt")),
    "tls_client_auth": ("off", _SWITCH),
    "websockets": ("on", _SWITCH),
}
_SECURITY_HEADER = {
    "strict_transport_security": {
        "enabled": False,
        "max_age": 0,
        "include_subdomains": False,
        "preload": False,
        "nosniff": False,
    }
}


def defaults() -> dict[str, Any]:
    """Settings of a new zone."""
    return {**{name: value for name, (value, _) in _CHOICES.items()}, "security_header": _SECURITY_HEADER}


def known(name: str) -> str:
    """The name itself. Raise ApiError 1006 for a setting the zone does not have."""
    if name not in _CHOICES and name != "security_header":
        raise invalid(1006, f"Unrecognized zone setting name: {name}")
    return name


def checked(name: str, body: Mapping[str, Any]) -> object:
    """The value a PATCH sets. A body without `value` is refused as the real API does (pulumi-cloudflare#1319)."""
    value = body.get("value")
    if known(name) == "security_header":
        accepted = isinstance(value, dict) and isinstance(value.get("strict_transport_security"), dict)
    else:
        accepted = value in _CHOICES[name][1]
    if not accepted:
        raise ApiError(400, 1007, f"Invalid value for zone setting {name}")
    return value
