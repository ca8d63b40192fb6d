"""The parts that stacks add to the shared Alertmanager's configuration, and the same for the Prometheus Operator."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from components.observability.alertmanager import (
    AFTER_A_DATABASE,
    AFTER_A_NODE,
    custom_resource,
    fragment,
    merged,
)
from settings.model import Alerts

RULES = Path(__file__).resolve().parents[2] / "components" / "observability" / "rules"
SECRETS = "/etc/alertmanager/secrets"
PRODUCTION = Alerts(page=True, email="ops@example.org", heartbeat=True, secrets=SECRETS)
QUIET = Alerts(page=False, heartbeat=False, secrets=SECRETS)


def alerts() -> dict[str, str]:
    """Severity of every alert that any stack may have."""
    found = [rule for file in RULES.glob("*.yaml") for rule in yaml.safe_load(file.read_text())["rules"]]
    return {rule["alert"]: rule["severity"] for rule in found if "alert" in rule}


def receivers(text: str) -> dict[str, Any]:
    return {each["name"]: each for each in yaml.safe_load(text)["receivers"]}


def test_every_alert_that_is_silenced_or_silences_exists() -> None:
    named = {
        *AFTER_A_NODE,
        "NodeNotReady",
        *AFTER_A_DATABASE,
        *(each for all_ in AFTER_A_DATABASE.values() for each in all_),
    }
    assert named - alerts().keys() == set()


def test_a_node_silences_warnings_alone_and_nothing_silences_itself() -> None:
    assert {alerts()[name] for name in AFTER_A_NODE} == {"warning"}
    assert not [cause for cause, after in AFTER_A_DATABASE.items() if cause in after]
    # Two that silence each other would both be quiet.
    assert "PostgresDown" not in AFTER_A_DATABASE["PostgresNoPrimary"]


def test_what_silences_others_outlives_what_it_explains() -> None:
    """Else its end would let the others through, which are over a health check or a scrape later."""
    found = [rule for file in RULES.glob("*.yaml") for rule in yaml.safe_load(file.read_text())["rules"]]
    lasting = {rule["alert"] for rule in found if "keep_firing_for" in rule}
    assert lasting == {"NodeNotReady", *AFTER_A_DATABASE}


def test_only_production_pages() -> None:
    assert (
        "pagerduty_configs" in receivers(fragment("backend-mainnet", "mainnet", PRODUCTION))["backend-mainnet-critical"]
    )
    quiet = fragment("backend-testnet", "testnet", QUIET)
    assert "pagerduty" not in quiet
    assert receivers(quiet)["backend-testnet-critical"].keys() == {"name", "slack_configs"}


@pytest.mark.parametrize("told", [PRODUCTION, QUIET], ids=["production", "quiet"])
def test_no_secret_stands_in_the_text(told: Alerts) -> None:
    text = fragment("backend-mainnet", "mainnet", told)
    inline = {"routing_key", "service_key", "api_url", "url", "auth_password", "auth_identity", "bot_token"}
    assert not inline & set(_keys(yaml.safe_load(text)))
    assert set(re.findall(r"(/etc/\S+?)[,}\s]", text)) <= {
        f"/etc/alertmanager/secrets/{name}" for name in ("pagerduty-key", "slack-url", "heartbeat-url")
    }


def test_parts_are_added_and_nothing_is_replaced() -> None:
    shared = {
        "global": {"smtp_from": "a@example.org"},
        "route": {"receiver": "fabric", "routes": [{"receiver": "fabric", "matchers": ['team="fabric"']}]},
        "receivers": [{"name": "fabric"}],
    }
    whole = merged(
        shared, fragment("backend-mainnet", "mainnet", PRODUCTION), fragment("backend-testnet", "testnet", QUIET)
    )
    assert whole["route"]["receiver"] == "fabric"
    assert [route["receiver"] for route in whole["route"]["routes"]] == [
        "backend-mainnet-warning", "backend-testnet-warning", "fabric",
    ]  # fmt: skip
    assert whole["receivers"][0]["name"] == "fabric"
    assert len(whole["receivers"]) == 1 + 2 * 3
    assert whole["global"] == shared["global"]


def test_the_operator_gets_the_same_with_secrets_by_key() -> None:
    spec = custom_resource(fragment("backend-mainnet", "mainnet", PRODUCTION), "alert-receivers")
    assert spec["route"]["matchers"] == [{"name": "environment", "matchType": "=", "value": "mainnet"}]
    assert [each["receiver"] for each in spec["route"]["routes"]] == [
        "backend-mainnet-heartbeat", "backend-mainnet-critical", "backend-mainnet-warning",
    ]  # fmt: skip
    critical, _, heartbeat = spec["receivers"]
    assert critical["pagerdutyConfigs"][0]["routingKey"] == {"name": "alert-receivers", "key": "pagerduty-key"}
    assert critical["slackConfigs"][0]["apiURL"] == {"name": "alert-receivers", "key": "slack-url"}
    assert critical["emailConfigs"][0]["headers"][0]["key"] == "Subject"
    assert heartbeat["webhookConfigs"][0]["urlSecret"] == {"name": "alert-receivers", "key": "heartbeat-url"}
    assert "_" not in "".join(_keys(spec))


def _keys(value: object) -> list[str]:
    if isinstance(value, dict):
        return [*value, *(key for each in value.values() for key in _keys(each))]
    return [key for each in value for key in _keys(each)] if isinstance(value, list) else []
