"""The GX Protocol backend of one environment: one program, one stack per environment.

Everything that differs between environments stands in ``Pulumi.<stack>.yaml``. This file is the table of contents: it
declares no resource itself, and its order is the order of the roll-out. DNS depends on nothing else, so a failover
never waits for a node, a database or the Kubernetes API.
"""

from datetime import UTC, datetime

import pulumi
from pulumi import ResourceOptions

from checks.findings import ProofError
from checks.prove import prove
from components.backups import DatabaseBackups, DatabaseBackupsArgs
from components.migration import DatabaseMigration, DatabaseMigrationArgs
from components.namespace import BackendNamespace, BackendNamespaceArgs
from components.network import NetworkPolicies, NetworkPoliciesArgs
from components.network_policies import policies, policies_elsewhere
from components.postgres import PostgresCluster, PostgresClusterArgs
from components.providers import kubernetes_provider, secret
from components.redis import RedisCluster, RedisClusterArgs
from components.redis.config import sentinel_environment
from components.tls import ServerTls
from components.workload import Workload, WorkloadArgs
from components.workload_config import ApplicationConfig, ApplicationConfigArgs
from settings.loader import SettingsError, from_pulumi
from settings.model import Service, Worker

try:
    settings = from_pulumi()
    proven = prove(settings, datetime.now(UTC).date())
    if proven.refused:
        raise ProofError(pulumi.get_stack(), proven.refused)
except (SettingsError, ProofError) as error:
    raise pulumi.RunError(str(error)) from None
for finding in proven.reported:
    pulumi.log.warn(str(finding))

env, images, secrets = settings.environment, settings.images, settings.secrets
kubernetes = kubernetes_provider(settings.cluster)


def in_cluster(*after: pulumi.Resource) -> ResourceOptions:
    """Options of a component in the cluster that starts after others."""
    return ResourceOptions(providers=[kubernetes], depends_on=list(after))


backend = BackendNamespace(
    "backend",
    BackendNamespaceArgs(environment=env, quota=settings.quota, container_limits=settings.container_limits),
    in_cluster(),
)

network = NetworkPolicies(
    "network",
    NetworkPoliciesArgs(
        namespace=backend.namespace, policies=policies(settings), elsewhere=policies_elsewhere(settings)
    ),
    in_cluster(),
)

postgres = PostgresCluster(
    "postgres",
    PostgresClusterArgs(
        namespace=backend.namespace,
        priority_class=backend.priority_class,
        settings=settings.postgres,
        placement=settings.placement.databases,
        image=images.postgres,
        secrets=secrets.postgres,
        tls=ServerTls.of(settings, "postgres"),
        storage_class=settings.cluster.storage_class,
        protect=env.protect_data,
        archive=settings.backups is not None and settings.backups.point_in_time is not None,
    ),
    in_cluster(network),
)

redis = RedisCluster(
    "redis",
    RedisClusterArgs(
        namespace=backend.namespace,
        priority_class=backend.priority_class,
        settings=settings.redis,
        placement=settings.placement.databases,
        image=images.redis,
        proxy_image=images.haproxy,
        secrets=secrets.redis,
        tls=ServerTls.of(settings, "redis"),
        storage_class=settings.cluster.storage_class,
        protect=env.protect_data,
    ),
    in_cluster(network),
)

config = ApplicationConfig(
    "config",
    ApplicationConfigArgs(
        namespace=backend.namespace,
        log_level=env.log_level,
        authority=settings.tls.authority,
        fabric=settings.fabric,
        sentinels=sentinel_environment(settings.redis, env.namespace),
        fabric_credentials=secrets.fabric_credentials,
    ),
    in_cluster(),
)

backups: list[pulumi.Resource] = []
if settings.backups is not None:
    jobs = DatabaseBackups(
        "backups",
        DatabaseBackupsArgs(
            namespace=backend.namespace,
            environment=env.namespace,
            priority_class=backend.priority_class,
            settings=settings.backups,
            postgres=settings.postgres,
            postgres_image=images.postgres,
            redis_image=images.redis,
            copy_image=images.rclone,
            off_site=secrets.off_site,
            archive_password=postgres.archive_password,
            storage_class=settings.cluster.storage_class,
            protect=env.protect_data,
        ),
        in_cluster(postgres, redis, config),
    )
    backups.append(jobs)

databases = [*postgres.ready, *redis.ready]
if settings.migration is not None and images.migration is not None:
    migration = DatabaseMigration(
        "migration",
        DatabaseMigrationArgs(
            namespace=backend.namespace,
            priority_class=backend.priority_class,
            settings=settings.migration,
            image=images.migration,
            postgres_image=images.postgres,
            placement=settings.placement.workloads,
            database=postgres.migration_url,
            host=postgres.host,
            authority=config.authority.name,
        ),
        in_cluster(*databases),
    )
    databases += migration.ready

if settings.observability is not None:
    from components.observability import (
        Observability,
        ObservabilityArgs,
        SharedMonitoring,
        SharedMonitoringArgs,
    )

    Observability(
        "observability",
        ObservabilityArgs(
            namespace=backend.namespace,
            priority_class=backend.priority_class,
            settings=settings,
            observability=settings.observability,
            redis_password=redis.exporter_password,
            authority=config.authority,
        ),
        in_cluster(*databases, *backups),
    )
    SharedMonitoring(
        "monitoring",
        SharedMonitoringArgs(namespace=backend.namespace, settings=settings, observability=settings.observability),
        in_cluster(),
    )


def workload(
    app: str,
    sized: Worker | Service,
    after: list[pulumi.Resource],
    *,
    port: int | None = None,
    node_port: int | None = None,
) -> Workload:
    """A worker or a service of the stack file."""
    return Workload(
        app,
        WorkloadArgs(
            app=app,
            namespace=backend.namespace,
            priority_class=backend.priority_class,
            image=images.workloads[app],
            replicas=sized.replicas,
            requests=sized.requests,
            limits=sized.limits,
            placement=settings.placement.workloads,
            database=postgres.application_url,
            cache=redis.application_url,
            authority=config.authority,
            config=config.sources(fabric_access=sized.fabric_access),
            fabric_access=sized.fabric_access,
            fabric_credentials=config.fabric_credentials if sized.fabric_access else None,
            port=port,
            node_port=node_port,
        ),
        in_cluster(*after),
    )


workers = [workload(name, worker, databases) for name, worker in settings.workers.items()]
services = [
    workload(name, service, [*databases, *workers], port=service.port, node_port=service.node_port)
    for name, service in settings.services.items()
]

# The imports stand here because a stack without DNS or edge should not pay for them.
records: list[pulumi.Resource] = []
if settings.dns is not None:
    from components.cloudflare import cloudflare_provider
    from components.dns_failover import DnsFailover, DnsFailoverArgs

    dns = DnsFailover(
        "dns",
        DnsFailoverArgs(dns=settings.dns, nodes=settings.cluster.nodes, stack=pulumi.get_stack()),
        ResourceOptions(providers=[cloudflare_provider(settings.dns, secret(secrets.cloudflare_api_token))]),
    )
    records.append(dns)
    pulumi.export("origins", dns.origins)

if settings.edge is not None:
    from components.edge import EdgeNode, EdgeNodeArgs, NodeFirewall, NodeFirewallArgs
    from components.edge.provider import ssh_provider

    ssh = ssh_provider()
    key = None if settings.edge.ssh.agent else secret(secrets.ssh_private_key)
    for node in settings.edge.nodes:
        # After the records: a certificate is validated under the name.
        EdgeNode(
            node,
            EdgeNodeArgs(
                node=node,
                settings=settings.edge,
                nodes=settings.cluster.nodes,
                services=settings.services,
                stack=pulumi.get_stack(),
                private_key=key,
                dns=settings.dns,
                secrets=secrets,
            ),
            ResourceOptions(providers=[ssh], depends_on=records),
        )
    # Every node opens every NodePort, whether it runs Nginx or not.
    for node in settings.cluster.nodes if settings.edge.firewall else ():
        NodeFirewall(
            f"{node}-firewall",
            NodeFirewallArgs(
                node=node,
                settings=settings.edge,
                nodes=settings.cluster.nodes,
                private_key=key,
            ),
            ResourceOptions(providers=[ssh]),
        )
    pulumi.export("url", f"https://{settings.edge.hostname}")

pulumi.export("namespace", backend.namespace)
