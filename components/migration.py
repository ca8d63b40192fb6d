"""Migrations and seeds of the database, between the databases and the services (MIG rows, X-64)."""

from dataclasses import dataclass
from typing import Any

import pulumi
import pulumi_kubernetes as k8s

from components.base import Component, owned
from components.network_policies import POSTGRES_ACCESS
from components.placement import affinity, resources
from components.postgres.config import ROLES
from components.security import CONTAINER_SECURITY_CONTEXT, pod_security_context
from components.tls import CLIENT_DIRECTORY
from components.workload import UID
from components.workload_config import SecretKey
from settings.model import Migration, Placement

APP = "migration"
DEADLINE_SECONDS = 900
RETRIES = 3


@dataclass(frozen=True, kw_only=True)
class DatabaseMigrationArgs:
    """Arguments of ``DatabaseMigration``. ``database`` is the URL of the schema's owner, ``host`` the server's name.

    ``authority`` is the name of the ConfigMap that the database's certificate is verified with.
    """

    namespace: pulumi.Input[str]
    priority_class: pulumi.Input[str]
    settings: Migration
    image: str
    postgres_image: str
    placement: Placement
    database: SecretKey
    host: pulumi.Input[str]
    authority: pulumi.Input[str]


class DatabaseMigration(Component):
    """A Job that migrates the schema, then seeds it; what depends on it starts once both have succeeded.

    Named by its images and commands, so that a new image runs and one that has run does not run again. It goes straight
    to the primary as the owner of the schema, once that answers, and a Job that has failed for good is replaced by the
    next ``up``. Both commands must be safe to run twice.

    Attributes:
        job: Name of the Job.
        ready: Resources that exist once the schema is as the image wants it.
    """

    area = "data"
    job: pulumi.Output[str]
    ready: list[pulumi.Resource]

    def __init__(self, name: str, args: DatabaseMigrationArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(name, opts)
        account = k8s.core.v1.ServiceAccount(
            self.child_name("account"),
            metadata=owned(APP, args.namespace),
            automount_service_account_token=False,
            opts=self.child(),
        )
        job = k8s.batch.v1.Job(
            self.child_name("job"),
            metadata=owned(
                args.settings.job_name(args.image, args.postgres_image, args.placement),
                args.namespace,
                labels={"app": APP},
                # https://www.pulumi.com/registry/packages/kubernetes/api-docs/batch/v1/job/
                annotations={"pulumi.com/replaceUnready": "true"},
            ),
            spec={
                "backoff_limit": RETRIES,
                "active_deadline_seconds": DEADLINE_SECONDS,
                "template": {
                    "metadata": {"labels": {"app": APP, POSTGRES_ACCESS: "true"}},
                    "spec": pod_spec(args, account.metadata.name.apply(str)),
                },
            },
            opts=self.child(
                # Its name is its identity: where it stays, the old Job has to go first.
                delete_before_replace=True,
                custom_timeouts=pulumi.CustomTimeouts(create=f"{DEADLINE_SECONDS + 60}s"),
            ),
        )
        self.job = job.metadata.name.apply(str)
        self.ready = [job]
        self.register_outputs({"job": self.job})


def pod_spec(args: DatabaseMigrationArgs, account: pulumi.Input[str]) -> dict[str, Any]:
    """Pod of the Job. The seed waits for the migration, which then is an init container."""
    steps = [("migrate", args.settings.command)]
    if args.settings.seed:
        steps.append(("seed", args.settings.seed))
    *before, last = [_container(step, command, args) for step, command in steps]
    return {
        "service_account_name": account,
        "automount_service_account_token": False,
        "enable_service_links": False,
        "priority_class_name": args.priority_class,
        "restart_policy": "Never",
        "security_context": pod_security_context(UID),
        "affinity": affinity(args.placement, APP, one_per_node=False),
        "init_containers": [_await_database(args), *before],
        "containers": [last],
        "volumes": [
            {"name": "tmp", "empty_dir": {"size_limit": "256Mi"}},
            {"name": "authority", "config_map": {"name": args.authority}},
        ],
    }


def _await_database(args: DatabaseMigrationArgs) -> dict[str, Any]:
    """Waits until the primary answers: a policy learns of a pod after its start, and each try is another pod (X-71)."""
    return {
        "name": "await-database",
        "image": args.postgres_image,
        "image_pull_policy": "IfNotPresent",
        "command": ["sh", "-c", "until pg_isready --timeout=5; do sleep 1; done"],
        # It logs nobody in, and still wants a name where the system has none for the user.
        "env": [{"name": "PGHOST", "value": args.host}, {"name": "PGUSER", "value": ROLES.owner}],
        "resources": resources(args.settings.requests, args.settings.limits),
        "security_context": CONTAINER_SECURITY_CONTEXT,
    }


def _container(name: str, command: tuple[str, ...], args: DatabaseMigrationArgs) -> dict[str, Any]:
    url = {"secret_key_ref": {"name": args.database.name, "key": args.database.key}}
    return {
        "name": name,
        "image": args.image,
        "image_pull_policy": "IfNotPresent",
        "command": list(command),
        "env": [
            {"name": "SERVICE_NAME", "value": APP},
            # npm keeps a cache under it, and the root is read-only.
            {"name": "HOME", "value": "/tmp"},  # noqa: S108 - a volume of the pod's own
            {"name": "DATABASE_URL", "value_from": url},
        ],
        "resources": resources(args.settings.requests, args.settings.limits),
        "security_context": CONTAINER_SECURITY_CONTEXT,
        "volume_mounts": [
            {"name": "tmp", "mount_path": "/tmp"},  # noqa: S108 - a volume of the pod's own
            {"name": "authority", "mount_path": CLIENT_DIRECTORY, "read_only": True},
        ],
    }
