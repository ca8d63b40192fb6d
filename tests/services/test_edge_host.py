"""The provisioning steps on real hosts: sshd, Debian's Nginx and certbot, Pebble, the proxy in front. Needs root."""

import json
import re
import time
from collections.abc import Iterator

import pytest

from components.edge.nginx import nginx_step
from components.edge.steps import Step
from sandbox import layout as where
from sandbox import processes
from settings.model import Edge, Exposure
from tests.services import edge_hosts
from tests.services.edge_hosts import FIRST, HOSTS, SECOND, Rig

HOST_NAME = "api.gxcoin.money"
SITE = f"https://{HOST_NAME}"
HEADERS = {
    "strict-transport-security": "max-age=31536000; includeSubDomains; preload",
    "x-frame-options": "SAMEORIGIN",
    "x-content-type-options": "nosniff",
    "x-xss-protection": "1; mode=block",
}
LOG = "/var/log/gx-health-monitor.log"
FOREIGN = "server { listen 8081; server_name old.example; return 200 foreign; }\n"


def workers(rig: Rig, host: str) -> set[str]:
    """Process ids of Nginx's workers; a reload gives others."""
    rig.await_workers(host)
    return set(rig.run(host, "pgrep -P $(cat /run/nginx.pid)").split())


def tree(rig: Rig, host: str) -> str:
    return rig.run(host, "cd /etc/nginx && find -L . -type f | sort | xargs sha256sum; readlink gx")


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    root = tmp_path_factory.mktemp("edge")
    try:
        yield edge_hosts.start(root)
    finally:
        edge_hosts.stop(root)


@pytest.fixture(scope="module")
def rig(bare: Rig) -> Rig:
    """Both hosts provisioned from nothing, at the same time, as `pulumi up` does it."""
    bare.write(FIRST, "/etc/nginx/conf.d/old.conf", FOREIGN)
    bare.write(FIRST, "/etc/nginx/conf.d/api.conf", "# written by hand\n")
    bare.provision_all()
    return bare


def test_both_hosts_serve_a_certificate_of_the_authority_for_the_public_name(rig: Rig) -> None:
    for host in (FIRST, SECOND):
        reply = rig.get(f"{SITE}/identity/users?id=7", host=host)
        assert reply.status == 200
        assert json.loads(reply.body)["path"] == "/identity/users?id=7"
        shown = rig.run(host, f"openssl s_client -connect 127.0.0.1:443 -servername {HOST_NAME} </dev/null 2>/dev/null")
        assert "Pebble Intermediate CA" in shown
    assert rig.orders() == len(HOSTS)


def test_security_headers_survive_in_every_location_and_replace_the_services_own(rig: Rig) -> None:
    """An ``add_header`` in a location would silently drop those of the server."""
    expected = {"/identity/": 200, "/health": 200, "/admin/": 403, "/nothing": 404, "/tax/": 502}
    for path, status in expected.items():
        reply = rig.get(SITE + path)
        assert reply.status == status, path
        assert {name: reply.headers.get(name) for name in HEADERS} == HEADERS, path
        assert reply.headers["server"] == "nginx"


def test_a_prefix_matches_whole_segments_alone(rig: Rig) -> None:
    assert rig.get(f"{SITE}/identity").status == 200
    assert rig.get(f"{SITE}/identityfoo").status == 404


def test_nginx_answers_its_own_errors_as_json_with_their_status(rig: Rig) -> None:
    reply = rig.get(f"{SITE}/nothing")
    assert json.loads(reply.body)["status"] == reply.status == 404


def test_health_is_the_services_readiness(rig: Rig) -> None:
    seen = json.loads(rig.get(f"{SITE}/health").body)
    # A kept connection may lead to a pod that is ending.
    assert (seen["path"], seen["headers"]["connection"]) == ("/readyz", "close")
    rig.run(FIRST, "touch /run/not-ready")
    try:
        assert rig.get(f"{SITE}/health").status == 503
    finally:
        rig.run(FIRST, "rm /run/not-ready")


def test_other_names_are_refused_without_a_certificate(rig: Rig) -> None:
    assert rig.get("https://other.example/").status == 0
    assert rig.get("http://other.example/").status == 0


def test_plain_http_leads_to_https(rig: Rig) -> None:
    reply = rig.get(f"http://{HOST_NAME}/identity/x?y=1")
    assert (reply.status, reply.headers["location"]) == (301, f"{SITE}/identity/x?y=1")


def test_a_client_cannot_claim_an_address(rig: Rig) -> None:
    names = ("CF-Connecting-IP", "X-Forwarded-For", "X-Real-IP", "True-Client-IP", "Forwarded")
    forged = [word for name in names for word in ("-H", f"{name}: for=192.0.2.1")]
    seen = json.loads(rig.get(f"{SITE}/identity/", *forged, source="198.51.100.10").body)["headers"]
    assert "192.0.2.1" not in "".join(seen.values())
    assert {seen[name] for name in ("cf-connecting-ip", "x-forwarded-for", "x-real-ip")} == {"198.51.100.10"}


def test_a_client_above_the_rate_gets_429_and_another_is_served(rig: Rig) -> None:
    started = time.monotonic()
    statuses = rig.burst(f"{SITE}/identity/", 80, source="198.51.100.10")
    allowed = 1 + rig.edge.rate_limit.burst + rig.edge.rate_limit.requests_per_second * (time.monotonic() - started)
    assert rig.edge.rate_limit.burst <= statuses.count(200) <= allowed
    assert statuses.count(429) == 80 - statuses.count(200)
    assert rig.get(f"{SITE}/identity/", source="203.0.113.10").status == 200


def test_clients_behind_one_address_of_cloudflares_do_not_share_a_rate(rig: Rig) -> None:
    """X-37: both come from the proxy's one address, which picks a host at random for each request."""
    greedy, modest = where.CLIENT_ADDRESSES
    started = time.monotonic()
    statuses = rig.burst(f"{SITE}/identity/", 120, source=greedy, to=where.CLOUDFLARE_PUBLIC_ADDRESS)
    rest = rig.burst(f"{SITE}/identity/", 10, source=modest, to=where.CLOUDFLARE_PUBLIC_ADDRESS)
    limit = rig.edge.rate_limit
    allowed = len(HOSTS) * (1 + limit.burst + limit.requests_per_second * (time.monotonic() - started))
    assert statuses.count(200) <= allowed
    assert statuses.count(429) == 120 - statuses.count(200)
    assert 429 in statuses or allowed >= 120
    assert set(rest) == {200}


def test_a_client_that_names_others_as_itself_is_limited_all_the_same(rig: Rig) -> None:
    """Past Cloudflare the header is worth nothing: whoever changes it with every request gets no more than the rate."""
    host = where.node(FIRST).public_address
    script = "for i in $(seq 80); do curl -sk -m 20 -o /dev/null -w '%{http_code}\\n' --interface 203.0.113.10"
    script += f' --connect-to ::{host}: -H "CF-Connecting-IP: 192.0.2.$i" {SITE}/identity/ & done; wait'
    started = time.monotonic()
    prefix = where.nsenter_argv(rig.layout.netns(where.INTERNET))
    statuses = processes.run([*prefix, "bash", "-c", script]).split()
    allowed = 1 + rig.edge.rate_limit.burst + rig.edge.rate_limit.requests_per_second * (time.monotonic() - started)
    assert statuses.count("200") <= allowed
    assert statuses.count("429") == 80 - statuses.count("200")
    assert "429" in statuses or allowed >= 80


def test_a_client_is_limited_whatever_address_of_its_own_network_it_speaks_from(rig: Rig) -> None:
    """A subscriber has a /64 of IPv6 or more, and may speak from a new address with every request (RFC 6177)."""
    host = where.node(FIRST).public_address
    ask = f"curl -sk -m 20 -o /dev/null -w '%{{http_code}}\\n' --interface {where.CLOUDFLARE_PUBLIC_ADDRESS}"
    ask += f' --connect-to ::{host}: {SITE}/identity/ -H "CF-Connecting-IP: 2001:db8:0:'
    script = f'for i in $(seq 80); do {ask}1:$i::1" & done; wait; {ask}2::1"'
    started = time.monotonic()
    prefix = where.nsenter_argv(rig.layout.netns(where.CLOUDFLARE))
    *statuses, neighbour = processes.run([*prefix, "bash", "-c", script]).split()
    assert neighbour == "200"
    allowed = 1 + rig.edge.rate_limit.burst + rig.edge.rate_limit.requests_per_second * (time.monotonic() - started)
    assert statuses.count("200") <= allowed
    assert statuses.count("429") == 80 - statuses.count("200")
    assert "429" in statuses or allowed >= 80


def test_health_and_challenges_are_never_limited(rig: Rig) -> None:
    assert set(rig.burst(f"{SITE}/health", 60, source="198.51.100.10")) == {200}


def test_a_challenge_on_one_host_is_answered_by_the_other_and_never_in_circles(rig: Rig) -> None:
    path = "/.well-known/acme-challenge/probe"
    rig.run(SECOND, "echo proof > /var/www/certbot/.well-known/acme-challenge/probe")
    assert rig.get(f"http://{HOST_NAME}{path}", host=FIRST).body == "proof\n"
    assert rig.get(f"http://{HOST_NAME}{path}-none", host=FIRST).status == 404


def test_running_every_step_again_reloads_nothing_and_orders_nothing(rig: Rig) -> None:
    before = workers(rig, FIRST), rig.orders(), tree(rig, FIRST)
    for step in rig.steps(FIRST).values():
        rig.succeed(FIRST, step, reprovision=1)
    assert (workers(rig, FIRST), rig.orders(), tree(rig, FIRST)) == before


def test_a_change_by_hand_is_put_right_by_running_the_step_again(rig: Rig) -> None:
    rig.write(FIRST, "/etc/nginx/conf.d/api.conf", "# by hand\n")
    rig.succeed(FIRST, rig.nginx(FIRST))
    assert rig.get(f"{SITE}/identity/").status == 200
    assert rig.run(FIRST, "readlink /etc/nginx/conf.d/api.conf").strip() == "../gx/mainnet/site.conf"


def test_a_configuration_that_nginx_refuses_changes_nothing_and_says_why(rig: Rig) -> None:
    good = rig.nginx(FIRST)
    broken = Step(
        title=good.title,
        script=good.script,
        files={**good.files, "site/limits.conf": "client_max_body_size lots;\n"},
    )
    before = workers(rig, FIRST), tree(rig, FIRST)
    done = rig.provision(FIRST, broken)
    assert done.returncode != 0
    assert "invalid value" in done.stderr and "nothing was changed" in done.stderr
    assert (workers(rig, FIRST), tree(rig, FIRST)) == before


def test_a_configuration_that_passes_the_test_and_does_not_serve_is_rolled_back(rig: Rig) -> None:
    good = rig.nginx(FIRST)
    mute = Step(
        title=good.title,
        script=good.script,
        files={**good.files, "site/acme.conf": "if ($host) { return 444; }\n"},
    )
    before = tree(rig, FIRST)
    done = rig.provision(FIRST, mute)
    assert done.returncode != 0
    assert "the previous state is back" in done.stderr
    assert tree(rig, FIRST) == before
    assert rig.get(f"{SITE}/identity/").status == 200


def test_files_of_others_are_served_as_before_and_replaced_ones_are_backed_up(rig: Rig) -> None:
    assert rig.run(FIRST, "curl -s -H 'Host: old.example' http://127.0.0.1:8081/") == "foreign"
    found = rig.run(
        FIRST, "cd $(ls -d /var/backups/gx-edge/*/etc/nginx | head -n 1) && find . -type f -o -type l | sort"
    )
    assert {"./nginx.conf", "./conf.d/api.conf", "./sites-enabled/default"} <= set(found.split())


def test_a_changed_setting_reloads_once_and_is_in_force(rig: Rig) -> None:
    opened: Edge = rig.edge.model_copy(update={"admin_allow": ("198.51.100.0/24",)})
    before = workers(rig, SECOND)
    rig.configure(SECOND, opened)
    assert workers(rig, SECOND).isdisjoint(before)
    assert rig.get(f"{SITE}/admin/", host=SECOND, source="198.51.100.10").status == 502
    assert rig.get(f"{SITE}/admin/", host=SECOND, source="203.0.113.10").status == 403


def test_no_spelling_of_admin_reaches_a_gateway(rig: Rig) -> None:
    """Express, for one, takes /Admin for /admin (https://expressjs.com/en/4x/api.html#express.router)."""
    behind = {"expose": Exposure.GATEWAY, "gateway_service": "svc-identity"}
    rig.configure(SECOND, rig.edge.model_copy(update=behind))
    try:
        assert rig.get(f"{SITE}/administrators", host=SECOND).status == 200
        for path in ("/admin", "/admin/x", "/Admin", "/ADMIN/x", "/%41dmin/x", "//Admin/x", "/x/../aDmin"):
            assert rig.get(SITE + path, "--path-as-is", host=SECOND).status in {403, 404}, path
    finally:
        rig.configure(SECOND, rig.edge)


def test_another_stack_on_the_same_host_serves_beside_the_first_and_leaves_what_it_owns(rig: Rig) -> None:
    """X-34, X-78."""
    other = rig.edge.model_copy(update={"hostname": "test-api.gxcoin.money"})
    shared = rig.run(SECOND, "cat /etc/nginx/gx/host/http.conf /etc/nginx/gx/mainnet/*.conf | sha256sum")
    rig.succeed(SECOND, nginx_step(SECOND, other, rig.settings.cluster.nodes, rig.settings.services, "testnet"))
    assert rig.get("http://test-api.gxcoin.money/x", host=SECOND).headers["location"].startswith("https://test-api.")
    assert rig.get(f"{SITE}/identity/", host=SECOND).status == 200
    assert rig.run(SECOND, "cat /etc/nginx/gx/host/http.conf /etc/nginx/gx/mainnet/*.conf | sha256sum") == shared


def test_a_renewed_certificate_is_served_at_once(rig: Rig) -> None:
    serial = f"openssl s_client -connect 127.0.0.1:443 -servername {HOST_NAME} </dev/null 2>/dev/null"
    serial += " | openssl x509 -noout -serial"
    before = rig.run(SECOND, serial)
    renew = f"REQUESTS_CA_BUNDLE={edge_hosts.CA_BUNDLE} certbot -q renew --force-renewal --no-random-sleep-on-renew"
    rig.run(SECOND, renew)
    deadline = time.monotonic() + 10
    while rig.run(SECOND, serial) == before:
        assert time.monotonic() < deadline, "the old certificate is still served"


def test_the_monitor_says_once_that_a_region_is_down_and_once_that_it_is_back(rig: Rig) -> None:
    """Failures before the alert: 2 (HM-05, HM-14, X-50)."""
    # Debian's Exim delivers in a process that outlives the answer, for minutes when the other side is slow.
    delivery = "sleep 120 >/dev/null 2>&1 & echo $! >>/root/deliveries"
    rig.write(SECOND, "/usr/local/bin/sendmail", f"#!/bin/sh\ncat >>/root/mail\n{delivery}\n")
    rig.run(SECOND, "chmod 0755 /usr/local/bin/sendmail")
    alerting = rig.edge.model_copy(update={"monitor": rig.edge.monitor.model_copy(update={"email": "ops@example.org"})})
    rig.succeed(SECOND, Rig(rig.layout, rig.settings.model_copy(update={"edge": alerting}), rig.config).monitor(SECOND))
    # cron's own runs would be counted below.
    rig.run(SECOND, "rm -rf /etc/cron.d/gx-health-monitor /var/lib/gx-edge/gx-health-monitor; truncate -s 0 " + LOG)
    monitor = "gx-health-monitor /etc/gx-health-monitor/gx-health-monitor.conf || test $? = 1"
    rig.run(SECOND, monitor)
    log = rig.run(SECOND, f"cat {LOG}")
    assert re.search(r"^\[.+\] ✓ Phoenix - HEALTHY \(\d+ ms, (good|warning|critical)\)$", log, re.MULTILINE)
    assert re.search(r"^\[.+\] ✓ Kuala Lumpur - HEALTHY", log, re.MULTILINE)
    rig.run(FIRST, "touch /run/not-ready")
    for _ in range(4):
        rig.run(SECOND, monitor)
    rig.run(FIRST, "rm /run/not-ready")
    rig.run(SECOND, monitor)
    assert rig.run(SECOND, f"cat {LOG}").count("✗ Kuala Lumpur - DOWN (HTTP 503)") == 4
    rig.run(SECOND, "kill $(cat /root/deliveries)")
    subjects = [line for line in rig.run(SECOND, "cat /root/mail").splitlines() if line.startswith("Subject:")]
    assert subjects == [
        f"Subject: [{HOST_NAME}] Kuala Lumpur is DOWN (HTTP 503)",
        f"Subject: [{HOST_NAME}] Kuala Lumpur has RECOVERED",
    ]
    metrics = rig.run(SECOND, "cat /var/lib/gx-edge/gx-health-monitor/gx-health-monitor.prom")
    assert f'gx_region_up{{host="{HOST_NAME}",region="Kuala Lumpur",address="72.60.210.201"}} 1' in metrics
    assert "gx_region_certificate_days" in metrics
