"""Files of the Postgres containers, computed from the settings. Pure: no Pulumi."""

import shlex
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import quote, urlencode

from components import tls
from components.templates import render
from settings.model import Postgres, PostgresSecrets
from settings.types import amount

_HERE = Path(__file__).resolve().parent
_MEBIBYTE = 2**20

PORT = 5432
PGPASS = "/var/run/postgresql/pgpass"
TLS = "/etc/postgresql-tls"
SCRIPTS = (
    "lib.sh",
    "decide-role.sh",
    "serve.sh",
    "promote.sh",
    "bootstrap.sql",
    "failover.sql",
    "archive.sql",
    "reconcile.sql",
)


@dataclass(frozen=True, kw_only=True)
class Roles:
    """Names of the database roles, by the duty each one has; also in the scripts (X-40)."""

    owner: str = "gx_owner"
    application: str = "gx_application"
    replication: str = "gx_replication"
    backup: str = "gx_backup"
    exporter: str = "gx_exporter"
    failover: str = "gx_failover"
    archive: str = "gx_archive"


ROLES = Roles()


def member(ordinal: int) -> str:
    """Name of one instance, as peers in the namespace resolve it whatever the namespace and the cluster domain are."""
    return f"postgres-{ordinal}.postgres-headless"


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Memory settings in MiB, from the container's memory limit.

    A quarter of the limit for shared buffers and some 60 % as what the page cache is expected to hold, as
    https://www.postgresql.org/docs/15/runtime-config-resource.html advises; another quarter is shared out as sort
    memory among all connections.
    """

    shared_buffers_mb: int
    effective_cache_size_mb: int
    maintenance_work_mem_mb: int
    work_mem_mb: int

    @classmethod
    def of(cls, limit: str, max_connections: int) -> "Memory":
        """Settings for a memory limit, given as a Kubernetes quantity."""
        limit_mb = int(amount(limit)) // _MEBIBYTE
        return cls(
            shared_buffers_mb=max(16, limit_mb // 4),
            effective_cache_size_mb=max(16, limit_mb * 6 // 10),
            maintenance_work_mem_mb=min(1024, max(16, limit_mb // 16)),
            work_mem_mb=max(4, limit_mb // 4 // max_connections),
        )


@dataclass(frozen=True, kw_only=True)
class WriteAheadLog:
    """Bounds of the write-ahead log in MiB, as shares of the volume.

    A standby that stays away longer than its slot may keep is cloned anew; a full volume would stop the primary.
    """

    min_wal_size_mb: int
    max_wal_size_mb: int
    max_slot_wal_keep_size_mb: int

    @classmethod
    def of(cls, storage: str) -> "WriteAheadLog":
        """Bounds for a volume, given as a Kubernetes quantity."""
        volume_mb = int(amount(storage)) // _MEBIBYTE
        return cls(
            min_wal_size_mb=min(1024, max(64, volume_mb // 100)),
            max_wal_size_mb=min(4096, max(128, volume_mb // 25)),
            max_slot_wal_keep_size_mb=min(16384, max(256, volume_mb // 6)),
        )


def synchronous_standby_names(members: int) -> str:
    """Whose confirmation a commit waits for: any one standby; nobody's with a single instance (design decision 1)."""
    if members == 1:
        return ""
    names = ", ".join(f'"postgres-{ordinal}"' for ordinal in range(members))
    return f"ANY 1 ({names})"


def primary_conninfo(members: int) -> str:
    """How a standby finds the primary: it tries every instance and stays with the one that accepts writes.

    A standby's connection ignores connect_timeout, so on a host that has lost power it would wait for two minutes, and
    with it every commit on a new primary; TCP_USER_TIMEOUT, in milliseconds, ends that (tcp(7), Linux 4.20 and later).
    """
    hosts = ",".join(member(ordinal) for ordinal in range(members))
    stream = streaming(ROLES.replication, f"{TLS}/{tls.AUTHORITY}")
    return f"host={hosts} {stream} passfile={PGPASS} target_session_attrs=read-write"


def streaming(role: str, authority: str) -> str:
    """What every connection that streams has in common, as libpq takes it: all but the host and the password."""
    return f"port={PORT} user={role} tcp_user_timeout=5000 sslmode=verify-full sslrootcert={authority}"


def restart_settings(settings: Postgres) -> str:
    """restart.conf: what takes effect at a start only, and so rolls the instances when it changes."""
    return render(
        _HERE / "config" / "restart.conf.j2",
        max_connections=settings.max_connections,
        members=settings.replicas,
        shared_buffers_mb=Memory.of(settings.limits.memory, settings.max_connections).shared_buffers_mb,
    )


def files(settings: Postgres, *, archive: bool = False) -> dict[str, str]:
    """Every file of the ConfigMap, by its name. With ``archive`` somebody receives the WAL by a slot of its own."""
    config = _HERE / "config"
    members = settings.replicas
    return {
        "cluster.env": render(
            config / "cluster.env.j2",
            members=members,
            primary_ordinal=settings.primary_ordinal,
            allow_bootstrap=settings.allow_bootstrap,
            admin=shlex.quote(settings.admin_user),
            archive=archive,
            database=shlex.quote(settings.database),
        ),
        "restart.conf": restart_settings(settings),
        "postgresql.conf": render(
            config / "postgresql.conf.j2",
            synchronous_standby_names=synchronous_standby_names(members),
            primary_conninfo=primary_conninfo(members),
            certificate=f"{TLS}/{tls.CERTIFICATE}",
            key=f"{TLS}/{tls.KEY}",
            **asdict(Memory.of(settings.limits.memory, settings.max_connections)),
            **asdict(WriteAheadLog.of(settings.storage)),
        ),
        "pg_hba.conf": render(
            config / "pg_hba.conf.j2", admin=settings.admin_user, database=settings.database, roles=ROLES
        ),
        "pg_ident.conf": render(config / "pg_ident.conf.j2", admin=settings.admin_user),
        **{name: (_HERE / "scripts" / name).read_text() for name in SCRIPTS},
    }


def url(*, role: str, password: str, host: str, database: str, pool: int | None = None) -> str:
    """Connection URL of a role for Prisma, every part of it escaped (RFC 3986).

    Prisma has its own words for libpq's `verify-full` and `sslrootcert`; it takes those for no wish at all, and then
    verifies nothing. https://www.prisma.io/docs/orm/overview/databases/postgresql#arguments
    """
    options = {"sslmode": "require", "sslaccept": "strict", "sslcert": tls.CLIENT_AUTHORITY}
    options |= {} if pool is None else {"connection_limit": str(pool)}
    return (
        f"postgresql://{role}:{quote(password, safe='')}@{host}:{PORT}/{quote(database, safe='')}?{urlencode(options)}"
    )


def passwords(secrets: PostgresSecrets) -> dict[str, str]:
    """The Secret's password files, by their names."""
    return {
        "admin": secrets.admin.get_secret_value(),
        "owner": secrets.owner.get_secret_value(),
        "application": secrets.application.get_secret_value(),
        "replication": secrets.replication.get_secret_value(),
        "backup": secrets.backup.get_secret_value(),
        "exporter": secrets.exporter.get_secret_value(),
        "failover": secrets.failover.get_secret_value(),
        "archive": secrets.archive.get_secret_value(),
    }
