"""The policies that a stack declares open exactly the paths of ``checks.intent``: nothing missing, nothing extra.

Both ends of a path are judged on their own: what is open at one end alone counts as extra too, since it would be a
path as soon as the other end made the same mistake. The ends are one pod of each kind, a pod of the namespace without
labels, pods of every other namespace without labels and with all the labels of one of ours, and for addresses the two
edges of each network that a policy or the intent names, with the address beyond each edge. Ports are compared as sets.
So the answer holds for every pod, address and port and not for a sample of them.
"""

import ipaddress
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from checks.findings import Finding, Severity
from checks.intent import Path, Pod, Role, intent, pods
from checks.policy_engine import Direction, End, PodPort, isolating, opening, selects, within
from components.network_policies import (
    FABRIC_ACCESS,
    OBJECT_STORE_ACCESS,
    POSTGRES_ACCESS,
    REDIS_ACCESS,
    SERVICE_ACCESS,
    Pods,
    Policy,
    node_addresses,
    policies,
    policies_elsewhere,
)
from settings.model import Settings

FIX = "correct components/network_policies.py; if the path is meant, add it to checks/intent.py"
SYSTEM_NAMESPACE = "kube-system"
# Stands for every namespace that the stack file does not name: policies tell namespaces apart by their names alone.
ELSEWHERE = "another-namespace"
DNS_LABELS = {"k8s-app": "kube-dns"}
_POSTGRES_CLIENTS = frozenset({Role.POSTGRES_PROMOTE, Role.POSTGRES_CLIENT, Role.POSTGRES_EXPORTER})
INTERNET = ("1.1.1.1", "2606:4700:4700::1111", "169.254.169.254")
Declared = Mapping[str, tuple[Policy, ...]]


@dataclass(frozen=True, kw_only=True)
class Party:
    """An end with what the intent knows of it. An address has no role of its own: it is what a network makes of it.

    ``count`` is how many ends it stands for that neither the policies nor the intent tell apart from it.
    """

    end: End
    roles: frozenset[Role] = frozenset()
    pod: Pod | None = None
    count: int = 1


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One direction of one pod with one other end: what is open, by which policies; what is meant, by which lines."""

    direction: Direction
    own: Party
    other: Party
    open: Mapping[PodPort, list[str]]
    meant: Mapping[PodPort, list[str]]

    @property
    def extra(self) -> frozenset[PodPort]:
        """Open and not meant."""
        return frozenset(self.open) - frozenset(self.meant)

    @property
    def missing(self) -> frozenset[PodPort]:
        """Meant and not open."""
        return frozenset(self.meant) - frozenset(self.open)

    @property
    def pair(self) -> str:
        """Source and target, in words."""
        own, other = self.own.end.name, self.other.end.name
        return f"{own} to {other}" if self.direction is Direction.EGRESS else f"{other} to {own}"


def declaration(settings: Settings) -> dict[str, tuple[Policy, ...]]:
    """Every policy that a stack declares, by namespace."""
    return {settings.environment.namespace: policies(settings), **policies_elsewhere(settings)}


def find(settings: Settings, declared: Declared | None = None) -> Iterator[Finding]:
    """A finding for each line of the intent that is not open, and for each policy that opens what is not meant.

    ``declared`` are policies by namespace; without it, those of the stack.
    """
    yield from _default_deny(settings, declared)
    missing: dict[tuple[str, Direction], list[tuple[Cell, PodPort]]] = {}
    extra: dict[tuple[str, Direction], list[tuple[Cell, PodPort]]] = {}
    for cell in matrix(settings, declared):
        for port in sorted(cell.missing):
            for line in cell.meant[port]:
                missing.setdefault((line, cell.direction), []).append((cell, port))
        for port in sorted(cell.extra):
            for policy in cell.open[port] or ["no-policy"]:
                extra.setdefault((policy, cell.direction), []).append((cell, port))
    for (line, direction), cells in missing.items():
        yield _finding(f"reach-missing-{line}-{direction.lower()}", f"no {direction.lower()} policy opens", cells)
    for (policy, direction), cells in extra.items():
        yield _finding(f"reach-extra-{policy}-{direction.lower()}", f"{policy} opens, without intent,", cells)


def _default_deny(settings: Settings, declared: Declared | None) -> Iterator[Finding]:
    """Denial has a policy of its own (NP-01): else it would hang on an allow that happens to select every pod."""
    namespace = settings.environment.namespace
    of_namespace = (declaration(settings) if declared is None else declared).get(namespace, ())
    denied = {
        each
        for policy in of_namespace
        for each in policy.types
        if policy.pods == Pods() and not policy.ingress and not policy.egress
    }
    for direction in Direction:
        if direction not in denied:
            yield Finding(
                name=f"reach-no-default-deny-{direction.lower()}",
                severity=Severity.REFUSE,
                path="environment.namespace",
                problem=f"no policy denies all {direction.lower()} of every pod",
                got=f"'{namespace}'",
                fix="keep default_deny() in components/network_policies.py",
            )


def _finding(name: str, verb: str, cells: list[tuple[Cell, PodPort]]) -> Finding:
    cell, port = cells[0]
    count = sum(each.own.count * each.other.count for each, _ in cells)
    more = f" and {count - 1} more" if count > 1 else ""
    return Finding(
        name=name,
        severity=Severity.REFUSE,
        path=cell.own.pod.path if cell.own.pod else "environment.namespace",
        problem=f"{verb} {cell.pair} on {port}{more}",
        fix=FIX,
    )


def matrix(settings: Settings, declared: Declared | None = None) -> Iterator[Cell]:
    """Every cell: each direction of each pod that the program's policies are about, with every other end."""
    by_namespace = declaration(settings) if declared is None else declared
    table = intent(settings)
    own, foreign = (
        _alike(parties, by_namespace) for parties in (own_parties(settings), foreign_parties(settings, by_namespace))
    )
    for party in (*own, *foreign):
        of_namespace = by_namespace.get(party.end.namespace, ())
        for direction in Direction:
            isolated_by = isolating(of_namespace, direction, party.end)
            # On a pod of another namespace the program has a say only where it has a policy.
            if isolated_by or party in own:
                lines = [path for path in table if _is(path, _ends(path, direction)[0], party)]
                for other in (*own, *foreign):
                    yield Cell(
                        direction=direction,
                        own=party,
                        other=other,
                        open=opening(isolated_by, direction, party.end, other.end),
                        meant=_meant(lines, direction, other),
                    )


def _alike(parties: tuple[Party, ...], declared: Declared) -> tuple[Party, ...]:
    """One party for all that no selector and no line of the intent tells apart: many services are a few kinds."""
    selectors = told_apart(declared)
    kinds: dict[object, list[Party]] = {}
    for party in parties:
        pod = party.pod
        known = None if pod is None else (pod.exposed, pod.fabric)
        selected = tuple(selects(pods, party.end.labels) for pods in selectors)
        kinds.setdefault((party.end.address, party.end.namespace, party.roles, known, selected), []).append(party)
    return tuple(replace(alike[0], count=len(alike)) for alike in kinds.values())


def told_apart(declared: Declared) -> tuple[Pods, ...]:
    """Every selector of the policies."""
    found = {
        (tuple(sorted(pods.labels.items())), pods.apps): pods
        for policies_there in declared.values()
        for policy in policies_there
        for pods in (policy.pods, *(peer.pods for rule in (*policy.ingress, *policy.egress) for peer in rule.peers))
    }
    return tuple(found.values())


def _ends(path: Path, direction: Direction) -> tuple[tuple[Role, ...], tuple[Role, ...]]:
    """Roles of the pod that is judged and of its other end."""
    return (path.sources, path.targets) if direction is Direction.EGRESS else (path.targets, path.sources)


def _meant(lines: list[Path], direction: Direction, other: Party) -> dict[PodPort, list[str]]:
    found: dict[PodPort, list[str]] = {}
    for path in lines:
        if _is(path, _ends(path, direction)[1], other):
            for port in (PodPort(protocol, number) for protocol in path.protocols for number in path.ports):
                found.setdefault(port, []).append(path.name)
    return found


def _is(path: Path, roles: tuple[Role, ...], party: Party) -> bool:
    """Whether a party stands at this end of a line of the table."""
    if party.end.address is not None:
        inside = any(within(party.end.address, network) for network in path.networks)
        return inside and not {Role.NODE, Role.OUTSIDE}.isdisjoint(roles)
    if party.roles.isdisjoint(roles):
        return False
    return path.only is None or party.pod is None or bool(getattr(party.pod, path.only))


# --- the ends -------------------------------------------------------------------------------------------------------


def labels(pod: Pod) -> dict[str, str]:
    """Labels that the components give a pod of this kind; ``tests/program/test_reachability.py`` compares them."""
    application = pod.role in {Role.WORKER, Role.SERVICE}
    access = {
        POSTGRES_ACCESS: application or pod.role in _POSTGRES_CLIENTS,
        REDIS_ACCESS: application or pod.role is Role.REDIS_CLIENT,
        SERVICE_ACCESS: pod.role is Role.SERVICE,
        FABRIC_ACCESS: pod.fabric,
        OBJECT_STORE_ACCESS: pod.off_site,
    }
    return {"app": pod.app} | {label: "true" for label, given in access.items() if given}


def own_parties(settings: Settings) -> tuple[Party, ...]:
    """One pod of each kind of the namespace, and one without labels."""
    here = End(name="any other pod", namespace=settings.environment.namespace, pod_addresses=pod_addresses(settings))
    known = (
        Party(end=replace(here, name=pod.app, labels=labels(pod)), roles=frozenset({pod.role}), pod=pod)
        for pod in pods(settings)
    )
    return (*known, Party(end=here, roles=frozenset({Role.OTHER_POD})))


def pod_addresses(settings: Settings) -> tuple[str, ...]:
    """The first and the last address that each node gives a pod: those before are the node's own, as is the last."""
    networks = [ipaddress.ip_network(node.pod_cidr) for node in settings.cluster.nodes.values()]
    return tuple(str(network[at]) for network in networks for at in (2, -2))


def foreign_parties(settings: Settings, declared: Declared) -> tuple[Party, ...]:
    """Everything else that could be the other end."""
    return (*_foreign_pods(settings), *_addresses(settings, declared))


def _foreign_pods(settings: Settings) -> Iterator[Party]:
    monitoring, fabric = settings.cluster.monitoring_namespace, settings.fabric
    roles = {
        SYSTEM_NAMESPACE: {Role.SYSTEM},
        ELSEWHERE: {Role.STRANGER},
    }
    roles.setdefault(monitoring, set()).add(Role.PROMETHEUS)
    if fabric is not None:
        roles.setdefault(fabric.namespace, set()).add(Role.FABRIC)
    roles.pop(settings.environment.namespace, None)
    addresses = pod_addresses(settings)
    all_access = dict.fromkeys((POSTGRES_ACCESS, REDIS_ACCESS, SERVICE_ACCESS, FABRIC_ACCESS), "true")
    for namespace, of_namespace in roles.items():
        posing = [(f"{pod.app} of {namespace}", {"app": pod.app} | all_access) for pod in pods(settings)]
        for name, worn in ((f"a pod of {namespace}", {}), *posing):
            end = End(name=name, namespace=namespace, labels=worn, pod_addresses=addresses)
            yield Party(end=end, roles=frozenset(of_namespace))
        dns = {Role.DNS} if namespace == SYSTEM_NAMESPACE else set()
        end = End(name=f"kube-dns of {namespace}", namespace=namespace, labels=DNS_LABELS, pod_addresses=addresses)
        yield Party(end=end, roles=frozenset(of_namespace | dns))


def _addresses(settings: Settings, declared: Declared) -> Iterator[Party]:
    """The edges of every network that is named and what lies beyond, the nodes' addresses, and the Internet's."""
    named = {
        peer.network
        for policies_there in declared.values()
        for policy in policies_there
        for rule in (*policy.ingress, *policy.egress)
        for peer in rule.peers
        if peer.network is not None
    } | {network for path in intent(settings) for network in path.networks}
    found = dict.fromkeys((*INTERNET, *(address for network in named for address in _edges(network))), "")
    for name, node in settings.cluster.nodes.items():
        for address in (*node_addresses({name: node}), node.public_ip):
            if address is not None:
                found[address.split("/")[0]] = f" ({name})"
    for address, owner in sorted(found.items(), key=lambda each: _order(each[0])):
        yield Party(end=End(name=f"{address}{owner}", address=address))


def _edges(network: str) -> Iterator[str]:
    whole = ipaddress.ip_network(network)
    first, last = int(whole[0]), int(whole[-1])
    address = ipaddress.IPv4Address if whole.version == 4 else ipaddress.IPv6Address
    candidates = (first - 1, first, last, last + 1)
    yield from (str(address(each)) for each in candidates if 0 <= each < 2**whole.max_prefixlen)


def _order(address: str) -> tuple[int, int]:
    parsed = ipaddress.ip_address(address)
    return parsed.version, int(parsed)
