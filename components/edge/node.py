"""One edge node: what runs on it beside K3s, provisioned over SSH in four steps."""

from collections.abc import Mapping
from dataclasses import dataclass

import pulumi

from components.base import Component
from components.edge.certificate import certificate_step, dns_token_step
from components.edge.host import Host
from components.edge.monitor import monitor_step
from components.edge.nginx import nginx_step
from components.edge.packages import DNS_CHALLENGE_PROGRAMS, EDGE_PROGRAMS, packages_step
from components.edge.steps import Step
from settings.model import Challenge, Dns, Edge, Node, Service


@dataclass(frozen=True, kw_only=True)
class EdgeNodeArgs:
    """Arguments of ``EdgeNode``; plain values but for the secrets, since they decide what is on the node.

    ``dns_token`` is given where the challenge is dns-01, and nowhere else.
    """

    node: str
    settings: Edge
    nodes: Mapping[str, Node]
    services: Mapping[str, Service]
    stack: str
    private_key: pulumi.Input[str] | None
    dns: Dns | None = None
    dns_token: pulumi.Input[str] | None = None


class EdgeNode(Component):
    """Nginx, certificate and health monitor of a node: packages, then Nginx, then the certificate; the monitor beside.

    How a step behaves is said at ``Host``.

    Removing a node from the stack runs nothing on it, since it may be dead; its files and its certificate stay.

    Attributes:
        address: Public address of the node.
    """

    area = "edge"
    address: pulumi.Output[str]

    def __init__(self, name: str, args: EdgeNodeArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(name, opts)
        edge, stack = args.settings, args.stack
        host = Host(self, args.node, edge, args.nodes, args.private_key)
        steps = node_steps(args.node, edge, args.nodes, args.services, stack, dns=args.dns)
        packages = host.run("packages", steps["packages"])
        nginx = host.run("nginx", steps["nginx"], after=[packages])
        ready: list[pulumi.Resource] = [nginx]
        if args.dns_token is not None:
            ready.append(host.run_secret("dns-token", args.dns_token, dns_token_step, after=[packages]))
        host.run("certificate", steps["certificate"], after=ready)
        host.run("monitor", steps["monitor"], after=[packages])
        self.address = pulumi.Output.from_input(host.address)
        self.register_outputs({"address": self.address})


def node_steps(
    node: str, edge: Edge, nodes: Mapping[str, Node], services: Mapping[str, Service], stack: str, *, dns: Dns | None
) -> dict[str, Step]:
    """The steps of a node by their part of the resource's name, in the order they run in, but for the one with a token.

    ``dns_token_step`` runs before the certificate where the challenge is dns-01.
    """
    programs = {**EDGE_PROGRAMS, **(DNS_CHALLENGE_PROGRAMS if edge.acme.challenge is Challenge.DNS else {})}
    return {
        "packages": packages_step("Packages of the edge", programs),
        "nginx": nginx_step(node, edge, nodes, services, stack),
        "certificate": certificate_step(edge, dns, stack),
        "monitor": monitor_step(node, edge, nodes, stack),
    }
