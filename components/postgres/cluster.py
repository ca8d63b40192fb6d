"""PostgreSQL as a StatefulSet: one primary and streaming standbys (design decision 1, PG rows)."""

from dataclasses import dataclass

import pulumi
import pulumi_kubernetes as k8s

from components.base import Component, content_hash, owned
from components.network_policies import POSTGRES_PROMOTE_APP
from components.postgres import config
from components.postgres.pod import APP, UID, PodArgs, pod_spec
from components.postgres.promotion import DEADLINE_SECONDS, PromotionArgs, job_name, job_spec
from components.storage import CLAIM_TEMPLATES, kept_volumes, volume_annotation, volume_claim
from components.tls import ServerTls, server_secret
from components.workload_config import SecretKey
from settings.model import Placement, Postgres, PostgresSecrets

CONFIG = "postgres-config"
SECRET = "postgres-secrets"  # noqa: S105 - the name of the Secret
TLS = "postgres-tls"
HEADLESS = "postgres-headless"
PRIMARY = "postgres-primary"
REPLICA = "postgres-replica"
# The part of the configuration that takes effect at a start only; nothing else rolls the instances.
RESTART = "gxcoin.money/restart-settings"
_SKIP_AWAIT = {"pulumi.com/skipAwait": "true"}
_PORT = {"name": "postgres", "protocol": "TCP", "port": config.PORT, "target_port": config.PORT}


@dataclass(frozen=True, kw_only=True)
class PostgresClusterArgs:
    """Arguments of ``PostgresCluster``; plain values decide which objects exist and what is in their templates.

    ``archive`` says that the WAL is archived from a replication slot; without it the primary drops that slot.
    """

    namespace: pulumi.Input[str]
    priority_class: pulumi.Input[str]
    settings: Postgres
    placement: Placement
    image: str
    secrets: PostgresSecrets
    tls: ServerTls
    storage_class: str
    protect: bool
    archive: bool = False


class PostgresCluster(Component):
    """StatefulSet `postgres` with its Services, configuration, passwords; with standbys a disruption budget, a Job.

    The Job makes the instance of `postgres.primaryOrdinal` the primary, or finds that it is. After a change of that
    line it runs once the instances can read it, and the Service `postgres-primary` follows when it has succeeded.

    Invariants: at most one instance accepts writes that anyone confirms; an empty volume never becomes a database while
    a peer has data; what the primary is, is no part of the pod template; nobody connects over the network without TLS.
    A changed setting, password or certificate is applied by the running containers within about a minute; only what
    `restart.conf` holds, the image and the resources roll the instances. No setting replaces the StatefulSet or its
    volumes; a smaller size or another class of them is refused at the preview (``components.storage``).

    Attributes:
        host: Name of the primary's Service.
        port: Its port.
        secret_name: Secret with the passwords and URLs.
        application_url: Key of the URL for workers and services, least privilege and with their pool size (X-25, X-40).
        migration_url: Key of the URL of the owner of the schema, for migrations.
        exporter_password: Key of the password of the role that may read statistics.
        archive_password: Key of the password of the role that receives WAL and takes base backups.
        ready: Resources that exist once clients can connect.
    """

    area = "data"
    host: pulumi.Output[str]
    port: int
    secret_name: pulumi.Output[str]
    application_url: SecretKey
    migration_url: SecretKey
    exporter_password: SecretKey
    archive_password: SecretKey
    ready: list[pulumi.Resource]

    def __init__(self, name: str, args: PostgresClusterArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(name, opts)
        settings = args.settings
        self.port = config.PORT
        self.host = pulumi.Output.concat(PRIMARY, ".", args.namespace, ".svc.cluster.local")
        config_map = k8s.core.v1.ConfigMap(
            self.child_name("config"),
            metadata=owned(CONFIG, args.namespace),
            data=config.files(settings, archive=args.archive),
            opts=self.child(),
        )
        secret = self._secret(args)
        self.secret_name = secret.metadata.name.apply(str)
        account = k8s.core.v1.ServiceAccount(
            self.child_name("account"),
            metadata=owned(APP, args.namespace),
            automount_service_account_token=False,
            opts=self.child(),
        )
        headless = self._headless(args)
        if settings.replicas >= 2:
            k8s.policy.v1.PodDisruptionBudget(
                self.child_name("pdb"),
                metadata=owned("postgres-pdb", args.namespace),
                spec={"min_available": settings.replicas - 1, "selector": {"match_labels": {"app": APP}}},
                opts=self.child(),
            )
        pod = PodArgs(
            settings=settings,
            placement=args.placement,
            image=args.image,
            priority_class=args.priority_class,
            account=account.metadata.name.apply(str),
            config_map=config_map.metadata.name.apply(str),
            secret=self.secret_name,
            tls=server_secret(self, TLS, args.namespace, args.tls),
        )
        restart = content_hash(config.restart_settings(settings))
        stateful_set = k8s.apps.v1.StatefulSet(
            self.child_name("statefulset"),
            metadata=owned(
                APP,
                args.namespace,
                labels={"app": APP},
                annotations=volume_annotation(args.storage_class, settings.storage),
            ),
            spec={
                "replicas": settings.replicas,
                "service_name": HEADLESS,
                # One by one, an instance whose node is lost would keep the others from starting.
                "pod_management_policy": "Parallel",
                "persistent_volume_claim_retention_policy": {"when_deleted": "Retain", "when_scaled": "Retain"},
                "update_strategy": {"type": "RollingUpdate"},
                # A standby is given time to catch up before the next instance restarts.
                "min_ready_seconds": 5,
                "selector": {"match_labels": {"app": APP}},
                "template": {
                    "metadata": {"labels": {"app": APP}, "annotations": {RESTART: restart}},
                    "spec": pod_spec(pod),
                },
                "volume_claim_templates": [volume_claim("postgres-data", args.storage_class, settings.storage)],
            },
            opts=self.child(
                protect=args.protect,
                retain_on_delete=args.protect,
                ignore_changes=CLAIM_TEMPLATES,
                hooks=kept_volumes(self.child_name("statefulset"), "postgres.storage"),
                depends_on=[headless],
                custom_timeouts=pulumi.CustomTimeouts(create="15m", update=f"{10 * settings.replicas}m"),
            ),
        )
        promoted = self._promotion(args, config_map, stateful_set) if settings.replicas >= 2 else stateful_set
        primary = self._services(args, promoted)
        self.ready = [primary, stateful_set]
        self.register_outputs({"host": self.host, "port": self.port, "secret_name": self.secret_name})

    def _secret(self, args: PostgresClusterArgs) -> k8s.core.v1.Secret:
        settings, passwords = args.settings, config.passwords(args.secrets)

        def connection(role: str, password: str, pool: int | None = None) -> pulumi.Output[str]:
            return self.host.apply(
                lambda host: config.url(role=role, password=password, host=host, database=settings.database, pool=pool)
            )

        urls = {
            "application-url": connection(
                config.ROLES.application, passwords["application"], settings.connections_per_pod
            ),
            "migration-url": connection(config.ROLES.owner, passwords["owner"]),
        }
        secret = k8s.core.v1.Secret(
            self.child_name("secrets"),
            metadata=owned(SECRET, args.namespace),
            string_data=pulumi.Output.secret({**passwords, **urls}),
            opts=self.child(),
        )
        secret_name = secret.metadata.name.apply(str)
        self.application_url = SecretKey(
            name=secret_name, key="application-url", digest=urls["application-url"].apply(content_hash)
        )
        self.migration_url = SecretKey(
            name=secret_name, key="migration-url", digest=urls["migration-url"].apply(content_hash)
        )
        self.exporter_password = SecretKey(
            name=secret_name, key="exporter", digest=pulumi.Output.secret(content_hash(passwords["exporter"]))
        )
        self.archive_password = SecretKey(
            name=secret_name, key="archive", digest=pulumi.Output.secret(content_hash(passwords["archive"]))
        )
        return secret

    def _promotion(
        self, args: PostgresClusterArgs, config_map: k8s.core.v1.ConfigMap, stateful_set: k8s.apps.v1.StatefulSet
    ) -> k8s.batch.v1.Job:
        account = k8s.core.v1.ServiceAccount(
            self.child_name("promote-account"),
            metadata=owned(POSTGRES_PROMOTE_APP, args.namespace),
            automount_service_account_token=False,
            opts=self.child(),
        )
        promotion = PromotionArgs(
            settings=args.settings,
            placement=args.placement,
            image=args.image,
            uid=UID,
            priority_class=args.priority_class,
            account=account.metadata.name.apply(str),
            config_map=config_map.metadata.name.apply(str),
            secret=self.secret_name,
        )
        return k8s.batch.v1.Job(
            self.child_name("promote"),
            metadata=owned(job_name(args.settings.primary_ordinal), args.namespace),
            spec=job_spec(promotion),
            opts=self.child(
                delete_before_replace=True,
                # An old primary that starts again has to read the new line, or it might go on as the primary.
                depends_on=[config_map, stateful_set],
                custom_timeouts=pulumi.CustomTimeouts(create=f"{DEADLINE_SECONDS + 60}s"),
            ),
        )

    def _headless(self, args: PostgresClusterArgs) -> k8s.core.v1.Service:
        """The instances' own names; whether they have endpoints is the StatefulSet's to say."""
        return k8s.core.v1.Service(
            self.child_name("headless"),
            metadata=owned(HEADLESS, args.namespace, labels={"app": APP}, annotations=_SKIP_AWAIT),
            spec={
                "cluster_ip": "None",
                # Instances must find each other before any of them is ready.
                "publish_not_ready_addresses": True,
                "selector": {"app": APP},
                "ports": [_PORT],
            },
            opts=self.child(),
        )

    def _services(self, args: PostgresClusterArgs, promoted: pulumi.Resource) -> k8s.core.v1.Service:
        """The primary's Service, which selects one pod and none that is not promoted yet, and the one for reads."""
        primary_pod = {"app": APP, "statefulset.kubernetes.io/pod-name": f"postgres-{args.settings.primary_ordinal}"}
        primary = k8s.core.v1.Service(
            self.child_name("primary"),
            metadata=owned(PRIMARY, args.namespace, labels={"app": APP}, annotations=_SKIP_AWAIT),
            spec={"type": "ClusterIP", "selector": primary_pod, "ports": [_PORT]},
            opts=self.child(depends_on=[promoted]),
        )
        k8s.core.v1.Service(
            self.child_name("replica"),
            metadata=owned(REPLICA, args.namespace, labels={"app": APP}, annotations=_SKIP_AWAIT),
            # Every instance: selectors cannot say "all but the primary", and any of them may answer reads.
            spec={
                "type": "ClusterIP",
                "selector": {"app": APP},
                "ports": [_PORT],
                "traffic_distribution": "PreferClose",
            },
            opts=self.child(),
        )
        return primary
