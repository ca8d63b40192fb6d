"""The public entry on each node: Nginx, certificates, health monitor and host firewall, provisioned over SSH."""

from components.edge.firewall import NodeFirewall, NodeFirewallArgs
from components.edge.node import EdgeNode, EdgeNodeArgs

__all__ = ["EdgeNode", "EdgeNodeArgs", "NodeFirewall", "NodeFirewallArgs"]
