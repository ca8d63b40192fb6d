"""The health monitor on two real hosts, and who is told what: mail, Slack and PagerDuty are local servers. Root."""

import json
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from components.edge.monitor import monitor_step
from components.observability.metrics import EDGE
from sandbox import layout as where
from sandbox import netns, processes
from settings import stackfile
from settings.loader import load
from tests.services import edge_hosts
from tests.services.edge_hosts import FIRST, SECOND, STACK, Rig

SINK = """
import json, sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
class Sink(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        line = json.dumps([self.path, self.client_address[0], json.loads(body)])
        with open(sys.argv[1], "a") as log: log.write(line + "\\n")
        self.send_response(202); self.send_header("Content-Length", "0"); self.end_headers()
    def log_message(self, *args): pass
ThreadingHTTPServer(("0.0.0.0", 9009), Sink).serve_forever()
"""
URL = f"http://{where.INTERNET_ADDRESS}:9009"
NAMES = {FIRST: "Kuala Lumpur", SECOND: "Phoenix"}
MONITOR = "gx-health-monitor /etc/gx-health-monitor/gx-health-monitor.conf || test $? = 1"
LOG = "/var/log/gx-health-monitor.log"
STATE = "/var/lib/gx-edge/gx-health-monitor"


@dataclass(frozen=True)
class Message:
    """What a receiver got: the path tells which, the address who sent it."""

    path: str
    sender: str
    body: dict[str, object]


@dataclass(frozen=True)
class Watch:
    """The hosts, and what the receivers got."""

    rig: Rig
    received: Path

    def run(self, *hosts: str) -> None:
        """One round of the monitor on each of the hosts, at about the same time."""
        for host in hosts or (FIRST, SECOND):
            self.rig.run(host, MONITOR)

    def messages(self, path: str) -> list[Message]:
        lines = self.received.read_text().splitlines() if self.received.exists() else []
        return [each for each in (Message(*json.loads(line)) for line in lines) if each.path == path]

    def slack(self) -> list[object]:
        return [each.body["text"] for each in self.messages("/slack")]

    def pages(self) -> list[tuple[object, object]]:
        return [(each.body["event_action"], each.body["dedup_key"]) for each in self.messages("/page")]


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    root = tmp_path_factory.mktemp("monitor")
    try:
        bare = edge_hosts.start(root)
        bare.provision_all()
        secrets = {"monitorSlackUrl": f"{URL}/slack", "monitorPagerdutyKey": "canary-pagerduty-key"}
        config = stackfile.merge(bare.config, {"secrets": secrets, "edge": {"monitor": {"timeout": "3s"}}})
        rig = Rig(bare.layout, load(config, stack=STACK), config)
        for host in (FIRST, SECOND):
            rig.succeed(host, rig.steps(host)["alerts"])
            nodes = rig.settings.cluster.nodes
            rig.succeed(host, monitor_step(host, rig.edge, nodes, STACK, alerts=True, pagerduty_url=f"{URL}/page"))
            # cron's own runs would be counted.
            rig.run(host, "rm /etc/cron.d/gx-health-monitor")
        yield rig
    finally:
        edge_hosts.stop(root)


@pytest.fixture
def watch(rig: Rig, tmp_path: Path) -> Iterator[Watch]:
    """All well and nothing known, with receivers that listen."""
    for host in (FIRST, SECOND):
        rig.run(host, f"rm -rf {STATE} {LOG} /run/not-ready")
    listen(rig, tmp_path)
    try:
        yield Watch(rig, tmp_path / "received")
    finally:
        processes.stop(rig.layout, "sink")
        for host in (FIRST, SECOND):
            rig.run(host, "rm -f /run/not-ready")


def listen(rig: Rig, directory: Path) -> None:
    program = directory / "sink.py"
    program.write_text(SINK)
    prefix = where.nsenter_argv(rig.layout.netns(where.INTERNET))
    processes.spawn(rig.layout, "sink", [*prefix, "/usr/bin/python3", str(program), str(directory / "received")])
    answers = [*prefix, "curl", "-s", "-o", "/dev/null", URL]
    processes.wait_until("the receivers listen", lambda: processes.succeeds(answers), timeout=10)


@pytest.mark.parametrize(("seconds", "grade"), [(0, "good"), (0.2, "warning"), (0.6, "critical")])
def test_the_services_own_time_is_graded_and_a_slow_region_is_no_outage(
    watch: Watch, seconds: float, grade: str
) -> None:
    """HM-07: below 100 ms, to 500, and above; without the handshakes and the way there (X-51)."""

    def graded() -> bool:
        watch.run(FIRST)
        log = watch.rig.run(FIRST, f"cat {LOG}")
        return re.search(rf"{NAMES[FIRST]} - HEALTHY \(\d+ ms, {grade}\)", log) is not None

    watch.rig.write(FIRST, "/run/slow", str(seconds))
    try:
        # The machine may add time of its own.
        processes.wait_until(f"{grade} is seen", graded, timeout=60)
    finally:
        watch.rig.run(FIRST, "rm /run/slow")
    assert watch.slack() == []


def test_a_region_that_is_down_and_back_is_told_once_each_however_many_nodes_see_it(watch: Watch) -> None:
    watch.run()
    assert watch.slack() == []
    watch.rig.run(FIRST, "touch /run/not-ready")
    for _ in range(3):
        watch.run()
    watch.rig.run(FIRST, "rm /run/not-ready")
    for _ in range(2):
        watch.run()
    name = "[api.gxcoin.money] Kuala Lumpur"
    assert watch.slack() == [f"{name} is DOWN (HTTP 503)", f"{name} has RECOVERED"]
    key = f"api.gxcoin.money/{where.node(FIRST).public_address}"
    assert watch.pages() == [("trigger", key)] * 2 + [("resolve", key)] * 2, "one incident by its key"
    assert {each.body["routing_key"] for each in watch.messages("/page")} == {"canary-pagerduty-key"}


def test_a_node_that_swallows_packets_is_told_of_by_another_in_bounded_time_and_so_is_its_return(watch: Watch) -> None:
    netns.cut(watch.rig.layout, FIRST)
    try:
        for _ in range(2):
            started = time.monotonic()
            watch.run(SECOND)
            assert time.monotonic() - started < 9, "a time-out of 3 s, once for all regions"
    finally:
        netns.heal(watch.rig.layout, FIRST)
    watch.run()
    name = "[api.gxcoin.money] Kuala Lumpur"
    assert watch.slack() == [f"{name} is DOWN (HTTP 000)", f"{name} has RECOVERED"]


def test_what_could_not_be_told_is_told_as_soon_as_somebody_listens(watch: Watch, tmp_path: Path) -> None:
    processes.stop(watch.rig.layout, "sink")
    watch.rig.run(FIRST, "touch /run/not-ready")
    for _ in range(3):
        watch.run(SECOND)
    log = watch.rig.run(SECOND, f"cat {LOG}")
    assert "ALERT NOT SENT by Slack" in log
    assert "ALERT NOT SENT by PagerDuty" in log
    listen(watch.rig, tmp_path)
    for _ in range(2):
        watch.run(SECOND)
    assert watch.slack() == ["[api.gxcoin.money] Kuala Lumpur is DOWN (HTTP 503)"]
    assert len(watch.pages()) == 1


def test_a_certificate_that_ends_soon_is_told_once(watch: Watch) -> None:
    live, key = "/etc/letsencrypt/live/api.gxcoin.money", "ec -pkeyopt ec_paramgen_curve:prime256v1"
    watch.rig.run(
        FIRST,
        f"cp -a {live} /root/kept; rm {live}/*.pem; openssl req -x509 -newkey {key} -nodes -days 14"
        f" -subj /CN=api.gxcoin.money -addext subjectAltName=DNS:api.gxcoin.money"
        f" -keyout {live}/privkey.pem -out {live}/fullchain.pem 2>/dev/null; nginx -s reload",
    )
    trusted = watch.rig.run(SECOND, f"cat {edge_hosts.CA_BUNDLE}")
    watch.rig.write(SECOND, edge_hosts.CA_BUNDLE, trusted + watch.rig.run(FIRST, f"cat {live}/fullchain.pem"))
    try:
        for _ in range(3):
            watch.run(SECOND)
        assert watch.slack() == ["[api.gxcoin.money] the certificate of Kuala Lumpur ends in 13 days"]
        metrics = watch.rig.run(SECOND, f"cat {STATE}/gx-health-monitor.prom")
        assert (
            'gx_region_certificate_days{host="api.gxcoin.money",region="Kuala Lumpur",address="72.60.210.201"} 13\n'
            in metrics
        )
    finally:
        watch.rig.write(SECOND, edge_hosts.CA_BUNDLE, trusted)
        watch.rig.run(FIRST, f"rm -r {live}; cp -a /root/kept {live}; nginx -s reload")


def test_node_exporter_finds_the_metrics_where_debian_has_them(watch: Watch) -> None:
    watch.rig.run(SECOND, "mkdir -p /var/lib/prometheus/node-exporter")
    watch.run(SECOND)
    found = watch.rig.run(SECOND, "cat /var/lib/prometheus/node-exporter/gx-health-monitor.prom")
    host = 'host="api.gxcoin.money"'
    assert f'gx_region_up{{{host},region="Phoenix",address="217.196.51.190"}} 1\n' in found
    assert f"gx_health_monitor_last_run_seconds{{{host}}} 1" in found
    assert {line.split("{")[0] for line in found.splitlines()} == EDGE, "what rules and dashboards may use"


def test_the_monitor_tells_whether_nginx_answers_on_its_own_node(watch: Watch) -> None:
    def counted() -> dict[str, int]:
        watch.run(SECOND)
        lines = watch.rig.run(SECOND, "cat /var/lib/prometheus/node-exporter/gx-health-monitor.prom").splitlines()
        return {line.split("{")[0]: int(float(line.split()[-1])) for line in lines if line.startswith("nginx_")}

    watch.rig.run(SECOND, "mkdir -p /var/lib/prometheus/node-exporter")
    before, after = counted(), counted()
    assert before["nginx_up"] == 1
    assert before["nginx_connections_active"] >= 1
    assert after["nginx_http_requests_total"] > before["nginx_http_requests_total"] > 0
    watch.rig.run(SECOND, "nginx -s stop")
    try:
        assert counted() == {"nginx_up": 0}
    finally:
        watch.rig.run(SECOND, "nginx")


def test_the_log_is_rotated_and_written_on(watch: Watch) -> None:
    watch.run(SECOND)
    watch.rig.run(SECOND, "logrotate --force --state /root/rotated /etc/logrotate.d/gx-health-monitor")
    assert "HEALTHY" in watch.rig.run(SECOND, f"zcat {LOG}.1.gz")
    watch.run(SECOND)
    assert watch.rig.run(SECOND, f"cat {LOG}").count("HEALTHY") == len(NAMES)


def test_a_run_that_hangs_is_not_joined_by_another(watch: Watch) -> None:
    watch.run(SECOND)
    lines = watch.rig.run(SECOND, f"wc -l <{LOG}")
    watch.rig.run(SECOND, f"flock {STATE}/lock sh -c '{MONITOR}'")
    assert watch.rig.run(SECOND, f"wc -l <{LOG}") == lines


def test_the_receivers_addresses_are_roots_alone(watch: Watch) -> None:
    path = "/etc/gx-health-monitor/gx-health-monitor.secrets"
    assert watch.rig.run(SECOND, f"stat -c '%a %U' {path}").strip() == "600 root"
    assert "canary" not in watch.rig.run(SECOND, "cat /etc/gx-health-monitor/gx-health-monitor.conf")
