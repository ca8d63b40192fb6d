"""How Prometheus finds what to read, in both of its forms. Pure: no Pulumi.

One list, ``sources``, is rendered as plain scrape configuration or as objects of the Prometheus Operator. Rules rely on
the labels ``namespace``, ``job`` and ``instance``; both forms set them alike.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from components.network_policies import (
    POSTGRES_EXPORTER_APP,
    POSTGRES_EXPORTER_PORT,
    REDIS_EXPORTER_APP,
    REDIS_EXPORTER_PORT,
)
from components.postgres import config as postgres
from components.redis import config as redis
from settings.model import Settings

AUTH_MODULE = "gx"
"""Name of the login in the configuration of the exporter of Postgres."""
EXPORTER_PORT = "exporter"
"""Name of an exporter's port. Pods with a port named ``metrics`` are read by themselves."""
METRICS_PORT_NAME = "metrics"

_INTERVAL = "15s"
# Every question is a round trip from the exporter to an instance, a quarter of a second between continents.
_EXPORTER_INTERVAL, _EXPORTER_TIMEOUT = "30s", "25s"


@dataclass(frozen=True, kw_only=True)
class Target:
    """One server that an exporter is asked about: ``parameter`` names it to the exporter."""

    instance: str
    parameter: str


@dataclass(frozen=True, kw_only=True)
class Source:
    """An exporter that answers for several servers, one request for each."""

    job: str
    app: str
    port: int
    path: str
    targets: tuple[Target, ...]
    parameters: tuple[tuple[str, str], ...] = ()


def sources(settings: Settings) -> Iterator[Source]:
    """The exporters of a stack, with the servers that they are asked about."""
    instances = range(settings.postgres.replicas)
    yield Source(
        job="postgres",
        app=POSTGRES_EXPORTER_APP,
        port=POSTGRES_EXPORTER_PORT,
        path="/probe",
        targets=tuple(
            Target(
                instance=f"postgres-{ordinal}",
                parameter=f"{postgres.member(ordinal)}:{postgres.PORT}/{settings.postgres.database}",
            )
            for ordinal in instances
        ),
        parameters=(("auth_module", AUTH_MODULE),),
    )
    ports = {"redis": redis.PORT} | ({"redis-sentinel": redis.SENTINEL_PORT} if settings.redis.replicas > 1 else {})
    for job, port in ports.items():
        yield Source(
            job=job,
            app=REDIS_EXPORTER_APP,
            port=REDIS_EXPORTER_PORT,
            path="/scrape",
            targets=tuple(
                Target(instance=f"redis-{ordinal}", parameter=f"rediss://redis-{ordinal}.redis-headless:{port}")
                for ordinal in range(settings.redis.replicas)
            ),
        )


def scrape_configs(settings: Settings) -> list[dict[str, Any]]:
    """Plain scrape configuration: Prometheus' account must be allowed to list the pods of the namespace."""
    namespace = settings.environment.namespace
    pods = {
        "job_name": namespace,
        "scrape_interval": _INTERVAL,
        "kubernetes_sd_configs": [{"role": "pod", "namespaces": {"names": [namespace]}}],
        "relabel_configs": [
            _relabel("pod_container_port_name", regex=METRICS_PORT_NAME, action="keep"),
            _relabel("pod_phase", regex="Succeeded|Failed", action="drop"),
            _relabel("namespace", "namespace"),
            _relabel("pod_label_app", "app"),
            _relabel("pod_label_app", "job"),
            _relabel("pod_name", "pod"),
            _relabel("pod_name", "instance"),
            _relabel("pod_node_name", "node"),
        ],
    }
    return [pods, *(_static(source, namespace) for source in sources(settings))]


def _relabel(source: str, target: str | None = None, **other: str) -> dict[str, Any]:
    return {"source_labels": [f"__meta_kubernetes_{source}"], **({"target_label": target} if target else {}), **other}


def _static(source: Source, namespace: str) -> dict[str, Any]:
    address = f"{source.app}.{namespace}.svc.cluster.local:{source.port}"
    return {
        "job_name": f"{namespace}-{source.job}",
        "scrape_interval": _EXPORTER_INTERVAL,
        "scrape_timeout": _EXPORTER_TIMEOUT,
        "metrics_path": source.path,
        "params": {name: [value] for name, value in source.parameters},
        "static_configs": [
            {
                "targets": [address],
                "labels": {
                    "namespace": namespace,
                    "job": source.job,
                    "instance": target.instance,
                    "__param_target": target.parameter,
                },
            }
            for target in source.targets
        ],
    }


def pod_monitor() -> dict[str, Any]:
    """PodMonitorSpec: every pod of the namespace with a port named ``metrics``."""
    return {
        "selector": {},
        "podMetricsEndpoints": [
            {
                "port": METRICS_PORT_NAME,
                "interval": _INTERVAL,
                "relabelings": [
                    {"sourceLabels": ["__meta_kubernetes_pod_label_app"], "targetLabel": "app"},
                    {"sourceLabels": ["__meta_kubernetes_pod_label_app"], "targetLabel": "job"},
                    {"sourceLabels": ["__meta_kubernetes_pod_name"], "targetLabel": "instance"},
                    {"sourceLabels": ["__meta_kubernetes_pod_node_name"], "targetLabel": "node"},
                ],
            }
        ],
    }


def service_monitor(settings: Settings, app: str) -> dict[str, Any]:
    """ServiceMonitorSpec of one exporter: an endpoint for each server that it is asked about."""
    return {
        "selector": {"matchLabels": {"app": app}},
        "endpoints": [
            {
                "port": EXPORTER_PORT,
                "path": source.path,
                "interval": _EXPORTER_INTERVAL,
                "scrapeTimeout": _EXPORTER_TIMEOUT,
                "params": {name: [value] for name, value in (*source.parameters, ("target", target.parameter))},
                "relabelings": [
                    {"targetLabel": "job", "replacement": source.job},
                    {"targetLabel": "instance", "replacement": target.instance},
                ],
            }
            for source in sources(settings)
            if source.app == app
            for target in source.targets
        ],
    }
