"""Redis as a StatefulSet under Sentinel, and the proxy that follows the master (design decision 2, RD rows)."""

from dataclasses import dataclass

import pulumi
import pulumi_kubernetes as k8s

from components.base import Component, content_hash, owned
from components.redis import config
from components.redis.pod import APP, PROXY_APP, PodArgs, proxy_pod, server_pod
from components.storage import CLAIM_TEMPLATES, kept_volumes, volume_annotation, volume_claim
from components.tls import ServerTls, server_secret
from components.workload_config import SecretKey
from settings.model import Placement, Redis, RedisSecrets

CONFIG = "redis-config"
PROXY_CONFIG = "redis-proxy-config"
SECRET = "redis-secrets"  # noqa: S105 - the name of the Secret
TLS = "redis-tls"
HEADLESS = "redis-headless"
MASTER = "redis-master"
# The part of the configuration that takes effect at a start only; nothing else rolls the pods.
RESTART = "gxcoin.money/restart-settings"
_SKIP_AWAIT = {"pulumi.com/skipAwait": "true"}


@dataclass(frozen=True, kw_only=True)
class RedisClusterArgs:
    """Arguments of ``RedisCluster``; plain values decide which objects exist and what is in their templates.

    ``proxy_image`` is needed with more than one instance.
    """

    namespace: pulumi.Input[str]
    priority_class: pulumi.Input[str]
    settings: Redis
    placement: Placement
    image: str
    proxy_image: str | None
    secrets: RedisSecrets
    tls: ServerTls
    storage_class: str
    protect: bool


class RedisCluster(Component):
    """StatefulSet `redis` with its Services, configuration and users; with replicas also Sentinel and the proxy.

    Invariants: no object of the program changes in a failover; an empty instance never becomes the master while a peer
    has data; a master that sees no replica refuses writes. Nobody connects without TLS, which
    ends at the server, not at the proxy. Changed settings, passwords and certificates are applied by the running
    containers within about a minute. No setting replaces the StatefulSet or its volumes; a smaller size or another
    class of them is refused at the preview (``components.storage``).

    Attributes:
        host: Name of the Service that leads to the master.
        port: Its port.
        secret_name: Secret with the users, their passwords and the URL.
        application_url: Key of the URL for workers and services.
        backup_password: Key of the password of the user `backup`, who may copy the whole data set.
        exporter_password: Key of the password of the user `exporter`, who sees counters.
        ready: Resources that exist once clients can connect.
    """

    area = "data"
    host: pulumi.Output[str]
    port: int
    secret_name: pulumi.Output[str]
    application_url: SecretKey
    backup_password: SecretKey
    exporter_password: SecretKey
    ready: list[pulumi.Resource]

    def __init__(self, name: str, args: RedisClusterArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(name, opts)
        replicated = args.settings.replicas > 1
        self.port = config.PORT
        self.host = pulumi.Output.concat(MASTER, ".", args.namespace, ".svc.cluster.local")
        secret = self._secret(args)
        self.secret_name = secret.metadata.name.apply(str)
        # The pods' way to each other; they resolve one another before they are ready.
        headless = self._service(HEADLESS, args, APP, config.PORT, headless=True)
        master = self._service(MASTER, args, PROXY_APP if replicated else APP, config.PORT)
        self._service("redis-replica", args, APP, config.PORT, prefer_close=True)
        self.ready = [master, self._stateful_set(args, headless)]
        if replicated:
            self._service(config.SENTINEL, args, APP, config.SENTINEL_PORT, prefer_close=True)
            self._budget("redis-pdb", args, APP, args.settings.replicas - 1)
            self.ready.append(self._proxy(args))
        self.register_outputs({"host": self.host, "port": self.port, "secret_name": self.secret_name})

    def _secret(self, args: RedisClusterArgs) -> k8s.core.v1.Secret:
        password = args.secrets.application.get_secret_value()
        url = self.host.apply(lambda host: config.url(password, host))
        clients = config.client_secrets(args.secrets)
        secret = k8s.core.v1.Secret(
            self.child_name("secrets"),
            metadata=owned(SECRET, args.namespace),
            string_data=pulumi.Output.secret({**config.server_secrets(args.secrets), **clients, "url": url}),
            opts=self.child(),
        )
        secret_name: pulumi.Output[str] = secret.metadata.name.apply(str)
        self.application_url = SecretKey(name=secret_name, key="url", digest=url.apply(content_hash))
        self.backup_password, self.exporter_password = (
            SecretKey(name=secret_name, key=user, digest=pulumi.Output.secret(content_hash(clients[user])))
            for user in (config.USERS.backup, config.USERS.exporter)
        )
        return secret

    def _service(
        self,
        service: str,
        args: RedisClusterArgs,
        app: str,
        port: int,
        *,
        headless: bool = False,
        prefer_close: bool = False,
    ) -> k8s.core.v1.Service:
        """A Service; whether it has endpoints is the StatefulSet's and the proxy's to say."""
        kind: dict[str, object] = (
            {"cluster_ip": "None", "publish_not_ready_addresses": True} if headless else {"type": "ClusterIP"}
        )
        if prefer_close:
            kind["traffic_distribution"] = "PreferClose"
        ports = [{"name": "redis", "protocol": "TCP", "port": port, "target_port": port}]
        return k8s.core.v1.Service(
            self.child_name(service.removeprefix("redis-")),
            metadata=owned(service, args.namespace, labels={"app": APP}, annotations=_SKIP_AWAIT),
            spec={**kind, "selector": {"app": app}, "ports": ports},
            opts=self.child(),
        )

    def _budget(self, budget: str, args: RedisClusterArgs, app: str, min_available: int) -> None:
        k8s.policy.v1.PodDisruptionBudget(
            self.child_name(budget.removeprefix("redis-")),
            metadata=owned(budget, args.namespace),
            spec={"min_available": min_available, "selector": {"match_labels": {"app": app}}},
            opts=self.child(),
        )

    def _account(self, app: str, args: RedisClusterArgs, part: str) -> pulumi.Output[str]:
        account = k8s.core.v1.ServiceAccount(
            self.child_name(part),
            metadata=owned(app, args.namespace),
            automount_service_account_token=False,
            opts=self.child(),
        )
        name: pulumi.Output[str] = account.metadata.name.apply(str)
        return name

    def _config_map(self, name: str, args: RedisClusterArgs, part: str, data: dict[str, str]) -> pulumi.Output[str]:
        config_map = k8s.core.v1.ConfigMap(
            self.child_name(part), metadata=owned(name, args.namespace), data=data, opts=self.child()
        )
        map_name: pulumi.Output[str] = config_map.metadata.name.apply(str)
        return map_name

    def _stateful_set(self, args: RedisClusterArgs, headless: pulumi.Resource) -> k8s.apps.v1.StatefulSet:
        settings = args.settings
        pod = PodArgs(
            settings=settings,
            placement=args.placement,
            image=args.image,
            priority_class=args.priority_class,
            account=self._account(APP, args, "account"),
            config_map=self._config_map(CONFIG, args, "config", config.files(settings)),
        )
        tls = server_secret(self, TLS, args.namespace, args.tls)
        restart = content_hash(config.restart_settings() + config.cluster_environment(settings.replicas))
        return k8s.apps.v1.StatefulSet(
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
                "min_ready_seconds": 5,
                "selector": {"match_labels": {"app": APP}},
                "template": {
                    "metadata": {"labels": {"app": APP}, "annotations": {RESTART: restart}},
                    "spec": server_pod(pod, self.secret_name, tls),
                },
                "volume_claim_templates": [volume_claim("redis-data", args.storage_class, settings.storage)],
            },
            opts=self.child(
                protect=args.protect,
                retain_on_delete=args.protect,
                ignore_changes=CLAIM_TEMPLATES,
                hooks=kept_volumes(self.child_name("statefulset"), "redis.storage"),
                depends_on=[headless],
                custom_timeouts=pulumi.CustomTimeouts(create="10m", update=f"{5 * settings.replicas}m"),
            ),
        )

    def _proxy(self, args: RedisClusterArgs) -> k8s.apps.v1.Deployment:
        settings = args.settings
        if args.proxy_image is None:
            raise ValueError("images.haproxy is missing. Fix: name the image of the proxy, or set redis.replicas to 1")
        files = config.proxy_files(settings, args.tls.authority)
        pod = PodArgs(
            settings=settings,
            placement=args.placement,
            image=args.proxy_image,
            priority_class=args.priority_class,
            account=self._account(PROXY_APP, args, "proxy-account"),
            config_map=self._config_map(PROXY_CONFIG, args, "proxy-config", files),
        )
        several = settings.proxy_replicas >= 2
        if several:
            self._budget("redis-proxy-pdb", args, PROXY_APP, settings.proxy_replicas - 1)
        return k8s.apps.v1.Deployment(
            self.child_name("proxy"),
            metadata=owned(PROXY_APP, args.namespace, labels={"app": PROXY_APP}),
            spec={
                "replicas": settings.proxy_replicas,
                "revision_history_limit": 5,
                "selector": {"match_labels": {"app": PROXY_APP}},
                "strategy": {
                    "type": "RollingUpdate",
                    "rolling_update": {"max_unavailable": 1 if several else 0, "max_surge": 1},
                },
                "template": {
                    "metadata": {"labels": {"app": PROXY_APP}, "annotations": {RESTART: content_hash(files)}},
                    "spec": proxy_pod(pod),
                },
            },
            opts=self.child(custom_timeouts=pulumi.CustomTimeouts(create="10m", update="5m")),
        )
