"""Configuration of the sandbox's Prometheus and Alertmanager: a frame, and in it the parts of stacks as rendered. Pure.

The frame is what docs/runbooks/prometheus.md and docs/alerting.md ask of whoever runs them. Of the parts, three things
are changed and no other:

- `kubernetes_sd_configs` becomes `http_sd_configs` with the same labels, since Debian builds Prometheus without the
  discovery in Kubernetes; `relabel_configs` stay.
- `url_file` of a webhook becomes `url`, which Debian's Alertmanager 0.25 still needs; other addresses and keys stay
  files.
- With `hurry`, waits are divided by it: `for` of alerts, `group_wait` and `group_interval` of routes. Whatever is read
  less often is read every five seconds. Thresholds, ranges of queries, and how long something takes in the cluster
  (`keep_firing_for`, `repeat_interval`) stay as they are.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from components.observability.alertmanager import HEARTBEAT_URL, PAGERDUTY_KEY, SLACK_URL, merged
from sandbox import layout as where
from sandbox.monitoring.outside import PODS, URL

RULES = "/etc/prometheus/rules"
RECEIVERS = "/etc/alertmanager/secrets"
KUBE_STATE_METRICS = "kube-state-metrics.monitoring.svc.cluster.local:8080"
ALERTMANAGER = "alertmanager.monitoring.svc.cluster.local:9093"
NODE_EXPORTER_PORT, KUBELET_PORT = 9100, 10250
_TOKEN = "/var/run/secrets/kubernetes.io/serviceaccount/token"  # noqa: S105 - a path
_HURRIED_SECONDS = 5
_DURATION = re.compile(r"(\d+)([smhd])")
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


@dataclass(frozen=True, kw_only=True)
class Part:
    """What a deployed stack gave: the data of its two ConfigMaps in the monitoring namespace."""

    namespace: str
    prometheus: Mapping[str, str]
    alertmanager: str


def prometheus(parts: list[Part], hurry: int) -> dict[str, str]:
    """Files of Prometheus by name: its configuration, and the rule files of every stack."""
    files = {
        f"{part.namespace}-{name}": yaml.safe_dump(hurried_rules(yaml.safe_load(text), hurry), sort_keys=False)
        for part in parts
        for name, text in part.prometheus.items()
        if name.startswith("rules-")
    }
    stacks = [job for part in parts for job in yaml.safe_load(part.prometheus["scrape.yaml"])["scrape_configs"]]
    whole = {
        "global": {"scrape_interval": "15s", "evaluation_interval": _shortened("15s", hurry)},
        "alerting": {"alertmanagers": [{"static_configs": [{"targets": [ALERTMANAGER]}]}]},
        "rule_files": [f"{RULES}/*-rules-*.yaml"],
        "scrape_configs": [scraped(job, hurry) for job in (*stacks, *_frame())],
    }
    return {"prometheus.yml": yaml.safe_dump(whole, sort_keys=False), **files}


def alertmanager(parts: list[Part], hurry: int) -> str:
    """Configuration of Alertmanager. What belongs to no stack ends at the receiver `shared`, which tells nobody."""
    shared = {
        "global": {"pagerduty_url": f"{URL}/pagerduty"},
        "route": {"receiver": "shared"},
        "receivers": [{"name": "shared"}],
    }
    whole = merged(shared, *(part.alertmanager for part in parts))
    for receiver in whole["receivers"]:
        for webhook in receiver.get("webhook_configs", []):
            namespace = webhook.pop("url_file").split("/")[-2]
            webhook["url"] = receivers(namespace)[HEARTBEAT_URL]
    for stack in whole["route"]["routes"]:
        for route in (stack, *stack.get("routes", [])):
            for wait in {"group_wait", "group_interval"} & route.keys():
                route[wait] = _divided(route[wait], hurry)
    return yaml.safe_dump(whole, sort_keys=False)


def receivers(namespace: str) -> dict[str, str]:
    """Content of the Secret with the addresses and keys of a stack's receivers (docs/alerting.md)."""
    return {
        PAGERDUTY_KEY: f"key-of-{namespace}",
        SLACK_URL: f"{URL}/slack/{namespace}",
        HEARTBEAT_URL: f"{URL}/heartbeat/{namespace}",
    }


def scraped(job: Mapping[str, Any], hurry: int) -> dict[str, Any]:
    """A scrape configuration as Debian's Prometheus takes it, in a hurry."""
    made = dict(job)
    if "kubernetes_sd_configs" in made:
        (discovery,) = made.pop("kubernetes_sd_configs")
        made["http_sd_configs"] = [
            {"url": f"{URL}{PODS}{namespace}", "refresh_interval": f"{_HURRIED_SECONDS}s"}
            for namespace in discovery["namespaces"]["names"]
        ]
    for wait in ("scrape_interval", "scrape_timeout"):
        if wait in made:
            made[wait] = _shortened(made[wait], hurry)
    return made


def hurried_rules(rules: dict[str, Any], hurry: int) -> dict[str, Any]:
    """A rule file whose alerts wait less."""
    for group in rules["groups"]:
        for rule in group["rules"]:
            if "for" in rule:
                rule["for"] = _divided(rule["for"], hurry)
    return rules


def _frame() -> list[dict[str, Any]]:
    """What the shared Prometheus reads beside the stacks' own: docs/runbooks/prometheus.md."""

    def nodes(port: int) -> list[dict[str, Any]]:
        """Each under its node's name."""
        return [{"targets": [f"{node.address}:{port}"], "labels": {"instance": node.name}} for node in where.NODES]

    return [
        {"job_name": "prometheus", "static_configs": [{"targets": ["localhost:9090"]}]},
        {"job_name": "alertmanager", "static_configs": [{"targets": [ALERTMANAGER]}]},
        {
            "job_name": "kube-state-metrics",
            "honor_labels": True,
            "static_configs": [{"targets": [KUBE_STATE_METRICS]}],
        },
        {"job_name": "node", "static_configs": nodes(NODE_EXPORTER_PORT)},
        {
            "job_name": "kubelet",
            "metrics_path": "/metrics/cadvisor",
            "scheme": "https",
            # A kubelet signs its own certificate.
            "tls_config": {"insecure_skip_verify": True},
            "authorization": {"credentials_file": _TOKEN},
            "static_configs": nodes(KUBELET_PORT),
        },
    ]


def seconds(duration: str) -> int:
    """A duration in one unit, as Prometheus and Alertmanager write it."""
    match = _DURATION.fullmatch(duration)
    if match is None:
        raise ValueError(f"{duration!r} is no duration in one unit. Fix: write it as 90s or 2m")
    return int(match[1]) * _UNITS[match[2]]


def _divided(duration: str, hurry: int) -> str:
    return duration if hurry == 1 else f"{round(seconds(duration) / hurry)}s"


def _shortened(duration: str, hurry: int) -> str:
    return duration if hurry == 1 else f"{min(seconds(duration), _HURRIED_SECONDS)}s"
