"""Rules, scrape configuration and the list of metrics, for every stack."""

import re
from typing import Any

import pytest

from components.observability import metrics, rules, scrape
from settings.model import Settings
from settings.stackfile import ROOT
from tests.alerts import cases, seconds
from tests.promql import metric_names
from tests.stacks import settings_off_site as stack

STACKS = ("mainnet", "testnet", "devnet")
SEVERITIES = {"critical", "warning", "none"}


def every_rule(settings: Settings) -> list[dict[str, Any]]:
    assert settings.observability is not None
    return [
        rule
        for area in rules.AREAS
        for group in rules.groups(settings, settings.observability, area)
        for rule in group["rules"]
    ]


def alerts(settings: Settings) -> dict[str, dict[str, Any]]:
    found = [rule for rule in every_rule(settings) if "alert" in rule]
    named = {rule["alert"]: rule for rule in found}
    assert len(named) == len(found)
    return named


MAINNET = alerts(stack("mainnet"))


@pytest.mark.parametrize("name", STACKS)
def test_every_alert_has_a_severity_its_environment_its_namespace_and_words(name: str) -> None:
    for alert, rule in alerts(stack(name)).items():
        assert rule["labels"].keys() == {"severity", "environment", "namespace"}, alert
        assert rule["labels"]["severity"] in SEVERITIES, alert
        assert (rule["labels"]["environment"], rule["labels"]["namespace"]) == (name, f"backend-{name}")
        assert rule["annotations"].keys() == {"summary", "description", "runbook_url"}, alert
        assert all(rule["annotations"].values()), alert
        assert rule["annotations"]["runbook_url"].endswith(f"/docs/runbooks/alerts.md#{alert.lower()}")
        assert seconds(rule["for"]) >= 0


def test_every_alert_has_a_section_of_the_runbook_and_every_section_an_alert() -> None:
    text = (ROOT / "docs/runbooks/alerts.md").read_text()
    sections = dict(re.findall(r"^## (\w+)\n\n(.+?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL))
    assert sections.keys() == MAINNET.keys()
    for alert, section in sections.items():
        assert "First" in section or "first" in section, f"{alert} has no first command"
    for anchor in re.findall(r"\]\(#(\w+)\)", text):
        assert anchor in {alert.lower() for alert in MAINNET}


@pytest.mark.parametrize("name", STACKS)
def test_no_rule_reads_a_metric_that_nothing_exports(name: str) -> None:
    every = every_rule(stack(name))
    recorded = {rule["record"] for rule in every if "record" in rule}
    for rule in every:
        unknown = metric_names(rule["expr"]) - metrics.METRICS - recorded
        assert not unknown, (rule.get("alert") or rule["record"], unknown)


def test_every_alert_is_tried_when_it_fires_and_when_it_is_silent() -> None:
    """By ``tests/services/test_alert_rules.py``, with Prometheus' own tools."""
    assert cases().keys() == MAINNET.keys()
    assert {alert for alert, case in cases().items() if not case.silent} == {"Watchdog"}
    assert all(case.fires for case in cases().values())


def test_every_alert_of_a_stack_is_one_of_mainnets() -> None:
    for name in STACKS:
        assert alerts(stack(name)).keys() <= MAINNET.keys()


def test_the_documents_alerts_are_there() -> None:
    severity = {alert: rule["labels"]["severity"] for alert, rule in MAINNET.items()}
    for alert in ("PodCrashLooping", "PostgresDown", "ProjectorLagHigh", "FabricConnectionLost"):
        assert severity[alert] == "critical"
    for alert in ("CpuHigh", "MemoryHigh", "NodeDiskLow", "ApiErrorRateHigh"):
        assert severity[alert] == "warning"
    lag = MAINNET["ProjectorLagHigh"]
    assert (lag["expr"], lag["for"]) == ('projector_lag_milliseconds{namespace="backend-mainnet"} > 5000', "2m")
    assert lag["annotations"]["summary"] == "Projector lag exceeds 5 seconds"
    assert lag["annotations"]["description"] == "Projector is falling behind on processing Fabric events"


def test_a_stack_has_no_alert_on_what_it_does_not_have() -> None:
    found = alerts(stack("devnet"))
    without = {
        "PostgresStandbyMissing",
        "RedisSentinelQuorumLost",
        "BackupOverdue",
        "WalArchiveStopped",
        "FabricConnectionLost",
        "RegionDown",
    }
    assert not found.keys() & (without | {"NodeNotReady", "NotificationsFailing"})
    assert {"PostgresDown", "RedisMasters", "ProjectorLagHigh", "Watchdog"} <= found.keys()


def test_one_stack_speaks_for_the_nodes() -> None:
    assert [name for name in STACKS if "NodeDiskLow" in alerts(stack(name))] == ["mainnet"]


@pytest.mark.parametrize(
    ("schedule", "allowed"),
    [
        ("0 0,6,12,18 * * *", 7 * 3600),
        ("0 2 * * *", 25 * 3600),
        ("0 3 * * 1-5", 73 * 3600),
        ("0 1 1 * *", 31 * 86400 + 3600),
    ],
)
def test_a_backup_may_be_as_old_as_its_schedule_makes_it_and_an_hour(schedule: str, allowed: int) -> None:
    rule = alerts(stack("mainnet", {"backups": {"schedule": schedule}}))["BackupOverdue"]
    assert rule["expr"].endswith(f"> {allowed}")


def test_base_backups_have_the_age_of_their_own_schedule_and_a_stack_without_them_no_such_alert() -> None:
    """A week between two of them is no reason to wake anybody."""
    assert MAINNET["BaseBackupOverdue"]["expr"].endswith(f"> {8 * 86400}")
    assert 'kind!="postgres-base"' in MAINNET["BackupOverdue"]["expr"]
    archive = {"WalArchiveStopped", "WalArchiveBehind", "WalArchiveFilling", "BaseBackupOverdue"}
    assert not archive & alerts(stack("testnet")).keys()


def test_planned_use_of_the_quota_is_no_alert() -> None:
    high = rules.quota_high(stack("mainnet"))
    assert all(0.9 <= ratio < 1 for ratio in high.values())
    assert high["requests.storage"] > 490 / 500, "the volumes of the stack take 490 GiB of 500"
    assert rules.quota_high(stack("devnet"))["requests.storage"] == 0.9
    assert high["limits.cpu"] > 0.96, "more than nine tenths of it are planned"


@pytest.mark.parametrize(("name", "expected"), [("mainnet", 3), ("testnet", 1)])
def test_every_instance_is_asked_for_itself_in_both_forms(name: str, expected: int) -> None:
    settings = stack(name)
    plain = {
        (each["static_configs"][0]["labels"]["job"], static["labels"]["instance"], static["labels"]["__param_target"])
        for each in scrape.scrape_configs(settings)
        if "static_configs" in each
        for static in each["static_configs"]
    }
    operator = {
        (
            endpoint["relabelings"][0]["replacement"],
            endpoint["relabelings"][1]["replacement"],
            endpoint["params"]["target"][0],
        )
        for app in ("postgres-exporter", "redis-exporter")
        for endpoint in scrape.service_monitor(settings, app)["endpoints"]
    }
    assert plain == operator
    jobs = [job for job, _, _ in plain]
    assert jobs.count("postgres") == jobs.count("redis") == expected
    assert jobs.count("redis-sentinel") == (expected if expected > 1 else 0)


def test_services_are_read_every_fifteen_seconds_in_both_forms() -> None:
    (pods,) = [each for each in scrape.scrape_configs(stack("mainnet")) if "kubernetes_sd_configs" in each]
    (endpoint,) = scrape.pod_monitor()["podMetricsEndpoints"]
    assert pods["scrape_interval"] == endpoint["interval"] == "15s"
    assert pods["relabel_configs"][0]["regex"] == endpoint["port"] == "metrics"


@pytest.mark.parametrize(
    ("expression", "names"),
    [
        ('sum by (pod) (rate(a_total{b="c_d{}"}[5m])) / on (pod) group_left e:f > 1e9', {"a_total", "e:f"}),
        ("absent(x) or vector(0) unless y", {"x", "y"}),
        ("time() - z < bool 30 * 86400", {"z"}),
        ('topk(3, max without (pod) (m{a=~"b|c"} offset 5m))', {"m"}),
    ],
)
def test_the_metrics_of_an_expression_are_known(expression: str, names: set[str]) -> None:
    assert metric_names(expression) == names
