"""The internet of the sandbox: visitors reach origins through the Cloudflare double, operators reach nodes by SSH.

Two nodes without Kubernetes, in a sandbox of their own.
"""

import json
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from sandbox import layout as where
from sandbox import netns, processes
from sandbox.acme import service as acme
from sandbox.cloudflare import authority
from sandbox.cloudflare import service as cloudflare
from sandbox.cluster import hardware
from sandbox.edge import service as edge
from sandbox.layout import Layout, NodeSpec

HOST = "api.gxcoin.money"
ROOT = Path(__file__).resolve().parents[2]
KUL, PHX = where.NODES[:2]
SITE = (Path(__file__).parent / "files/site.conf").read_text()
MOUNTS = Path(hardware.__file__).parent / "node-mounts.sh"
SELF_SIGNED = (
    f"openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN={HOST} "
    f"-addext subjectAltName=DNS:{HOST} -keyout /etc/nginx/site.key -out /etc/nginx/site.pem"
)


@dataclass(frozen=True)
class Reply:
    """What a visitor got: status, headers in lower case, body, seconds."""

    status: int
    headers: dict[str, str]
    body: str
    seconds: float


class Internet:
    """A running sandbox internet with two bare nodes."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout

    def inside(self, *argv: str, stdin: str | None = None) -> str:
        return netns.run_in(self.layout, where.INTERNET, argv, stdin=stdin)

    def visit(self, url: str, *options: str) -> Reply:
        """One request, as curl of a visitor who trusts the edge and asks the public DNS."""
        begun = time.monotonic()
        trust = ["--cacert", str(authority.certificate_path(self.layout))]
        printed = self.inside("curl", "-s", "-i", "-m", "20", *trust, *options, url)
        head, _, body = printed.replace("\r\n", "\n").partition("\n\n")
        first, *fields = head.splitlines()
        headers = {name.lower(): value for name, _, value in (field.partition(": ") for field in fields)}
        return Reply(int(first.split()[1]), headers, body, time.monotonic() - begun)

    def api(self, method: str, path: str, body: object = None) -> Any:  # noqa: ANN401 - an object or a list
        """A request to the Cloudflare API as the operator; its result."""
        bearer = f"Authorization: Bearer {cloudflare.token(self.layout)}"
        url = f"{where.CLOUDFLARE_API_URL}/zones/{cloudflare.zone_id()}{path}"
        answer = json.loads(self.inside("curl", "-s", "-X", method, "-H", bearer, "-d", json.dumps(body or {}), url))
        assert answer["success"], answer
        return answer["result"]

    def ssh_argv(self, node: NodeSpec, *options: str) -> list[str]:
        key = edge.operator_key(self.layout)
        pinned = ["-o", f"UserKnownHostsFile={key.parent / 'known_hosts'}", "-o", "BatchMode=yes"]
        return ["ssh", "-i", str(key), *pinned, *options, f"root@{node.public_address}"]

    def ssh(self, node: NodeSpec, script: str, *options: str) -> str:
        return self.inside(*self.ssh_argv(node, *options), "bash -eu -s", stdin=script)

    def point_at(self, *nodes: NodeSpec, ssl: str, **settings: str) -> None:
        """Make the zone hold one proxied record per node, and no other, under an SSL mode."""
        for record in self.api("GET", "/dns_records"):
            self.api("DELETE", f"/dns_records/{record['id']}")
        for node in nodes:
            record = {"type": "A", "name": HOST, "content": node.public_address, "ttl": 1, "proxied": True}
            self.api("POST", "/dns_records", record)
        for name, value in {"always_use_https": "off", **settings, "ssl": ssl}.items():
            self.api("PATCH", f"/settings/{name}", {"value": value})

    def addresses(self, host: str) -> set[str]:
        """What the public DNS answers on the internet machine."""
        done = subprocess.run(
            [*netns.enter_argv(self.layout, where.INTERNET), "getent", "ahostsv4", host],
            capture_output=True,
            text=True,
            check=False,
        )
        return {line.split()[0] for line in done.stdout.splitlines()}


def boot(layout: Layout, node: NodeSpec) -> None:
    """A node without Kubernetes."""
    netns.start(layout, node.name)
    disk = layout.data(node.name)
    hardware.write(disk / "hardware", cpus=2, memory_gib=1)
    netns.run_in(layout, node.name, ["sh", str(MOUNTS), str(disk), node.name, str(layout.root), str(ROOT)])
    resolver = f"nameserver {where.CLOUDFLARE_ADDRESS}\n"
    netns.host_path(layout, node.name, "/etc/resolv.conf").write_text(resolver)


@pytest.fixture(scope="module")
def internet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Internet]:
    layout = Layout(tmp_path_factory.mktemp("checkout"))
    layout.runtime.mkdir()
    machines = (where.CLOUDFLARE, KUL.name, PHX.name)
    try:
        netns.start(layout, where.INTERNET)
        acme.start(layout)
        cloudflare.start(layout)
        for node in (KUL, PHX):
            boot(layout, node)
        edge.start(layout)
        yield Internet(layout)
    finally:
        edge.stop(layout)
        cloudflare.stop(layout)
        acme.stop(layout)
        for name in machines:
            netns.remove(layout, name)
        netns.power_off(layout, where.INTERNET)


@pytest.fixture(scope="module")
def served(internet: Internet) -> Internet:
    """Both nodes serve the site with a certificate nobody trusts."""
    for node in (KUL, PHX):
        site = f"cat > /etc/nginx/sites-enabled/default <<'SITE'\n{SITE}\nSITE\n"
        internet.ssh(node, f"{SELF_SIGNED} 2>/dev/null\n{site}mkdir -p /var/www/certbot\nnginx -t 2>/dev/null\nnginx\n")
    return internet


def test_a_fresh_node_is_a_debian_host_with_nginx_installed_and_not_running(internet: Internet) -> None:
    said = internet.ssh(KUL, "hostname; ls /etc/nginx/sites-enabled /etc/letsencrypt; pgrep -x nginx || echo no nginx")
    assert said.split("\n")[0] == KUL.name
    assert "default" in said
    assert "no nginx" in said
    assert "live" not in said


def test_a_node_changes_its_own_files_and_not_another_nodes(internet: Internet) -> None:
    directories = (
        "/etc/nginx",
        "/usr/bin",
        "/usr/local/bin",
        "/var/www",
        "/var/lib",
        "/var/spool/cron",
        "/root",
    )
    internet.ssh(KUL, f"for d in {' '.join(directories)}; do echo mine > $d/mine; done")
    assert internet.ssh(PHX, f"ls {' '.join(directories)} | grep -c mine || true").strip() == "0"
    assert [d for d in directories if Path(d, "mine").exists()] == []


def test_only_the_operators_key_logs_in(internet: Internet, tmp_path: Path) -> None:
    stranger = tmp_path / "key"
    processes.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(stranger)])
    argv = ["ssh", "-i", str(stranger), "-o", "StrictHostKeyChecking=no", "-o", "IdentitiesOnly=yes"]
    argv += ["-o", f"UserKnownHostsFile={tmp_path / 'known'}", "-o", "BatchMode=yes", f"root@{KUL.address}", "true"]
    with pytest.raises(processes.SandboxError, match="Permission denied"):
        internet.inside(*argv)


def test_a_host_key_other_than_the_pinned_one_is_noticed(internet: Internet, tmp_path: Path) -> None:
    known = tmp_path / "known"
    known.write_text(f"{KUL.public_address} {edge.host_key(internet.layout, PHX)}\n")
    argv = ["ssh", "-i", str(edge.operator_key(internet.layout)), "-o", f"UserKnownHostsFile={known}"]
    with pytest.raises(processes.SandboxError, match="Host key verification failed"):
        internet.inside(*argv, "-o", "BatchMode=yes", f"root@{KUL.public_address}", "true")


def test_sshd_takes_no_environment_but_the_language(internet: Internet) -> None:
    argv = [*internet.ssh_argv(KUL, "-o", "SetEnv=SECRET=x LC_PROBE=y"), 'echo "${SECRET-none} ${LC_PROBE-none}"']
    assert internet.inside(*argv).strip() == "none y"


def test_the_public_dns_follows_the_records(internet: Internet) -> None:
    internet.point_at(KUL, PHX, ssl="full")
    assert internet.addresses(HOST) == {where.CLOUDFLARE_PUBLIC_ADDRESS}
    grey = internet.api(
        "POST", "/dns_records", {"type": "A", "name": "grey", "content": "72.61.81.3", "ttl": 60, "proxied": False}
    )
    assert internet.addresses("grey.gxcoin.money") == {"72.61.81.3"}
    internet.api("DELETE", f"/dns_records/{grey['id']}")
    assert internet.addresses("grey.gxcoin.money") == set()
    internet.point_at(ssl="full")
    assert internet.addresses(HOST) == set()


def test_a_visitor_reaches_every_origin_by_chance_and_is_named_to_it(served: Internet) -> None:
    served.point_at(KUL, PHX, ssl="full")
    replies = [served.visit(f"https://{HOST}/identity/users?page=2") for _ in range(24)]
    assert {reply.status for reply in replies} == {200}
    assert {reply.headers["x-sandbox-origin"] for reply in replies} == {KUL.public_address, PHX.public_address}
    seen = json.loads(replies[0].body)
    assert seen["from"] == where.CLOUDFLARE_PUBLIC_ADDRESS
    assert seen["visitor"] == where.INTERNET_ADDRESS
    assert (seen["scheme"], seen["uri"]) == ("https", "/identity/users?page=2")


def test_a_visitor_cannot_claim_another_address(served: Internet) -> None:
    served.point_at(KUL, ssl="full")
    forged = ("-H", "CF-Connecting-IP: 10.0.0.1", "--interface", where.CLIENT_ADDRESSES[0])
    seen = json.loads(served.visit(f"https://{HOST}/", *forged).body)
    assert seen["visitor"] == where.CLIENT_ADDRESSES[0]


def test_strict_mode_refuses_an_origin_whose_certificate_nobody_issued(served: Internet) -> None:
    served.point_at(KUL, ssl="strict")
    assert served.visit(f"https://{HOST}/").status == 526
    served.point_at(KUL, ssl="full")
    assert served.visit(f"https://{HOST}/").status == 200


def test_flexible_mode_asks_the_origin_without_encryption(served: Internet) -> None:
    served.point_at(KUL, ssl="flexible")
    reply = served.visit(f"https://{HOST}/")
    assert reply.status == 200
    assert json.loads(reply.body)["scheme"] == "https"


def test_plain_http_passes_through_unless_the_zone_redirects(served: Internet) -> None:
    served.point_at(KUL, ssl="strict")
    assert served.visit(f"http://{HOST}/x").status == 200
    served.point_at(KUL, ssl="strict", always_use_https="on")
    reply = served.visit(f"http://{HOST}/x?y=1")
    assert (reply.status, reply.headers["location"]) == (301, f"https://{HOST}/x?y=1")


def test_certbot_gets_a_certificate_over_http_that_strict_mode_accepts(served: Internet) -> None:
    served.point_at(KUL, ssl="strict")
    bundle = served.layout.runtime / "ca/edge-ca.pem"
    served.ssh(
        KUL,
        f"export REQUESTS_CA_BUNDLE={bundle}\n"
        f"certbot certonly --non-interactive --agree-tos -m ops@example.org --server {where.ACME_DIRECTORY_URL} "
        f"--webroot -w /var/www/certbot -d {HOST} --quiet\n"
        f"cp -L /etc/letsencrypt/live/{HOST}/fullchain.pem /etc/nginx/site.pem\n"
        f"cp -L /etc/letsencrypt/live/{HOST}/privkey.pem /etc/nginx/site.key\n"
        "nginx -s reload\n",
    )
    processes.wait_until(
        "the new certificate is served", lambda: served.visit(f"https://{HOST}/").status == 200, timeout=60
    )


def test_an_origin_that_refuses_is_passed_over_once_for_what_may_be_repeated(served: Internet) -> None:
    served.point_at(KUL, PHX, ssl="full")
    served.ssh(PHX, "nginx -s stop")
    try:
        reads = [served.visit(f"https://{HOST}/") for _ in range(12)]
        assert {reply.status for reply in reads} == {200}
        assert max(reply.seconds for reply in reads) < 2, "a refusal took as long as no answer"
        writes = {served.visit(f"https://{HOST}/", "-X", "POST", "-d", "a=b").status for _ in range(24)}
        assert writes == {200, 521}
    finally:
        served.ssh(PHX, "nginx")


def test_an_answer_of_an_origin_is_never_repeated(served: Internet) -> None:
    served.point_at(KUL, PHX, ssl="full")
    assert {served.visit(f"https://{HOST}/broken").status for _ in range(8)} == {502}


def test_a_cut_off_origin_costs_the_connect_time_and_a_name_without_records_nothing(served: Internet) -> None:
    netns.cut(served.layout, PHX.name)
    try:
        served.point_at(PHX, ssl="full")
        lone = served.visit(f"https://{HOST}/")
        assert lone.status == 522
        served.point_at(KUL, PHX, ssl="full")
        replies = [served.visit(f"https://{HOST}/") for _ in range(6)]
        assert {reply.status for reply in replies} == {200}
        assert {reply.headers["x-sandbox-origin"] for reply in replies} == {KUL.public_address}
    finally:
        netns.heal(served.layout, PHX.name)
    served.point_at(ssl="full")
    gone = served.visit(f"https://{HOST}/", "--resolve", f"{HOST}:443:{where.CLOUDFLARE_PUBLIC_ADDRESS}")
    assert gone.status == 530


def test_a_node_that_lost_power_comes_back_with_its_key_its_files_and_nginx(served: Internet) -> None:
    key = edge.host_key(served.layout, PHX)
    served.ssh(PHX, "echo kept > /var/lib/kept")
    netns.power_off(served.layout, PHX.name)
    boot(served.layout, PHX)
    edge.start(served.layout)
    assert edge.host_key(served.layout, PHX) == key
    assert served.ssh(PHX, "cat /var/lib/kept; pgrep -x nginx >/dev/null && echo runs").split() == ["kept", "runs"]
    served.point_at(PHX, ssl="full")
    assert served.visit(f"https://{HOST}/").status == 200
