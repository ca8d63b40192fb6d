"""Declares the policies of ``components.network_policies`` in the backend namespace, and on request in Fabric's."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import pulumi
import pulumi_kubernetes as k8s

from components.base import Component, owned
from components.network_policies import Policy

WHY = "gxcoin.money/why"


@dataclass(frozen=True, kw_only=True)
class NetworkPoliciesArgs:
    """Arguments of ``NetworkPolicies``: what was proven, as it was proven.

    ``elsewhere`` holds the policies of namespaces that belong to others, by namespace.
    """

    namespace: pulumi.Input[str]
    policies: tuple[Policy, ...]
    elsewhere: Mapping[str, tuple[Policy, ...]] = field(default_factory=dict)


class NetworkPolicies(Component):
    """Default deny and every allow of one backend namespace, and on request the counterpart in the Fabric namespace.

    Attributes:
        names: Names of the policies in the backend namespace.
    """

    area = "platform"
    names: pulumi.Output[list[str]]

    def __init__(self, name: str, args: NetworkPoliciesArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(name, opts)
        made = [self._policy(policy, args.namespace) for policy in args.policies]
        for namespace, policies in args.elsewhere.items():
            for policy in policies:
                self._policy(policy, namespace)
        self.names = pulumi.Output.all(*(policy.metadata.name for policy in made)).apply(
            lambda names: [str(each) for each in names]
        )
        self.register_outputs({"names": self.names})

    def _policy(self, policy: Policy, namespace: pulumi.Input[str]) -> k8s.networking.v1.NetworkPolicy:
        return k8s.networking.v1.NetworkPolicy(
            self.child_name(policy.name),
            metadata=owned(policy.name, namespace, annotations={WHY: policy.why}),
            spec=policy.spec(),
            opts=self.child(),
        )
