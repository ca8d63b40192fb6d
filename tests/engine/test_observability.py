"""The deployed stacks as a real Prometheus and a real Alertmanager see them, with the configuration that they gave.

What is changed of it, and by how much waits are shorter here: ``sandbox/monitoring/configuration.py``.
"""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import yaml

from sandbox.monitoring import service
from sandbox.processes import SandboxError
from tests import panels
from tests.engine import monitoring
from tests.engine.outages import (
    EDGE,
    await_whole,
    backups_stopped,
    certificate_ends,
    databases_away,
    kill_container,
    look,
    run_jobs,
    suspended,
)
from tests.engine.stack import BIN, LAYOUT, Stack, awaited, get, kubectl, run
from tests.engine.test_operations import checklist
from tests.promql import metric_names

STACKS = ("mainnet", "testnet")
MAINNET, TESTNET = "backend-mainnet", "backend-testnet"
HURRY = 15
"""A minute of an alert's patience is four seconds here."""
PATIENCE = 15 * 60 / HURRY
"""Seconds that most alerts wait at most; those on hours without a report wait longer."""
TELLING = (30 + 5 * 60) / HURRY
"""Seconds until a route has told what it was given: a wait, or an interval after an earlier message."""
# The kubelets count once a minute here, so a rate needs two.
WINDOW = "4m"
# Exported while a container waits to be started again, and by the jobs of a stack with copies off the site.
SOMETIMES = {"kube_pod_container_status_waiting_reason"}


@pytest.fixture(scope="module")
def watched(deployed: None) -> Iterator[None]:
    """Both stacks, watched by the shared monitoring; every kind of backup has reported once."""
    service.start(LAYOUT, STACKS, HURRY)
    try:
        awaited("Prometheus answers", lambda: bool(monitoring.query("vector(1)")))
        report_backups()
        yield
    finally:
        service.stop(LAYOUT)


def report_backups() -> None:
    """Run the jobs whose reports panels show, where none has run since the stack is there."""
    for kind in ("postgres", "redis"):
        if not monitoring.query(f'gx_backup_newest_timestamp_seconds{{namespace="{MAINNET}",kind="{kind}"}} > 0'):
            run_jobs(MAINNET, f"{kind}-backup")
        if not monitoring.query(f'gx_restore_test_success{{namespace="{MAINNET}",kind="{kind}"}}'):
            run_jobs(MAINNET, f"{kind}-restore-test")


def given(name: str) -> dict[str, str]:
    """What a stack gave to the shared monitoring, as the API server has it."""
    data: dict[str, str] = json.loads(kubectl("get", "configmap", "-n", service.NAMESPACE, name, "-o", "json"))["data"]
    return data


def queries(stack: str) -> dict[str, str]:
    """Every query of the deployed dashboards of a stack, with the title of its panel."""
    found = get("configmaps", service.NAMESPACE, "-l", "grafana_dashboard=1")
    prefix = f"backend-{stack}-dashboard-"
    texts = [text for each in found if each["metadata"]["name"].startswith(prefix) for text in each["data"].values()]
    assert len(texts) == (4 if stack == "mainnet" else 3)
    return {expression: title for title, expression in panels.of_dashboards(texts, WINDOW)}


def deployed_rules(stack: str) -> list[dict[str, Any]]:
    files = given(f"backend-{stack}-prometheus")
    groups = [
        group for name, text in files.items() if name != "scrape.yaml" for group in yaml.safe_load(text)["groups"]
    ]
    return [rule for group in groups for rule in group["rules"]]


def wanted_targets(stack: str) -> set[tuple[str, str]]:
    """Job and instance of all that the rendered configuration names: pods with metrics, and what exporters ask."""
    namespace = f"backend-{stack}"
    pods = {
        (pod["metadata"]["labels"]["app"], pod["metadata"]["name"])
        for pod in get("pods", namespace)
        if pod["status"]["phase"] == "Running"
        for container in pod["spec"]["containers"]
        for port in container.get("ports", [])
        if port.get("name") == "metrics"
    }
    jobs = yaml.safe_load(given(f"{namespace}-prometheus")["scrape.yaml"])["scrape_configs"]
    asked = {
        (each["labels"]["job"], each["labels"]["instance"]) for job in jobs for each in job.get("static_configs", [])
    }
    return pods | asked


def test_every_target_of_the_rendered_configuration_is_up(watched: None) -> None:
    def wrong() -> list[str]:
        targets = monitoring.targets()
        wanted = {(f"backend-{stack}", *each) for stack in STACKS for each in wanted_targets(stack)}
        found = {tuple(each["labels"].get(name) for name in ("namespace", "job", "instance")) for each in targets}
        down = [f"{each['labels']}: {each['lastError']}" for each in targets if each["health"] != "up"]
        return [f"{each} is no target" for each in wanted - found] + down

    holds("every target is up", wrong)


def test_prometheus_keeps_what_it_reads_for_thirty_days(watched: None) -> None:
    assert monitoring.api("status/runtimeinfo")["storageRetention"] == "30d"


def test_every_panel_shows_something(watched: None) -> None:
    # What a panel of restarts needs.
    kill_container(MAINNET, "svc-tax")
    look()

    def silent() -> list[str]:
        for service_path in ("identity", "tokenomics", "tax"):
            run(BIN / "curl", "-s", "-o", "/dev/null", f"https://api.gxcoin.money/{service_path}/ping")
        return [f"{title}: {expression}" for expression, title in asked.items() if not monitoring.query(expression)]

    asked = queries("mainnet")
    holds("every panel shows something", silent)


@pytest.mark.parametrize("stack", STACKS)
def test_no_rule_and_no_panel_reads_a_metric_that_is_not_there(watched: None, stack: str) -> None:
    rules = [rule["expr"] for rule in deployed_rules(stack)]
    used = {name for expression in (*rules, *queries(stack)) for name in metric_names(expression)}
    assert used - monitoring.names() - SOMETIMES == set()


def test_every_rule_is_evaluated_and_nothing_fires_on_stacks_that_are_well(watched: None) -> None:
    awaited("every rule was evaluated", lambda: not monitoring.unevaluated())
    groups = monitoring.api("rules")["groups"]
    found = {rule.get("alert", rule["name"]) for group in groups for rule in group["rules"]}
    assert found == {rule.get("alert") or rule["record"] for stack in STACKS for rule in deployed_rules(stack)}
    assert [rule["name"] for group in groups for rule in group["rules"] if rule.get("lastError")] == []
    holds("nothing fires", lambda: sorted(monitoring.alerts("firing")))
    awaited("the heartbeat is heard outside", lambda: monitoring.heartbeats(MAINNET) > 0)


def test_the_checklist_knows_from_prometheus_what_else_a_person_would_have_to_look_at(watched: None) -> None:
    def wrong() -> list[str]:
        _, items = checklist(Stack("mainnet"))
        return [f"{each} is {items[each]}" for each in ("CHK-19", "CHK-22") if items[each] != "ok"]

    holds("the checklist is told by Prometheus", wrong)


def test_each_outage_is_told_once_where_it_should_be_and_so_is_its_end(watched: None) -> None:
    for namespace in (MAINNET, TESTNET):
        await_whole(namespace)
    holds("nothing fires or is about to", lambda: sorted(monitoring.alerts("firing") | monitoring.waiting(PATIENCE)))
    before = monitoring.count()
    expected = {
        ("PagerDuty", "PostgresDown"),
        ("PagerDuty", "BackupOverdue"),
        (f"Slack of {MAINNET}", "PostgresDown"),
        (f"Slack of {MAINNET}", "BackupOverdue"),
        (f"Slack of {MAINNET}", "CertificateEnds"),
        # Its severity is the same; its environment wakes nobody.
        (f"Slack of {TESTNET}", "PostgresDown"),
    }
    # Without its database testnet's would fail, and be told.
    with backups_stopped(MAINNET), suspended(TESTNET, "postgres-backup"):
        with certificate_ends(EDGE[2]), databases_away(MAINNET, TESTNET):
            awaited("all of it is told", lambda: expected <= set(monitoring.told(before, over=False)))
            # Long enough for whatever follows from it to be told too, were it not silenced.
            awaited("no alert waits to fire", lambda: not monitoring.waiting(PATIENCE))
            awaited("what fires is told or silenced", lambda: monitoring.youngest() > TELLING)
        for namespace in (MAINNET, TESTNET):
            await_whole(namespace)
    awaited("nothing fires", lambda: not monitoring.alerts("firing"))
    awaited("every end is told", lambda: not monitoring.unended(before))
    for over in (False, True):
        assert sorted(monitoring.told(before, over=over)) == sorted(expected)


def holds(what: str, exceptions: Callable[[], list[str]], timeout: float = 120) -> None:
    """Wait until something has no exceptions; an assertion with those that are left when it still has."""
    try:
        awaited(what, lambda: not exceptions(), timeout)
    except SandboxError:
        assert exceptions() == [], what
