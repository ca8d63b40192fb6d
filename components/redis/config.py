"""Files of the Redis and HAProxy containers, computed from the settings. Pure: no Pulumi."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from components import tls
from components.templates import render
from settings.model import Redis, RedisSecrets
from settings.types import amount

_HERE = Path(__file__).resolve().parent
_MEBIBYTE = 2**20

PORT = 6379
SENTINEL_PORT = 26379
HEALTH_PORT = 8404
MASTER_NAME = "gx"
SENTINEL = "redis-sentinel"
"""Service of the sentinels."""
TLS = "/etc/redis-tls"
SCRIPTS = ("lib.sh", "serve.sh", "sentinel.sh", "ready.sh")
MAX_LAG_SECONDS = 10
"""min-replicas-max-lag: a master that has heard of no replica for longer refuses writes."""
LOSS_WINDOW_SECONDS = MAX_LAG_SECONDS + 2
"""What a cut-off master may still acknowledge and lose (decision 31): it counts in whole seconds, once in each."""
# The silence after which a master counts as down. With the election after it, a cut-off master has all but stopped
# writing by the time that another one begins.
DOWN_AFTER_MS = 10_000


@dataclass(frozen=True, kw_only=True)
class Users:
    """Names of the ACL users, by the duty each one has; also in the scripts."""

    application: str = "application"
    replication: str = "replication"
    sentinel: str = "sentinel"
    backup: str = "backup"
    exporter: str = "exporter"
    health: str = "health"


USERS = Users()


_TLS_FILES = {
    "certificate": f"{TLS}/{tls.CERTIFICATE}",
    "key": f"{TLS}/{tls.KEY}",
    "authority": f"{TLS}/{tls.AUTHORITY}",
}


def restart_settings() -> str:
    """restart.conf: what takes effect at a start only, and so rolls the instances when it changes."""
    return render(_HERE / "config" / "restart.conf.j2", users=USERS, **_TLS_FILES)


def cluster_environment(members: int) -> str:
    """cluster.env: the number of instances, read at a start."""
    return render(_HERE / "config" / "cluster.env.j2", members=members)


def files(settings: Redis) -> dict[str, str]:
    """Every file of the ConfigMap, by its name."""
    config = _HERE / "config"
    max_memory = int(amount(settings.max_memory))
    return {
        "cluster.env": cluster_environment(settings.replicas),
        "restart.conf": restart_settings(),
        "redis.conf": render(
            config / "redis.conf.j2",
            members=settings.replicas,
            max_memory=max_memory,
            max_lag=MAX_LAG_SECONDS,
            # Bridges a cut of some minutes at a few hundred KiB/s, so that it costs no full copy.
            backlog=min(128 * _MEBIBYTE, max_memory // 8),
        ),
        "sentinel.conf": render(config / "sentinel.conf.j2", **_TLS_FILES),
        "timing.conf": render(config / "timing.conf.j2", master=MASTER_NAME, down_after_ms=DOWN_AFTER_MS),
        **{name: (_HERE / "scripts" / name).read_text() for name in SCRIPTS},
    }


def proxy_files(settings: Redis, authority: str) -> dict[str, str]:
    """Every file of the proxy's ConfigMap, by its name."""
    haproxy = _HERE / "config" / "haproxy.cfg.j2"
    return {
        "haproxy.cfg": render(
            haproxy,
            members=settings.replicas,
            users=USERS,
            master=MASTER_NAME,
            authority=f"/etc/haproxy/{tls.AUTHORITY}",
        ),
        tls.AUTHORITY: authority,
    }


def _password(secret: str) -> str:
    """A password as ACL files take it: hashed, so that no file of the server holds it in clear."""
    return f"#{hashlib.sha256(secret.encode()).hexdigest()}"


def server_acl(secrets: RedisSecrets) -> str:
    """users.acl: who may do what on the server. Nobody may do anything without a name.

    The default user is off, so that nobody is it; what it may do is what the server itself may when it reads its
    append-only file: with less, every transaction and script in there would be dropped at a restart, with NOPERM
    (https://github.com/redis/redis/issues/14541).
    The application may ask for the role, which a client that speaks Sentinel has to before it trusts an answer
    (https://redis.io/docs/latest/develop/reference/sentinel-clients/, step 3).
    The health user needs no password: it sees the role and the number of keys, and nothing else. The backup user
    copies the data set as a replica would (`redis-cli --rdb`), and reads no key by itself. The exporter sees counters:
    no key, no slow command with its arguments, and no CONFIG GET, which would show it `masterauth`.
    Sentinel's rights are those of https://redis.io/docs/latest/operate/oss_and_stack/management/security/acl/, and
    what the container needs to apply changed settings.
    """
    application = _password(secrets.application.get_secret_value())
    replication = _password(secrets.replication.get_secret_value())
    sentinel = _password(secrets.sentinel.get_secret_value())
    backup = _password(secrets.backup.get_secret_value())
    exporter = _password(secrets.exporter.get_secret_value())
    return "\n".join(
        (
            "user default off resetpass ~* &* +@all",
            f"user {USERS.application} on {application} ~* &* +@all -@admin -@dangerous +info +role",
            f"user {USERS.replication} on {replication} +ping +psync +replconf",
            f"user {USERS.sentinel} on {sentinel} allchannels +multi +exec +slaveof +ping +subscribe +publish +role"
            " +info +config|rewrite +config|set +client|setname +client|kill +script|kill +acl|load +acl|setuser",
            f"user {USERS.backup} on {backup} +ping +sync +psync +replconf +info +dbsize +role +lastsave",
            f"user {USERS.exporter} on {exporter} +ping +info +dbsize +role +client|setname +slowlog|len"
            " +latency|latest +latency|histogram",
            f"user {USERS.health} on nopass +ping +role +dbsize",
            "",
        )
    )


def sentinel_acl(secrets: RedisSecrets) -> str:
    """sentinel.acl: who may do what on a sentinel. Clients ask for replicas by the old name of the command too."""
    application = _password(secrets.application.get_secret_value())
    sentinel = _password(secrets.sentinel.get_secret_value())
    exporter = _password(secrets.exporter.get_secret_value())
    return "\n".join(
        (
            "user default off",
            f"user {USERS.application} on {application} allchannels +ping +info +role +subscribe +psubscribe"
            " +unsubscribe +punsubscribe +client|setname +sentinel|get-master-addr-by-name +sentinel|masters"
            " +sentinel|replicas +sentinel|slaves +sentinel|sentinels",
            f"user {USERS.sentinel} on {sentinel} allchannels +@all",
            f"user {USERS.exporter} on {exporter} +ping +info +role +client|setname +sentinel|masters +sentinel|slaves"
            " +sentinel|replicas +sentinel|sentinels +sentinel|ckquorum +sentinel|get-master-addr-by-name",
            f"user {USERS.health} on nopass +ping +sentinel|get-master-addr-by-name",
            "",
        )
    )


def server_secrets(secrets: RedisSecrets) -> dict[str, str]:
    """The Secret's files for the containers, by their names."""
    return {
        "users.acl": server_acl(secrets),
        "sentinel.acl": sentinel_acl(secrets),
        "replication": secrets.replication.get_secret_value(),
        "sentinel": secrets.sentinel.get_secret_value(),
    }


def client_secrets(secrets: RedisSecrets) -> dict[str, str]:
    """The Secret's keys for clients of the program's own, by the name of their user; no server reads them."""
    return {
        USERS.application: secrets.application.get_secret_value(),
        USERS.backup: secrets.backup.get_secret_value(),
        USERS.exporter: secrets.exporter.get_secret_value(),
    }


def sentinel_environment(settings: Redis, namespace: str) -> dict[str, str]:
    """What a client that speaks Sentinel has to know beside the URL, whose user it is there too."""
    if settings.replicas == 1:
        return {}
    return {
        "REDIS_SENTINELS": f"{SENTINEL}.{namespace}.svc.cluster.local:{SENTINEL_PORT}",
        "REDIS_SENTINEL_MASTER": MASTER_NAME,
    }


def url(password: str, host: str) -> str:
    """Connection URL of the application, every part of it escaped (RFC 3986)."""
    return f"rediss://{USERS.application}:{quote(password, safe='')}@{host}:{PORT}/0"
