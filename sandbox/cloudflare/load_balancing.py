"""Load balancers, pools and monitors: what the API accepts and how it echoes it.

https://developers.cloudflare.com/api/resources/load_balancers/. The API sorts a pool's origins by name and refuses to
delete what is still referred to (terraform-provider-cloudflare #6140, #7306); defaults are those the SDK documents.
"""

from collections.abc import Mapping
from typing import Any

from sandbox.cloudflare.errors import ApiError, invalid
from sandbox.cloudflare.records import new_id, now
from sandbox.cloudflare.state import JsonObject, State, Zone

_MONITOR: JsonObject = {
    "type": "http",
    "description": "",
    "method": "GET",
    "path": "/",
    "header": {},
    "port": 0,
    "timeout": 5,
    "retries": 2,
    "interval": 60,
    "consecutive_up": 0,
    "consecutive_down": 0,
    "expected_body": "",
    "expected_codes": "200",
    "follow_redirects": False,
    "allow_insecure": False,
    "probe_zone": "",
}
_POOL: JsonObject = {
    "description": "",
    "enabled": True,
    "minimum_origins": 1,
    "monitor": None,
    "notification_email": "",
    "check_regions": None,
    "latitude": None,
    "longitude": None,
}
_ORIGIN: JsonObject = {"enabled": True, "weight": 1, "port": 0, "disabled_at": None}
_BALANCER: JsonObject = {
    "description": "",
    "enabled": True,
    "ttl": 30,
    "proxied": False,
    "steering_policy": "",
    "region_pools": {},
    "country_pools": {},
    "pop_pools": {},
    "session_affinity": "none",
    "session_affinity_attributes": {},
    "session_affinity_ttl": None,
    "random_steering": {"default_weight": 1},
    "adaptive_routing": {"failover_across_pools": False},
    "location_strategy": {"mode": "pop", "prefer_ecs": "proximity"},
    "networks": ["cloudflare"],
    "rules": [],
}


def monitor(body: Mapping[str, Any], old: JsonObject | None = None) -> JsonObject:
    """The monitor a request makes."""
    return {**_MONITOR, **body, **_identity(old)}


def pool(state: State, body: Mapping[str, Any], old: JsonObject | None = None) -> JsonObject:
    """The pool a request makes, origins sorted by name. Its monitor must exist."""
    origins = body.get("origins")
    if not body.get("name") or not isinstance(origins, list) or not origins:
        raise invalid(1002, "validation failed: a pool needs a name and at least one origin")
    if body.get("monitor") and body["monitor"] not in state.monitors:
        raise invalid(1002, f"monitor {body['monitor']} does not exist: validation failed")
    completed = [{**_ORIGIN, **origin} for origin in origins]
    for origin in completed:
        if not origin.get("name") or not origin.get("address"):
            raise invalid(1002, "validation failed: an origin needs a name and an address")
    return {**_POOL, **body, "origins": sorted(completed, key=lambda origin: str(origin["name"])), **_identity(old)}


def balancer(state: State, zone: Zone, body: Mapping[str, Any], old: JsonObject | None = None) -> JsonObject:
    """The load balancer a request makes. Its name must lie in the zone and every pool must exist."""
    name = body.get("name")
    if not isinstance(name, str) or not (name == zone.name or name.endswith("." + zone.name)):
        raise invalid(1002, f"validation failed: name must be a host name in {zone.name}")
    if not body.get("default_pools") or not body.get("fallback_pool"):
        raise invalid(1002, "validation failed: default_pools and fallback_pool are required")
    made = {**_BALANCER, **body, **_identity(old)}
    for pool_id in sorted(pools_of(made)):
        if pool_id not in state.pools:
            raise invalid(1002, f"pool {pool_id} does not exist: validation failed")
    return {**made, "zone_name": zone.name}


def pools_of(made: JsonObject) -> set[str]:
    """Identifiers of every pool a load balancer refers to."""
    steering = ("region_pools", "country_pools", "pop_pools")
    steered = {pool_id for key in steering for pools in (made[key] or {}).values() for pool_id in pools}
    return {*made["default_pools"], made["fallback_pool"], *steered}


def ensure_pool_unused(state: State, pool_id: str) -> None:
    """Raise ApiError 412/1005 while a load balancer refers to the pool."""
    for zone in state.zones.values():
        for made in zone.load_balancers.values():
            if pool_id in pools_of(made):
                raise ApiError(412, 1005, f"pool is in use by load balancer {made['name']}, cannot delete")


def ensure_monitor_unused(state: State, monitor_id: str) -> None:
    """Raise ApiError 412/1005 while a pool refers to the monitor."""
    for made in state.pools.values():
        if made["monitor"] == monitor_id:
            raise ApiError(412, 1005, f"monitor is in use by pool {made['name']}, cannot delete")


def _identity(old: JsonObject | None) -> JsonObject:
    if old is None:
        stamp = now()
        return {"id": new_id(), "created_on": stamp, "modified_on": stamp}
    return {"id": old["id"], "created_on": old["created_on"], "modified_on": now()}
