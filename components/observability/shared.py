"""What a stack gives to the Alertmanager and the Grafana that the cluster shares (AL-11, MON-14 to MON-16)."""

from dataclasses import dataclass

import pulumi
import pulumi_kubernetes as k8s

from components.base import Component, owned
from components.observability import alertmanager, dashboards
from settings.model import Observability, ObservabilityMode, Settings

# By this label the sidecar of Grafana's charts finds dashboards, in its own namespace:
# https://github.com/grafana/helm-charts/tree/main/charts/grafana#sidecar-for-dashboards
DASHBOARD = {"grafana_dashboard": "1"}
FOLDER = {"grafana_folder": "Backend"}


@dataclass(frozen=True, kw_only=True)
class SharedMonitoringArgs:
    """Arguments of ``SharedMonitoring``: dashboards and routes speak of the whole stack, hence all of its settings."""

    namespace: pulumi.Input[str]
    settings: Settings
    observability: Observability


class SharedMonitoring(Component):
    """Dashboards, a ConfigMap each in the monitoring namespace, and the stack's part of the alert routes.

    The routes are a ConfigMap there for whoever runs Alertmanager to merge, or, with the Prometheus Operator, an
    AlertmanagerConfig in the stack's own namespace. Neither holds a secret: both say where Alertmanager finds them.

    Attributes:
        dashboards: Names of the ConfigMaps of the dashboards.
    """

    area = "platform"
    dashboards: pulumi.Output[list[str]]

    def __init__(self, name: str, args: SharedMonitoringArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(name, opts)
        settings = args.settings
        self._prefix, self._monitoring = settings.environment.namespace, settings.cluster.monitoring_namespace
        made = [
            self._config_map(
                f"dashboard-{each}",
                {f"{self._prefix}-{each}.json": content},
                labels=DASHBOARD,
                annotations=FOLDER,
            )
            for each, content in dashboards.files(settings, args.observability).items()
        ]
        if args.observability.alerts is not None:
            part = alertmanager.fragment(self._prefix, settings.environment.name, args.observability.alerts)
            if args.observability.mode is ObservabilityMode.PLAIN:
                self._config_map("alertmanager", {"alertmanager.yaml": part})
            else:
                k8s.apiextensions.CustomResource(
                    self.child_name("alertmanagerconfig"),
                    api_version="monitoring.coreos.com/v1alpha1",
                    kind="AlertmanagerConfig",
                    metadata=owned("backend", args.namespace, labels=args.observability.labels),
                    spec=alertmanager.custom_resource(part, args.observability.alerts.secrets),
                    opts=self.child(),
                )
        self.dashboards = pulumi.Output.all(*(each.metadata.name for each in made)).apply(
            lambda names: [str(each) for each in names]
        )
        self.register_outputs({"dashboards": self.dashboards})

    def _config_map(
        self,
        part: str,
        data: dict[str, str],
        *,
        labels: dict[str, str] | None = None,
        annotations: dict[str, str] | None = None,
    ) -> k8s.core.v1.ConfigMap:
        return k8s.core.v1.ConfigMap(
            self.child_name(part),
            metadata=owned(f"{self._prefix}-{part}", self._monitoring, labels=labels, annotations=annotations),
            data=data,
            opts=self.child(),
        )
