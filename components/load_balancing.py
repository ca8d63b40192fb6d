"""Cloudflare Load Balancing for the public host name: steering by region, and failover without an operator (CF-13).

https://developers.cloudflare.com/load-balancing/. It is a paid add-on; the plain records need none.
"""

from collections.abc import Mapping

from components.base import Component
from components.cloudflare import resource
from settings.model import Dns, LoadBalancing, OriginState

HEALTH_PATH = "/health"


def load_balancer(
    owner: Component, dns: Dns, settings: LoadBalancing, addresses: Mapping[str, str], stack: str
) -> None:
    """Declare one monitor, one pool per origin and the load balancer, as children of a component.

    Disabling an origin disables its pool and changes nothing else here: a pool that is taken away would first have to
    leave every list that names it (HTTP 412, code 1005).
    """
    monitor = resource(
        "LoadBalancerMonitor",
        owner.child_name("monitor"),
        {
            "accountId": settings.account_id,
            "type": "https",
            "method": "GET",
            "path": HEALTH_PATH,
            "expectedCodes": "200",
            "interval": 60,
            "timeout": 5,
            "retries": 2,
            # Without it the probe asks for the address, and Nginx serves no stranger.
            "header": {"Host": [dns.hostname]},
            "description": f"{dns.hostname}, managed by Pulumi stack {stack}",
        },
        owner.child(),
    )
    pools = {
        node: resource(
            "LoadBalancerPool",
            owner.child_name(f"pool-{node}"),
            {
                "accountId": settings.account_id,
                "name": f"{stack}-{node}",
                "origins": [{"name": node, "address": addresses[node], "enabled": True}],
                "monitor": monitor.id,
                "enabled": state is OriginState.ENABLED,
                "description": f"managed by Pulumi stack {stack}",
            },
            owner.child(),
        ).id
        for node, state in dns.origins.items()
    }
    resource(
        "LoadBalancer",
        owner.child_name("balancer"),
        {
            "zoneId": dns.zone_id,
            "name": dns.hostname,
            "proxied": True,
            "steeringPolicy": "geo",
            "defaultPools": [pools[node] for node in settings.regions],
            "fallbackPool": pools[next(iter(settings.regions))],
            "regionPools": {
                region: [pools[each] for each in (node, *steering.then)]
                for node, steering in settings.regions.items()
                for region in steering.serves
            },
            "sessionAffinity": "none",
            # A request that failed is tried at the next region within the same answer.
            "adaptiveRouting": {"failoverAcrossPools": True},
            "description": f"managed by Pulumi stack {stack}",
        },
        owner.child(),
    )
