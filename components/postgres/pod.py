"""The pod of one Postgres instance (PG-23, X-26, X-28)."""

from dataclasses import dataclass
from typing import Any

import pulumi

from components.placement import affinity, resources
from components.postgres.config import PGPASS, PORT, ROLES, TLS
from components.probes import command_probe
from components.security import CONTAINER_SECURITY_CONTEXT, pod_security_context
from components.tls import server_volume
from settings.model import Placement, Postgres

APP = "postgres"
UID = 70
# Time for a fast shutdown to write a checkpoint of everything dirty; an idle server stops in a fraction of a second.
GRACE_SECONDS = 120

_DATA = "/var/lib/postgresql/data"
# Over TCP, as clients come, and as a role that may connect: the server logs every other one.
_PROBE = f"pg_isready --quiet --host=127.0.0.1 --username={ROLES.replication} --dbname=postgres"


@dataclass(frozen=True, kw_only=True)
class PodArgs:
    """What the pod template depends on. The primary's ordinal is not part of it (design decision 1)."""

    settings: Postgres
    placement: Placement
    image: str
    priority_class: pulumi.Input[str]
    account: pulumi.Input[str]
    config_map: pulumi.Input[str]
    secret: pulumi.Input[str]
    tls: pulumi.Input[str]


def pod_spec(args: PodArgs) -> dict[str, Any]:
    """Pod with an init container that decides the role and clones if need be, and the server.

    Both run the same decision: an init container may take hours for a clone without a probe ending it, and a container
    that restarts alone must decide again.
    """
    return {
        "service_account_name": args.account,
        "automount_service_account_token": False,
        "enable_service_links": False,
        "priority_class_name": args.priority_class,
        "termination_grace_period_seconds": GRACE_SECONDS,
        "security_context": pod_security_context(UID),
        "affinity": affinity(args.placement, APP, one_per_node=True),
        # A standby resolves its peers in the foreground, and is not promoted until it has an answer or has given up.
        "dns_config": {"options": [{"name": "timeout", "value": "1"}, {"name": "attempts", "value": "2"}]},
        "init_containers": [_container("decide-role", "decide-role.sh", args)],
        "containers": [_container("postgres", "serve.sh", args) | _server()],
        "volumes": [
            {"name": "config", "config_map": {"name": args.config_map}},
            {"name": "secrets", "secret": {"secret_name": args.secret, "default_mode": 0o440, "items": _PASSWORDS}},
            server_volume(args.tls),
            {"name": "run", "empty_dir": {"medium": "Memory", "size_limit": "16Mi"}},
            {"name": "tmp", "empty_dir": {"size_limit": "64Mi"}},
            # Parallel queries share memory here; the default of 64 MiB breaks them.
            {"name": "shm", "empty_dir": {"medium": "Memory", "size_limit": "256Mi"}},
        ],
    }


# The URLs in the same Secret are for clients, not for the server.
_ROLES = ("admin", "owner", "application", "replication", "backup", "exporter", "failover", "archive")
_PASSWORDS = [{"key": role, "path": role} for role in _ROLES]


def _container(name: str, script: str, args: PodArgs) -> dict[str, Any]:
    return {
        "name": name,
        "image": args.image,
        "image_pull_policy": "IfNotPresent",
        "command": ["sh", f"/etc/postgresql/{script}"],
        "env": [
            {"name": "POD_NAME", "value_from": {"field_ref": {"field_path": "metadata.name"}}},
            {"name": "PGDATA", "value": f"{_DATA}/pgdata"},
            {"name": "PGPASSFILE", "value": PGPASS},
        ],
        "resources": resources(args.settings.requests, args.settings.limits),
        "security_context": CONTAINER_SECURITY_CONTEXT,
        "volume_mounts": [
            {"name": "postgres-data", "mount_path": _DATA},
            {"name": "config", "mount_path": "/etc/postgresql", "read_only": True},
            {"name": "secrets", "mount_path": "/etc/postgresql-secrets", "read_only": True},
            {"name": "tls", "mount_path": TLS, "read_only": True},
            {"name": "run", "mount_path": "/var/run/postgresql"},
            {"name": "tmp", "mount_path": "/tmp"},  # noqa: S108 - a volume of the pod's own
            {"name": "shm", "mount_path": "/dev/shm"},  # noqa: S108 - likewise
        ],
    }


def _server() -> dict[str, Any]:
    """Port and probes.

    pg_isready ends with 1 while the server rejects connections, as it does in crash recovery and at a shutdown: that is
    alive, and only 2, no answer, is not. A start may take an hour of recovery.
    """
    return {
        "ports": [{"name": "postgres", "container_port": PORT, "protocol": "TCP"}],
        "startup_probe": command_probe(_PROBE, period=5, failures=720),
        "readiness_probe": command_probe(_PROBE, period=10, failures=3),
        "liveness_probe": command_probe(f"{_PROBE}; test $? -ne 2", period=30, failures=6),
    }
