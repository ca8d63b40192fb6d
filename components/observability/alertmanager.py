"""Whom the alerts of a stack tell: its part of the shared Alertmanager's configuration (AL-11). Pure: no Pulumi.

Critical alerts page and are in Slack and in the mail, warnings are in Slack. No secret is in the text: keys and
addresses are files that the Alertmanager mounts, or, with the Prometheus Operator, keys of a Secret.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from components import documents
from components.templates import render
from settings.model import Alerts

PAGERDUTY_KEY, SLACK_URL, HEARTBEAT_URL = "pagerduty-key", "slack-url", "heartbeat-url"
_TEMPLATE = Path(__file__).parent / "templates" / "alertmanager.yaml.j2"

# What a lost node explains by itself, all of it warnings: one copy or one pod less.
AFTER_A_NODE = (
    "HealthMonitorSilent",
    "NginxDown",
    "PostgresInstanceDown",
    "PostgresStandbyMissing",
    "RedisInstanceDown",
    "RedisReplicaLinkDown",
    "ScrapeTargetDown",
    "WalArchiveStopped",
    "WorkloadDegraded",
)
_WITHOUT_A_DATABASE = (
    "ApiErrorRateHigh",
    "HttpMetricsMissing",
    "OutboxBacklog",
    "PodCrashLooping",
    "ProjectorLagHigh",
    "ProjectorLagUnknown",
    "RegionDown",
    "WorkloadDegraded",
    "WorkloadUnavailable",
)
_POSTGRES = (
    "PostgresInstanceDown",
    "PostgresStandbyMissing",
    "PostgresReplicationLag",
    "PostgresCommitsBlocked",
    "WalArchiveStopped",
    "WalArchiveBehind",
)
_REDIS = ("RedisInstanceDown", "RedisReplicaLinkDown", "RedisWritesRejected", "RedisSentinelQuorumLost")
# A database that is away explains itself in detail, and what cannot work without it.
AFTER_A_DATABASE: Mapping[str, tuple[str, ...]] = {
    "PostgresDown": ("PostgresNoPrimary", *_POSTGRES, *_WITHOUT_A_DATABASE),
    "PostgresNoPrimary": (*_POSTGRES, *_WITHOUT_A_DATABASE),
    "RedisDown": ("RedisMasters", *_REDIS, *_WITHOUT_A_DATABASE),
}


def fragment(namespace: str, environment: str, alerts: Alerts) -> str:
    """The part of a stack, as YAML."""
    return render(
        _TEMPLATE,
        namespace=namespace,
        environment=environment,
        page=alerts.page,
        email=alerts.email,
        heartbeat=alerts.heartbeat,
        secrets=alerts.secrets,
        slack=documents.write([_slack(environment, alerts.secrets)], default_flow_style=True, width=10_000).strip(),
        after_node=AFTER_A_NODE,
        after_database=AFTER_A_DATABASE,
    )


def merged(shared: Mapping[str, Any], *fragments: str) -> dict[str, Any]:
    """A whole configuration: the shared one, with the parts of some stacks added to its lists."""
    parts = [documents.read(text) for text in fragments]
    route = dict(shared["route"])
    route["routes"] = [*(each for part in parts for each in part["route"]["routes"]), *route.get("routes", [])]
    whole = {**shared, "route": route}
    for key in ("receivers", "inhibit_rules"):
        whole[key] = [*shared.get(key, []), *(each for part in parts for each in part[key])]
    return whole


def custom_resource(text: str, secret: str) -> dict[str, Any]:
    """The same as spec of an AlertmanagerConfig, which takes secrets by the key of a Secret of its namespace.

    https://prometheus-operator.dev/docs/api-reference/api/#monitoring.coreos.com/v1alpha1.AlertmanagerConfig
    """
    part = documents.read(text)
    (route,) = part["route"]["routes"]
    return {
        "route": _route(route),
        "receivers": [_receiver(each, secret) for each in part["receivers"]],
        "inhibitRules": [
            {
                "sourceMatch": [_matcher(each) for each in rule["source_matchers"]],
                "targetMatch": [_matcher(each) for each in rule["target_matchers"]],
            }
            for rule in part["inhibit_rules"]
        ],
    }


def _slack(environment: str, secrets: str) -> dict[str, Any]:
    return {
        "api_url_file": f"{secrets}/{SLACK_URL}",
        "send_resolved": True,
        "title": f"[{environment}] {{{{ .Status | toUpper }}}} {{{{ .GroupLabels.alertname }}}}",
        "title_link": "{{ (index .Alerts 0).Annotations.runbook_url }}",
        "text": "{{ range .Alerts }}{{ .Annotations.summary }}\n{{ .Annotations.description }}\n{{ end }}",
    }


def _route(route: Mapping[str, Any]) -> dict[str, Any]:
    made = {_camel(key): value for key, value in route.items()}
    made["matchers"] = [_matcher(each) for each in route["matchers"]]
    if "routes" in route:
        made["routes"] = [_route(each) for each in route["routes"]]
    return made


def _matcher(text: str) -> dict[str, str]:
    found = re.fullmatch(r'(\w+)(=~|!~|!=|=)"(.*)"', text)
    if found is None:
        raise ValueError(f'matcher {text!r} is not written as name="value". Fix: correct {_TEMPLATE.name}')
    return {"name": found[1], "matchType": found[2], "value": found[3]}


def _receiver(receiver: Mapping[str, Any], secret: str) -> dict[str, Any]:
    made: dict[str, Any] = {"name": receiver["name"]}
    for kind in ("pagerduty_configs", "slack_configs", "email_configs", "webhook_configs"):
        if kind in receiver:
            made[_camel(kind)] = [_integration(each, secret) for each in receiver[kind]]
    return made


_BY_KEY = {"routing_key_file": "routingKey", "api_url_file": "apiURL", "url_file": "urlSecret"}


def _integration(config: Mapping[str, Any], secret: str) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for key, value in config.items():
        if key in _BY_KEY:
            made[_BY_KEY[key]] = {"name": secret, "key": str(value).rsplit("/", 1)[-1]}
        elif isinstance(value, Mapping):
            made[_camel(key)] = [{"key": name, "value": each} for name, each in value.items()]
        else:
            made[_camel(key)] = value
    return made


def _camel(key: str) -> str:
    return re.sub("_(.)", lambda found: found[1].upper(), key)
