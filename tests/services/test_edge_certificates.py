"""Certificates on real hosts: certbot, Pebble, and the Cloudflare double for dns-01. Needs root."""

import re
import time
from collections.abc import Iterator

import pytest

from components.edge.certificate import DNS_CREDENTIALS, certificate_step
from components.edge.steps import DRIFT, Step
from sandbox import layout as where
from sandbox.cloudflare import service as cloudflare
from settings import stackfile
from settings.loader import load
from settings.model import Settings
from tests.services import edge_hosts
from tests.services.edge_hosts import FIRST, SECOND, STACK, Rig

HOST_NAME = "api.gxcoin.money"
LINEAGE = f"/etc/letsencrypt/renewal/{HOST_NAME}.conf"
SERIAL = f"openssl s_client -connect 127.0.0.1:443 -servername {HOST_NAME} </dev/null 2>/dev/null"
SERIAL += " | openssl x509 -noout -serial"


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    root = tmp_path_factory.mktemp("certificates")
    try:
        rig = edge_hosts.start(root)
        rig.provision_all()
        yield rig
    finally:
        edge_hosts.stop(root)


@pytest.fixture(scope="module")
def by_dns(rig: Rig) -> Settings:
    """The stack with dns-01, whose token can edit records and nothing else."""
    patch = {
        "edge": {"acme": {"challenge": "dns-01"}},
        "dns": {"baseUrl": where.CLOUDFLARE_API_URL, "zoneId": cloudflare.zone_id()},
        "secrets": {"acmeDnsToken": cloudflare.token(rig.layout, "certbot")},
    }
    return load(stackfile.merge(rig.config, patch), stack=STACK)


def steps(rig: Rig, settings: Settings, host: str) -> list[Step]:
    """The steps of a host with dns-01, in order; the records are known at once here."""
    found = Rig(rig.layout, settings, {}).steps(host)
    assert settings.edge is not None
    certificate = certificate_step(settings.edge, settings.dns, STACK, propagation_seconds=1)
    return [found["packages"], found["nginx"], found["dns-token"], certificate]


def test_a_change_to_dns_01_costs_each_node_one_order_and_needs_nobody_to_reach_it(rig: Rig, by_dns: Settings) -> None:
    before, old = rig.orders(), rig.run(SECOND, SERIAL)
    rig.run(SECOND, "nft 'table inet closed { chain in { type filter hook input priority 0; tcp dport 80 drop; }; }'")
    try:
        # Nginx's step asks its own port 80 and has nothing to do here.
        for step in steps(rig, by_dns, SECOND)[2:]:
            # The last of them asks port 80 of the host again; it comes by the loopback, which is let through.
            rig.run(SECOND, "nft 'insert rule inet closed in iif lo accept'")
            rig.succeed(SECOND, step)
    finally:
        rig.run(SECOND, "nft delete table inet closed")
    assert rig.orders() == before + 1
    assert "authenticator = dns-cloudflare" in rig.run(SECOND, f"cat {LINEAGE}")
    assert rig.run(SECOND, SERIAL) != old, "the certificate of the other challenge is still served"
    assert rig.get(f"https://{HOST_NAME}/identity/", host=SECOND).status == 200


def test_the_same_again_orders_nothing_and_is_no_drift(rig: Rig, by_dns: Settings) -> None:
    before = rig.orders()
    for step in steps(rig, by_dns, SECOND):
        rig.succeed(SECOND, step, reprovision=1)
        assert DRIFT not in rig.ssh(SECOND, "bash -s", step.check()).stdout
    assert rig.orders() == before


def test_a_renewal_as_the_schedule_runs_it_is_served_and_leaves_no_record(rig: Rig, by_dns: Settings) -> None:
    """The scheduled command knows by itself where the API and the private authority are."""
    old = rig.run(SECOND, SERIAL)
    *environment, entry = rig.run(SECOND, "cat /etc/cron.d/gx-certbot").splitlines()
    command = re.sub(r"^\S+ \S+ \S+ \S+ \S+ root ", "", entry)
    assert command == "certbot -q renew --no-random-sleep-on-renew"
    rig.run(SECOND, f"env {' '.join(environment)} {command} --force-renewal")
    deadline = time.monotonic() + 10
    while rig.run(SECOND, SERIAL) == old:
        assert time.monotonic() < deadline, "the old certificate is still served"
    names = f"curl -s -H 'Authorization: Bearer {cloudflare.token(rig.layout)}' "
    names += f"{where.CLOUDFLARE_API_URL}/zones/{cloudflare.zone_id()}/dns_records"
    assert "_acme-challenge" not in rig.run(SECOND, names)


def test_the_token_is_roots_alone_and_nowhere_else_on_the_host(rig: Rig, by_dns: Settings) -> None:
    token = cloudflare.token(rig.layout, "certbot")
    assert rig.run(SECOND, f"stat -c '%a %U' {DNS_CREDENTIALS}").strip() == "600 root"
    found = rig.ssh(SECOND, f"grep -rlsF {token} /etc /run /var/log /var/lib/gx-edge /var/lib/letsencrypt /root").stdout
    assert found.split() == [DNS_CREDENTIALS]


def test_a_renewal_that_fails_leaves_the_pair_that_is_served(rig: Rig, by_dns: Settings) -> None:
    """Nothing is half replaced when the authority does not answer, or when Nginx refuses its configuration."""
    old, renew = rig.run(SECOND, SERIAL), "certbot -q renew --force-renewal --no-random-sleep-on-renew"
    trust = f"REQUESTS_CA_BUNDLE={edge_hosts.CA_BUNDLE} CLOUDFLARE_API_URL={where.CLOUDFLARE_API_URL}"
    assert rig.ssh(SECOND, f"{trust} HTTPS_PROXY=http://127.0.0.1:9 {renew}").returncode != 0
    assert rig.run(SECOND, SERIAL) == old
    assert DRIFT not in rig.ssh(SECOND, "bash -s", steps(rig, by_dns, SECOND)[-1].check()).stdout
    rig.run(SECOND, "echo 'broken;' >/etc/nginx/conf.d/zz.conf")
    rig.ssh(SECOND, f"{trust} {renew}")
    assert rig.run(SECOND, SERIAL) == old, "reloaded with a configuration that does not pass"
    assert rig.get(f"https://{HOST_NAME}/identity/", host=SECOND).status == 200
    said = rig.ssh(SECOND, "bash -s", steps(rig, by_dns, SECOND)[-1].check()).stdout
    assert f"{DRIFT}Nginx does not serve the certificate" in said
    rig.run(SECOND, "rm /etc/nginx/conf.d/zz.conf")
    rig.succeed(SECOND, steps(rig, by_dns, SECOND)[-1])
    assert rig.run(SECOND, SERIAL) != old


def test_another_directory_is_one_order_and_its_certificate_is_served(rig: Rig) -> None:
    """From the staging directory to the real one: Nginx's configuration does not change, the certificate does."""
    before, old = rig.orders(), rig.run(FIRST, SERIAL)
    acme = rig.edge.acme.model_copy(update={"directory": where.ACME_DIRECTORY_URL + "?other"})
    changed = rig.edge.model_copy(update={"acme": acme})
    rig.succeed(FIRST, certificate_step(changed, None, STACK))
    assert rig.orders() == before + 1
    assert rig.run(FIRST, SERIAL) != old
    rig.succeed(FIRST, certificate_step(changed, None, STACK), reprovision=1)
    assert rig.orders() == before + 1


def test_a_private_authority_that_is_given_up_is_no_longer_what_renewals_trust(rig: Rig) -> None:
    """Certbot would verify the next one with its certificate alone, and no renewal would succeed."""
    acme = rig.edge.acme.model_copy(update={"directory": where.ACME_DIRECTORY_URL + "?other"})
    private = rig.edge.model_copy(update={"acme": acme})
    public = rig.edge.model_copy(update={"acme": acme.model_copy(update={"ca_bundle": None})})
    rig.succeed(FIRST, certificate_step(private, None, STACK))
    assert "REQUESTS_CA_BUNDLE" in rig.run(FIRST, "cat /etc/cron.d/gx-certbot")
    rig.succeed(FIRST, certificate_step(public, None, STACK))
    assert rig.run(FIRST, "grep -rl REQUESTS_CA_BUNDLE /etc/cron.d || true") == ""
    rig.succeed(FIRST, certificate_step(private, None, STACK))


@pytest.mark.parametrize(("days", "orders"), [(31, 0), (29, 1)])
def test_what_runs_twice_a_day_renews_in_the_last_thirty_days_and_not_before(rig: Rig, days: int, orders: int) -> None:
    """TLS-05, TLS-07: certbot goes by what is left, whatever the authority's validity is; this one's is 90 days."""
    live = f"/etc/letsencrypt/live/{HOST_NAME}"
    rig.run(
        FIRST,
        f"openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days {days} -subj /CN={HOST_NAME}"
        f" -addext subjectAltName=DNS:{HOST_NAME} -keyout /root/key -out /root/certificate 2>/dev/null;"
        f" cd {live}; cat /root/key >privkey.pem; cat /root/certificate | tee cert.pem >fullchain.pem",
    )
    before = rig.orders()
    *environment, entry = rig.run(FIRST, "cat /etc/cron.d/gx-certbot").splitlines()
    assert entry.startswith("17 5,17 * * * root ")
    rig.run(FIRST, f"env {' '.join(environment)} {entry.split(' root ')[1]}")
    assert rig.orders() == before + orders
    if orders:
        ends = rig.run(FIRST, f"openssl x509 -noout -checkend $((89 * 86400)) -in {live}/cert.pem; echo $?")
        assert ends.splitlines()[-1] == "0"
        assert rig.ssh(FIRST, f"openssl x509 -noout -checkend $((90 * 86400)) -in {live}/cert.pem").returncode == 1


@pytest.mark.parametrize("entry", ["gx-certbot", "gx-health-monitor"])
def test_cron_finds_what_is_roots(rig: Rig, entry: str) -> None:
    """The hook that reloads Nginx and the monitor's sendmail are in /usr/sbin, which cron itself does not look in."""
    *environment, _ = rig.run(FIRST, f"cat /etc/cron.d/{entry}").splitlines()
    found = rig.ssh(FIRST, f"env -i PATH=/usr/bin:/bin {' '.join(environment)} sh -c 'command -v nginx'").stdout
    assert found == "/usr/sbin/nginx\n"


def test_a_certificate_that_is_not_renewed_is_drift(rig: Rig) -> None:
    """An expired pair in the place of the real one, as after a month of failing renewals."""
    live = f"/etc/letsencrypt/live/{HOST_NAME}"
    rig.run(
        FIRST,
        f"cp -rL {live} /root/kept; rm {live}/*.pem;"
        f" openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 9 -subj /CN={HOST_NAME}"
        f" -keyout {live}/privkey.pem -out {live}/fullchain.pem 2>/dev/null",
    )
    said = rig.ssh(FIRST, "bash -s", rig.certificate().check()).stdout
    assert f"{DRIFT}the certificate of {HOST_NAME} ends in less than 30 days: it is not renewed" in said
    assert f"{DRIFT}Nginx does not serve the certificate in {live}" in said
