"""Which origins a host name leads to, and what the public DNS says of it."""

from dataclasses import dataclass

from sandbox.cloudflare.state import JsonObject, State, Zone


@dataclass(frozen=True)
class PublicRecords:
    """What a resolver answers for one host name."""

    a: tuple[str, ...] = ()
    aaaa: tuple[str, ...] = ()
    cname: str | None = None
    txt: tuple[str, ...] = ()


def origins(state: State, host: str) -> list[str]:
    """Addresses the proxy may send a request for `host` to; empty when the name is not proxied.

    A load balancer takes precedence over records of its name. With mixed records Cloudflare treats all of a name as
    proxied.
    https://developers.cloudflare.com/dns/manage-dns-records/how-to/round-robin-dns/
    """
    zone = state.zone_of(host)
    if zone is None:
        return []
    balancer = _balancer(zone, host)
    if balancer is not None:
        return _balanced(state, balancer) if balancer["proxied"] else []
    records = zone.named(host, "A", "AAAA")
    return [record["content"] for record in records] if any(r["proxied"] for r in records) else []


def public_records(state: State, host: str, edge_address: str) -> PublicRecords:
    """What the public DNS answers: the edge's address for a proxied name, the records themselves for the others."""
    zone = state.zone_of(host)
    if zone is None:
        return PublicRecords()
    txt = tuple(r["content"].strip('"') for r in zone.named(host, "TXT"))
    if origins(state, host):
        return PublicRecords(a=(edge_address,), txt=txt)
    balancer = _balancer(zone, host)
    if balancer is not None:
        return PublicRecords(a=tuple(_balanced(state, balancer)), txt=txt)
    cnames = [r["content"] for r in zone.named(host, "CNAME")]
    return PublicRecords(
        a=tuple(r["content"] for r in zone.named(host, "A")),
        aaaa=tuple(r["content"] for r in zone.named(host, "AAAA")),
        cname=cnames[0] if cnames else None,
        txt=txt,
    )


def _balancer(zone: Zone, host: str) -> JsonObject | None:
    return next((b for b in zone.load_balancers.values() if b["name"] == host and b["enabled"]), None)


def _balanced(state: State, balancer: JsonObject) -> list[str]:
    """Origins of the first pool that has an enabled one, the fallback pool last. Steering, monitors: not modelled."""
    for pool_id in (*balancer["default_pools"], balancer["fallback_pool"]):
        pool = state.pools[pool_id]
        addresses = [origin["address"] for origin in pool["origins"] if origin["enabled"]]
        if pool["enabled"] and addresses:
            return addresses
    return []
