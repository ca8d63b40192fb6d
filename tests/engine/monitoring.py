"""The sandbox's shared monitoring as its users meet it: questions to Prometheus, and what receivers were told."""

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from sandbox.monitoring import service
from tests.engine.stack import LAYOUT, kubectl

# The one that always fires, and what is true of the machine underneath: node exporters see its processors and disks.
APART = {"Watchdog", "NodeCpuHigh", "NodeDiskFull", "NodeDiskLow", "NodeMemoryHigh"}


@dataclass(frozen=True, kw_only=True)
class Message:
    """What a receiver was told: who it is, of which alert, and whether it fires or is over."""

    receiver: str
    alert: str
    over: bool


def api(path: str) -> Any:  # noqa: ANN401 - an object or a list
    """An answer of Prometheus' API, asked through the API server."""
    return json.loads(kubectl("get", "--raw", f"{service.PROMETHEUS}/api/v1/{path}"))["data"]


def query(expression: str) -> list[dict[str, Any]]:
    """The series of an expression now."""
    found: list[dict[str, Any]] = api(f"query?query={quote(expression, safe='')}")["result"]
    return found


def targets() -> list[dict[str, Any]]:
    """Every target with its health, and what was wrong with it last."""
    found: list[dict[str, Any]] = api("targets?state=active")["activeTargets"]
    return found


def alerts(state: str) -> set[str]:
    """Names and namespaces of the alerts in a state, but for those apart."""
    found = api("alerts")["alerts"]
    names = ((each["labels"]["alertname"], each["labels"]["namespace"], each["state"]) for each in found)
    return {f"{name} of {namespace}" for name, namespace, is_in in names if is_in == state and name not in APART}


def waiting(patience: float) -> set[str]:
    """Names of the alerts that are true and wait to fire, for no longer than this many seconds in all."""
    rules = (rule for group in api("rules")["groups"] for rule in group["rules"] if rule["type"] == "alerting")
    pending = {rule["name"] for rule in rules if rule["state"] == "pending" and rule["duration"] <= patience}
    return pending - APART


def unevaluated() -> set[str]:
    """Names of the rules that were not evaluated yet."""
    rules = (rule for group in api("rules")["groups"] for rule in group["rules"])
    return {rule["name"] for rule in rules if rule["health"] == "unknown"}


def youngest() -> float:
    """Seconds since the last alert began to fire, whether it is told or silenced by another."""
    found = json.loads(kubectl("get", "--raw", f"{service.ALERTMANAGER}/api/v2/alerts?active=true"))
    starts = [datetime.fromisoformat(each["startsAt"].replace("Z", "+00:00")) for each in found]
    return (datetime.now(UTC) - max(starts)).total_seconds()


def names() -> set[str]:
    """Names of every metric that Prometheus has."""
    return set(api("label/__name__/values"))


def messages(since: int = 0) -> list[Message]:
    """What was told to people, in order, but for those apart; heartbeats are not among it."""
    lines = service.messages(LAYOUT).read_text().splitlines()[since:]
    posts = [json.loads(line) for line in lines]
    found = [_message(path, body) for _, path, body in posts if not path.startswith("/heartbeat")]
    return [each for each in found if each.alert not in APART]


def told(since: int, *, over: bool) -> list[tuple[str, str]]:
    """Receiver and alert of every message that something fires, or is over."""
    return [(each.receiver, each.alert) for each in messages(since) if each.over == over]


def unended(since: int) -> set[tuple[str, str]]:
    """What was told to fire, and not yet to be over."""
    return set(told(since, over=False)) - set(told(since, over=True))


def count() -> int:
    """How much was told so far, to go on from in ``messages``."""
    return len(service.messages(LAYOUT).read_text().splitlines())


def heartbeats(namespace: str) -> int:
    """How often the service behind the dead man's switch has heard from a stack."""
    lines = service.messages(LAYOUT).read_text().splitlines()
    return sum(json.loads(line)[1] == f"/heartbeat/{namespace}" for line in lines)


def _message(path: str, body: dict[str, Any]) -> Message:
    if path.startswith("/pagerduty"):
        over = body["event_action"] == "resolve"
        return Message(receiver="PagerDuty", alert=body["payload"]["class"], over=over)
    # As components/observability/alertmanager.py writes it: [environment] STATUS Alert
    _, status, alert = body["attachments"][0]["title"].split()
    return Message(receiver=f"Slack of {path.rpartition('/')[2]}", alert=alert, over=status == "RESOLVED")
