"""Many certificates: three origins behind a proxy that asks any of them, and an authority that fails. Needs root."""

import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from components.edge.steps import DRIFT
from sandbox import layout as where
from sandbox import processes
from sandbox.acme import service as acme
from tests.services import edge_hosts
from tests.services.edge_hosts import FIRST, ORIGINS, Rig

SEED = 5
ISSUANCES = int(os.environ.get("GX_EDGE_ISSUANCES", "3"))
RENEWALS = int(os.environ.get("GX_EDGE_RENEWALS", "4"))
HOST_NAME = "api.gxcoin.money"
DOCUMENT = Path(__file__).parent / "nginx" / "document.conf"
TRUST = f"REQUESTS_CA_BUNDLE={edge_hosts.CA_BUNDLE}"
# The command of the source document (section 4.6), with what it takes to run it unattended against this authority.
DOCUMENTED = f"{TRUST} certbot certonly --webroot -w /var/www/certbot -d {HOST_NAME} --quiet --non-interactive"
DOCUMENTED += f" --agree-tos --register-unsafely-without-email --force-renewal --server {where.ACME_DIRECTORY_URL}"
RENEW = f"{TRUST} certbot -q renew --force-renewal --no-random-sleep-on-renew"
SERVED = f"openssl s_client -connect 127.0.0.1:443 -servername {HOST_NAME} </dev/null 2>/dev/null"
SERVED += " | openssl x509 -noout -serial"
# Every validation is asked anew, as for names that were never proved.
ANEW = {"PEBBLE_AUTHZREUSE": "0"}
# Every eighth request has a nonce that is refused; certbot tries such a request once more. Validations take their time.
FAULTS = {**ANEW, "PEBBLE_WFE_NONCEREJECT": "12", "PEBBLE_VA_NOSLEEP": "0", "PEBBLE_VA_SLEEPTIME": "2"}
# Shakes hands until its standard input ends, as a strict client: says how often, and what went wrong.
VISITOR = """
import socket, ssl, sys, threading
address, name, roots = sys.argv[1:]
context = ssl.create_default_context(cafile=roots)
done = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), done.set()), daemon=True).start()
count = 0
while not done.wait(0.02):
    count += 1
    try:
        with context.wrap_socket(socket.create_connection((address, 443), 5), server_hostname=name): pass
    except OSError as error:
        print("failed:", error)
print(count)
"""


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    root = tmp_path_factory.mktemp("issuances")
    try:
        rig = edge_hosts.start(root, ORIGINS, ANEW)
        rig.provision_all()
        yield rig
    finally:
        edge_hosts.stop(root)


def forget(rig: Rig, host: str) -> None:
    """Take a host's certificate away; Nginx serves on with what it has read."""
    rig.run(host, f"certbot -q delete --non-interactive --cert-name {HOST_NAME}")


def test_every_issuance_succeeds_whichever_origin_is_asked(rig: Rig) -> None:
    """X-41: all origins order at the same time, and reload while the others are asked for challenges."""
    before = rig.orders()

    def issue(host: str) -> int:
        count = len(range(ORIGINS.index(where.node(host)), ISSUANCES, len(ORIGINS)))
        succeeded = 0
        for _ in range(count):
            forget(rig, host)
            old = rig.run(host, SERVED)
            done = rig.provision(host, rig.certificate())
            succeeded += done.returncode == 0 and rig.run(host, SERVED) != old
        return succeeded

    with ThreadPoolExecutor() as pool:
        succeeded = sum(pool.map(issue, [host.name for host in ORIGINS]))
    print(f"issued {succeeded} of {ISSUANCES} with {rig.orders() - before} orders")
    assert succeeded == ISSUANCES


def test_the_documents_own_way_fails_most_of_the_time(rig: Rig) -> None:
    """Its webroot is on the origin that ordered; the authority asks any of them, several times for one challenge."""
    for host in ORIGINS:
        rig.write(host.name, "/etc/nginx/conf.d/api.conf", DOCUMENT.read_text())
        rig.run(host.name, "nginx -t -q && nginx -s reload")
    try:
        done = [rig.ssh(ORIGINS[each % len(ORIGINS)].name, DOCUMENTED) for each in range(ISSUANCES)]
    finally:
        for host in ORIGINS:
            rig.configure(host.name)
    succeeded = sum(each.returncode == 0 for each in done)
    print(f"the document's way: {succeeded} of {ISSUANCES}")
    assert succeeded < ISSUANCES / 2
    assert any("Some challenges have failed" in each.stderr for each in done)


@pytest.fixture
def faulty(rig: Rig) -> Rig:
    """The same hosts with an authority that fails, where each has got a certificate all the same, if not at once."""
    acme.stop(rig.layout)
    acme.start(rig.layout, FAULTS)
    for host in ORIGINS:
        rig.write(host.name, edge_hosts.CA_BUNDLE, acme.bundle_path(rig.layout).read_text())
        forget(rig, host.name)
        # What the authority knew of its accounts is gone with it.
        rig.run(host.name, "rm -rf /etc/letsencrypt/accounts")
        deadline = time.monotonic() + 120
        while (done := rig.provision(host.name, rig.certificate())).returncode:
            assert time.monotonic() < deadline, done.stderr
    return rig


@contextmanager
def unresolvable(rig: Rig) -> Iterator[None]:
    """The authority's resolver answers SERVFAIL for the name: every validation fails."""
    inside = where.nsenter_argv(rig.layout.netns(where.CLOUDFLARE))

    def say(path: str) -> None:
        body = f'{{"host": "{HOST_NAME}."}}'
        processes.run([*inside, "curl", "-sf", "--json", body, f"{acme.DNS_MANAGEMENT_URL}/{path}"])

    say("set-servfail")
    try:
        yield
    finally:
        say("clear-servfail")


@contextmanager
def visited(rig: Rig, host: str) -> Iterator[list[str]]:
    """A visitor who shakes hands with a host all the time; what went wrong is in the list once the block has ended."""
    argv = [sys.executable, "-c", VISITOR, str(where.node(host).public_address), HOST_NAME]
    argv = [*where.nsenter_argv(rig.layout.netns(where.INTERNET)), *argv, str(acme.root_path(rig.layout))]
    visitor = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    failures: list[str] = []
    try:
        yield failures
    finally:
        *failed, count = visitor.communicate(timeout=60)[0].splitlines()
        failures += failed
        assert int(count) > 0


def test_while_renewals_fail_the_old_pair_is_served_and_never_a_broken_one(faulty: Rig) -> None:
    chosen = [each < max(1, RENEWALS // 4) for each in range(RENEWALS)]
    random.Random(SEED).shuffle(chosen)  # noqa: S311 - which renewals, not a secret
    served, succeeded = faulty.run(FIRST, SERVED), 0
    with visited(faulty, FIRST) as failures:
        for fails in chosen:
            if fails:
                with unresolvable(faulty):
                    done = faulty.ssh(FIRST, RENEW)
                assert done.returncode != 0
            else:
                done = faulty.ssh(FIRST, RENEW)
            if done.returncode == 0:
                succeeded += 1
                served = after_reload(faulty, served)
            assert faulty.run(FIRST, SERVED) == served, done.stderr
            differences = faulty.ssh(FIRST, "bash -s", faulty.certificate().check()).stdout
            assert DRIFT not in differences, differences
    print(f"renewed {succeeded} of {RENEWALS}; validations of {sum(chosen)} were made to fail")
    assert failures == []
    assert 0 < succeeded < RENEWALS


def after_reload(rig: Rig, old: str) -> str:
    """What is served in the place of the old certificate, once it is."""
    deadline = time.monotonic() + 20
    while (new := rig.run(FIRST, SERVED)) == old:
        assert time.monotonic() < deadline, "the old certificate is still served"
    return new
