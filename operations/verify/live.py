"""Asks the cluster, the database, the shared monitoring and the public addresses, and changes nothing.

`kubectl get` and `logs`, one read-only query in the primary's own container, the services of monitoring through the API
server, and `curl` as a visitor. What is not there, or does not let the operator in, is said in its place.
"""

import json
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

from checks.workloads import millicores, whole_bytes
from operations.kubectl import SECONDS, KubectlError, kubectl_json, kubectl_text
from operations.preflight.observed import Document
from operations.verify.observed import Database, Observed, Sample, Usage
from settings.model import Settings

SCHEMA = Path(__file__).with_name("schema.sql")
KINDS = "configmaps,deployments,jobs,persistentvolumeclaims,pods,services,statefulsets"
# The names of the keys alone: no value leaves the API server's answer.
KEYS = '{{range .items}}{{.metadata.name}}{{range $key, $value := .data}} {{$key}}{{end}}{{"\\n"}}{{end}}'
PROMETHEUS_PORT, LOKI_PORT = 9090, 3100
LINES = 20
_T = TypeVar("_T")


def observe(settings: Settings) -> Observed:
    """Look at everything. Raises ``KubectlError`` when the API server cannot be asked."""
    cluster, namespace = settings.cluster, settings.environment.namespace
    nodes = _items(settings, "nodes")
    monitoring = _items(settings, "services", f"--namespace={cluster.monitoring_namespace}")
    prometheus = _address(settings, monitoring, "prometheus", PROMETHEUS_PORT)
    loki = _address(settings, monitoring, "loki", LOKI_PORT)
    apps = [*settings.workers, *settings.services]
    with ThreadPoolExecutor(max_workers=8) as pool:
        logs = pool.map(lambda app: _logs(settings, app), apps)
        urls = tuple(_urls(settings))
        statuses = pool.map(status_of, urls)
        selector = f'{{namespace="{namespace}"}}'
        return Observed(
            now=datetime.now(UTC),
            nodes=nodes,
            usage=_or_why(lambda: _usage(settings)),
            namespaces=_items(settings, "namespaces"),
            objects=_items(settings, KINDS, f"--namespace={namespace}"),
            secret_keys=_secret_keys(settings),
            fabric=_items(settings, "endpointslices", f"--namespace={settings.fabric.namespace}")
            if settings.fabric
            else (),
            database=_or_why(lambda: _database(settings)),
            up=_or_why(lambda: _samples(settings, prometheus, f"up{selector}")),
            fabric_connections=_or_why(
                lambda: _samples(settings, prometheus, f"fabric_sdk_connection_status{selector}")
            ),
            log_lines=_or_why(lambda: _log_lines(settings, loki, selector)),
            logs=dict(zip(apps, logs, strict=True)),
            answers=dict(zip(urls, statuses, strict=True)),
        )


def _or_why(asked: Callable[[], _T]) -> _T | str:
    try:
        return asked()
    except KubectlError as error:
        return str(error).removesuffix(". Fix: check cluster.context and who you are there")


def _items(settings: Settings, kinds: str, *argv: str) -> tuple[Document, ...]:
    return tuple(kubectl_json(settings.cluster, "get", kinds, *argv)["items"])


def _raw(settings: Settings, path: str) -> dict[str, Any]:
    try:
        answer: dict[str, Any] = json.loads(kubectl_text(settings.cluster, "get", "--raw", path))
    except json.JSONDecodeError:
        # As a proxy with a login answers in its place.
        raise KubectlError(f"{path.partition('?')[0]} answers with something else than JSON") from None
    return answer


def _usage(settings: Settings) -> dict[str, Usage]:
    """What `kubectl top nodes` prints, from where it has it."""
    return {
        each["metadata"]["name"]: Usage(
            millicores=millicores(each["usage"]["cpu"]), bytes=whole_bytes(each["usage"]["memory"])
        )
        for each in _raw(settings, "/apis/metrics.k8s.io/v1beta1/nodes")["items"]
    }


def _secret_keys(settings: Settings) -> dict[str, frozenset[str]]:
    namespace = f"--namespace={settings.environment.namespace}"
    printed = kubectl_text(settings.cluster, "get", "secrets", namespace, f"--output=go-template={KEYS}")
    lines = (line.split() for line in printed.splitlines() if line)
    return {name: frozenset(keys) for name, *keys in lines}


def _database(settings: Settings) -> Database:
    instance = f"postgres-{settings.postgres.primary_ordinal}"
    login = ["-h", "/var/run/postgresql", "-U", settings.postgres.admin_user, "-d", settings.postgres.database]
    told = kubectl_text(
        settings.cluster,
        "exec",
        f"--namespace={settings.environment.namespace}",
        instance,
        "--container=postgres",
        "--",
        *("env", "PGOPTIONS=-c default_transaction_read_only=on -c statement_timeout=10s"),
        *("psql", *login, "-AtX", "-c", SCHEMA.read_text(encoding="utf-8")),
    )
    return Database(instance=instance, **json.loads(told))


def _logs(settings: Settings, app: str) -> tuple[str, ...]:
    """Nothing where there is no container yet: that is for other items to say."""
    try:
        where = f"--namespace={settings.environment.namespace}"
        return tuple(kubectl_text(settings.cluster, "logs", where, f"deployment/{app}", f"--tail={LINES}").splitlines())
    except KubectlError:
        return ()


def _address(settings: Settings, services: tuple[Document, ...], name: str, port: int) -> str | None:
    """Path of a service of the shared monitoring behind the API server: the first that is named so, on its port."""
    namespace = settings.cluster.monitoring_namespace
    for each in services:
        found = each["metadata"]["name"]
        if name in found and any(one["port"] == port for one in each["spec"].get("ports", [])):
            return f"/api/v1/namespaces/{namespace}/services/http:{found}:{port}/proxy"
    return None


def _samples(settings: Settings, prometheus: str | None, query: str) -> tuple[Sample, ...]:
    if prometheus is None:
        raise KubectlError(f"no Service *prometheus* with port {PROMETHEUS_PORT} in {_monitoring(settings)}")
    found = _raw(settings, f"{prometheus}/api/v1/query?query={quote(query)}")["data"]["result"]
    return tuple(Sample(labels=each["metric"], value=float(each["value"][1])) for each in found)


def _log_lines(settings: Settings, loki: str | None, selector: str) -> float:
    if loki is None:
        raise KubectlError(f"no Service *loki* with port {LOKI_PORT} in {_monitoring(settings)}")
    query = quote(f"sum(count_over_time({selector}[5m]))")
    found = _raw(settings, f"{loki}/loki/api/v1/query?query={query}")["data"]["result"]
    return sum(float(each["value"][1]) for each in found)


def _monitoring(settings: Settings) -> str:
    return settings.cluster.monitoring_namespace


def _urls(settings: Settings) -> Iterator[str]:
    if settings.edge is not None:
        yield f"https://{settings.edge.hostname}/health"
        for service in settings.services.values():
            if service.path is not None:
                yield f"https://{settings.edge.hostname}{service.path}"


def status_of(url: str) -> int:
    """HTTP status as a visitor gets it; 0 when there is no answer."""
    argv = ["curl", "--silent", "--output", "/dev/null", "--max-time", str(SECONDS), "--write-out", "%{http_code}", url]
    try:
        return int(subprocess.run(argv, capture_output=True, text=True, check=False).stdout or 0)
    except FileNotFoundError:
        raise KubectlError("curl is not on PATH. Fix: install it, or put sandbox/bin on PATH") from None
