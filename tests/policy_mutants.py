"""The policies of a stack, each time with one thing of one policy taken away or loosened."""

import ipaddress
from collections.abc import Iterator
from dataclasses import replace

from checks.reachability import declaration
from components.network_policies import Peer, Pods, Policy, Rule
from settings.model import Settings

Mutant = tuple[str, dict[str, tuple[Policy, ...]]]


def mutants(values: Settings) -> Iterator[Mutant]:
    """The stack's policies with one policy, rule, peer, port or protocol removed, or one selector loosened."""
    declared = declaration(values)
    for namespace, policies in declared.items():
        for at, policy in enumerate(policies):
            for what, variants in _variants(policy):
                yield f"{policy.name}: {what}", declared | {namespace: (*policies[:at], *variants, *policies[at + 1 :])}


def _variants(policy: Policy) -> Iterator[tuple[str, tuple[Policy, ...]]]:
    yield "removed", ()
    if policy.pods != Pods():
        yield "about every pod", (replace(policy, pods=Pods()),)
    for direction, rules in (("ingress", policy.ingress), ("egress", policy.egress)):
        for at, rule in enumerate(rules):
            for what, other in _of_rule(rule):
                yield (
                    f"{direction} rule {at} {what}",
                    (
                        replace(policy, **{direction: (*rules[:at], *other, *rules[at + 1 :])}),  # type: ignore[arg-type]
                    ),
                )


def _of_rule(rule: Rule) -> Iterator[tuple[str, tuple[Rule, ...]]]:
    yield "removed", ()
    yield "with a port more", (replace(rule, ports=(*rule.ports, 22)),)
    for port in rule.ports if len(rule.ports) > 1 else ():
        yield f"without port {port}", (replace(rule, ports=tuple(each for each in rule.ports if each != port)),)
    for protocol in ("TCP", "UDP"):
        kept = tuple(each for each in rule.protocols if each != protocol)
        if kept and kept != rule.protocols:
            yield f"without {protocol}", (replace(rule, protocols=kept),)
    for at, peer in enumerate(rule.peers):
        rest = (rule.peers[:at], rule.peers[at + 1 :])
        if rest[0] or rest[1]:
            yield f"without peer {at}", (replace(rule, peers=(*rest[0], *rest[1])),)
        for what, loose in _loosened(peer):
            yield f"peer {at} {what}", (replace(rule, peers=(*rest[0], loose, *rest[1])),)


def _loosened(peer: Peer) -> Iterator[tuple[str, Peer]]:
    if peer.network is not None:
        around = ipaddress.ip_network(f"{peer.network.split('/')[0]}/29", strict=False)
        yield "open to the world", replace(peer, network="0.0.0.0/0")
        yield "open to its neighbours", replace(peer, network=str(around))
    elif peer.pods != Pods():
        yield "every pod", replace(peer, pods=Pods())
    if peer.namespace is not None:
        yield "of its own namespace", replace(peer, namespace=None)
