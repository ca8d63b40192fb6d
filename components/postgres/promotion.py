"""The Job that makes the instance of the settings the primary: a switchover, a failover, or nothing to do."""

from dataclasses import dataclass
from typing import Any

import pulumi

from components.network_policies import POSTGRES_ACCESS, POSTGRES_PROMOTE_APP
from components.placement import node_affinity, resources
from components.security import CONTAINER_SECURITY_CONTEXT, pod_security_context
from settings.model import Placement, Postgres

# A stopping primary writes what is dirty, a promoted standby replays what it has; the rest is waiting for answers.
DEADLINE_SECONDS = 600


@dataclass(frozen=True, kw_only=True)
class PromotionArgs:
    """What the Job depends on: whatever changes here runs it again, and it is idempotent."""

    settings: Postgres
    placement: Placement
    image: str
    uid: int
    priority_class: pulumi.Input[str]
    account: pulumi.Input[str]
    config_map: pulumi.Input[str]
    secret: pulumi.Input[str]


def job_name(primary_ordinal: int) -> str:
    """Name of the Job, by its target: an unchanged primary creates none, a changed one replaces it."""
    return f"{POSTGRES_PROMOTE_APP}-{primary_ordinal}"


def job_spec(args: PromotionArgs) -> dict[str, Any]:
    """One run without a second try: the script waits by itself, and what it refuses only an operator can change."""
    return {
        "backoff_limit": 0,
        "active_deadline_seconds": DEADLINE_SECONDS,
        "template": {
            "metadata": {"labels": {"app": POSTGRES_PROMOTE_APP, POSTGRES_ACCESS: "true"}},
            "spec": {
                "restart_policy": "Never",
                "service_account_name": args.account,
                "automount_service_account_token": False,
                "enable_service_links": False,
                "priority_class_name": args.priority_class,
                "security_context": pod_security_context(args.uid),
                "affinity": _beside_the_target(args),
                # The name of an instance whose node is lost costs no more than an instance that does not answer.
                "dns_config": {"options": [{"name": "timeout", "value": "1"}, {"name": "attempts", "value": "2"}]},
                "containers": [_container(args)],
                "volumes": [{"name": "config", "config_map": {"name": args.config_map}}],
            },
        },
    }


def _beside_the_target(args: PromotionArgs) -> dict[str, Any]:
    """A node that has just died still counts as ready; the one of the target has to be alive in any case."""
    target = {"statefulset.kubernetes.io/pod-name": f"postgres-{args.settings.primary_ordinal}"}
    term = {"label_selector": {"match_labels": target}, "topology_key": "kubernetes.io/hostname"}
    beside = {
        "pod_affinity": {
            "preferred_during_scheduling_ignored_during_execution": [{"weight": 100, "pod_affinity_term": term}]
        }
    }
    nodes = node_affinity(args.placement)
    return beside | ({"node_affinity": nodes} if nodes else {})


def _container(args: PromotionArgs) -> dict[str, Any]:
    settings = args.settings
    password = {"secret_key_ref": {"name": args.secret, "key": "failover"}}
    return {
        "name": "promote",
        "image": args.image,
        "image_pull_policy": "IfNotPresent",
        "command": ["sh", "/etc/postgresql/promote.sh"],
        "env": [
            {"name": "POD_NAME", "value_from": {"field_ref": {"field_path": "metadata.name"}}},
            {"name": "TARGET", "value": f"postgres-{settings.primary_ordinal}"},
            {"name": "MEMBERS", "value": str(settings.replicas)},
            {"name": "ACCEPT_LOSS", "value": " ".join(settings.accept_loss)},
            {"name": "PGPASSWORD", "value_from": password},
        ],
        "resources": resources(settings.promotion_requests, settings.promotion_limits),
        "security_context": CONTAINER_SECURITY_CONTEXT,
        "termination_message_policy": "FallbackToLogsOnError",
        "volume_mounts": [{"name": "config", "mount_path": "/etc/postgresql", "read_only": True}],
    }
