"""What the account holds: zones with records, settings and load balancers, and the account's pools and monitors."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sandbox import files
from sandbox.cloudflare import zone_settings
from sandbox.cloudflare.errors import ApiError

JsonObject = dict[str, Any]


def fixed_id(text: str) -> str:
    """An identifier that depends on the text alone, so that a zone keeps its own from one sandbox to the next."""
    return hashlib.sha256(text.encode()).hexdigest()[:32]


ACCOUNT_ID = fixed_id("account")


@dataclass
class Zone:
    """One DNS zone. Records and load balancers are keyed by identifier and hold what the API answers."""

    name: str
    settings: JsonObject = field(default_factory=zone_settings.defaults)
    records: dict[str, JsonObject] = field(default_factory=dict)
    load_balancers: dict[str, JsonObject] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """Identifier at the API."""
        return fixed_id(self.name)

    def named(self, host: str, *types: str) -> list[JsonObject]:
        """Records of a host name, of the given types or of all."""
        return [r for r in self.records.values() if r["name"] == host and (not types or r["type"] in types)]


class State:
    """The account, kept in a JSON file so that the double may be restarted. Every change is followed by `save`."""

    def __init__(self, path: Path, zone_names: Sequence[str]) -> None:
        self._path = path
        self.zones: dict[str, Zone] = {}
        self.pools: dict[str, JsonObject] = {}
        self.monitors: dict[str, JsonObject] = {}
        # Of visitors by their address; what a test says of them, and no part of the account.
        self.regions: dict[str, str] = {}
        if path.exists():
            self._load(json.loads(path.read_text()))
        for name in zone_names:
            zone = Zone(name)
            self.zones.setdefault(zone.id, zone)

    def zone(self, zone_id: str) -> Zone:
        """The zone of an identifier. Raise ApiError as the real API does for one that the token cannot see."""
        if zone_id not in self.zones:
            raise ApiError(
                404, 7003, f"Could not route to /zones/{zone_id}, perhaps your object identifier is invalid?"
            )
        return self.zones[zone_id]

    def zone_of(self, host: str) -> Zone | None:
        """The zone a host name lies in."""
        for zone in self.zones.values():
            if host == zone.name or host.endswith("." + zone.name):
                return zone
        return None

    def hosts(self) -> Iterator[str]:
        """Every host name that has a record or a load balancer."""
        for zone in self.zones.values():
            yield from {entry["name"] for entry in (*zone.records.values(), *zone.load_balancers.values())}

    def save(self) -> None:
        """Write the file; a reader sees the old one or the new one."""
        zones = [
            {"name": z.name, "settings": z.settings, "records": z.records, "load_balancers": z.load_balancers}
            for z in self.zones.values()
        ]
        document = {"zones": zones, "pools": self.pools, "monitors": self.monitors}
        files.replace(self._path, json.dumps(document, indent=1))

    def _load(self, document: JsonObject) -> None:
        self.pools, self.monitors = document["pools"], document["monitors"]
        for entry in document["zones"]:
            zone = Zone(**entry)
            self.zones[zone.id] = zone
