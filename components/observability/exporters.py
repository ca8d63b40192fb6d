"""Pods that turn the databases and the reports of their backups into metrics (X-30)."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pulumi

from components.network_policies import (
    METRICS_PORT,
    POSTGRES_ACCESS,
    POSTGRES_EXPORTER_APP,
    POSTGRES_EXPORTER_PORT,
    REDIS_EXPORTER_APP,
    REDIS_EXPORTER_PORT,
)
from components.observability.scrape import AUTH_MODULE, EXPORTER_PORT, METRICS_PORT_NAME
from components.placement import FAST_EVICTION, affinity, resources
from components.postgres import pod as postgres_pod
from components.postgres.config import ROLES
from components.redis import pod as redis_pod
from components.redis.config import USERS
from components.security import CONTAINER_SECURITY_CONTEXT, pod_security_context
from components.tls import CLIENT_AUTHORITY, CLIENT_CONFIG, CLIENT_DIRECTORY
from settings.model import Backups, Observability, Placement

LOGIN = "postgres-exporter"
"""Secret with the login of the exporter of Postgres, as the file it reads."""
LOGIN_FILE = "postgres_exporter.yml"
_LOGIN_DIRECTORY = "/etc/postgres-exporter"
_REPORTS = "/reports"
_REDIS_SECRET = "redis-secrets"  # noqa: S105 - the name of the Secret
_NOBODY = 65534


@dataclass(frozen=True, kw_only=True)
class Exporter:
    """One exporter: a pod that listens on ``port`` and, unless its pods are read by themselves, a Service.

    ``volumes`` maps where something is mounted to what it is; ``path`` answers whenever the process works.
    """

    app: str
    image: str
    arguments: tuple[str, ...]
    uid: int
    gid: int
    port: int
    port_name: str
    path: str
    placement: Placement
    environment: tuple[dict[str, Any], ...] = ()
    volumes: Mapping[str, "Volume"] = field(default_factory=dict)
    access: str | None = None
    moves: bool = True
    """Whether it can run on another node than the one it is on."""

    @property
    def labels(self) -> dict[str, str]:
        """Labels of the pod."""
        return {"app": self.app} | ({self.access: "true"} if self.access else {})


@dataclass(frozen=True, kw_only=True)
class Volume:
    """Something of the namespace, mounted read-only; of a claim, the directory ``sub_path``."""

    name: str
    source: dict[str, Any]
    sub_path: str | None = None


def _authority() -> dict[str, Volume]:
    return {CLIENT_DIRECTORY: Volume(name="authority", source={"config_map": {"name": CLIENT_CONFIG}})}


def postgres(image: str, placement: Placement) -> Exporter:
    """The exporter of Postgres, which is told by each request which instance to ask (``scrape.sources``)."""
    login = Volume(name="login", source={"secret": {"secret_name": LOGIN, "default_mode": 0o440}})
    return Exporter(
        app=POSTGRES_EXPORTER_APP,
        image=image,
        arguments=(
            f"--config.file={_LOGIN_DIRECTORY}/{LOGIN_FILE}",
            f"--web.listen-address=:{POSTGRES_EXPORTER_PORT}",
            # The role may have three connections to an instance; one that hangs must not hold them.
            "--collection-timeout=20s",
            "--collector.database_wraparound",
            "--collector.long_running_transactions",
            # The stack file knows the settings.
            "--disable-settings-metrics",
            # One series for every table and index.
            "--no-collector.stat_user_tables",
            "--no-collector.statio_user_tables",
        ),
        uid=_NOBODY,
        gid=_NOBODY,
        port=POSTGRES_EXPORTER_PORT,
        port_name=EXPORTER_PORT,
        path="/",
        placement=placement,
        volumes={_LOGIN_DIRECTORY: login, **_authority()},
        access=POSTGRES_ACCESS,
    )


def login(password: str) -> dict[str, str]:
    """The file from which the exporter of Postgres takes its login. JSON is YAML, and needs no care with quotes."""
    module = {
        "type": "userpass",
        "userpass": {"username": ROLES.exporter, "password": password},
        "options": {"sslmode": "verify-full", "sslrootcert": CLIENT_AUTHORITY, "connect_timeout": "5"},
    }
    return {LOGIN_FILE: json.dumps({"auth_modules": {AUTH_MODULE: module}})}


def redis(image: str, placement: Placement) -> Exporter:
    """The exporter of Redis and its sentinels, which is told by each request which one to ask."""
    password = {"secret_key_ref": {"name": _REDIS_SECRET, "key": USERS.exporter}}
    return Exporter(
        app=REDIS_EXPORTER_APP,
        image=image,
        arguments=(
            f"--web.listen-address=:{REDIS_EXPORTER_PORT}",
            # No server of its own.
            "--redis.addr=",
            f"--redis.user={USERS.exporter}",
            f"--tls-ca-cert-file={CLIENT_AUTHORITY}",
            # CONFIG GET would show it the password of the replication.
            "--config-command=-",
            "--connection-timeout=5s",
            "--exclude-latency-histogram-metrics",
        ),
        uid=_NOBODY,
        gid=_NOBODY,
        port=REDIS_EXPORTER_PORT,
        port_name=EXPORTER_PORT,
        path="/health",
        placement=placement,
        environment=({"name": "REDIS_PASSWORD", "value_from": password},),
        volumes=_authority(),
    )


def reports(image: str, backups: Backups) -> tuple[Exporter, ...]:
    """For each volume of backups a node exporter that reads the jobs' reports there, and nothing else.

    As the jobs' own user: their files are for nobody else. It sees the directory of the reports, not the backups.
    """
    of_postgres = (postgres_pod.UID, postgres_pod.UID)
    users = {"postgres": of_postgres, "redis": (redis_pod.UID, redis_pod.GID), "postgres-base": of_postgres}
    return tuple(
        Exporter(
            app=f"{kind}-backup-reports",
            image=image,
            arguments=(
                "--collector.disable-defaults",
                "--collector.textfile",
                f"--collector.textfile.directory={_REPORTS}",
                "--web.disable-exporter-metrics",
                f"--web.listen-address=:{METRICS_PORT}",
            ),
            uid=users[kind][0],
            gid=users[kind][1],
            port=METRICS_PORT,
            port_name=METRICS_PORT_NAME,
            path="/",
            placement=backups.placement,
            volumes={
                _REPORTS: Volume(
                    name="backups",
                    source={"persistent_volume_claim": {"claim_name": f"{kind}-backups"}},
                    sub_path="reports",
                )
            },
            moves=False,
        )
        for kind in backups.kinds()
    )


def pod_spec(
    exporter: Exporter, observability: Observability, priority_class: pulumi.Input[str], account: pulumi.Input[str]
) -> dict[str, Any]:
    """Pod of an exporter."""
    probe = {"http_get": {"path": exporter.path, "port": exporter.port}, "timeout_seconds": 5}
    container = {
        "name": exporter.app,
        "image": exporter.image,
        "image_pull_policy": "IfNotPresent",
        "args": list(exporter.arguments),
        # As much as the limits allow: Go sees the node's cores and memory.
        "env": [{"name": "GOMAXPROCS", "value": "1"}, {"name": "GOMEMLIMIT", "value": "96MiB"}, *exporter.environment],
        "ports": [{"name": exporter.port_name, "container_port": exporter.port, "protocol": "TCP"}],
        "resources": resources(observability.exporter_requests, observability.exporter_limits),
        "security_context": CONTAINER_SECURITY_CONTEXT,
        "readiness_probe": probe | {"period_seconds": 10},
        "liveness_probe": probe | {"period_seconds": 30, "failure_threshold": 4},
        "volume_mounts": [
            {"name": volume.name, "mount_path": path, "read_only": True}
            | ({"sub_path": volume.sub_path} if volume.sub_path else {})
            for path, volume in exporter.volumes.items()
        ],
    }
    spec: dict[str, Any] = {
        "service_account_name": account,
        "automount_service_account_token": False,
        "enable_service_links": False,
        "priority_class_name": priority_class,
        "termination_grace_period_seconds": 5,
        "security_context": pod_security_context(exporter.uid, exporter.gid),
        "affinity": affinity(exporter.placement, exporter.app, one_per_node=False),
        "containers": [container],
        "volumes": [{"name": volume.name, **volume.source} for volume in exporter.volumes.values()],
    }
    return spec | ({"tolerations": FAST_EVICTION} if exporter.moves else {})
