"""Items of the checklist that others than the API server answer: database, monitoring, logs, visitors, Fabric."""

import json
from collections.abc import Iterator
from pathlib import Path

from jsonschema import Draft202012Validator

from operations.preflight.rows import Level, Row
from operations.verify.observed import Database, Observed
from settings.model import Settings

LOG_SCHEMA = Path(__file__).resolve().parents[2] / "docs" / "log-line.schema.json"
OK_STATUS = 200
# What a service answers to a visitor without a session is its own affair, as long as it is the service that answers.
SERVER_ERROR = 500


def database(settings: Settings, observed: Observed) -> Iterator[Row]:
    """CHK-10: Postgres answers, where the document opens a port to it."""
    found = observed.database
    port = f"kubectl -n {settings.environment.namespace} port-forward svc/postgres-primary 5432"
    if isinstance(found, str):
        yield Row(name="database", level=Level.STOP, said=found, fix="docs/runbooks/database-refused.md")
    elif found.recovery:
        said = f"{found.instance} is a standby, the stack file has it as the primary"
        yield Row(name="database", level=Level.STOP, said=said, fix="docs/runbooks/postgres-failover.md")
    elif found.standbys < settings.postgres.replicas - 1:
        said = f"{found.instance} answers; {found.standbys} of {settings.postgres.replicas - 1} standbys follow"
        fix = "docs/runbooks/postgres-failover.md, step 5"
        yield Row(name="database", level=Level.STOP, said=said, fix=fix)
    else:
        said = f"{found.instance} answers, {found.standbys} standbys follow; from your machine: {port}"
        yield Row(name="database", level=Level.OK, said=said)


def migrations(settings: Settings, observed: Observed) -> Iterator[Row]:
    """CHK-11: the migration of the image in the stack file has run, and none stopped half-way."""
    found = observed.database
    unfinished = found.unfinished if isinstance(found, Database) else 0
    if unfinished:
        said = f"{unfinished} began and did not end"
        yield Row(name="migrations", level=Level.STOP, said=said, fix="docs/runbooks/migration.md")
    else:
        yield from _job("migrations", settings, observed)


def seed(settings: Settings, observed: Observed) -> Iterator[Row]:
    """CHK-12: the reference data; the same Job, after its migration."""
    if settings.migration is not None and not settings.migration.seed:
        yield Row(name="seed", level=Level.OK, said="the stack file has none")
    else:
        yield from _job("seed", settings, observed)


def schema(settings: Settings, observed: Observed) -> Iterator[Row]:
    """CHK-13: there are tables; which there should be, only the release knows."""
    found = observed.database
    show = (
        f"kubectl -n {settings.environment.namespace} exec postgres-{settings.postgres.primary_ordinal} -c postgres --"
        f" psql -h /var/run/postgresql -U {settings.postgres.admin_user} -d {settings.postgres.database} -c '\\dt'"
    )
    if isinstance(found, str):
        yield Row(name="schema", level=Level.STOP, said=f"not known: {found}", fix=show)
    elif not found.tables and settings.migration is not None:
        yield Row(name="schema", level=Level.STOP, said="no table in public", fix="docs/runbooks/migration.md")
    elif not found.tables:
        yield Row(name="schema", level=Level.LOOK, said="no table yet, and no migration in the stack file", fix=show)
    else:
        yield Row(name="schema", level=Level.OK, said=f"{found.tables} tables in public")


def metrics(settings: Settings, observed: Observed) -> Iterator[Row]:
    """CHK-19: Prometheus scrapes the stack, and every target of it answers."""
    namespace = settings.environment.namespace
    ask = f'in Prometheus: up{{namespace="{namespace}"}}'
    if isinstance(observed.up, str):
        yield Row(name="metrics", level=Level.LOOK, said=f"not known: {observed.up}", fix=ask)
        return
    down = sorted({_target(each.labels) for each in observed.up if not each.value})
    if not observed.up:
        yield Row(name="metrics", level=Level.STOP, said=f"Prometheus has no target in {namespace}", fix=ask)
    elif down:
        fix = "docs/runbooks/alerts.md; the policy allow-prometheus-scrape, and the pod's /metrics"
        yield Row(name="metrics", level=Level.STOP, said=f"not answering: {', '.join(down)}", fix=fix)
    else:
        yield Row(name="metrics", level=Level.OK, said=f"{len(observed.up)} targets up")


def logs(settings: Settings, observed: Observed) -> Iterator[Row]:
    """CHK-20: workloads log as docs/logging.md has it, and Loki has lines of theirs."""
    wrong = sorted(name for name, lines in observed.logs.items() if any(map(_wrong, lines)))
    silent = sorted(name for name, lines in observed.logs.items() if not lines)
    ask = f'in Grafana, Explore, Loki: {{namespace="{settings.environment.namespace}"}}'
    if wrong:
        said = f"lines that are not as docs/logging.md has them: {', '.join(wrong)}"
        fix = f"kubectl -n {settings.environment.namespace} logs deployment/{wrong[0]}; correct the application"
        yield Row(name="logs", level=Level.WARN, said=said, fix=fix)
    elif observed.log_lines == 0:
        yield Row(name="logs", level=Level.STOP, said="Loki has no line of the last five minutes", fix=ask)
    elif isinstance(observed.log_lines, str):
        quiet = f"silent: {', '.join(silent)}; " if silent else ""
        said = f"structured; {quiet}whether Loki has them is not known: {observed.log_lines}"
        yield Row(name="logs", level=Level.LOOK, said=said, fix=ask)
    else:
        yield Row(name="logs", level=Level.OK, said=f"{observed.log_lines:.0f} lines in Loki within five minutes")


def endpoints(settings: Settings, observed: Observed) -> Iterator[Row]:
    """CHK-21: what a visitor gets. A path without a session may be refused, by the service itself."""
    if settings.edge is None:
        yield Row(name="endpoints", level=Level.OK, said="nothing is exposed by this stack")
        return
    health = f"https://{settings.edge.hostname}/health"
    wrong = [
        f"{url} {status or 'no answer'}"
        for url, status in observed.answers.items()
        if not status or status >= SERVER_ERROR or (url == health and status != OK_STATUS)
    ]
    if wrong or not observed.answers:
        fix = "docs/runbooks/health-monitor.md; a region that stays down: docs/runbooks/dns-failover.md"
        yield Row(name="endpoints", level=Level.STOP, said=", ".join(wrong) or "not asked", fix=fix)
    else:
        yield Row(name="endpoints", level=Level.OK, said=f"{len(observed.answers)} addresses answer, /health 200")


def fabric(settings: Settings, observed: Observed) -> Iterator[Row]:
    """CHK-22: Fabric's endpoints are there, and the applications say that they are connected.

    A chaincode query needs an identity that only an application has: where none says so, a person asks.
    """
    if settings.fabric is None:
        yield Row(name="Fabric", level=Level.OK, said="not used by this stack")
        return
    ready = {
        each["metadata"].get("labels", {}).get("kubernetes.io/service-name")
        for each in observed.fabric
        if any(end.get("conditions", {}).get("ready", True) for end in each.get("endpoints") or [])
    }
    every = (*settings.fabric.orderers, *settings.fabric.peers, *settings.fabric.certificate_authorities)
    gone = sorted({each.host.split(".")[0] for each in every} - ready)
    query = "ask an API for something that reads the ledger; docs/runbooks/fabric-timeout.md"
    if gone:
        said = f"no endpoint is ready of {', '.join(gone)}"
        yield Row(name="Fabric", level=Level.STOP, said=said, fix=f"kubectl -n {settings.fabric.namespace} get pods")
    elif isinstance(observed.fabric_connections, str) or not observed.fabric_connections:
        why = observed.fabric_connections or "nobody exports fabric_sdk_connection_status"
        said = f"{len(every)} endpoints ready; whether a query passes is not known: {why}"
        yield Row(name="Fabric", level=Level.LOOK, said=said, fix=query)
    elif cut := sorted({_target(each.labels) for each in observed.fabric_connections if not each.value}):
        said = f"not connected: {', '.join(cut)}"
        yield Row(name="Fabric", level=Level.STOP, said=said, fix="docs/runbooks/fabric-timeout.md")
    else:
        said = f"{len(every)} endpoints ready, {len(observed.fabric_connections)} connections up"
        yield Row(name="Fabric", level=Level.OK, said=said)


def _job(what: str, settings: Settings, observed: Observed) -> Iterator[Row]:
    if settings.migration is None or settings.images.migration is None:
        yield Row(name=what, level=Level.OK, said="not in this stack")
        return
    name = settings.migration.job_name(
        settings.images.migration, settings.images.postgres, settings.placement.workloads
    )
    job = observed.of_kind("Job").get(name)
    done = job is not None and job.get("status", {}).get("succeeded", 0) >= 1
    if done:
        yield Row(name=what, level=Level.OK, said=f"job {name} has succeeded")
    else:
        said = f"job {name} has not succeeded" if job else f"no job {name}: other images or commands have run"
        yield Row(name=what, level=Level.STOP, said=said, fix="docs/runbooks/migration.md")


def _target(labels: object) -> str:
    found = labels if isinstance(labels, dict) else {}
    return str(found.get("pod") or found.get("service") or found.get("instance") or "a target")


def _wrong(line: str) -> bool:
    try:
        return not _VALIDATOR.is_valid(json.loads(line))
    except json.JSONDecodeError:
        return True


_VALIDATOR = Draft202012Validator(json.loads(LOG_SCHEMA.read_text(encoding="utf-8")))
