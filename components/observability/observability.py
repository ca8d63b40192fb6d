"""Exporters in the stack's namespace, and configuration for the Prometheus that the cluster shares (MON, AL rows)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pulumi
import pulumi_kubernetes as k8s

from components import documents
from components.base import Component, content_hash, owned
from components.observability import exporters, rules, scrape
from components.observability.exporters import Exporter
from components.workload import PROGRESS_DEADLINE_SECONDS, roll_out_timeouts, rolling_update
from components.workload_config import ConfigSource, SecretKey
from settings.model import Observability as ObservabilitySettings
from settings.model import ObservabilityMode, Settings

_OPERATOR = "monitoring.coreos.com/v1"
# What a pod read at its start; nothing else rolls it.
CONTENT = "gxcoin.money/content"


@dataclass(frozen=True, kw_only=True)
class ObservabilityArgs:
    """Arguments of ``Observability``.

    Rules and scrape configuration speak of the whole stack, hence all of its settings; ``observability`` is the section
    that must be there. The digests roll an exporter when its password or the databases' authority has changed.
    """

    namespace: pulumi.Input[str]
    priority_class: pulumi.Input[str]
    settings: Settings
    observability: ObservabilitySettings
    redis_password: SecretKey
    authority: ConfigSource


class Observability(Component):
    """Exporters of the databases and of the backups' reports; scrape configuration and rules, in either form.

    Invariants: an exporter is a pod of its own, so that a new one rolls no database; it logs in as a role that sees
    statistics and reads no data, over verified TLS; it has no token of the API server. Every alert has a severity, the
    environment, and a link to its section of the runbook.

    Attributes:
        configuration: Name of the ConfigMap for Prometheus, in the monitoring namespace; None with the operator.
    """

    area = "platform"
    configuration: pulumi.Output[str] | None

    def __init__(self, name: str, args: ObservabilityArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(name, opts)
        self._args = args
        settings = args.settings
        images, placement = settings.images, settings.placement.workloads
        if images.postgres_exporter is None or images.redis_exporter is None:
            raise ValueError(
                "images.postgresExporter or redisExporter is missing. Fix: name both, or drop observability"
            )
        password = settings.secrets.postgres.exporter.get_secret_value()
        login = exporters.login(password)
        k8s.core.v1.Secret(
            self.child_name("postgres-login"),
            metadata=owned(exporters.LOGIN, args.namespace),
            string_data=pulumi.Output.secret(login),
            opts=self.child(),
        )
        self._exporter(exporters.postgres(images.postgres_exporter, placement), content_hash(login))
        self._exporter(exporters.redis(images.redis_exporter, placement), args.redis_password.digest)
        if settings.backups is not None:
            if images.node_exporter is None:
                raise ValueError("images.nodeExporter is missing. Fix: name it, or drop observability or backups")
            for reader in exporters.reports(images.node_exporter, settings.backups):
                self._exporter(reader, "")
        self.configuration = None
        if args.observability.mode is ObservabilityMode.PLAIN:
            self.configuration = self._plain()
        else:
            self._operator()
        self.register_outputs({"configuration": self.configuration})

    def _exporter(self, exporter: Exporter, login: pulumi.Input[str]) -> None:
        args, app = self._args, exporter.app
        account = k8s.core.v1.ServiceAccount(
            self.child_name(f"{app}-account"),
            metadata=owned(app, args.namespace),
            automount_service_account_token=False,
            opts=self.child(),
        )
        # One-way, though a password is in it.
        content = pulumi.Output.unsecret(
            pulumi.Output.all(login, args.authority.digest).apply(lambda each: content_hash(" ".join(each)))
        )
        k8s.apps.v1.Deployment(
            self.child_name(app),
            metadata=owned(app, args.namespace, labels={"app": app}),
            spec={
                "replicas": 1,
                "revision_history_limit": 5,
                "progress_deadline_seconds": PROGRESS_DEADLINE_SECONDS,
                "selector": {"match_labels": {"app": app}},
                "strategy": {"type": "RollingUpdate", "rolling_update": rolling_update(1)},
                "template": {
                    "metadata": {"labels": exporter.labels, "annotations": {CONTENT: content}},
                    "spec": exporters.pod_spec(
                        exporter, args.observability, args.priority_class, account.metadata.name.apply(str)
                    ),
                },
            },
            opts=self.child(custom_timeouts=roll_out_timeouts(1)),
        )
        if exporter.port_name == scrape.EXPORTER_PORT:
            port = {"name": exporter.port_name, "protocol": "TCP", "port": exporter.port, "target_port": exporter.port}
            k8s.core.v1.Service(
                self.child_name(f"{app}-service"),
                # Whether it has endpoints is the Deployment's to say.
                metadata=owned(app, args.namespace, labels={"app": app}, annotations={"pulumi.com/skipAwait": "true"}),
                spec={"type": "ClusterIP", "selector": {"app": app}, "ports": [port]},
                opts=self.child(),
            )

    def _plain(self) -> pulumi.Output[str]:
        settings, observability = self._args.settings, self._args.observability
        configs = {"scrape_configs": scrape.scrape_configs(settings)}
        files = {
            "scrape.yaml": documents.write(configs),
            **{f"rules-{name}": text for name, text in rules.files(settings, observability).items()},
        }
        config_map = k8s.core.v1.ConfigMap(
            self.child_name("prometheus"),
            # A pod mounts what is in its own namespace.
            metadata=owned(
                f"{settings.environment.namespace}-prometheus",
                settings.cluster.monitoring_namespace,
                labels=observability.labels,
            ),
            data=files,
            opts=self.child(),
        )
        name: pulumi.Output[str] = config_map.metadata.name.apply(str)
        return name

    def _operator(self) -> None:
        settings, observability = self._args.settings, self._args.observability
        self._custom("PodMonitor", "backend", scrape.pod_monitor())
        for app in dict.fromkeys(source.app for source in scrape.sources(settings)):
            self._custom("ServiceMonitor", app, scrape.service_monitor(settings, app))
        for area in rules.AREAS:
            if groups := rules.groups(settings, observability, area):
                self._custom("PrometheusRule", f"backend-{area}", {"groups": groups})

    def _custom(self, kind: str, name: str, spec: Mapping[str, Any]) -> None:
        k8s.apiextensions.CustomResource(
            self.child_name(f"{kind.lower()}-{name}"),
            api_version=_OPERATOR,
            kind=kind,
            metadata=owned(name, self._args.namespace, labels=self._args.observability.labels),
            spec=dict(spec),
            opts=self.child(),
        )
