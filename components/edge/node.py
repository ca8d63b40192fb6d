"""One edge node: what runs on it beside K3s, provisioned over SSH in four steps."""

from collections.abc import Mapping
from dataclasses import dataclass

import pulumi

from components.base import Component
from components.edge.host import Host
from components.edge.monitor import monitor_step
from components.edge.nginx import nginx_step
from components.edge.packages import EDGE_PROGRAMS, packages_step
from components.edge.steps import SETTINGS_FILE, Step, script, settings_file
from settings.model import Edge, Node, Service


@dataclass(frozen=True, kw_only=True)
class EdgeNodeArgs:
    """Arguments of ``EdgeNode``; plain values but for the key, since they decide what is on the node."""

    node: str
    settings: Edge
    nodes: Mapping[str, Node]
    services: Mapping[str, Service]
    stack: str
    private_key: pulumi.Input[str] | None


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
        steps = node_steps(args.node, edge, args.nodes, args.services, stack)
        packages = host.run("packages", steps["packages"])
        nginx = host.run("nginx", steps["nginx"], after=[packages])
        host.run("certificate", steps["certificate"], after=[nginx])
        host.run("monitor", steps["monitor"], after=[packages])
        self.address = pulumi.Output.from_input(host.address)
        self.register_outputs({"address": self.address})


def node_steps(
    node: str, edge: Edge, nodes: Mapping[str, Node], services: Mapping[str, Service], stack: str
) -> dict[str, Step]:
    """The steps of a node by their part of the resource's name, in the order they run in."""
    return {
        "packages": packages_step("Packages of the edge", EDGE_PROGRAMS),
        "nginx": nginx_step(node, edge, nodes, services, stack),
        "certificate": certificate_step(edge, stack),
        "monitor": monitor_step(node, edge, nodes, stack),
    }


def certificate_step(edge: Edge, stack: str) -> Step:
    """The step that obtains the certificate and sees to its renewal."""
    return Step(
        title=f"Certificate of {edge.hostname}",
        script="certificate.sh",
        files={
            SETTINGS_FILE: settings_file(
                {
                    "STACK": stack,
                    "HOST_NAME": edge.hostname,
                    "DIRECTORY": edge.acme.directory,
                    "EMAIL": edge.acme.email,
                    "CA_BUNDLE": edge.acme.ca_bundle or "",
                }
            ),
            "deploy-hook.sh": script("deploy-hook.sh"),
        },
    )
