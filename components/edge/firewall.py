"""Host firewall of a node: who may reach NodePorts and, by setting, the web ports (X-16, X-37)."""

import ipaddress
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pulumi

from components.base import Component
from components.edge.host import Host
from components.edge.nginx import cloudflare_ranges
from components.edge.packages import FIREWALL_PROGRAMS, packages_step
from components.edge.steps import SETTINGS_FILE, Step, settings_file
from components.templates import render
from settings.model import Edge, Firewall, Node, NodePortAccess, WebAccess

_DIRECTORY = Path(__file__).parent
ROLLBACK_SECONDS = 60
"""After this long without a confirmation the host takes the new rules back by itself."""


@dataclass(frozen=True, kw_only=True)
class NodeFirewallArgs:
    """Arguments of ``NodeFirewall``; plain values but for the key, since they decide what is on the node."""

    node: str
    settings: Edge
    nodes: Mapping[str, Node]
    private_key: pulumi.Input[str] | None


class NodeFirewall(Component):
    """Rules of one node, in a table of their own: the chains of kube-proxy, the CNI and the operator stay as they are.

    Every node of the cluster opens every NodePort, so every node gets it, whether it runs Nginx or not. Packets to the
    SSH port are let pass by the first rule. Rules that cut the connection they came by are taken back by the host
    itself. Removing the component runs nothing on the node; the runbook says how to take the rules away.

    Attributes:
        address: Address the node was reached under.
    """

    area = "edge"
    address: pulumi.Output[str]

    def __init__(self, name: str, args: NodeFirewallArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(name, opts)
        host = Host(self, args.node, args.settings, args.nodes, args.private_key)
        steps = firewall_steps(args.settings, args.nodes)
        packages = host.run("packages", steps["packages"])
        host.run("rules", steps["rules"], after=[packages])
        self.address = pulumi.Output.from_input(host.address)
        self.register_outputs({"address": self.address})


def firewall_steps(edge: Edge, nodes: Mapping[str, Node]) -> dict[str, Step]:
    """The steps of a node's firewall by their part of the resource's name, in the order they run in."""
    return {
        "packages": packages_step("Packages of the host firewall", FIREWALL_PROGRAMS),
        "rules": firewall_step(edge, nodes),
    }


def firewall_step(edge: Edge, nodes: Mapping[str, Node], rollback_seconds: int = ROLLBACK_SECONDS) -> Step:
    """The step that puts the rules in force; the same on every node. ``edge.firewall`` must be given."""
    if edge.firewall is None:
        raise ValueError("edge.firewall: missing. Fix: give it, or leave the firewall out")
    rules = render(_DIRECTORY / "templates/firewall.nft.j2", **_values(edge, edge.firewall, nodes))
    return Step(
        title="Host firewall",
        script="firewall.sh",
        files={
            SETTINGS_FILE: settings_file({"ROLLBACK_SECONDS": str(rollback_seconds)}),
            "rules.nft": rules,
            "gx-firewall.service": (_DIRECTORY / "units/gx-firewall.service").read_text(encoding="utf-8"),
        },
    )


def _values(edge: Edge, firewall: Firewall, nodes: Mapping[str, Node]) -> dict[str, object]:
    own = [
        network
        for node in nodes.values()
        for network in (node.internal_ip, node.public_ip, node.pod_cidr)
        if network is not None
    ]
    return {
        "ssh_port": edge.ssh.port,
        "enforced": firewall.node_ports is NodePortAccess.ENFORCE,
        "cloudflare_only": firewall.web is WebAccess.CLOUDFLARE,
        "sets": {"cluster": _by_family(own), "cloudflare": _by_family(cloudflare_ranges())},
    }


def _by_family(networks: Iterable[str]) -> dict[int, list[str]]:
    """Networks by IP version, each once, in the order of their addresses."""
    parsed = {ipaddress.ip_network(network) for network in networks}
    return {
        version: [str(n) for n in sorted((p for p in parsed if p.version == version), key=str)] for version in (4, 6)
    }
