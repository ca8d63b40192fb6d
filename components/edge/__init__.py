"""The public entry on each node: Nginx, certificates and the health monitor, provisioned over SSH."""

from components.edge.node import EdgeNode, EdgeNodeArgs

__all__ = ["EdgeNode", "EdgeNodeArgs"]
