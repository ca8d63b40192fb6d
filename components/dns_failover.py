"""DNS of the public host name at Cloudflare: one A record per enabled origin, the zone's SSL mode, load balancing."""

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass

import pulumi

from components.base import Component
from components.cloudflare import resource
from components.load_balancing import load_balancer
from settings.model import Dns, Node, OriginState

SSL_MODE = "strict"
"""Cloudflare talks TLS to the origins and verifies their certificates (X-49)."""

TTL_AUTOMATIC = 1
"""The only TTL a proxied record can have (CF-06)."""


@dataclass(frozen=True, kw_only=True)
class DnsFailoverArgs:
    """Arguments of ``DnsFailover``; plain values, since they decide which records exist."""

    dns: Dns
    nodes: Mapping[str, Node]
    stack: str


class DnsFailover(Component):
    """Proxied A records (CF-01 to CF-06), keyed by node: an origin's switch touches its own record alone (CF-20).

    It depends on no other resource and nothing on the nodes or in the cluster is asked: with the node and the
    Kubernetes API gone, disabling the origin is still one deletion.

    With ``manageZoneSettings`` the zone's SSL mode is set to strict. A zone setting cannot be deleted: `destroy` leaves
    the mode as it is, the safe one.

    With ``loadBalancing`` a load balancer answers for the name. The records stay for when it is taken away.

    Attributes:
        hostname: Name of the records.
        origins: Address of every enabled origin, by node.
    """

    area = "dns"
    hostname: pulumi.Output[str]
    origins: pulumi.Output[Mapping[str, str]]

    def __init__(self, name: str, args: DnsFailoverArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(name, opts)
        dns = args.dns
        origins = {
            node: _address(node, args.nodes) for node, state in dns.origins.items() if state is OriginState.ENABLED
        }
        for node, address in origins.items():
            resource(
                "DnsRecord",
                self.child_name(node),
                {
                    "zoneId": dns.zone_id,
                    # In full: a bare label is echoed back in full and shows as a difference for ever.
                    "name": dns.hostname,
                    "type": "A",
                    "content": address,
                    "proxied": dns.proxied,
                    "ttl": TTL_AUTOMATIC,
                    "comment": f"{node}, managed by Pulumi stack {args.stack}",
                },
                # Records of the same name and type live side by side; a replacement must not leave none.
                self.child(delete_before_replace=False),
            )
        if dns.manage_zone_settings:
            resource(
                "ZoneSetting",
                self.child_name("ssl"),
                {"zoneId": dns.zone_id, "settingId": "ssl", "value": SSL_MODE},
                self.child(),
            )
        if dns.load_balancing is not None:
            addresses = {node: _address(node, args.nodes) for node in dns.origins}
            load_balancer(self, dns, dns.load_balancing, addresses, args.stack)
        self.hostname = pulumi.Output.from_input(dns.hostname)
        self.origins = pulumi.Output.from_input(origins)
        self.register_outputs({"hostname": self.hostname, "origins": self.origins})


def _address(node: str, nodes: Mapping[str, Node]) -> str:
    address = nodes[node].public_ip
    if address is None:
        message = f"dns.origins.{node}: the node has no public address. Fix: add publicIp to cluster.nodes.{node}"
        raise ValueError(message)
    return str(ipaddress.IPv4Address(address))
