"""The pods of one Redis instance and of the proxy (X-26, X-28)."""

from dataclasses import dataclass
from typing import Any

import pulumi

from components.placement import FAST_EVICTION, affinity, resources
from components.probes import command_probe
from components.redis.config import HEALTH_PORT, PORT, SENTINEL_PORT, TLS
from components.security import CONTAINER_SECURITY_CONTEXT, pod_security_context
from components.tls import server_volume
from settings.model import Placement, Redis, Resources

APP = "redis"
PROXY_APP = "redis-proxy"
UID, GID = 999, 1000
PROXY_UID = 99
# A hand-over to another master takes some seconds, writing everything to disk the rest.
GRACE_SECONDS = 60


@dataclass(frozen=True, kw_only=True)
class PodArgs:
    """What the pod templates depend on."""

    settings: Redis
    placement: Placement
    image: str
    priority_class: pulumi.Input[str]
    account: pulumi.Input[str]
    config_map: pulumi.Input[str]


def _common(args: PodArgs) -> dict[str, Any]:
    return {
        "service_account_name": args.account,
        "automount_service_account_token": False,
        "enable_service_links": False,
        "priority_class_name": args.priority_class,
    }


def server_pod(args: PodArgs, secret: pulumi.Input[str], tls: pulumi.Input[str]) -> dict[str, Any]:
    """Pod of the server and, where there is more than one instance, its sentinel."""
    settings = args.settings
    ping, ping_sentinel = f"{_HEALTH} ping", f"{_HEALTH} -p {SENTINEL_PORT} ping"
    server = _container(
        "redis", args, script="serve.sh", requests=settings.requests, limits=settings.limits, port=PORT
    ) | {
        "startup_probe": command_probe(ping, period=5, failures=720),
        "readiness_probe": command_probe("sh /etc/redis/ready.sh", period=15, failures=2),
        # Any answer is a sign of life; a server that loads its data answers with an error.
        "liveness_probe": command_probe(ping, period=30, failures=6),
    }
    sentinel = _container(
        "sentinel",
        args,
        script="sentinel.sh",
        requests=settings.sidecar_requests,
        limits=settings.sidecar_limits,
        port=SENTINEL_PORT,
    ) | {
        # Not by a bare connection: each that ends before its handshake is a line in the log. Seldom, since who asks a
        # sentinel asks the others too.
        "startup_probe": command_probe(ping_sentinel, period=5, failures=24),
        "readiness_probe": command_probe(ping_sentinel, period=60, failures=2),
        "liveness_probe": command_probe(ping_sentinel, period=60, failures=3),
    }
    return _common(args) | {
        "termination_grace_period_seconds": GRACE_SECONDS,
        "security_context": pod_security_context(UID, GID),
        "affinity": affinity(args.placement, APP, one_per_node=True),
        # Server and sentinel resolve names in the foreground: one that hangs judges nobody.
        "dns_config": {"options": [{"name": "timeout", "value": "1"}, {"name": "attempts", "value": "2"}]},
        "containers": [server, sentinel] if settings.replicas > 1 else [server],
        "volumes": [
            {"name": "config", "config_map": {"name": args.config_map}},
            {"name": "secrets", "secret": {"secret_name": secret, "default_mode": 0o440, "items": _FILES}},
            server_volume(tls),
            {"name": "tmp", "empty_dir": {"medium": "Memory", "size_limit": "16Mi"}},
        ],
    }


# On the loopback, where only this server listens: a certificate that has ended is no reason to restart it.
_HEALTH = "REDISCLI_AUTH=health redis-cli --no-auth-warning --tls --insecure --user health"
# The URL in the same Secret is for clients, not for the server.
_FILES = [{"key": name, "path": name} for name in ("users.acl", "sentinel.acl", "replication", "sentinel")]


def _container(
    name: str, args: PodArgs, *, script: str, requests: Resources, limits: Resources, port: int
) -> dict[str, Any]:
    fields = {"POD_NAME": "metadata.name", "NAMESPACE": "metadata.namespace"}
    return {
        "name": name,
        "image": args.image,
        "image_pull_policy": "IfNotPresent",
        "command": ["sh", f"/etc/redis/{script}"],
        "env": [
            {"name": variable, "value_from": {"field_ref": {"field_path": path}}} for variable, path in fields.items()
        ],
        "ports": [{"name": name, "container_port": port, "protocol": "TCP"}],
        "resources": resources(requests, limits),
        "security_context": CONTAINER_SECURITY_CONTEXT,
        "volume_mounts": [
            {"name": "redis-data", "mount_path": "/data"},
            {"name": "config", "mount_path": "/etc/redis", "read_only": True},
            {"name": "secrets", "mount_path": "/etc/redis-secrets", "read_only": True},
            {"name": "tls", "mount_path": TLS, "read_only": True},
            {"name": "tmp", "mount_path": "/tmp"},  # noqa: S108 - a volume of the pod's own
        ],
    }


def proxy_pod(args: PodArgs) -> dict[str, Any]:
    """Pod of the proxy that leads clients to the master. It holds no secret."""
    settings = args.settings

    def probe(path: str, period: int, failures: int) -> dict[str, Any]:
        get = {"path": path, "port": HEALTH_PORT}
        return {"http_get": get, "period_seconds": period, "timeout_seconds": 3, "failure_threshold": failures}

    return _common(args) | {
        "termination_grace_period_seconds": 30,
        "security_context": pod_security_context(PROXY_UID),
        "affinity": affinity(args.placement, PROXY_APP, one_per_node=False),
        "tolerations": FAST_EVICTION,
        "containers": [
            {
                "name": "haproxy",
                "image": args.image,
                "image_pull_policy": "IfNotPresent",
                "command": ["haproxy", "-W", "-db", "-f", "/etc/haproxy/haproxy.cfg"],
                "env": [{"name": "NAMESPACE", "value_from": {"field_ref": {"field_path": "metadata.namespace"}}}],
                "ports": [{"name": "redis", "container_port": PORT, "protocol": "TCP"}],
                "resources": resources(settings.proxy_requests, settings.proxy_limits),
                "security_context": CONTAINER_SECURITY_CONTEXT,
                "volume_mounts": [{"name": "config", "mount_path": "/etc/haproxy", "read_only": True}],
                "startup_probe": probe("/healthz", 1, 30),
                "readiness_probe": probe("/readyz", 2, 2),
                "liveness_probe": probe("/healthz", 10, 6),
            }
        ],
        "volumes": [{"name": "config", "config_map": {"name": args.config_map}}],
    }
