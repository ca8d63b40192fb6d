"""The servers, the nodes, their room and their disks, the overlay and the volumes."""

import re
from collections.abc import Iterator, Mapping

from checks.disks import KEPT_PERCENT
from checks.fit import hosts as declared_hosts
from checks.fit import placed
from checks.placement import Outcome
from checks.quota import cores, mebibytes
from checks.workloads import NOTHING, Amounts, millicores, whole_bytes, workloads
from operations.preflight.observed import Document, Observed
from operations.preflight.rows import Level, Row, by_name
from settings.model import NodeRole, Settings
from settings.rules_placement import CONTROL_PLANE_LABEL
from settings.rules_placement import hosts as allowed_hosts

HOSTNAME_LABEL = "kubernetes.io/hostname"
ZONE_LABEL = "topology.kubernetes.io/zone"
# Written by flannel on every node; K3s's `wireguard-native` shows as the second.
BACKEND_ANNOTATION = "flannel.alpha.coreos.com/backend-type"
ENCRYPTED_BACKENDS = frozenset({"wireguard", "wireguard-native", "ipsec"})
# `trafficDistribution` is refused before and ignored until here
# (https://kubernetes.io/docs/reference/networking/virtual-ips/#traffic-distribution).
OLDEST_MINOR, DOCUMENTED_MINOR = 31, 33


def server_version(settings: Settings, observed: Observed) -> Iterator[Row]:
    """CL-01: K3s 1.33."""
    del settings
    version = str(observed.version.get("serverVersion", {}).get("gitVersion", ""))
    found = re.match(r"v1\.(\d+)\.", version)
    minor = int(found[1]) if found else 0
    if minor < OLDEST_MINOR:
        fix = f"upgrade the servers to 1.{DOCUMENTED_MINOR}"
        yield Row(name="server version", level=Level.STOP, said=f"{version or 'unknown'} is too old", fix=fix)
    elif minor != DOCUMENTED_MINOR or "+k3s" not in version:
        said = f"{version}; the program is made for K3s 1.{DOCUMENTED_MINOR}"
        yield Row(name="server version", level=Level.WARN, said=said, fix="deploy testnet first")
    else:
        yield Row(name="server version", level=Level.OK, said=version)


def nodes(settings: Settings, observed: Observed) -> Iterator[Row]:
    """CL-04, CL-19, X-15, X-52: the declared nodes are there, under their labels and addresses."""
    live = by_name(observed.nodes)
    wrong = 0
    for name, node in settings.cluster.nodes.items():
        row = f"node {name}"
        if name not in live:
            fix = f"one of {', '.join(live)}, or join it to the cluster"
            yield Row(name=row, level=Level.STOP, said="is not in the cluster", fix=fix)
            wrong += 1
            continue
        labels = live[name]["metadata"].get("labels", {})
        wanted = {HOSTNAME_LABEL: name, ZONE_LABEL: node.zone}
        for label, value in wanted.items():
            if labels.get(label) != value:
                said = f"its label {label} is {labels.get(label, 'absent')}, the stack file has {value}"
                fix = f"kubectl label --overwrite node {name} {label}={value}"
                yield Row(name=row, level=Level.STOP, said=said, fix=fix)
                wrong += 1
        if (CONTROL_PLANE_LABEL in labels) != (node.role is NodeRole.CONTROL_PLANE):
            fix = f"correct cluster.nodes.{name}.role"
            yield Row(name=row, level=Level.STOP, said=f"is no {node.role} by its labels", fix=fix)
            wrong += 1
        for row_found in _network(row, name, live[name], settings):
            yield row_found
            wrong += 1
        if not is_ready(live[name]):
            yield Row(name=row, level=Level.WARN, said="is not Ready", fix=f"kubectl describe node {name}")
            wrong += 1
    for name in live.keys() - settings.cluster.nodes.keys():
        said = "is in the cluster and not in the stack file: no policy lets its Nginx in, no firewall guards it"
        yield Row(name=f"node {name}", level=Level.WARN, said=said, fix=f"add cluster.nodes.{name}")
        wrong += 1
    if not wrong:
        yield Row(name="nodes", level=Level.OK, said=f"{len(live)} with their labels and addresses")


def _network(row: str, name: str, live: Document, settings: Settings) -> Iterator[Row]:
    node = settings.cluster.nodes[name]
    addresses = [each["address"] for each in live["status"].get("addresses", []) if each["type"] == "InternalIP"]
    for key, wanted, found in (
        ("internalIp", node.internal_ip, addresses),
        ("podCidr", node.pod_cidr, live["spec"].get("podCIDRs") or [live["spec"].get("podCIDR", "")]),
    ):
        if wanted not in found:
            said = f"its {key} is {', '.join(found)}, the stack file has {wanted}"
            yield Row(name=row, level=Level.STOP, said=said, fix=f"correct cluster.nodes.{name}.{key}: policies use it")


def room(settings: Settings, observed: Observed) -> Iterator[Row]:
    """CL-11, X-04: what the fit proof takes for free on a node is free of other pods' requests.

    Environments share nodes, and each one's proofs know of itself alone: less than they count on stops a deployment
    only where the stack does not fit in it. Nodes on which no pod of the stack may be are none of its business.
    """
    live = by_name(observed.nodes)
    used = _used(settings)
    hosts = [host for host in declared_hosts(settings.cluster) if host.name in live and host.name in used]
    left = {host.name: _left(live[host.name], settings, observed) for host in hosts}
    short = [
        (host.name, key, free, there, written)
        for host in hosts
        for key, free, there, written in (
            ("Cpu", host.free.cpu, left[host.name].cpu, cores),
            ("Memory", host.free.memory, left[host.name].memory, mebibytes),
        )
        if there < free
    ]
    if not short:
        yield Row(name="room", level=Level.OK, said="every node of the stack has as much left as the proofs count on")
        return
    fits = _fits(settings, left)
    for name, key, free, there, written in short:
        counted = f"the proofs count on {written(free)} of {key.lower()}, other namespaces leave {written(there)}"
        yield Row(
            name=f"room on {name}",
            level=Level.WARN if fits else Level.STOP,
            said=f"{counted}, in which the stack {'still fits' if fits else 'does not fit'}",
            fix=f"raise cluster.nodes.{name}.reserved{key} by {written(free - there)}, then make prove",
        )


def taints(settings: Settings, observed: Observed) -> Iterator[Row]:
    """The fit proof places pods on every declared node; none of them tolerates a taint, and a cordon is one."""
    live, used = by_name(observed.nodes), _used(settings)
    closed = {
        name: dict(_closing(name, live[name])) for name in settings.cluster.nodes if name in live and name in used
    }
    closed = {name: found for name, found in closed.items() if found}
    if not closed:
        yield Row(name="taints", level=Level.OK, said="no node of the stack has one that keeps its pods away")
        return
    fits = _fits(settings, dict.fromkeys(closed, NOTHING))
    for name, found in closed.items():
        for said, fix in found.items():
            yield Row(
                name=f"taint of {name}",
                level=Level.WARN if fits else Level.STOP,
                said=f"{said} keeps pods away, and without the node the stack {'fits' if fits else 'does not fit'}",
                fix=fix,
            )


def _closing(name: str, node: Document) -> Iterator[tuple[str, str]]:
    """What keeps new pods away from a node, with the remedy.

    Not the taints that Kubernetes gives a node which is not well: they go with it, and it has a row of its own.
    """
    spec = node.get("spec", {})
    if spec.get("unschedulable"):
        yield "a cordon", f"kubectl uncordon {name}"
    for taint in spec.get("taints", []):
        if taint["effect"] in {"NoSchedule", "NoExecute"} and not taint["key"].startswith("node.kubernetes.io/"):
            written = f"{taint['key']}:{taint['effect']}"
            yield written, f"kubectl taint node {name} {written}-"


def _used(settings: Settings) -> set[str]:
    """Nodes on which some pod of the stack may be."""
    return {name for each in workloads(settings) for name in allowed_hosts(each.placement, settings.cluster)}


def _left(node: Document, settings: Settings, observed: Observed) -> Amounts:
    """What the pods of other namespaces leave of a node; less than nothing where they ask for more than it has."""
    allocatable = node["status"]["allocatable"]
    others = (
        pod
        for pod in observed.pods
        if pod["spec"].get("nodeName") == node["metadata"]["name"]
        and pod["metadata"]["namespace"] != settings.environment.namespace
        and pod["status"].get("phase") not in {"Succeeded", "Failed"}
    )
    taken = sum((_requests(pod) for pod in others), NOTHING)
    return Amounts(
        cpu=millicores(allocatable["cpu"]) - taken.cpu, memory=whole_bytes(allocatable["memory"]) - taken.memory
    )


def _fits(settings: Settings, left: Mapping[str, Amounts]) -> bool:
    """Whether every pod finds a node on nodes that have no more than this left."""
    nodes = dict(settings.cluster.nodes)
    for host in declared_hosts(settings.cluster):
        there = left.get(host.name, host.free)
        taken = Amounts(
            cpu=host.capacity.cpu - max(0, min(there.cpu, host.free.cpu)),
            memory=host.capacity.memory - max(0, min(there.memory, host.free.memory)),
        )
        reserved = {"reserved_cpu": cores(taken.cpu), "reserved_memory": str(taken.memory)}
        nodes[host.name] = nodes[host.name].model_copy(update=reserved)
    cluster = settings.cluster.model_copy(update={"nodes": nodes})
    return placed(settings.model_copy(update={"cluster": cluster})).verdict.outcome is Outcome.FITS


def _requests(pod: Document) -> Amounts:
    """What a pod requests, as the scheduler counts it."""
    spec = pod["spec"]
    running, largest_init = NOTHING, NOTHING
    for container in spec.get("containers", []):
        running += _size(container)
    for container in spec.get("initContainers", []):
        if container.get("restartPolicy") == "Always":
            running += _size(container)
        else:
            largest_init = largest_init.at_least(_size(container))
    return running.at_least(largest_init)


def _size(container: Document) -> Amounts:
    requests = container.get("resources", {}).get("requests", {})
    return Amounts(cpu=millicores(requests.get("cpu", "0")), memory=whole_bytes(requests.get("memory", "0")))


def disks(settings: Settings, observed: Observed) -> Iterator[Row]:
    """CL-09: a node has the disk that the proofs count on. How full it is, only the node knows."""
    live = by_name(observed.nodes)
    declared = {name: node.disk for name, node in settings.cluster.nodes.items() if name in live}
    known = {name: live[name]["status"].get("capacity", {}).get("ephemeral-storage", "") for name in declared}
    silent = [name for name in declared if not known[name]]
    small = 0
    for name, disk in declared.items():
        # A file system has a little less than its disk.
        if known[name] and whole_bytes(known[name]) < whole_bytes(disk) * (100 - KEPT_PERCENT) // 100:
            small += 1
            said = f"has {mebibytes(whole_bytes(known[name]))}, the stack file {disk}"
            fix = f"correct cluster.nodes.{name}.disk, then make prove"
            yield Row(name=f"disk of {name}", level=Level.WARN, said=said, fix=fix)
    if silent:
        fix = "on each: df -h /var/lib/rancher"
        yield Row(name="disks", level=Level.LOOK, said=f"{', '.join(silent)} tell no size", fix=fix)
    elif not small:
        yield Row(name="disks", level=Level.OK, said="every node has the disk of the stack file")


def encryption(settings: Settings, observed: Observed) -> Iterator[Row]:
    """X-74: pods of different sites talk in clear, unless the overlay encrypts."""
    backends = {node["metadata"].get("annotations", {}).get(BACKEND_ANNOTATION, "unknown") for node in observed.nodes}
    sites = {node.zone for node in settings.cluster.nodes.values()}
    said = f"the overlay is {', '.join(sorted(backends))}"
    if backends <= ENCRYPTED_BACKENDS or len(sites) == 1:
        yield Row(name="encryption", level=Level.OK, said=said)
    else:
        said = f"{said}: but for the databases, which speak TLS, pods of {len(sites)} sites may talk in clear"
        fix = "--flannel-backend=wireguard-native on the servers, or a private network"
        yield Row(name="encryption", level=Level.WARN, said=said, fix=fix)


def storage(settings: Settings, observed: Observed) -> Iterator[Row]:
    """X-19: a volume outlives its claim."""
    name = settings.cluster.storage_class
    found = by_name(observed.storage_classes).get(name)
    if found is None:
        said = f"{name} is not there, only {', '.join(by_name(observed.storage_classes)) or 'none'}"
        yield Row(name="storage class", level=Level.STOP, said=said, fix="create it, or correct cluster.storageClass")
    elif found.get("reclaimPolicy", "Delete") != "Retain":
        said = f"{name} deletes a volume with its claim"
        yield Row(name="storage class", level=Level.STOP, said=said, fix="use a class with reclaimPolicy: Retain")
    else:
        yield Row(name="storage class", level=Level.OK, said=f"{name} keeps volumes")


def is_ready(node: Document) -> bool:
    """Whether the control plane still hears of the node."""
    return any(each["type"] == "Ready" and each["status"] == "True" for each in node["status"].get("conditions", []))
