"""The deployment checklist: each item is good on a stack as its file has it, and says what is wrong on a broken one."""

import json
from collections.abc import Callable
from copy import deepcopy
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from components.observability.metrics import METRICS
from operations.preflight.rows import Level, Row
from operations.verify import __main__ as command
from operations.verify import live
from operations.verify.judge import CHECKS, judge
from operations.verify.observed import Database, Observed, Sample, Usage
from settings import stackfile
from tests import stacks
from tests.promql import metric_names

MAINNET = stacks.settings("mainnet")
assert MAINNET.migration
assert MAINNET.images.migration
assert MAINNET.fabric
NOW = datetime(2026, 11, 26, 12, 0, tzinfo=UTC)
LINE = '{"timestamp":"2026-11-26T11:59:59.123Z","level":"INFO","service":"svc-tax","message":"ready"}'
JOB = MAINNET.migration.job_name(MAINNET.images.migration, MAINNET.images.postgres, MAINNET.placement.workloads)
Change = Callable[[dict[str, Any]], object]


def named(kind: str, name: str, **rest: object) -> dict[str, Any]:
    return {"kind": kind, "metadata": {"name": name, "generation": 1}, **rest}


def rolled_out(kind: str, name: str, replicas: int) -> dict[str, Any]:
    return named(kind, name, status={"observedGeneration": 1, "readyReplicas": replicas, "updatedReplicas": replicas})


def pod(name: str, claim: str | None = None) -> dict[str, Any]:
    volumes = [{"persistentVolumeClaim": {"claimName": claim}}] if claim else []
    return named(
        "Pod",
        name,
        spec={"volumes": volumes},
        status={
            "phase": "Running",
            "conditions": [{"type": "Ready", "status": "True"}],
            "containerStatuses": [{"state": {"running": {}}}],
        },
    )


def healthy() -> dict[str, Any]:
    """A deployed mainnet, as plain JSON."""
    databases = [f"{app}-{ordinal}" for app in ("postgres", "redis") for ordinal in range(3)]
    claims = {name: f"{name.split('-')[0]}-data-{name}" for name in databases}
    deployments = {name: each.replicas for name, each in MAINNET.workers.items()}
    deployments |= {name: each.replicas for name, each in MAINNET.services.items()}
    endpoints = (*MAINNET.fabric.orderers, *MAINNET.fabric.peers, *MAINNET.fabric.certificate_authorities)  # type: ignore[union-attr]
    return {
        "now": NOW,
        "nodes": [
            {
                "metadata": {
                    "name": name,
                    "labels": {"node-role.kubernetes.io/control-plane": "true"} if name != "srv1117946" else {},
                },
                "status": {
                    "allocatable": {"cpu": "16", "memory": "64Gi"},
                    "conditions": [{"type": "Ready", "status": "True"}],
                },
            }
            for name in MAINNET.cluster.nodes
        ],
        "usage": {name: Usage(millicores=8000, bytes=32 * 2**30) for name in MAINNET.cluster.nodes},
        "namespaces": [
            {
                "metadata": {
                    "name": "backend-mainnet",
                    "labels": {**MAINNET.environment.labels, "pod-security.kubernetes.io/enforce": "restricted"},
                }
            }
        ],
        "objects": [
            *(named("ConfigMap", name, data={"a": "b"}) for name in ("postgres-config", "redis-config")),
            *(rolled_out("StatefulSet", name, 3) for name in ("postgres", "redis")),
            rolled_out("Deployment", "redis-proxy", 2),
            *(rolled_out("Deployment", name, replicas) for name, replicas in deployments.items()),
            *(named("PersistentVolumeClaim", claim, status={"phase": "Bound"}) for claim in claims.values()),
            *(pod(name, claims[name]) for name in databases),
            *(pod(name) for name in deployments),
            *(
                named("Service", name, spec={"ports": [{"port": each.port, "nodePort": each.node_port}]})
                for name, each in MAINNET.services.items()
            ),
            named("Job", JOB, status={"succeeded": 1}),
        ],
        "secret_keys": {"postgres-secrets": frozenset({"admin"}), "redis-secrets": frozenset({"application"})},
        "fabric": [
            {
                "metadata": {"labels": {"kubernetes.io/service-name": each.host.split(".")[0]}},
                "endpoints": [{"conditions": {"ready": True}}],
            }
            for each in endpoints
        ],
        "database": Database(instance="postgres-0", recovery=False, standbys=2, tables=12, unfinished=0),
        "logs": dict.fromkeys(deployments, (LINE,)),
        "up": (Sample(labels={"pod": "svc-tax-1"}, value=1),),
        "fabric_connections": (Sample(labels={"pod": "projector-1"}, value=1),),
        "log_lines": 1200.0,
        "answers": {"https://api.gxcoin.money/health": 200, "https://api.gxcoin.money/tax": 401},
    }


def observed(*changes: Change) -> Observed:
    seen = deepcopy(healthy())
    for change in changes:
        change(seen)
    whole: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in seen.items()}
    return Observed(**whole)


def one(seen: dict[str, Any], kind: str, name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(
        each for each in seen["objects"] if (each["kind"], each["metadata"]["name"]) == (kind, name)
    )
    return found


def without(kind: str, name: str) -> Change:
    return lambda seen: seen["objects"].remove(one(seen, kind, name))


def database(**fields: object) -> Change:
    good = {"instance": "postgres-0", "recovery": False, "standbys": 2, "tables": 12, "unfinished": 0}
    return lambda seen: seen.update(database=Database(**(good | fields)))  # type: ignore[arg-type]


def status(kind: str, name: str, **fields: object) -> Change:
    return lambda seen: one(seen, kind, name)["status"].update(fields)


CRASHING = {"state": {"waiting": {"reason": "CrashLoopBackOff"}}, "lastState": {}}
RESTARTED = {"state": {}, "lastState": {"terminated": {"finishedAt": "2026-11-26T11:55:00Z"}}}
UNREADY = [{"type": "Ready", "status": "False"}]

# What is broken, the item that tells, how it ends, and what is said.
BROKEN: tuple[tuple[Change, int, str, str], ...] = (
    (lambda s: s["nodes"][1]["status"]["conditions"][0].update(status="Unknown"), 1, "stop", "not Ready: srv1089624"),
    (lambda s: s["nodes"].pop(0), 1, "stop", "not Ready: srv1089618"),
    (lambda s: s.update(usage="no metrics API"), 1, "look", "no metrics API"),
    (lambda s: s["usage"].update(srv1117946=Usage(millicores=15000, bytes=1)), 1, "warn", "srv1117946 CPU 94%"),
    (lambda s: s["nodes"][0]["metadata"].update(labels={}), 2, "stop", "srv1089618"),
    (lambda s: s["namespaces"].clear(), 3, "stop", "is not there"),
    (lambda s: s["namespaces"][0]["metadata"]["labels"].popitem(), 3, "stop", "enforce=restricted"),
    (lambda s: s["secret_keys"].pop("redis-secrets"), 4, "stop", "redis-secrets missing or empty"),
    (lambda s: s["secret_keys"].update({"postgres-secrets": frozenset()}), 4, "stop", "postgres-secrets missing"),
    (without("ConfigMap", "redis-config"), 5, "stop", "redis-config missing"),
    (status("StatefulSet", "postgres", readyReplicas=2), 6, "stop", "postgres 2/3 ready, 3 new"),
    (status("StatefulSet", "postgres", observedGeneration=0), 6, "stop", "postgres 3/3 ready"),
    (status("PersistentVolumeClaim", "redis-data-redis-1", phase="Pending"), 7, "stop", "redis-data-redis-1 not bound"),
    (without("PersistentVolumeClaim", "redis-data-redis-1"), 7, "stop", "redis-data-redis-1 not bound"),
    (
        lambda s: s["objects"].append(named("PersistentVolumeClaim", "backups", status={"phase": "Pending"})),
        7,
        "warn",
        "backups have had no pod yet",
    ),
    (without("Deployment", "redis-proxy"), 8, "stop", "redis-proxy is not there"),
    (status("Pod", "svc-tax", phase="Pending"), 9, "stop", "svc-tax (Pending)"),
    (
        lambda s: s["objects"].append(
            named("Job", "postgres-backup-1", status={"conditions": [{"type": "Failed", "status": "True"}]})
        ),
        9,
        "warn",
        "failed: job postgres-backup-1",
    ),
    (lambda s: s.update(database="kubectl exec: no such pod"), 10, "stop", "no such pod"),
    (database(recovery=True), 10, "stop", "postgres-0 is a standby"),
    (database(standbys=1), 10, "stop", "1 of 2 standbys follow"),
    (status("Job", JOB, succeeded=0), 11, "stop", "has not succeeded"),
    (database(unfinished=1), 11, "stop", "1 began and did not end"),
    (without("Job", JOB), 12, "stop", "other images or commands have run"),
    (database(tables=0), 13, "stop", "no table in public"),
    (status("Deployment", "projector", updatedReplicas=1), 14, "stop", "projector 2/2 ready, 1 new"),
    (without("Deployment", "svc-wallet"), 15, "stop", "svc-wallet is not there"),
    (status("Deployment", "api-gateway", readyReplicas=0), 16, "stop", "api-gateway 0/3"),
    (without("Service", "svc-tax"), 17, "stop", "svc-tax:30007"),
    (status("Pod", "svc-tax", conditions=UNREADY, containerStatuses=[CRASHING]), 18, "stop", "svc-tax (CrashLoop"),
    (status("Pod", "svc-tax", containerStatuses=[RESTARTED]), 18, "warn", "restarted within ten minutes: svc-tax"),
    (lambda s: s.update(up="no Service"), 19, "look", "not known: no Service"),
    (lambda s: s.update(up=()), 19, "stop", "has no target"),
    (lambda s: s.update(up=(Sample(labels={"pod": "projector-1"}, value=0),)), 19, "stop", "answering: projector-1"),
    (lambda s: s["logs"].update({"svc-tax": ("GET / 200",)}), 20, "warn", "not as docs/logging.md has them: svc-tax"),
    (lambda s: s.update(log_lines=0.0), 20, "stop", "no line of the last five minutes"),
    (lambda s: s.update(log_lines="no Service"), 20, "look", "whether Loki has them is not known"),
    (lambda s: s["answers"].update({"https://api.gxcoin.money/health": 404}), 21, "stop", "/health 404"),
    (lambda s: s["answers"].update({"https://api.gxcoin.money/tax": 502}), 21, "stop", "/tax 502"),
    (lambda s: s["answers"].update({"https://api.gxcoin.money/tax": 0}), 21, "stop", "/tax no answer"),
    (lambda s: s["fabric"].pop(0), 22, "stop", "no endpoint is ready of orderer0-org0"),
    (lambda s: s["fabric"][0].update(endpoints=None), 22, "stop", "no endpoint is ready of orderer0-org0"),
    (lambda s: s.update(fabric_connections=()), 22, "look", "whether a query passes is not known"),
    (lambda s: s.update(fabric_connections=(Sample(labels={"pod": "p"}, value=0),)), 22, "stop", "not connected: p"),
)  # fmt: skip


def bad(rows: tuple[Row, ...]) -> list[Row]:
    return [row for row in rows if row.level is not Level.OK]


def test_a_stack_as_its_file_has_it_is_good_in_all_22_items() -> None:
    rows = judge(MAINNET, observed())
    assert [str(row) for row in bad(rows)] == []
    assert len(rows) == len(CHECKS) == 22


@pytest.mark.parametrize(("change", "item", "level", "said"), BROKEN, ids=[each[3] for each in BROKEN])
def test_a_broken_stack_is_told_by_its_item_with_the_remedy(change: Change, item: int, level: str, said: str) -> None:
    rows = judge(MAINNET, observed(change))
    assert len(rows) == 22
    assert rows[item - 1].level == level, str(rows[item - 1])
    assert said in str(rows[item - 1])
    assert all(row.fix for row in bad(rows))


def test_every_item_has_a_stack_that_it_fails_on() -> None:
    assert {item for _, item, _, _ in BROKEN} == set(range(1, 23))


def test_what_a_stack_does_not_have_is_not_asked_of_it() -> None:
    devnet = stacks.settings("devnet")
    rows = judge(devnet, observed(lambda seen: seen.update(answers={}, fabric=[])))
    assert [rows[number - 1].level for number in (21, 22)] == ["ok", "ok"]


def test_every_page_that_an_item_sends_to_exists() -> None:
    root = Path(__file__).resolve().parents[2]
    pages = {
        word.strip(";,.")
        for change, *_ in BROKEN
        for row in judge(MAINNET, observed(change))
        for word in row.fix.split()
        if word.startswith("docs/")
    }
    assert pages
    assert {page for page in pages if not (root / page).is_file()} == set()


KUBECTL = """#!/bin/sh
# Stands in for kubectl: answers with what stands in the directory, and notes what it was asked.
echo "$*" >>asked
case "$*" in
*"get secrets"*) echo "postgres-secrets admin owner"; echo "redis-secrets application"; exit ;;
*" exec "*) echo '{"recovery": false, "standbys": 2, "tables": 3, "unfinished": 0}'; exit ;;
*" logs "*) cat line; exit ;;
*--raw*) echo "error: no such host" >&2; exit 1 ;;
*"get nodes"*) exec cat nodes.json ;;
*"get namespaces"*) exec cat namespaces.json ;;
*"get configmaps,"*) exec cat objects.json ;;
*"get endpointslices"*) exec cat fabric.json ;;
*"get services"*) echo '{"items": []}'; exit ;;
esac
echo "error: unexpected" >&2
exit 1
"""
CURL = '#!/bin/sh\necho "$*" >>asked-curl\necho -n 200\n'


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with a stack file, and a kubectl and a curl that show a healthy stack."""
    for name, text in (("kubectl", KUBECTL), ("curl", CURL)):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    seen = healthy()
    for kind in ("nodes", "namespaces", "objects", "fabric"):
        (tmp_path / f"{kind}.json").write_text(json.dumps({"items": seen[kind]}))
    (tmp_path / "line").write_text(LINE + "\n")
    (tmp_path / "Pulumi.mainnet.yaml").write_text(stackfile.path("mainnet").read_text())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr("sys.argv", ["verify", "mainnet"])
    return tmp_path


def test_the_command_prints_the_table_and_only_reads(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # The committed stack file has no image of the migration, so that of the cluster is another one.
    assert command.main() == 1
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[:-1]] == [f"CHK-{number:02}" for number in range(1, 23)]
    assert [line.split()[0] for line in lines if " stop " in line] == ["CHK-11", "CHK-12"]
    assert "3 tables in public" in lines[12]
    asked = (project / "asked").read_text().splitlines()
    assert {line.split("--request-timeout=20s ")[1].split()[0] for line in asked if "--request" in line} == {
        "get", "exec", "logs",
    }  # fmt: skip
    (sql,) = [line for line in asked if " exec " in line]
    assert "default_transaction_read_only=on" in sql
    assert "https://api.gxcoin.money/health" in (project / "asked-curl").read_text()


def test_prometheus_is_asked_for_metrics_that_exist(project: Path) -> None:
    services = {"items": [{"metadata": {"name": "prometheus"}, "spec": {"ports": [{"port": live.PROMETHEUS_PORT}]}}]}
    (project / "kubectl").write_text(KUBECTL.replace('{"items": []}', json.dumps(services)))
    command.main()
    asked = (project / "asked").read_text().splitlines()
    queries = [unquote(line.rpartition("query=")[2]) for line in asked if "prometheus:9090/proxy" in line]
    assert len(queries) == 2
    assert {name for query in queries for name in metric_names(query)} <= METRICS


def test_no_value_of_a_secret_is_asked_for() -> None:
    assert "$value" not in live.KEYS.replace("$key, $value :=", "")


def test_a_cluster_that_cannot_be_asked_is_told_in_one_line(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (project / "kubectl").write_text("#!/bin/sh\necho 'error: context does not exist' >&2\nexit 1\n")
    assert command.main() == 2
    printed = capsys.readouterr().err
    assert printed.startswith("kubectl get nodes: error: context does not exist. Fix: check cluster.context")
    assert len(printed.splitlines()) == 1


def test_a_monitoring_that_answers_with_a_page_is_told_in_its_item(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As a proxy with a login in front of Prometheus does."""
    services = {"items": [{"metadata": {"name": "prometheus"}, "spec": {"ports": [{"port": live.PROMETHEUS_PORT}]}}]}
    page = "*--raw*proxy*) echo '<html>'; exit ;;\n*--raw*)"
    (project / "kubectl").write_text(KUBECTL.replace('{"items": []}', json.dumps(services)).replace("*--raw*)", page))
    assert command.main() == 1
    (metrics,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("CHK-19")]
    asked = "/api/v1/namespaces/monitoring/services/http:prometheus:9090/proxy/api/v1/query"
    assert f"look  metrics: not known: {asked} answers with something else than JSON" in metrics
