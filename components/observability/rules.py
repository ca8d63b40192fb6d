"""What Prometheus records and alerts on for one stack, from the files in ``rules/``. Pure: no Pulumi.

A file is one rule group in Prometheus' own form with less to write: ``severity``, ``summary`` and ``description`` stand
beside ``expr``; the environment and the link to the runbook are added here. ``@name`` is a value of the stack. An
alert that silences others (``alertmanager``) fires on for a while, so that what it explains is over before it is.
``when``, on a group or a rule, names what the stack must have for it (``facts_of``): an alert on what is not there
would never end.
"""

import functools
import string
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cronsim import CronSim

from checks.quota import headroom, volumes
from checks.workloads import Kind, whole_bytes, workloads
from components import documents
from components.postgres.config import WriteAheadLog
from settings import certificates
from settings.model import Environment, Observability, Settings
from settings.types import seconds

AREAS = ("postgres", "redis", "backups", "workloads", "cqrs", "edge", "cluster", "meta")
RUNBOOK = "alerts.md"
_DIRECTORY = Path(__file__).parent / "rules"
_MEBIBYTE = 2**20


class Text(string.Template):
    """Text with values as ``@name``: ``$`` and braces are Prometheus' own."""

    delimiter = "@"


def files(settings: Settings, observability: Observability) -> dict[str, str]:
    """Every rule file of a stack, by its name; a file without rules for it is left out."""
    found = {f"{area}.yaml": groups(settings, observability, area) for area in AREAS}
    return {
        name: documents.write({"groups": content}, allow_unicode=True, width=120)
        for name, content in found.items()
        if content
    }


def groups(settings: Settings, observability: Observability, area: str) -> list[dict[str, Any]]:
    """The rule groups of one area, in Prometheus' form: one, or none."""
    source = documents.read((_DIRECTORY / f"{area}.yaml").read_text())
    facts = facts_of(settings, observability)
    values = values_of(settings)
    rules = list(_recorded(settings)) if area == "cluster" else []
    rules += [
        _rule(rule, values, settings.environment, observability.runbooks)
        for rule in source["rules"]
        if facts[source.get("when", "always")] and facts[rule.get("when", "always")]
    ]
    return [{"name": source["group"], "rules": rules}] if rules else []


def _rule(source: Mapping[str, str], values: Mapping[str, str], of: Environment, runbooks: str) -> dict[str, Any]:
    text = {key: Text(value).substitute(values) for key, value in source.items()}
    if "record" in source:
        return {"record": text["record"], "expr": text["expr"]}
    return {
        "alert": text["alert"],
        "expr": text["expr"],
        "for": text["for"],
        **({"keep_firing_for": text["keep_firing_for"]} if "keep_firing_for" in text else {}),
        # Both whatever the expression keeps: routes go by the environment, the operator's by the namespace.
        "labels": {"severity": text["severity"], "environment": of.name, "namespace": of.namespace},
        "annotations": {
            "summary": text["summary"],
            "description": text["description"],
            "runbook_url": f"{runbooks}/{RUNBOOK}#{text['alert'].lower()}",
        },
    }


def facts_of(settings: Settings, observability: Observability) -> dict[str, bool]:
    """What ``when`` may name, and whether the stack has it."""
    backups = settings.backups
    return {
        "always": True,
        "standbys": settings.postgres.replicas > 1,
        "sentinel": settings.redis.replicas > 1,
        "backups": backups is not None,
        "off_site": backups is not None and backups.off_site is not None,
        "point_in_time": backups is not None and backups.point_in_time is not None,
        "off_site_wal": backups is not None and backups.point_in_time is not None and backups.off_site is not None,
        "fabric": settings.fabric is not None,
        "edge": settings.edge is not None,
        "cluster": observability.cluster_alerts,
    }


def values_of(settings: Settings) -> dict[str, str]:
    """What ``@name`` stands for in a stack."""
    postgres, backups, edge = settings.postgres, settings.backups, settings.edge
    values: dict[str, object] = {
        "namespace": settings.environment.namespace,
        "standbys": postgres.replicas - 1,
        "connections": postgres.max_connections,
        "connections_high": postgres.max_connections * 8 // 10,
        "slot_reserve_bytes": WriteAheadLog.of(postgres.storage).max_slot_wal_keep_size_mb * _MEBIBYTE // 2,
        "postgres_volume": postgres.storage,
        "postgres_volume_high_bytes": whole_bytes(postgres.storage) * 8 // 10,
    }
    if backups is not None:
        pause, test_pause = _longest_pause(backups.schedule), _longest_pause(backups.restore_test_schedule)
        values |= {
            # A run may start late, and takes its time.
            "backup_age_seconds": _seconds(pause + timedelta(hours=1)),
            "off_site_age_seconds": _seconds(pause + timedelta(hours=2)),
            "restore_test_age_seconds": _seconds(test_pause + timedelta(days=1)),
        }
    if backups is not None and backups.point_in_time is not None:
        archive = backups.point_in_time
        values |= {
            "base_backup_age_seconds": _seconds(_longest_pause(archive.base_backup_schedule) + timedelta(days=1)),
            "archive_volume": archive.storage,
            "archive_volume_high_bytes": whole_bytes(archive.storage) * 8 // 10,
        }
    if edge is not None:
        values |= {
            "hostname": edge.hostname,
            "certificate_days": edge.monitor.certificate_warning_days,
            "edge_nodes": len(edge.nodes),
            # Its file is written every run, and read every scrape of the node exporter also when no run follows.
            "monitor_at_work": f'time() - gx_health_monitor_last_run_seconds{{host="{edge.hostname}"}}'
            f" < {5 * seconds(edge.monitor.interval)}",
        }
    return {name: str(value) for name, value in values.items()}


def _recorded(settings: Settings) -> Iterator[dict[str, Any]]:
    """What the stack file knows and no exporter does."""
    namespace = settings.environment.namespace
    for resource, ratio in quota_high(settings).items():
        yield _constant("gx:quota_high:ratio", f"{ratio:.3f}", namespace, {"resource": resource})
    for each in workloads(settings):
        if each.kind is Kind.DEPLOYMENT and each.replicas:
            yield _constant("gx:deployment_declared:replicas", str(each.replicas), namespace, {"deployment": each.name})
    for server, text in settings.tls.servers().items():
        end = int(certificates.ends(text).timestamp())
        yield _constant("gx:database_certificate_end:timestamp_seconds", str(end), namespace, {"server": server})


def _constant(name: str, value: str, namespace: str, labels: Mapping[str, str]) -> dict[str, Any]:
    return {"record": name, "expr": f"vector({value})", "labels": {"namespace": namespace, **labels}}


def quota_high(settings: Settings) -> dict[str, float]:
    """For each resource of the quota the share from which on its use is unusual: nine tenths, or more by plan.

    Half way then between the limit and what the lasting pods with every overlap of jobs, and the volumes, take.
    """
    quota, every = settings.quota, workloads(settings)
    held = volumes(every)
    planned = {
        row.dimension.path.removeprefix("quota."): (row.peak, row.dimension.hard) for row in headroom(quota, every)
    }
    planned["persistentvolumeclaims"] = (held.claims, quota.persistent_volume_claims)
    planned["requests.storage"] = (held.storage, whole_bytes(quota.requests_storage))
    # Prometheus sees no limit of 0 either.
    return {resource: max(0.9, (1 + used / hard) / 2) for resource, (used, hard) in planned.items() if hard}


@functools.cache
def _longest_pause(schedule: str) -> timedelta:
    """Longest time between two runs. A year shows every pattern but leap years."""
    runs = CronSim(schedule, datetime(2027, 1, 1, tzinfo=UTC))
    previous, longest = next(runs), timedelta(0)
    end = previous + timedelta(days=366)
    for run in runs:
        longest, previous = max(longest, run - previous), run
        if run > end:
            break
    return longest


def _seconds(duration: timedelta) -> int:
    return int(duration.total_seconds())
