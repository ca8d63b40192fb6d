"""Rules on what the public reaches: NodePorts, paths, edge nodes, DNS origins."""

from collections.abc import Iterator, Mapping

from settings.model import Cluster, Dns, Edge, Environment, Exposure, Service, Worker
from settings.problems import Problem, shown
from settings.rules_placement import unknown_node

NODE_PORTS: Mapping[str, range] = {
    "mainnet": range(30001, 30011),
    "testnet": range(30011, 30021),
    "devnet": range(30021, 30031),
}
"""NodePorts of each environment: they are one namespace in the whole cluster (X-05, NPORT-12)."""

PARTS = ("postgres", "redis", "migration")
"""Every object of these is named after one; ``tests/program/test_declared_pods.py`` compares."""


def names_are_unique(workers: dict[str, Worker], services: dict[str, Service]) -> Iterator[Problem]:
    """Workers and services become Deployments of one namespace."""
    for name in workers.keys() & services.keys():
        yield Problem(f"services.{name}", "a worker has this name too", "rename one of them")


def names_are_free(workers: dict[str, Worker], services: dict[str, Service]) -> Iterator[Problem]:
    """The databases' parts have names, and ``app`` labels, of their own; who wears one is taken for one (X-73)."""
    for section, names in (("workers", workers), ("services", services)):
        for name in names:
            part = next((part for part in PARTS if f"{name}-".startswith(f"{part}-")), None)
            if part is not None:
                yield Problem(f"{section}.{name}", f"a name that the parts of {part} keep", "take another name")


def services_begin_with_a_letter(services: dict[str, Service]) -> Iterator[Problem]:
    """A Service is an RFC 1035 label, where other objects are one of RFC 1123."""
    for name in services:
        if name[0].isdigit():
            yield Problem(f"services.{name}", "a Service's name begins with a letter", "put a letter first")


def node_ports_are_unique(services: dict[str, Service]) -> Iterator[Problem]:
    """A NodePort is one service's in the whole cluster (X-05)."""
    seen: dict[int, str] = {}
    for name, service in services.items():
        if service.node_port is None:
            continue
        if service.node_port in seen:
            yield Problem(
                f"services.{name}.nodePort",
                f"the NodePort of {seen[service.node_port]} too",
                "give each service its own",
                shown(service.node_port),
            )
        seen.setdefault(service.node_port, name)


def foreign_node_port(environment: str, port: int) -> tuple[str, str] | None:
    """The problem and the remedy of a NodePort that is not this environment's; None when it is."""
    owner = next((name for name, ports in NODE_PORTS.items() if port in ports), None)
    if environment in NODE_PORTS and owner != environment:
        own = NODE_PORTS[environment]
        return f"no NodePort of {environment}", f"one of {own.start} to {own.stop - 1}"
    if environment not in NODE_PORTS and owner is not None:
        return f"a NodePort of {owner}", "take one that no other environment has"
    return None


def node_ports_are_the_environments_own(environment: Environment, services: dict[str, Service]) -> Iterator[Problem]:
    """Two environments on one cluster never ask for one NodePort (X-05)."""
    for name, service in services.items():
        if service.node_port is not None:
            foreign = foreign_node_port(environment.name, service.node_port)
            if foreign is not None:
                yield Problem(f"services.{name}.nodePort", *foreign, shown(service.node_port))


def paths_are_unique(services: dict[str, Service]) -> Iterator[Problem]:
    """Nginx routes a path to one service, through that service's NodePort."""
    seen: dict[str, str] = {}
    for name, service in services.items():
        if service.path is None:
            continue
        if service.node_port is None:
            yield Problem(
                f"services.{name}.path",
                "a path without a NodePort, which Nginx needs to reach the service",
                "add nodePort, or remove path",
                shown(service.path),
            )
        if service.path in seen:
            yield Problem(
                f"services.{name}.path",
                f"the path of {seen[service.path]} too",
                "give each service its own",
                shown(service.path),
            )
        seen.setdefault(service.path, name)


def metrics_port_is_free(services: dict[str, Service]) -> Iterator[Problem]:
    """Port 9090 of every container serves metrics (API-19)."""
    for name, service in services.items():
        if service.port == 9090:
            yield Problem(f"services.{name}.port", "the port of the metrics", "take another port", shown(service.port))


def edge_nodes_are_reachable(edge: Edge | None, cluster: Cluster) -> Iterator[Problem]:
    """An edge node is declared, has a public address and a pinned host key."""
    if edge is None:
        return
    for index, name in enumerate(edge.nodes):
        path = f"edge.nodes[{index}]"
        if name in edge.nodes[:index]:
            yield Problem(path, "named twice", "name each node once", shown(name))
        elif name not in cluster.nodes:
            yield unknown_node(path, name, cluster)
        elif cluster.nodes[name].public_ip is None:
            yield Problem(
                path,
                "a node without a public address",
                f"add publicIp to cluster.nodes.{name}, or remove the node here",
                shown(name),
            )


def provisioned_nodes_are_pinned(edge: Edge | None, cluster: Cluster) -> Iterator[Problem]:
    """Every node that is provisioned over SSH has a pinned host key.

    Keys and counters of other nodes are idle: taking the firewall or an edge node away is one edit, at night too.
    """
    if edge is None:
        return
    provisioned = [name for name in cluster.nodes if name in edge.nodes or edge.firewall is not None]
    for name in provisioned:
        if name not in edge.ssh.host_keys:
            yield Problem(
                f"edge.ssh.hostKeys.{name}",
                "missing: the host key of a node that is provisioned",
                "run `make configure STACK=…`, which reads it and asks",
            )
    for section, names in (("ssh.hostKeys", edge.ssh.host_keys), ("reprovision", edge.reprovision)):
        for name in names:
            if name not in cluster.nodes:
                yield unknown_node(f"edge.{section}.{name}", name, cluster)


def edge_exposes_services(edge: Edge | None, services: dict[str, Service]) -> Iterator[Problem]:
    """What the host name reaches exists and has a NodePort."""
    if edge is None:
        return
    yield from _behind_nginx("edge.healthService", edge.health_service, services)
    if edge.expose in {Exposure.SERVICES, Exposure.BOTH} and not any(service.path for service in services.values()):
        yield Problem(
            "edge.expose",
            "no service has a path",
            "give the services to expose a path and a nodePort",
            shown(edge.expose),
        )
    if edge.expose in {Exposure.GATEWAY, Exposure.BOTH}:
        if edge.gateway_service is None:
            yield Problem(
                "edge.gatewayService",
                f"missing with expose: {edge.expose}",
                "name the service that answers at /",
            )
        else:
            yield from _behind_nginx("edge.gatewayService", edge.gateway_service, services)


def _behind_nginx(path: str, name: str, services: dict[str, Service]) -> Iterator[Problem]:
    if name not in services:
        yield Problem(path, "no service of this stack", f"one of {', '.join(services)}", shown(name))
    elif services[name].node_port is None:
        yield Problem(
            path,
            "a service without a NodePort, which Nginx needs to reach it",
            f"add nodePort to services.{name}, or name another service",
            shown(name),
        )


def dns_and_edge_agree(dns: Dns | None, edge: Edge | None) -> Iterator[Problem]:
    """DNS leads to Nginx: one host name, and every origin runs it."""
    if dns is None:
        return
    if edge is None:
        yield Problem(
            "dns", "no edge for the records to lead to", "add gx-backend-infra:edge, or remove gx-backend-infra:dns"
        )
        return
    if dns.hostname != edge.hostname:
        yield Problem(
            "dns.hostname",
            f"not the host name of the edge, {edge.hostname}",
            "write the same name in dns.hostname and edge.hostname",
            shown(dns.hostname),
        )
    for name in dns.origins:
        if name not in edge.nodes:
            yield Problem(f"dns.origins.{name}", "no edge node", f"one of {', '.join(edge.nodes)}")


def hostname_is_in_the_zone(dns: Dns | None) -> Iterator[Problem]:
    """Cloudflare refuses a record of another zone."""
    if dns is not None and dns.hostname != dns.zone and not dns.hostname.endswith(f".{dns.zone}"):
        yield Problem(
            "dns.hostname", f"not a name of the zone {dns.zone}", f"write it as api.{dns.zone}", shown(dns.hostname)
        )


def zone_settings_have_one_owner(dns: Dns | None, environment: Environment) -> Iterator[Problem]:
    """The SSL mode is the whole zone's: two stacks would overwrite each other's, so production sets it (X-69)."""
    if dns is not None and dns.manage_zone_settings and environment.labels.get("environment") != "production":
        yield Problem(
            "dns.manageZoneSettings",
            f"{environment.name} is not labelled environment: production",
            "set it to false",
        )


def origins_have_addresses(dns: Dns | None, cluster: Cluster) -> Iterator[Problem]:
    """An origin is a declared node with a public address."""
    if dns is None:
        return
    for name in dns.origins:
        path = f"dns.origins.{name}"
        if name not in cluster.nodes:
            yield Problem(path, "no node of cluster.nodes", f"one of {', '.join(cluster.nodes)}")
        elif cluster.nodes[name].public_ip is None:
            yield Problem(path, "a node without a public address", f"add publicIp to cluster.nodes.{name}")


def load_balancing_serves_every_region_once(dns: Dns | None) -> Iterator[Problem]:
    """Every origin has its place, every region one first origin, and every origin all the others behind it."""
    if dns is None or dns.load_balancing is None:
        return
    seen: dict[str, str] = {}
    for name in dns.origins.keys() ^ dns.load_balancing.regions.keys():
        yield Problem(
            f"dns.loadBalancing.regions.{name}",
            "missing: an origin" if name in dns.origins else "no origin",
            "name exactly the nodes of dns.origins",
        )
    for name, steering in dns.load_balancing.regions.items():
        path = f"dns.loadBalancing.regions.{name}"
        others = [each for each in dns.origins if each != name]
        if sorted(steering.then) != sorted(others):
            yield Problem(
                f"{path}.then", "not all other origins, each once", f"order {', '.join(others)}", shown(steering.then)
            )
        for region in steering.serves:
            if region in seen:
                yield Problem(f"{path}.serves", f"{region} is served by {seen[region]} first", "name it once")
            seen.setdefault(region, name)


RULES = (
    load_balancing_serves_every_region_once,
    names_are_unique,
    names_are_free,
    services_begin_with_a_letter,
    node_ports_are_unique,
    node_ports_are_the_environments_own,
    paths_are_unique,
    metrics_port_is_free,
    edge_nodes_are_reachable,
    provisioned_nodes_are_pinned,
    edge_exposes_services,
    zone_settings_have_one_owner,
    origins_have_addresses,
    hostname_is_in_the_zone,
    dns_and_edge_agree,
)
