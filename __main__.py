"""The GX Protocol backend of one environment: one program, one stack per environment.

Everything that differs between environments stands in ``Pulumi.<stack>.yaml``. This file is the table of contents: it
declares no resource itself, and its order is the order of the roll-out. DNS depends on nothing else, so a failover never
waits for a node, a database or the Kubernetes API.
"""

import pulumi
from pulumi import ResourceOptions

from components.namespace import BackendNamespace, BackendNamespaceArgs
from components.network_policies import NetworkPolicies, NetworkPoliciesArgs
from components.providers import kubernetes_provider
from components.workload_config import ApplicationConfig, ApplicationConfigArgs
from settings.loader import SettingsError, from_pulumi

try:
    settings = from_pulumi()
except SettingsError as error:
    raise pulumi.RunError(str(error)) from None

env = settings.environment
kubernetes = kubernetes_provider(settings.cluster)
in_cluster = ResourceOptions(providers=[kubernetes])

backend = BackendNamespace(
    "backend",
    BackendNamespaceArgs(environment=env, quota=settings.quota, container_limits=settings.container_limits),
    in_cluster,
)

NetworkPolicies(
    "network",
    NetworkPoliciesArgs(
        namespace=backend.namespace,
        namespace_name=env.namespace,
        services=settings.services,
        nodes=settings.cluster.nodes,
        monitoring_namespace=settings.cluster.monitoring_namespace,
        redis_replicated=settings.redis.replicas > 1,
        fabric=settings.fabric,
    ),
    in_cluster,
)

config = ApplicationConfig(
    "config",
    ApplicationConfigArgs(namespace=backend.namespace, log_level=env.log_level, fabric=settings.fabric),
    in_cluster,
)

pulumi.export("namespace", backend.namespace)
