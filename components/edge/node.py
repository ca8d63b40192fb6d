"""One edge node: what runs on it beside K3s, provisioned over SSH step by step."""

from collections.abc import Mapping
from dataclasses import dataclass

import pulumi
from pydantic import SecretStr

from components.base import Component
from components.edge.certificate import certificate_step, dns_token_step
from components.edge.host import Host
from components.edge.monitor import alerts_step, monitor_name, monitor_step
from components.edge.nginx import nginx_step, site_name
from components.edge.packages import DNS_CHALLENGE_PROGRAMS, EDGE_PROGRAMS, packages_step
from components.edge.steps import SETTINGS_FILE, Step, settings_file
from settings.model import Dns, Edge, Node, Secrets, Service

_AFTER = {
    "nginx": ("packages",),
    "dns-token": ("packages",),
    "certificate": ("nginx", "dns-token"),
    "alerts": ("packages",),
    "monitor": ("packages", "alerts"),
}


@dataclass(frozen=True, kw_only=True)
class EdgeNodeArgs:
    """Arguments of ``EdgeNode``; plain values but for the key, since they decide what is on the node."""

    node: str
    settings: Edge
    nodes: Mapping[str, Node]
    services: Mapping[str, Service]
    stack: str
    private_key: pulumi.Input[str] | None
    secrets: Secrets
    dns: Dns | None = None


class EdgeNode(Component):
    """Nginx, certificate and health monitor of a node: packages, then Nginx, then the certificate; the monitor beside.

    How a step behaves is said at ``Host``.

    Removing a node from the stack runs nothing on it, since it may be dead; its files and its certificate stay. What
    runs on a live one is ended before, by ``operations.edge_retire``.

    Attributes:
        address: Public address of the node.
    """

    area = "edge"
    address: pulumi.Output[str]

    def __init__(self, name: str, args: EdgeNodeArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(name, opts)
        edge = args.settings
        host = Host(self, args.node, edge, args.nodes, args.private_key)
        steps = node_steps(args.node, edge, args.nodes, args.services, args.stack, dns=args.dns, secrets=args.secrets)
        done: dict[str, pulumi.Resource] = {}
        for part, step in steps.items():
            done[part] = host.run(part, step, after=[done[each] for each in _AFTER.get(part, ()) if each in done])
        self.address = pulumi.Output.from_input(host.address)
        self.register_outputs({"address": self.address})


def node_steps(
    node: str,
    edge: Edge,
    nodes: Mapping[str, Node],
    services: Mapping[str, Service],
    stack: str,
    *,
    dns: Dns | None,
    secrets: Secrets,
) -> dict[str, Step]:
    """The steps of a node by their part of the resource's name, in the order they run in."""
    token, slack, pager = secrets.acme_dns_token, secrets.monitor_slack_url, secrets.monitor_pagerduty_key
    programs = {**EDGE_PROGRAMS, **(DNS_CHALLENGE_PROGRAMS if token else {})}
    alerts = {"alerts": alerts_step(stack, _clear(slack), _clear(pager))} if slack or pager else {}
    return {
        "packages": packages_step("Packages of the edge", programs),
        "nginx": nginx_step(node, edge, nodes, services, stack),
        **({"dns-token": dns_token_step(_clear(token))} if token else {}),
        "certificate": certificate_step(edge, dns, stack),
        **alerts,
        "monitor": monitor_step(node, edge, nodes, stack, alerts=bool(alerts)),
    }


def retire_step(stack: str) -> Step:
    """The program that ends what the other steps started; no resource, since removing a node runs nothing on it."""
    values = {"STACK": stack, "SITE": site_name(stack), "MONITOR": monitor_name(stack)}
    return Step(title=f"End of {stack} on this node", script="retire.sh", files={SETTINGS_FILE: settings_file(values)})


def _clear(secret: SecretStr | None) -> str:
    return secret.get_secret_value() if secret else ""
