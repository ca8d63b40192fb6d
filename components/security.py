"""Pod hardening shared by every pod of the program (SEC-01 to SEC-04, Pod Security `restricted`)."""

from typing import Any


def pod_security_context(uid: int, gid: int | None = None) -> dict[str, Any]:
    """Pod-level security context: a fixed non-root user, its group on volumes, the default seccomp profile."""
    group = uid if gid is None else gid
    return {
        "run_as_non_root": True,
        "run_as_user": uid,
        "run_as_group": group,
        "fs_group": group,
        "fs_group_change_policy": "OnRootMismatch",
        "seccomp_profile": {"type": "RuntimeDefault"},
    }


CONTAINER_SECURITY_CONTEXT: dict[str, Any] = {
    "allow_privilege_escalation": False,
    "read_only_root_filesystem": True,
    "capabilities": {"drop": ["ALL"]},
}
