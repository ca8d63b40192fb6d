"""What network policies allow, judged as Kubernetes defines it.

https://kubernetes.io/docs/concepts/services-networking/network-policies/: policies only add, a pod that no policy
selects in a direction is open in it, and a connection needs both its ends. Ports are those of the pods. Traffic between
a pod and its own node is always allowed and no part of any answer here.
"""

import functools
import ipaddress
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from components.network_policies import Peer, Pods, Policy, Rule


class Direction(StrEnum):
    """Which end is judged: the pod that is reached, or the pod that reaches out."""

    INGRESS = "Ingress"
    EGRESS = "Egress"


@dataclass(frozen=True, order=True)
class PodPort:
    """A port of a pod."""

    protocol: str
    number: int

    def __str__(self) -> str:
        return f"{self.protocol} {self.number}"


ANY_PORT = PodPort("every port", 0)
"""Stands for all ports of a pod that no policy isolates."""


@dataclass(frozen=True, kw_only=True)
class End:
    """One end of a connection: a pod with its labels, or an address that is no pod's.

    ``pod_addresses`` are some that a pod may have, of every node: Kubernetes means policies by address for the world
    outside and leaves pods to the implementation, and that of K3s lets them match pods as well.
    """

    name: str
    namespace: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    address: str | None = None
    pod_addresses: tuple[str, ...] = ()


def selects(pods: Pods, labels: Mapping[str, str]) -> bool:
    """Whether a selector picks a pod with these labels."""
    by_label = all(labels.get(key) == value for key, value in pods.labels.items())
    return by_label and (not pods.apps or labels.get("app") in pods.apps)


def matches(peer: Peer, end: End, namespace: str) -> bool:
    """Whether a peer of a policy in ``namespace`` is this end."""
    if peer.network is not None:
        return within(end.address, peer.network) if end.address else _any_within(end.pod_addresses, peer.network)
    return end.address is None and end.namespace == (peer.namespace or namespace) and selects(peer.pods, end.labels)


@functools.cache
def within(address: str, network: str) -> bool:
    """Whether an address is part of a network."""
    return ipaddress.ip_address(address) in ipaddress.ip_network(network)


@functools.cache
def _any_within(addresses: tuple[str, ...], network: str) -> bool:
    return any(within(address, network) for address in addresses)


def ports(rule: Rule) -> tuple[PodPort, ...]:
    """The ports of a rule."""
    return tuple(PodPort(protocol, number) for protocol in rule.protocols for number in rule.ports)


def isolating(policies: Iterable[Policy], direction: Direction, own: End) -> tuple[Policy, ...]:
    """The policies of the namespace of ``own`` that are about it in this direction; with none, it is open."""
    return tuple(each for each in policies if direction in each.types and selects(each.pods, own.labels))


def opening(isolated_by: tuple[Policy, ...], direction: Direction, own: End, other: End) -> dict[PodPort, list[str]]:
    """The ports on which ``own`` may be reached by ``other``, or reach it, each with the policies that open it."""
    if not isolated_by:
        return {ANY_PORT: []}
    found: dict[PodPort, list[str]] = {}
    for policy in isolated_by:
        for rule in policy.ingress if direction is Direction.INGRESS else policy.egress:
            if any(matches(peer, other, own.namespace) for peer in rule.peers):
                for port in ports(rule):
                    found.setdefault(port, []).append(policy.name)
    return found


def allowed(policies: Iterable[Policy], direction: Direction, own: End, other: End) -> frozenset[PodPort]:
    """The ports on which ``own`` may be reached by ``other``, or reach it."""
    return frozenset(opening(isolating(policies, direction, own), direction, own, other))
