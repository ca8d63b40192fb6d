"""What the live systems are not as the stack file and its proofs take them to be: one row for each thing to know.

*stop* is what a deployment would fail or do harm on, *warn* what an operator should know first.
"""

from itertools import chain

from operations.preflight import cluster, network, volumes
from operations.preflight.observed import Observed
from operations.preflight.rows import Check, Row
from settings.model import Settings

CHECKS: tuple[Check, ...] = (
    cluster.server_version,
    cluster.nodes,
    cluster.room,
    cluster.taints,
    cluster.disks,
    cluster.storage,
    volumes.pinned_volumes,
    cluster.encryption,
    network.distance,
    network.cluster_dns,
    network.proxy_mode,
    network.node_ports,
    network.closed_node_ports,
    network.web_ports,
    network.namespaces,
    network.metric_sources,
    network.fabric,
)


def judge(settings: Settings, observed: Observed) -> tuple[Row, ...]:
    """Every row, in the order of the checks."""
    return tuple(chain.from_iterable(check(settings, observed) for check in CHECKS))
