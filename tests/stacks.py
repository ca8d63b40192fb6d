"""Complete stacks for tests: a committed stack file and made-up values for what it leaves out."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache

from settings import certificates, stackfile
from settings.certificates import Pair
from settings.loader import load
from settings.model import Settings
from settings.stackfile import PROJECT, merge

SECRET_KEYS = [f"{PROJECT}:secrets"]

# Copies of the backups in an object store, which the committed stack files leave to the operator.
OFF_SITE: dict[str, object] = {
    "backups": {
        "offSite": {
            "endpoint": "https://s3.eu-central-1.example.org",
            "region": "eu-central-1",
            "bucket": "gx-backups",
            "networks": ["203.0.113.0/24"],
        }
    },
    "images": {"rclone": "docker.io/rclone/rclone:1.71@sha256:" + "ab" * 32},
    "secrets": {
        "offSite": {
            "accessKeyId": "canary-access-key-id",
            "secretAccessKey": "canary-secret-access-key",
            "password": "canary-off-site-password",
        }
    },
}

_DIGEST = "sha256:" + "ab" * 32
_SSH_KEY = "-----BEGIN OPENSSH PRIVATE KEY-----\ncanary-ssh-key\n-----END OPENSSH PRIVATE KEY-----\n"
_ADDRESSES = {"srv1089618": 11, "srv1089624": 12, "srv1092158": 13, "srv1117946": 14}


def committed(stack: str) -> dict[str, object]:
    """The config of a committed stack file, keyed without the project's prefix."""
    return stackfile.config(stackfile.path(stack).read_text())


@cache
def authority() -> Pair:
    """The authority of every stack of this process."""
    return certificates.new_authority("test", datetime.now(UTC))


@cache
def server(name: str, namespace: str) -> Pair:
    """A certificate of that authority."""
    return certificates.new_server(name, namespace, authority=authority(), now=datetime.now(UTC))


def tls(namespace: str) -> dict[str, object]:
    """The certificates of a stack and their keys, as its sections hold them."""
    pairs = {"authority": authority()} | {name: server(name, namespace) for name in certificates.SERVICES}
    return {
        "tls": {name: pair.certificate for name, pair in pairs.items()},
        "secrets": {"tls": {f"{name}Key": pair.key for name, pair in pairs.items()}},
    }


def overlay(stack: str) -> dict[str, object]:
    """What an operator adds to a committed stack file."""
    base = committed(stack)
    values: dict[str, object] = {
        "cluster": {"nodes": {name: {"internalIp": f"10.60.0.{last}"} for name, last in _ADDRESSES.items()}},
        "images": {
            "postgres": f"docker.io/library/postgres:15-alpine@{_DIGEST}",
            "redis": f"docker.io/library/redis:7-alpine@{_DIGEST}",
            "haproxy": f"docker.io/library/haproxy:2.6-alpine@{_DIGEST}",
            "migration": f"ghcr.io/gx-protocol/migration:test@{_DIGEST}",
            "postgresExporter": f"quay.io/prometheuscommunity/postgres-exporter:test@{_DIGEST}",
            "redisExporter": f"docker.io/oliver006/redis_exporter:test@{_DIGEST}",
            "nodeExporter": f"quay.io/prometheus/node-exporter:test@{_DIGEST}",
            "workloads": {name: f"ghcr.io/gx-protocol/{name}:test@{_DIGEST}" for name in _workloads(base)},
        },
        "secrets": {
            "postgres": {
                role: f"canary-postgres-{role}-password"
                for role in (
                    "admin",
                    "owner",
                    "application",
                    "replication",
                    "backup",
                    "exporter",
                    "failover",
                    "archive",
                )
            },
            "redis": {
                user: f"canary-redis-{user}-password"
                for user in ("application", "replication", "sentinel", "backup", "exporter")
            },
        },
    }
    values = merge(values, {"cluster": {"nodes": {"srv1117946": {"podCidr": "10.42.3.0/24"}}}})
    values = merge(values, tls(base["environment"]["namespace"]))  # type: ignore[index]
    if "dns" in base:
        values = merge(
            values,
            {
                "dns": {"zoneId": "0123456789abcdef0123456789abcdef"},
                "edge": {
                    "ssh": {
                        "user": "root",
                        "hostKeys": dict.fromkeys(_ADDRESSES, f"ssh-ed25519 {'A' * 68}"),
                    },
                    "acme": {"email": "ops@example.org"},
                },
                "secrets": {
                    "cloudflareApiToken": "canary-cloudflare-token",
                    "sshPrivateKey": _SSH_KEY,
                    "fabricCredentials": {"tls.key": "canary-fabric-key"},
                },
            },
        )
    return values


def complete(stack: str) -> dict[str, object]:
    """The config of a whole, valid stack."""
    return merge(committed(stack), overlay(stack))


def settings(stack: str) -> Settings:
    """The settings of a whole, valid stack."""
    return load(complete(stack), stack=stack)


def settings_off_site(stack: str, patch: Mapping[str, object] | None = None) -> Settings:
    """The same where the backups, if there are any, go off site too: with everything that has alerts or panels."""
    whole = complete(stack)
    return load(merge(merge(whole, OFF_SITE if "backups" in whole else {}), patch or {}), stack=stack)


def pulumi_config(stack: str, patch: Mapping[str, object] | None = None) -> dict[str, str]:
    """The config of a whole stack as the engine hands it over: for ``set_all_config``, with ``SECRET_KEYS``."""
    whole = merge(complete(stack), patch or {})
    return {key: json.dumps(value) for key, value in stackfile.prefixed(whole).items()}


def _workloads(base: Mapping[str, object]) -> list[str]:
    return [name for family in ("workers", "services") for name in base[family]]  # type: ignore[attr-defined]
