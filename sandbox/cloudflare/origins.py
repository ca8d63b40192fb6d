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


def origins(state: State, host: str, region: str | None = None) -> list[str]:
    """Addresses the proxy may send a request for `host` to; empty when the name is not proxied.

    A load balancer takes precedence over records of its name. With mixed records Cloudflare treats all of a name as
    proxied.
    https://developers.cloudflare.com/dns/manage-dns-records/how-to/round-robin-dns/
    """
    pools = origin_pools(state, host, region)
    return pools[0] if pools else []


def origin_pools(state: State, host: str, region: str | None) -> list[list[str]]:
    """Groups of origins in the order in which they are asked; the records of a name are one group.

    With geo steering a visitor's region has an order of its own. Pools that are disabled are passed over, whereupon the
    fallback pool is last. Monitors are not modelled: a pool is ill when it does not answer.
    https://developers.cloudflare.com/load-balancing/understand-basics/traffic-steering/steering-policies/geo-steering/
    """
    zone = state.zone_of(host)
    if zone is None:
        return []
    balancer = _balancer(zone, host)
    if balancer is not None:
        return _balanced(state, balancer, region) if balancer["proxied"] else []
    records = zone.named(host, "A", "AAAA")
    return [[record["content"] for record in records]] if any(r["proxied"] for r in records) else []


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
        return PublicRecords(a=tuple(next(iter(_balanced(state, balancer, None)), [])), txt=txt)
    cnames = [r["content"] for r in zone.named(host, "CNAME")]
    return PublicRecords(
        a=tuple(r["content"] for r in zone.named(host, "A")),
        aaaa=tuple(r["content"] for r in zone.named(host, "AAAA")),
        cname=cnames[0] if cnames else None,
        txt=txt,
    )


def _balancer(zone: Zone, host: str) -> JsonObject | None:
    return next((b for b in zone.load_balancers.values() if b["name"] == host and b["enabled"]), None)


def _balanced(state: State, balancer: JsonObject, region: str | None) -> list[list[str]]:
    """Origins of every pool that has an enabled one; of the first alone unless requests may go on to other pools."""
    steered = balancer["region_pools"].get(region) if balancer["steering_policy"] == "geo" else None
    pools = [state.pools[each] for each in (*(steered or balancer["default_pools"]), balancer["fallback_pool"])]
    found = [[o["address"] for o in pool["origins"] if o["enabled"]] for pool in pools if pool["enabled"]]
    usable = [addresses for addresses in found if addresses]
    return usable if balancer["adaptive_routing"]["failover_across_pools"] else usable[:1]
