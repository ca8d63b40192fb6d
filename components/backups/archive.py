"""The pod that receives the write-ahead log of Postgres for ever, and the job that takes base backups (BK-18)."""

from typing import Any

import pulumi

from components.backups.pod import JobArgs, base, labels, pod_spec
from components.probes import command_probe
from settings.model import Placement, PointInTime, Postgres
from settings.types import amount

ARCHIVE = "postgres-archive"
BASE_BACKUP = "postgres-base-backup"
CONTENT = "gxcoin.money/content"
# The name of an instance whose node is lost costs no more than an instance that does not answer.
_SHORT_LOOKUPS = {"options": [{"name": "timeout", "value": "1"}, {"name": "attempts", "value": "2"}]}
# The script looks around every ten seconds, also while nobody is the primary.
_ALIVE = 'test -n "$(find /scratch/alive -mmin -5)"'


def job_args(
    name: str,
    settings: PointInTime,
    postgres: Postgres,
    *,
    image: str,
    placement: Placement,
    priority_class: pulumi.Input[str],
    account: pulumi.Input[str],
) -> JobArgs:
    """One of the two: they share a volume, so they run on its node, and know the same password."""
    kind = base(postgres)
    size_kib = int(amount(settings.storage)) // 1024
    return JobArgs(
        name=name,
        kind=kind,
        image=image,
        size=settings,
        placement=placement,
        priority_class=priority_class,
        account=account,
        login={**kind.reader, "KEEP": str(settings.keep), "SIZE_KIB": str(size_kib)},
        password=kind.reader_key,
        # A base backup is unpacked to be read back.
        scratch=postgres.storage,
    )


def deployment_spec(args: JobArgs, content: pulumi.Input[str]) -> dict[str, Any]:
    """One pod, and never two on one volume: the old one ends before the new one begins.

    ``content`` is a digest of what the pod reads at its start alone.
    """
    pod = pod_spec(args) | {"restart_policy": "Always", "dns_config": _SHORT_LOOKUPS}
    # Beside it there may be one that copies what it receives.
    container = pod["containers"][0]
    # Whether WAL is received is for the metrics to say: no roll-out and no failover waits for it.
    container |= {
        "startup_probe": command_probe(_ALIVE, period=5, failures=24),
        "readiness_probe": command_probe(_ALIVE, period=30, failures=3),
        "liveness_probe": command_probe(_ALIVE, period=60, failures=3),
    }
    return {
        "replicas": 1,
        "revision_history_limit": 5,
        "strategy": {"type": "Recreate"},
        "selector": {"match_labels": {"app": args.name}},
        "template": {"metadata": {"labels": labels(args), "annotations": {CONTENT: content}}, "spec": pod},
    }
