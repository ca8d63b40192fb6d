"""Ports, the namespaces of other teams, and what the hosts say of themselves."""

from collections.abc import Iterable, Iterator

from operations.preflight.observed import Document, Observed
from operations.preflight.rows import Level, Row, by_name
from settings.model import NodePortAccess, Settings
from settings.rules_exposure import NODE_PORTS

WEB_PORTS = (80, 443)
# Programs that may hold ports 80 and 443: the edge's own.
WEB_PROGRAMS = frozenset({"nginx"})
# https://github.com/prometheus/prometheus/wiki/Default-port-allocations
NODE_EXPORTER_PORT = 9100
# Within one site; beyond it every commit that waits for a standby is slower by as much.
SLOW_ROUND_TRIP_MS = 10


def proxy_mode(settings: Settings, observed: Observed) -> Iterator[Row]:
    """X-33: NodePorts answer on 127.0.0.1 in kube-proxy's iptables mode alone."""
    if settings.edge is None or not settings.edge.upstream_host.startswith("127."):
        yield Row(name="kube-proxy", level=Level.OK, said="Nginx uses no loopback address")
        return
    modes = {name: observed.hosts[name].proxy_mode for name in settings.edge.nodes if name in observed.hosts}
    for name in settings.edge.nodes:
        mode = modes.get(name, "")
        if not mode:
            said = f"its mode is not known: {_why(observed, name)}"
            fix = "on the node: curl http://127.0.0.1:10249/proxyMode, which has to say iptables"
            yield Row(name=f"kube-proxy on {name}", level=Level.WARN, said=said, fix=fix)
        elif mode != "iptables":
            fix = "set edge.upstreamHost to an address of the nodes, or kube-proxy's mode to iptables"
            said = f"in {mode} mode nothing answers on {settings.edge.upstream_host}"
            yield Row(name=f"kube-proxy on {name}", level=Level.STOP, said=said, fix=fix)
    if modes and set(modes.values()) == {"iptables"} and len(modes) == len(settings.edge.nodes):
        yield Row(name="kube-proxy", level=Level.OK, said="iptables mode on every edge node")


def node_ports(settings: Settings, observed: Observed) -> Iterator[Row]:
    """X-05: NodePorts are the whole cluster's."""
    wanted = {each.node_port: name for name, each in settings.services.items() if each.node_port is not None}
    taken = 0
    for service in observed.services:
        metadata = service["metadata"]
        for port in service["spec"].get("ports", []):
            name = wanted.get(port.get("nodePort"))
            if name is not None and (metadata["namespace"], metadata["name"]) != (settings.environment.namespace, name):
                taken += 1
                said = f"taken by the Service {metadata['namespace']}/{metadata['name']}"
                fix = f"another services.{name}.nodePort, or free it there"
                yield Row(name=f"NodePort {port['nodePort']}", level=Level.STOP, said=said, fix=fix)
    if not taken:
        yield Row(name="NodePorts", level=Level.OK, said=f"{len(wanted)} are free or the stack's own")


def closed_node_ports(settings: Settings, observed: Observed) -> Iterator[Row]:
    """X-16: the firewall closes every NodePort to the outside, and not the environments' alone."""
    firewall = settings.edge.firewall if settings.edge else None
    if firewall is None or firewall.node_ports is not NodePortAccess.ENFORCE:
        yield Row(name="firewall", level=Level.OK, said="it drops nothing on its way to a NodePort")
        return
    own = {port for ports in NODE_PORTS.values() for port in ports}
    others = {
        port["nodePort"]: _full_name(service)
        for service in observed.services
        for port in service["spec"].get("ports", [])
        if port.get("nodePort") and port["nodePort"] not in own
    }
    for port, service in sorted(others.items()):
        said = f"closes NodePort {port} of the Service {service} to all but the nodes and their pods"
        fix = "edge.firewall.nodePorts: count, until docs/runbooks/edge-firewall.md shows nobody there"
        yield Row(name="firewall", level=Level.WARN, said=said, fix=fix)
    if not others:
        yield Row(name="firewall", level=Level.OK, said="it closes no NodePort of others")


def metric_sources(settings: Settings, observed: Observed) -> Iterator[Row]:
    """X-30: alerts on pods, quotas and nodes read what other programs of the cluster export, or never fire."""
    if settings.observability is None:
        yield Row(name="metrics", level=Level.OK, said="the stack alerts nobody")
        return
    images = [
        container.get("image", "")
        for pod in observed.pods
        if pod["status"].get("phase") == "Running"
        for container in pod["spec"].get("containers", [])
    ]
    watched = any("kube-state-metrics" in image for image in images)
    silent = [name for name, host in observed.hosts.items() if NODE_EXPORTER_PORT not in host.listening]
    if not watched:
        said = "no pod of kube-state-metrics runs: alerts on pods and quotas never fire"
        yield Row(name="metrics", level=Level.WARN, said=said, fix="install it where Prometheus scrapes")
    if silent and settings.observability.cluster_alerts:
        said = f"no node_exporter on port {NODE_EXPORTER_PORT} of {', '.join(silent)}: alerts on nodes never fire"
        yield Row(
            name="metrics", level=Level.WARN, said=said, fix="install it on every node (prometheus-node-exporter)"
        )
    elif watched:
        yield Row(name="metrics", level=Level.OK, said="what the alerts read is exported")


def namespaces(settings: Settings, observed: Observed) -> Iterator[Row]:
    """X-17, X-13: the namespaces of other teams that the policies name."""
    live = by_name(observed.namespaces)
    wanted = [
        (settings.cluster.monitoring_namespace, Level.WARN, "nothing scrapes the stack", "cluster.monitoringNamespace")
    ]
    if settings.fabric is not None:
        wanted.append((settings.fabric.namespace, Level.STOP, "nothing reaches Fabric", "fabric.namespace"))
    for name, level, what, path in wanted:
        if name in live:
            yield Row(name=f"namespace {name}", level=Level.OK, said="is there")
        else:
            yield Row(name=f"namespace {name}", level=level, said=f"is not there: {what}", fix=f"correct {path}")


def fabric(settings: Settings, observed: Observed) -> Iterator[Row]:
    """SD rows, X-13: Fabric's Services have the ports of the stack file, and their pods the same ones."""
    if settings.fabric is None:
        return
    services = {(each["metadata"]["namespace"], each["metadata"]["name"]): each for each in observed.services}
    wrong = 0
    endpoints = (*settings.fabric.orderers, *settings.fabric.peers, *settings.fabric.certificate_authorities)
    for endpoint in endpoints:
        name, namespace = (*endpoint.host.split("."), settings.fabric.namespace)[:2]
        row = f"Fabric {endpoint.host}:{endpoint.port}"
        service = services.get((namespace, name))
        ports = {port["port"]: port for port in service["spec"].get("ports", [])} if service else {}
        if endpoint.port not in ports:
            said = f"its Service has {', '.join(map(str, ports))}" if ports else f"no Service {namespace}/{name}"
            yield Row(name=row, level=Level.WARN, said=said, fix="correct the endpoint under fabric")
            wrong += 1
        elif (target := ports[endpoint.port].get("targetPort", endpoint.port)) != endpoint.port:
            said = f"leads to the pods' port {target}, and policies open {endpoint.port}"
            yield Row(name=row, level=Level.WARN, said=said, fix="let the Service keep the pods' port")
            wrong += 1
    if not wrong:
        yield Row(name="Fabric", level=Level.OK, said=f"{len(endpoints)} endpoints have their ports")


def cluster_dns(_settings: Settings, observed: Observed) -> Iterator[Row]:
    """A node that dies with the only cluster DNS takes every name along, until that pod is evicted five minutes later.

    Standbys find no primary then, and a failover finds no instance. K3s starts with one.
    """
    nodes = {
        str(pod["spec"].get("nodeName"))
        for pod in observed.pods
        if pod["metadata"].get("labels", {}).get("k8s-app") == "kube-dns" and pod["status"].get("phase") == "Running"
    }
    if len(nodes) >= 2:
        yield Row(name="cluster DNS", level=Level.OK, said=f"on {len(nodes)} nodes")
    else:
        said = f"on {', '.join(nodes) or 'no node'} alone: if that is lost, no failover of a database finds an instance"
        fix = "kubectl -n kube-system scale deployment coredns --replicas=2, and see that they are on two nodes"
        yield Row(name="cluster DNS", level=Level.WARN, said=said, fix=fix)


def web_ports(settings: Settings, observed: Observed) -> Iterator[Row]:
    """X-68: a LoadBalancer's or a pod's host port wins over a listening Nginx, which never sees a packet then."""
    if settings.edge is None:
        return
    rows = [*_cluster_web_ports(observed), *_host_web_ports(settings.edge.nodes, observed)]
    yield from rows or [Row(name="ports 80 and 443", level=Level.OK, said="free, or Nginx's, on every edge node")]


def _cluster_web_ports(observed: Observed) -> Iterator[Row]:
    fix = "disable servicelb and traefik on the servers (--disable=servicelb --disable=traefik), or move it"
    for service in observed.services:
        spec, metadata = service["spec"], service["metadata"]
        if spec.get("type") == "LoadBalancer":
            for port in spec.get("ports", []):
                if port["port"] in WEB_PORTS:
                    said = f"taken on every node by the LoadBalancer {metadata['namespace']}/{metadata['name']}"
                    yield Row(name=f"port {port['port']}", level=Level.STOP, said=said, fix=fix)
    for pod in observed.pods:
        for container in pod["spec"].get("containers", []):
            for port in container.get("ports", []):
                # A pod of the host's network listens itself, and shows among the host's programs.
                if port.get("hostPort") in WEB_PORTS and not pod["spec"].get("hostNetwork"):
                    said = f"taken on {pod['spec'].get('nodeName', 'a node')} by the pod {_full_name(pod)}"
                    yield Row(name=f"port {port['hostPort']}", level=Level.STOP, said=said, fix=fix)


def _host_web_ports(edge_nodes: Iterable[str], observed: Observed) -> Iterator[Row]:
    for name in edge_nodes:
        host = observed.hosts.get(name)
        if host is None:
            said = f"not known on {name}: {_why(observed, name)}"
            yield Row(name="ports 80 and 443", level=Level.WARN, said=said, fix="on the node: ss -ltnp")
            continue
        for port in WEB_PORTS:
            program = host.listening.get(port)
            if program is not None and program not in WEB_PROGRAMS:
                said = f"{program or 'a program that is not shown'} listens on {name}"
                yield Row(name=f"port {port}", level=Level.STOP, said=said, fix="stop it; Nginx needs the port")


def distance(settings: Settings, observed: Observed) -> Iterator[Row]:
    """X-60: a commit that waits for a standby waits for a round trip, and etcd's servers should share a site."""
    far = {
        (name, other): milliseconds
        for name, host in observed.hosts.items()
        for other, node in settings.cluster.nodes.items()
        if (milliseconds := host.round_trip.get(node.internal_ip, 0)) > SLOW_ROUND_TRIP_MS and name != other
    }
    if not any(host.round_trip for host in observed.hosts.values()):
        said = "not known: no node could ask another"
        yield Row(name="round trips", level=Level.WARN, said=said, fix="ping between the nodes")
    elif far:
        (name, other), worst = max(far.items(), key=lambda each: (each[1], each[0]))
        said = f"up to {worst:.0f} ms ({name} to {other}): about {1000 / worst:.0f} commits a second and connection"
        fix = "nothing that a setting changes; K3s supports servers of one site alone"
        yield Row(name="round trips", level=Level.WARN, said=said, fix=fix)
    else:
        yield Row(name="round trips", level=Level.OK, said=f"at most {SLOW_ROUND_TRIP_MS} ms between the nodes asked")


def _full_name(document: Document) -> str:
    return f"{document['metadata']['namespace']}/{document['metadata']['name']}"


def _why(observed: Observed, name: str) -> str:
    if name in observed.hosts:
        return "nothing there tells it"
    return observed.unreachable.get(name, "the host was not asked")
