"""Pods of the jobs around backups: one container that runs one script against one volume of backups."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pulumi

from components.backups import off_site
from components.backups.config import CONFIG
from components.network_policies import OBJECT_STORE_ACCESS, POSTGRES_ACCESS, REDIS_ACCESS
from components.placement import affinity, resources
from components.postgres import pod as postgres_pod
from components.postgres.config import ROLES, member, streaming
from components.redis import pod as redis_pod
from components.redis.config import USERS
from components.security import CONTAINER_SECURITY_CONTEXT, pod_security_context
from components.tls import CLIENT_AUTHORITY, CLIENT_CONFIG, CLIENT_DIRECTORY
from settings.model import BackupJob, Placement, Postgres

_REPORTS = "/reports"


@dataclass(frozen=True, kw_only=True)
class Kind:
    """What differs between the two databases: who the jobs run as, where they find the server, as whom they log in.

    ``claim`` is the volume of the backups, ``password_variable`` what the database's own programs read a password from.
    The restorer owns the schema, or is the application itself: no job has the administrator's password.
    """

    name: str
    uid: int
    gid: int
    access: str
    password_variable: str
    secret: str
    claim: str
    host: Mapping[str, str]
    reader: Mapping[str, str]
    reader_key: str
    restorer: Mapping[str, str]
    restorer_key: str


def postgres(database: str) -> Kind:
    """The jobs around backups of the application's database."""
    return Kind(
        name="postgres",
        uid=postgres_pod.UID,
        gid=postgres_pod.UID,
        access=POSTGRES_ACCESS,
        password_variable="PGPASSWORD",  # noqa: S106 - the name of the variable
        secret="postgres-secrets",  # noqa: S106 - the name of the Secret
        claim="postgres-backups",
        host={
            "PGHOST": "postgres-primary",
            "PGDATABASE": database,
            "PGSSLMODE": "verify-full",
            "PGSSLROOTCERT": CLIENT_AUTHORITY,
        },
        reader={"PGUSER": ROLES.backup},
        reader_key="backup",
        restorer={"PGUSER": ROLES.owner},
        restorer_key="owner",
    )


def base(settings: Postgres) -> Kind:
    """Base backups and the archived WAL, which stream from whichever instance is the primary: they ask every one."""
    members = " ".join(member(ordinal) for ordinal in range(settings.replicas))
    return replace(
        postgres(settings.database),
        name="postgres-base",
        claim="postgres-base-backups",
        reader={"HOSTS": members, "CONNECTION": streaming(ROLES.archive, CLIENT_AUTHORITY)},
        reader_key="archive",
    )


def redis() -> Kind:
    """The jobs around backups of Redis."""
    return Kind(
        name="redis",
        uid=redis_pod.UID,
        gid=redis_pod.GID,
        access=REDIS_ACCESS,
        password_variable="REDISCLI_AUTH",  # noqa: S106 - the name of the variable
        secret="redis-secrets",  # noqa: S106 - the name of the Secret
        claim="redis-backups",
        host={"REDIS_HOST": "redis-master", "REDIS_AUTHORITY": CLIENT_AUTHORITY},
        reader={"REDIS_USER": USERS.backup},
        reader_key=USERS.backup,
        restorer={"REDIS_USER": USERS.application},
        restorer_key=USERS.application,
    )


@dataclass(frozen=True, kw_only=True)
class OffSiteCopy:
    """What reaches the object store: an image with rclone, and the variables that tell it where and how.

    ``script`` runs after the job has succeeded, or with ``beside`` next to one that never ends.
    """

    image: str
    variables: Mapping[str, str]
    script: str = "off-site-copy"
    beside: bool = False


@dataclass(frozen=True, kw_only=True)
class JobArgs:
    """One job: its name is that of its script, and its ``app`` label.

    With ``password`` it reaches the server, as ``login``; without it reaches nothing. ``scratch`` bounds the pod's own
    disk, None for a job that needs none. A job that only reads the backups still writes its report. With ``copy`` what
    it made is copied to the object store. ``scripts`` is the ConfigMap with the script, and
    ``directory`` the part of the volume that has this job's backups, None for all of it.
    """

    name: str
    kind: Kind
    image: str
    size: BackupJob
    placement: Placement
    priority_class: pulumi.Input[str] | None
    account: pulumi.Input[str]
    login: Mapping[str, str] = field(default_factory=dict)
    password: str | None = None
    scratch: str | None = None
    reads_only: bool = False
    copy: OffSiteCopy | None = None
    scripts: str = CONFIG
    directory: str | None = None


def labels(args: JobArgs) -> dict[str, str]:
    """Labels of the pod: never those of the database, whose Services and budgets go by them (X-73)."""
    access = [args.kind.access] if args.password else []
    access += [OBJECT_STORE_ACCESS] if args.copy else []
    return {"app": args.name} | dict.fromkeys(access, "true")


def pod_spec(args: JobArgs) -> dict[str, Any]:
    """Pod of a job."""
    volumes: list[dict[str, Any]] = [
        {"name": "scripts", "config_map": {"name": args.scripts}},
        {"name": "backups", "persistent_volume_claim": {"claim_name": args.kind.claim}},
    ]
    mounts: list[dict[str, Any]] = [
        {"name": "scripts", "mount_path": "/etc/backups", "read_only": True},
        {"name": "backups", "mount_path": "/backups", "read_only": args.reads_only} | _sub_path(args.directory),
    ]
    if args.reads_only:
        mounts.append({"name": "backups", "mount_path": _REPORTS, "sub_path": "reports"})
    if any(CLIENT_AUTHORITY in value for value in args.login.values()):
        volumes.append({"name": "authority", "config_map": {"name": CLIENT_CONFIG}})
        mounts.append({"name": "authority", "mount_path": CLIENT_DIRECTORY, "read_only": True})
    if args.scratch is not None:
        volumes.append({"name": "scratch", "empty_dir": {"size_limit": args.scratch}})
        mounts.append({"name": "scratch", "mount_path": "/scratch"})
    container = _container(args, args.name, args.image, _environment(args), mounts)
    containers: dict[str, Any] = {"containers": [container]}
    if args.copy is not None:
        copy = _container(args, args.copy.script, args.copy.image, _off_site_environment(args.copy), mounts)
        containers = (
            {"containers": [container, copy]}
            if args.copy.beside
            else {"init_containers": [container], "containers": [copy]}
        )
    return {
        "service_account_name": args.account,
        "automount_service_account_token": False,
        "enable_service_links": False,
        **({} if args.priority_class is None else {"priority_class_name": args.priority_class}),
        "restart_policy": "Never",
        # Every script gives up at once.
        "termination_grace_period_seconds": 5,
        "security_context": pod_security_context(args.kind.uid, args.kind.gid),
        "affinity": affinity(args.placement, args.name, one_per_node=False),
        **containers,
        "volumes": volumes,
    }


def _sub_path(directory: str | None) -> dict[str, str]:
    return {} if directory is None else {"sub_path": directory}


def _container(
    args: JobArgs, script: str, image: str, environment: list[dict[str, Any]], mounts: list[dict[str, Any]]
) -> dict[str, Any]:
    return {
        "name": script,
        "image": image,
        "image_pull_policy": "IfNotPresent",
        "command": ["sh", f"/etc/backups/{script}.sh"],
        "env": environment,
        "resources": resources(args.size.requests, args.size.limits),
        "security_context": CONTAINER_SECURITY_CONTEXT,
        "volume_mounts": mounts,
    }


def _environment(args: JobArgs) -> list[dict[str, Any]]:
    values = dict(args.login) | ({"REPORTS": _REPORTS} if args.reads_only else {})
    environment = _plain(values)
    if args.password is not None:
        environment.append(_from_secret(args.kind.password_variable, args.kind.secret, args.password))
    return environment


def _off_site_environment(copy: OffSiteCopy) -> list[dict[str, Any]]:
    return _plain(copy.variables) + [_from_secret(key, off_site.SECRET, key) for key in off_site.SECRET_KEYS]


def _plain(values: Mapping[str, str]) -> list[dict[str, Any]]:
    return [{"name": name, "value": value} for name, value in values.items()]


def _from_secret(variable: str, secret: str, key: str) -> dict[str, Any]:
    return {"name": variable, "value_from": {"secret_key_ref": {"name": secret, "key": key}}}
