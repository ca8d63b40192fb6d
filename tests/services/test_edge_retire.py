"""An edge node that leaves a stack is ended on, and what is not the stack's stays. Real hosts; needs root."""

import sys
from collections.abc import Iterator

import pytest

from settings import stackfile
from tests.services import edge_hosts
from tests.services.edge_hosts import FIRST, SECOND, STACK, Rig

SITE = "https://api.gxcoin.money"
KEPT = (
    "/etc/letsencrypt/live/api.gxcoin.money/fullchain.pem",
    "/etc/letsencrypt/renewal/api.gxcoin.money.conf",
    "/var/log/nginx/api.access.log",
)
METRICS = "find /var/lib -name 'gx-health-monitor*.prom'"
FOREIGN = "server { listen 8088; location / { return 200 foreign; } }\n"


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """Both hosts serve; the first one beside somebody else's site."""
    root = tmp_path_factory.mktemp("retire")
    try:
        rig = edge_hosts.start(root)
        rig.provision_all()
        rig.write(FIRST, "/etc/nginx/sites-enabled/foreign", FOREIGN)
        rig.run(FIRST, "nginx -s reload")
        yield rig
    finally:
        edge_hosts.stop(root)


def retire(rig: Rig, host: str, *options: str, state: str = "disabled") -> tuple[int, str]:
    config = stackfile.merge(rig.config, {"dns": {"origins": {host: state}}})
    argv = [sys.executable, "-m", "operations.edge_retire", STACK, host, *options]
    done = rig.at_the_desk(argv, config)
    return done.returncode, done.stdout + done.stderr


def test_a_node_in_dns_and_one_that_is_none_of_the_edges_are_refused(rig: Rig) -> None:
    status, said = retire(rig, FIRST, "--execute", state="enabled")
    assert (status, said) == (
        1,
        f"{FIRST}: in DNS, visitors are sent there. Fix: dns.origins.{FIRST}: disabled, pulumi up\n",
    )
    done = rig.at_the_desk([sys.executable, "-m", "operations.edge_retire", STACK, "srv1117946"])
    assert done.returncode == 1
    assert "not in edge.nodes" in done.stderr
    assert rig.get(f"{SITE}/identity/").status == 200


def test_by_default_it_says_what_would_end_and_ends_nothing(rig: Rig) -> None:
    before = rig.run(FIRST, "find /etc/nginx /etc/cron.d /etc/gx-health-monitor -ls; cat /run/nginx.pid")
    status, said = retire(rig, FIRST)
    assert status == 0, said
    assert "would end the health monitor gx-health-monitor\n" in said
    assert "would end the site api; Nginx goes on, for it serves others\n" in said
    assert rig.run(FIRST, "find /etc/nginx /etc/cron.d /etc/gx-health-monitor -ls; cat /run/nginx.pid") == before


def test_beside_a_foreign_site_nginx_goes_on_and_the_name_is_a_strangers(rig: Rig) -> None:
    kept = rig.run(FIRST, f"sha256sum {' '.join(KEPT[:2])}; cat /etc/nginx/sites-enabled/foreign")
    rig.run(
        FIRST, "mkdir -p /var/lib/prometheus/node-exporter; gx-health-monitor /etc/gx-health-monitor/*.conf || true"
    )
    assert rig.run(FIRST, METRICS) != ""
    status, said = retire(rig, FIRST, "--execute")
    assert status == 0, said
    assert rig.run(FIRST, METRICS) == "", "what it saw last would be reported for ever: a region that is up"
    rig.run(
        FIRST, "until ! curl -sk --resolve api.gxcoin.money:443:127.0.0.1 https://api.gxcoin.money/; do sleep 0.1; done"
    )
    assert rig.get(f"{SITE}/identity/").status == 0
    assert rig.run(FIRST, "curl -s http://127.0.0.1:8088/") == "foreign"
    assert rig.run(FIRST, "ls /etc/cron.d /etc/gx-health-monitor").count("gx-health-monitor") == 1
    assert rig.run(FIRST, f"sha256sum {' '.join(KEPT[:2])}; cat /etc/nginx/sites-enabled/foreign") == kept
    assert rig.get(f"{SITE}/identity/", host=SECOND).status == 200


def test_again_there_is_nothing_to_end_and_provisioning_brings_it_back_without_an_order(rig: Rig) -> None:
    status, said = retire(rig, FIRST, "--execute")
    assert (status, said) == (0, f"nothing of {STACK} runs here; certificates and files of others are as they were\n")
    orders = rig.orders()
    for step in rig.steps(FIRST).values():
        rig.succeed(FIRST, step)
    assert rig.get(f"{SITE}/identity/").status == 200
    assert rig.orders() == orders


def test_where_another_site_would_not_be_served_nothing_changes(rig: Rig) -> None:
    rig.write(FIRST, "/etc/nginx/sites-enabled/broken", "server { listen 8089; no_such_directive; }\n")
    try:
        status, said = retire(rig, FIRST, "--execute")
        assert status == 1
        assert "no_such_directive" in said
        assert rig.get(f"{SITE}/identity/").status == 200
        assert "gx-health-monitor" in rig.run(FIRST, "ls /etc/cron.d")
    finally:
        rig.run(FIRST, "rm /etc/nginx/sites-enabled/broken")


def test_with_nothing_else_to_serve_nginx_ends_too_and_the_certificate_stays(rig: Rig) -> None:
    rig.write(SECOND, "/usr/local/bin/nginx", '#!/bin/sh\n[ "$*" = "-s stop" ] || exec /usr/sbin/nginx "$@"\nexit 1\n')
    rig.run(SECOND, "chmod +x /usr/local/bin/nginx")
    assert retire(rig, SECOND, "--execute")[0] == 1
    rig.run(SECOND, "rm /usr/local/bin/nginx; pgrep -x nginx")
    # What was cut short is run again.
    status, said = retire(rig, SECOND, "--execute")
    assert status == 0, said
    assert "the site api, and Nginx, which has no other\n" in said
    rig.run(SECOND, "while pgrep -x nginx >/dev/null; do sleep 0.1; done")
    rig.run(SECOND, f"ls {' '.join(KEPT)}")
