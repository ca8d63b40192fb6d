"""Alert routes by Debian's amtool, and by a real Alertmanager with PagerDuty, Slack, mail and heartbeat beside it.

Debian's Alertmanager is 0.25: it reads the heartbeat's address from no file yet, so that one is in the configuration.
"""

import json
import socketserver
import subprocess
import threading
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from components.observability import rules
from components.observability.alertmanager import HEARTBEAT_URL, PAGERDUTY_KEY, SLACK_URL, fragment, merged
from sandbox.processes import wait_until
from settings.model import Alerts
from tests import stacks
from tests.services.loopback import free_port

SECONDS = 30
SECRETS = "/etc/alertmanager/secrets"
PRODUCTION = Alerts(page=True, email="ops@example.org", heartbeat=True, secrets=SECRETS)
QUIET = Alerts(page=False, heartbeat=False, secrets=SECRETS)
# As it is before any stack adds its part.
SHARED: dict[str, Any] = {"route": {"receiver": "shared"}, "receivers": [{"name": "shared"}]}
ENVIRONMENTS = {"mainnet": PRODUCTION, "testnet": QUIET, "devnet": QUIET}


class Sink:
    """PagerDuty, Slack, the heartbeat's service and a mail server: keeps what each was told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str]] = []
        sink = self

        class Http(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                sink.told.append((self.path.strip("/"), body))
                self.send_response(202 if "pagerduty" in self.path else 200)
                self.end_headers()
                self.wfile.write(b"ok")

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        class Mail(socketserver.StreamRequestHandler):
            """As much of RFC 5321 as one message needs."""

            def handle(self) -> None:
                self.wfile.write(b"220 sink\r\n")
                while line := self.rfile.readline():
                    word = line[:4].upper()
                    self.wfile.write(b"354 go on\r\n" if word == b"DATA" else b"250 sink\r\n")
                    if word == b"DATA":
                        body = iter(self.rfile.readline, b".\r\n")
                        sink.told.append(("mail", b"".join(body).decode()))
                        self.wfile.write(b"250 taken\r\n")
                    if word == b"QUIT":
                        return

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Http)
        self.mail = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Mail)
        for server in (self.http, self.mail):
            threading.Thread(target=server.serve_forever, daemon=True).start()

    def close(self) -> None:
        for server in (self.http, self.mail):
            server.shutdown()
            server.server_close()

    def of(self, receiver: str, alert: str = "") -> list[str]:
        """What a receiver was told, of one alert."""
        return [body for who, body in list(self.told) if who == receiver and alert in body]


class Alertmanager:
    """A running one; alerts are posted as Prometheus posts them."""

    def __init__(self, url: str, sink: Sink) -> None:
        self.url, self.sink = url, sink

    def post(self, *alerts: dict[str, str], resolved: bool = False) -> None:
        now = datetime.now(UTC).isoformat()
        body = [
            {
                "labels": {"environment": "mainnet", **labels},
                "annotations": {
                    "summary": f"{labels['alertname']} of {labels.get('pod', 'the stack')}",
                    "description": "It is broken",
                    "runbook_url": "https://runbooks/alerts.md",
                },
                **({"endsAt": now} if resolved else {}),
            }
            for labels in alerts
        ]
        request = urllib.request.Request(  # noqa: S310 - its own server
            f"{self.url}/api/v2/alerts", json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        urllib.request.urlopen(request, timeout=SECONDS).close()  # noqa: S310

    def awaits(self, receiver: str, alert: str, times: int = 1) -> list[str]:
        """What a receiver is told of an alert, once it is told so many times."""
        wait_until(
            f"{receiver} is told of {alert}", lambda: len(self.sink.of(receiver, alert)) >= times, timeout=SECONDS
        )
        return self.sink.of(receiver, alert)


def whole(secrets: Path | str = SECRETS) -> dict[str, Any]:
    """The shared configuration with the parts of all environments."""
    parts = [
        fragment(f"backend-{name}", name, alerts.model_copy(update={"secrets": str(secrets)}))
        for name, alerts in ENVIRONMENTS.items()
    ]
    shared = {**SHARED, "global": {"smtp_smarthost": "127.0.0.1:25", "smtp_from": "alerts@example.org"}}
    made = merged(shared, *parts)
    for receiver in made["receivers"]:
        for webhook in receiver.get("webhook_configs", []):
            del webhook["url_file"]
            webhook["url"] = "http://127.0.0.1:9/heartbeat"
    return made


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("amtool") / "alertmanager.yaml"
    path.write_text(yaml.safe_dump(whole()))
    return path


@pytest.fixture(scope="module")
def sink() -> Iterator[Sink]:
    made = Sink()
    yield made
    made.close()


@pytest.fixture(scope="module")
def alertmanager(tmp_path_factory: pytest.TempPathFactory, sink: Sink) -> Iterator[Alertmanager]:
    """A real one on the merged configuration, in which only waits and addresses are other ones."""
    scratch = tmp_path_factory.mktemp("alertmanager")
    base = f"http://127.0.0.1:{sink.http.server_address[1]}"
    for name, value in ((PAGERDUTY_KEY, "key"), (SLACK_URL, f"{base}/slack"), (HEARTBEAT_URL, f"{base}/heartbeat")):
        (scratch / name).write_text(value)
    made = whole(scratch)
    made["global"] |= {
        "pagerduty_url": f"{base}/pagerduty",
        "smtp_smarthost": f"127.0.0.1:{sink.mail.server_address[1]}",
        "smtp_require_tls": False,
    }
    for receiver in made["receivers"]:
        for webhook in receiver.get("webhook_configs", []):
            webhook["url"] = f"{base}/heartbeat"
    for route in made["route"]["routes"]:
        for each in (route, *route["routes"]):
            each |= {"group_wait": "2s", "group_interval": "2s"}
            each["repeat_interval"] = "2s" if "heartbeat" in each["receiver"] else "1h"
    (scratch / "alertmanager.yaml").write_text(yaml.safe_dump(made))
    listen = f"127.0.0.1:{free_port()}"
    argv = [
        "prometheus-alertmanager",
        f"--config.file={scratch / 'alertmanager.yaml'}",
        f"--storage.path={scratch / 'data'}",
        f"--web.listen-address={listen}",
        "--cluster.listen-address=",
    ]
    with (scratch / "log").open("wb") as log:
        process = subprocess.Popen(argv, stdout=log, stderr=subprocess.STDOUT)
    try:
        wait_until("Alertmanager is ready", lambda: is_ready(f"http://{listen}/-/ready"), timeout=SECONDS)
        yield Alertmanager(f"http://{listen}", sink)
    finally:
        process.terminate()
        process.wait(SECONDS)


def is_ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=1) as answer:  # noqa: S310
            return bool(answer.status == 200)
    except OSError:
        return False


def amtool(*argv: str | Path) -> str:
    done = subprocess.run(["amtool", *map(str, argv)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_amtool_finds_nothing_wrong_in_the_merged_configuration(config: Path) -> None:
    assert "SUCCESS" in amtool("check-config", config)


def receiver_of(config: Path, **labels: str) -> list[str]:
    words = [f"{name}={value}" for name, value in labels.items()]
    return amtool("config", "routes", "test", f"--config.file={config}", *words).split()


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_every_alert_leads_to_the_receiver_of_its_severity(config: Path, environment: str) -> None:
    settings = stacks.settings(environment)
    assert settings.observability
    alerts = [
        (rule["alert"], rule["labels"])
        for area in rules.AREAS
        for group in rules.groups(settings, settings.observability, area)
        for rule in group["rules"]
        if "alert" in rule
    ]
    severities = {labels["severity"]: (name, labels) for name, labels in alerts if name != "Watchdog"}
    assert severities.keys() == {"critical", "warning"}
    for severity, (name, labels) in severities.items():
        assert receiver_of(config, alertname=name, **labels) == [f"backend-{environment}-{severity}"]
    watchdog = dict(alerts)["Watchdog"]
    assert receiver_of(config, alertname="Watchdog", **watchdog) == [f"backend-{environment}-heartbeat"]
    # One route for each severity, so the other alerts go the same ways.
    assert {labels["environment"] for _, labels in alerts} == {environment}


def test_the_alerts_of_others_stay_where_they_were(config: Path) -> None:
    assert receiver_of(config, alertname="OrdererDown", severity="critical") == ["shared"]


def test_many_pods_are_one_message_at_each_receiver(alertmanager: Alertmanager) -> None:
    crashing = [{"alertname": "PodCrashLooping", "severity": "critical", "pod": f"svc-tax-{n}"} for n in range(3)]
    alertmanager.post(*crashing)
    for receiver in ("pagerduty", "slack", "mail"):
        (told,) = alertmanager.awaits(receiver, "PodCrashLooping")
        assert all(f"svc-tax-{number}" in told for number in range(3)), told
    page = json.loads(alertmanager.sink.of("pagerduty", "PodCrashLooping")[0])
    assert "https://runbooks/alerts.md" in page["payload"]["custom_details"]["runbook"]
    # PagerDuty takes no event without one: https://developer.pagerduty.com/docs/send-alert-event
    assert page["payload"]["summary"] == "PodCrashLooping of svc-tax-0 (3 alerts)"
    alertmanager.post(*crashing, resolved=True)
    for receiver in ("pagerduty", "slack", "mail"):
        assert len(alertmanager.awaits(receiver, "PodCrashLooping", times=2)) == 2
    assert '"event_action":"resolve"' in alertmanager.sink.of("pagerduty", "PodCrashLooping")[1]


def test_a_dead_node_silences_what_it_explains_until_it_is_back(alertmanager: Alertmanager) -> None:
    node = {"alertname": "NodeNotReady", "severity": "critical", "node": "srv1089624"}
    explained = {"alertname": "PostgresInstanceDown", "severity": "warning", "instance": "postgres-1"}
    elsewhere = {"alertname": "BackupFailed", "severity": "warning", "kind": "redis"}
    alertmanager.post(node)
    alertmanager.awaits("pagerduty", "NodeNotReady")
    alertmanager.post(explained, elsewhere)
    alertmanager.awaits("slack", "BackupFailed")
    assert alertmanager.sink.of("slack", "PostgresInstanceDown") == []
    alertmanager.post(node, resolved=True)
    alertmanager.awaits("slack", "PostgresInstanceDown")


def test_a_dead_database_silences_what_depends_on_it_in_its_environment(alertmanager: Alertmanager) -> None:
    alertmanager.post({"alertname": "PostgresDown", "severity": "critical"})
    alertmanager.awaits("pagerduty", "PostgresDown")
    alertmanager.post(
        {"alertname": "WorkloadUnavailable", "severity": "critical", "deployment": "svc-tax"},
        {"alertname": "CertificateEndsNow", "severity": "critical", "region": "Phoenix"},
        {"alertname": "WorkloadUnavailable", "severity": "critical", "environment": "testnet"},
    )
    alertmanager.awaits("pagerduty", "CertificateEndsNow")
    (told,) = alertmanager.awaits("slack", "WorkloadUnavailable")
    assert "[testnet]" in told
    assert alertmanager.sink.of("pagerduty", "WorkloadUnavailable") == []


def test_testnet_wakes_nobody(alertmanager: Alertmanager) -> None:
    alertmanager.post({"alertname": "RedisDown", "severity": "critical", "environment": "testnet"})
    alertmanager.awaits("slack", "RedisDown")
    for receiver in ("pagerduty", "mail"):
        assert alertmanager.sink.of(receiver, "RedisDown") == []


def test_the_heartbeat_leaves_again_and_again(alertmanager: Alertmanager) -> None:
    alertmanager.post({"alertname": "Watchdog", "severity": "none"})
    assert len(alertmanager.awaits("heartbeat", "Watchdog", times=3)) >= 3
    assert alertmanager.sink.of("slack", "Watchdog") == []
