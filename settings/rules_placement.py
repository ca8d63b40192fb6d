"""Rules on nodes and on where pods may run."""

import ipaddress
from collections import defaultdict
from collections.abc import Collection, Iterator

from settings.model import Backups, Cluster, NodeRole, NodeSelection, Placement, Placements, Postgres, Redis
from settings.problems import Problem, shown
from settings.types import amount

SMALLEST_POD_NETWORK = 8
CONTROL_PLANE_LABEL = "node-role.kubernetes.io/control-plane"


def addresses_are_unique(cluster: Cluster) -> Iterator[Problem]:
    """Two nodes with one address are one node written twice."""
    for field, alias in (("internal_ip", "internalIp"), ("public_ip", "publicIp")):
        seen: dict[str, str] = {}
        for name, node in cluster.nodes.items():
            address = getattr(node, field)
            if address is None:
                continue
            if address in seen:
                yield Problem(
                    f"cluster.nodes.{name}.{alias}",
                    f"the address of {seen[address]} too",
                    "give each node its own",
                    shown(address),
                )
            seen.setdefault(address, name)


def pod_networks_do_not_overlap(cluster: Cluster) -> Iterator[Problem]:
    """Policies tell nodes apart by their pod networks (X-15)."""
    seen: list[tuple[str, ipaddress.IPv4Network | ipaddress.IPv6Network]] = []
    for name, node in cluster.nodes.items():
        network = ipaddress.ip_network(node.pod_cidr)
        other = next((o for o, n in seen if n.version == network.version and n.overlaps(network)), None)
        if other is not None:
            yield Problem(
                f"cluster.nodes.{name}.podCidr",
                f"overlaps the pod network of {other}",
                f"take it from `kubectl get node {name} -o jsonpath={{.spec.podCIDR}}`",
                shown(node.pod_cidr),
            )
        seen.append((name, network))


def pod_networks_have_room(cluster: Cluster) -> Iterator[Problem]:
    """Beside the overlay, the bridge and the broadcast address a node has addresses for pods."""
    for name, node in cluster.nodes.items():
        if ipaddress.ip_network(node.pod_cidr).num_addresses < SMALLEST_POD_NETWORK:
            yield Problem(
                f"cluster.nodes.{name}.podCidr",
                "too small for pods",
                f"take it from `kubectl get node {name} -o jsonpath={{.spec.podCIDR}}`",
                shown(node.pod_cidr),
            )


def pod_networks_hold_no_node(cluster: Cluster) -> Iterator[Problem]:
    """A pod network is opened to Nginx and closed to the outside as a whole (X-15): no machine is part of it."""
    addresses = [
        (name, ipaddress.ip_address(address))
        for name, node in cluster.nodes.items()
        for address in (node.internal_ip, node.public_ip)
        if address is not None
    ]
    for name, node in cluster.nodes.items():
        network = ipaddress.ip_network(node.pod_cidr)
        inside = next((other for other, address in addresses if address in network), None)
        # A network of all addresses holds every machine, of whichever version.
        if inside is not None or network.prefixlen == 0:
            yield Problem(
                f"cluster.nodes.{name}.podCidr",
                f"holds the address of {inside or 'every machine'}",
                f"take it from `kubectl get node {name} -o jsonpath={{.spec.podCIDR}}`",
                shown(node.pod_cidr),
            )


def copies_leave_the_cluster(backups: Backups | None, cluster: Cluster) -> Iterator[Problem]:
    """What is opened by address is opened to pods with such an address too: K3s tells them apart no further."""
    off_site = backups.off_site if backups else None
    for index, written in enumerate(off_site.networks if off_site else ()):
        network = ipaddress.ip_network(written)
        for name, node in cluster.nodes.items():
            pods = ipaddress.ip_network(node.pod_cidr)
            if network.version == pods.version and network.overlaps(pods):
                yield Problem(
                    f"backups.offSite.networks[{index}]",
                    f"holds pods of {name}, which would be opened too",
                    "name the networks of the object store alone",
                    shown(written),
                )
                break


def reserved_leaves_room(cluster: Cluster) -> Iterator[Problem]:
    """A node's reservation is smaller than the node."""
    for name, node in cluster.nodes.items():
        for alias, reserved, total in (
            ("reservedCpu", node.reserved_cpu, node.cpu),
            ("reservedMemory", node.reserved_memory, node.memory),
        ):
            if amount(reserved) >= amount(total):
                yield Problem(
                    f"cluster.nodes.{name}.{alias}",
                    f"all of the node's {total}",
                    "write what Fabric and the system use, not the node's size",
                    shown(reserved),
                )


def selections_name_nodes(placement: Placements, cluster: Cluster) -> Iterator[Problem]:
    """Each selection is a label or a list of declared nodes, and matches at least one node."""
    for family, of_family in (("databases", placement.databases), ("workloads", placement.workloads)):
        for strength, selection in (("require", of_family.require), ("prefer", of_family.prefer)):
            if selection is not None:
                yield from _selection(f"placement.{family}.{strength}", selection, cluster)


def _selection(path: str, selection: NodeSelection, cluster: Cluster) -> Iterator[Problem]:
    if (selection.label is None) == (not selection.hostnames):
        wrong = "both a label and hostnames" if selection.hostnames else "neither a label nor hostnames"
        yield Problem(path, wrong, "give exactly one of label and hostnames")
    for index, hostname in enumerate(selection.hostnames):
        if hostname not in cluster.nodes:
            yield unknown_node(f"{path}.hostnames[{index}]", hostname, cluster)
    if selection.label == CONTROL_PLANE_LABEL and not candidates(selection, cluster):
        yield Problem(
            f"{path}.label", "no node has this label", "give a node the role control-plane", shown(selection.label)
        )


def databases_have_a_node_each(
    placement: Placements, cluster: Cluster, postgres: Postgres, redis: Redis
) -> Iterator[Problem]:
    """Two instances of a database never share a node (PG-09, RD-04)."""
    nodes = hosts(placement.databases, cluster)
    for kind, replicas in (("postgres", postgres.replicas), ("redis", redis.replicas)):
        # Without any, the selection itself is told.
        if nodes and replicas > len(nodes):
            yield Problem(
                f"{kind}.replicas",
                f"one instance a node, and placement.databases.require leaves {_counted(nodes)}",
                f"at most {len(nodes)}, or widen placement.databases.require",
                shown(replicas),
            )


def hosts(placement: Placement, cluster: Cluster) -> tuple[str, ...]:
    """Nodes on which pods of a family may run."""
    return candidates(placement.require, cluster) if placement.require else tuple(cluster.nodes)


def candidates(selection: NodeSelection, cluster: Cluster) -> tuple[str, ...]:
    """Declared nodes that a selection matches. Labels other than the control plane's are only known to the cluster."""
    if selection.hostnames:
        return tuple(name for name in cluster.nodes if name in selection.hostnames)
    if selection.label == CONTROL_PLANE_LABEL:
        return tuple(name for name, node in cluster.nodes.items() if node.role is NodeRole.CONTROL_PLANE)
    return tuple(cluster.nodes)


def unknown_node(path: str, name: str, cluster: Cluster) -> Problem:
    """The problem of a name that is no declared node."""
    return Problem(path, "no node of cluster.nodes", f"one of {', '.join(cluster.nodes)}", shown(name))


def primary_exists(postgres: Postgres) -> Iterator[Problem]:
    """The primary is one of the instances."""
    if postgres.primary_ordinal >= postgres.replicas:
        yield Problem(
            "postgres.primaryOrdinal",
            f"no such instance with {postgres.replicas} replicas",
            f"0 to {postgres.replicas - 1}",
            shown(postgres.primary_ordinal),
        )


def losses_name_instances(postgres: Postgres) -> Iterator[Problem]:
    """What a failover may give up is named exactly, and is not what it promotes."""
    others = [f"postgres-{each}" for each in range(postgres.replicas) if each != postgres.primary_ordinal]
    for index, name in enumerate(postgres.accept_loss):
        if name not in others:
            yield Problem(
                f"postgres.acceptLoss[{index}]",
                f"not an instance that postgres-{postgres.primary_ordinal} can take the place of",
                f"of {', '.join(others)} those that do not answer, as the refusal named them"
                if others
                else "remove it",
                shown(name),
            )


def majorities_exist(postgres: Postgres, redis: Redis) -> Iterator[Problem]:
    """Two instances cannot outvote a dead one: neither a switchover nor Sentinel would find a majority."""
    for kind, replicas in (("postgres", postgres.replicas), ("redis", redis.replicas)):
        if replicas == 2:
            yield Problem(
                f"{kind}.replicas",
                "no majority is left when one of two instances is lost",
                "1 without fail-over, or 3 and more",
                shown(replicas),
            )


def zones_are_told(cluster: Cluster) -> Iterator[Problem]:
    """Nodes of one region share a zone and regions do not, or requests leave their region (design decision 4)."""
    zones: defaultdict[str, set[str]] = defaultdict(set)
    for node in cluster.nodes.values():
        zones[node.zone].add(node.region)
    for zone, regions in zones.items():
        if len(regions) > 1:
            name = next(n for n, node in cluster.nodes.items() if node.zone == zone)
            yield Problem(
                f"cluster.nodes.{name}.zone",
                f"one zone for the regions {' and '.join(sorted(regions))}",
                "give each region its own zone",
                shown(zone),
            )


def _counted(nodes: Collection[str]) -> str:
    return f"{len(nodes)} node" if len(nodes) == 1 else f"{len(nodes)} nodes"


RULES = (
    addresses_are_unique,
    pod_networks_do_not_overlap,
    pod_networks_have_room,
    pod_networks_hold_no_node,
    copies_leave_the_cluster,
    reserved_leaves_room,
    selections_name_nodes,
    databases_have_a_node_each,
    primary_exists,
    losses_name_instances,
    majorities_exist,
    zones_are_told,
)
