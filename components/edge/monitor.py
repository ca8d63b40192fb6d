"""The health monitor of one stack on one node: its settings and its schedule."""

import shlex
from collections.abc import Mapping
from pathlib import Path

from components.edge.nginx import PRIMARY_STACK, STATUS_PORT
from components.edge.steps import SETTINGS_FILE, Step, script, secret_file_step, settings_file
from components.templates import render
from settings.model import Edge, Node
from settings.types import seconds

_DIRECTORY = Path(__file__).parent
_TEMPLATES = {
    "monitor.conf": _DIRECTORY / "templates/monitor.conf.j2",
    "logrotate.conf": _DIRECTORY / "templates/logrotate.conf.j2",
    "monitor.service": _DIRECTORY / "units/monitor.service.j2",
    "monitor.timer": _DIRECTORY / "units/monitor.timer.j2",
}
PAGERDUTY_URL = "https://events.pagerduty.com/v2/enqueue"


def alerts_step(stack: str, slack_url: str, pagerduty_key: str) -> Step:
    """The step that says whom the monitor tells beside the mail; either may be empty."""
    values = {"SLACK_URL": slack_url, "PAGERDUTY_KEY": pagerduty_key}
    return secret_file_step("Receivers of the health monitor", _secrets(stack), settings_file(values))


def monitor_step(
    node: str,
    edge: Edge,
    nodes: Mapping[str, Node],
    stack: str,
    *,
    alerts: bool,
    pagerduty_url: str = PAGERDUTY_URL,
) -> Step:
    """The step that installs the monitor. Each edge node asks all of them, since none can report its own end.

    ``alerts`` is whether ``alerts_step`` runs before it.
    """
    monitor = edge.monitor
    name = monitor_name(stack)
    interval = seconds(monitor.interval)
    values: dict[str, object] = {
        "name": name,
        "hostname": shlex.quote(edge.hostname),
        "timeout_seconds": seconds(monitor.timeout),
        "interval_seconds": interval,
        "failures": monitor.failures_before_alert,
        "status_port": STATUS_PORT,
        "certificate_days": monitor.certificate_warning_days,
        "email": shlex.quote(monitor.email or ""),
        "ca_bundle": shlex.quote(edge.acme.ca_bundle or ""),
        "local_address": nodes[node].public_ip,
        "secrets": _secrets(stack) if alerts else "",
        "pagerduty_url": shlex.quote(pagerduty_url),
        "regions": [shlex.quote(f"{nodes[each].region}|{nodes[each].public_ip}") for each in edge.nodes],
    }
    return Step(
        title=f"Health monitor of {edge.hostname}",
        script="monitor.sh",
        files={
            SETTINGS_FILE: settings_file({"NAME": name, "INTERVAL_SECONDS": str(interval)}),
            "gx-health-monitor.sh": script("gx-health-monitor.sh"),
            **{path: render(template, **values) for path, template in _TEMPLATES.items()},
        },
    )


def monitor_name(stack: str) -> str:
    """Name of a stack's monitor on every node: of its schedule, its files and its log."""
    return "gx-health-monitor" if stack == PRIMARY_STACK else f"gx-health-monitor-{stack}"


def _secrets(stack: str) -> str:
    return f"/etc/gx-health-monitor/{monitor_name(stack)}.secrets"
