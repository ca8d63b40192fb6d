"""The namespace of one environment, with its labels, Pod Security, quota, limit range and priority class."""

from dataclasses import dataclass

import pulumi
import pulumi_kubernetes as k8s

from components.base import Component, owned
from settings.model import ContainerLimits, Environment, Quota

POD_SECURITY_LEVEL = "restricted"


@dataclass(frozen=True, kw_only=True)
class BackendNamespaceArgs:
    """Arguments of ``BackendNamespace``; plain values, since they decide names."""

    environment: Environment
    quota: Quota
    container_limits: ContainerLimits


class BackendNamespace(Component):
    """Namespace with Pod Security `restricted` (NS-11), ResourceQuota (QT-01, X-09), LimitRange (QT-05), PriorityClass.

    The namespace is protected and kept on destroy where the environment protects its data (NS-12): deleting it would
    delete the databases.

    Attributes:
        namespace: Name of the namespace; known only once quota and limits are in force, so what takes its name from
            here cannot start before them.
        priority_class: Name of the environment's PriorityClass.
    """

    area = "platform"
    namespace: pulumi.Output[str]
    priority_class: pulumi.Output[str]

    def __init__(self, name: str, args: BackendNamespaceArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(name, opts)
        env, quota, limits = args.environment, args.quota, args.container_limits
        pod_security = {
            f"pod-security.kubernetes.io/{mode}": POD_SECURITY_LEVEL for mode in ("enforce", "warn", "audit")
        }
        namespace = k8s.core.v1.Namespace(
            self.child_name("namespace"),
            metadata=owned(env.namespace, labels=env.labels | pod_security),
            opts=self.child(protect=env.protect_data, retain_on_delete=env.protect_data),
        )
        within = namespace.metadata.name.apply(str)
        resource_quota = k8s.core.v1.ResourceQuota(
            self.child_name("quota"),
            metadata=owned(f"{env.namespace}-quota", within),
            spec={
                "hard": {
                    "requests.cpu": quota.requests.cpu,
                    "requests.memory": quota.requests.memory,
                    "limits.cpu": quota.limits.cpu,
                    "limits.memory": quota.limits.memory,
                    "persistentvolumeclaims": str(quota.persistent_volume_claims),
                    "pods": str(quota.pods),
                    "requests.storage": quota.requests_storage,
                }
            },
            opts=self.child(),
        )
        limit_range = k8s.core.v1.LimitRange(
            self.child_name("limits"),
            metadata=owned(f"{env.namespace}-limits", within),
            spec={
                "limits": [
                    {
                        "type": "Container",
                        "max": limits.max.model_dump(),
                        "min": limits.min.model_dump(),
                        "default": limits.default.model_dump(),
                        "default_request": limits.default_request.model_dump(),
                    }
                ]
            },
            opts=self.child(),
        )
        priority = k8s.scheduling.v1.PriorityClass(
            self.child_name("priority"),
            metadata=owned(env.namespace),
            value=env.priority,
            # Fabric shares the nodes and must never make room for this program (design decision 3).
            preemption_policy="Never",
            description=f"Pods of the {env.name} backend",
            opts=self.child(),
        )
        self.namespace = pulumi.Output.all(
            namespace.metadata.name, resource_quota.metadata.name, limit_range.metadata.name
        ).apply(lambda names: str(names[0]))
        self.priority_class = priority.metadata.name.apply(str)
        self.register_outputs({"namespace": self.namespace, "priority_class": self.priority_class})
