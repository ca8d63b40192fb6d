"""What Nginx does with a request whose service, or whose client, is not what it should be. Real hosts; needs root."""

import base64
import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import crossplane
import pytest

from components.edge.steps import DRIFT
from sandbox import layout as where
from settings import stackfile
from settings.loader import load
from tests.services import edge_hosts
from tests.services.edge_hosts import FIRST, SECOND, STACK, Rig

SITE = "https://api.gxcoin.money"
# Takes the whole request, and ends the connection without an answer: whether it was carried out, nobody knows.
CARELESS = """
import socket
server = socket.socket(); server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
server.bind(("127.0.0.1", 30001)); server.listen(64)
while True:
    client, _ = server.accept()
    client.recv(65536)
    client.close()
"""


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    root = tmp_path_factory.mktemp("upstreams")
    try:
        rig = edge_hosts.start(root)
        rig.provision_all()
        yield rig
    finally:
        edge_hosts.stop(root)


def changed(rig: Rig, **edge: object) -> Rig:
    """The same hosts with another stack file."""
    config = stackfile.merge(rig.config, {"edge": {"rateLimit": {"requestsPerSecond": 1000, "burst": 1000}, **edge}})
    return Rig(rig.layout, load(config, stack=STACK), config)


@pytest.fixture
def backed(bare: Rig) -> Iterator[Rig]:
    """The first host may ask the second one's NodePorts."""
    rig = changed(bare, backupByPeers=True)
    rig.configure(FIRST)
    yield rig
    rig.stop_backend(FIRST)
    rig.start_backend(FIRST)
    rig.run(FIRST, "until curl -s 127.0.0.1:30001/ >/dev/null; do sleep 0.1; done")


def test_a_region_without_its_service_is_served_by_another_and_says_that_it_is_down(backed: Rig) -> None:
    assert json.loads(backed.get(f"{SITE}/identity/").body)["host"] == FIRST
    backed.stop_backend(FIRST)
    replies = [backed.get(f"{SITE}/identity/{n}") for n in range(8)]
    assert {reply.status for reply in replies} == {200}
    assert {json.loads(reply.body)["host"] for reply in replies} == {SECOND}
    # A connection that was refused carried nothing, so even a POST may go elsewhere.
    assert backed.get(f"{SITE}/identity/", "-X", "POST", "-d", "x=1").status == 200
    assert backed.get(f"{SITE}/health").status == 502


def test_a_request_that_may_have_been_carried_out_is_repeated_only_if_that_does_no_harm(backed: Rig) -> None:
    backed.stop_backend(FIRST)
    backed.start_backend(FIRST, CARELESS)
    backed.run(FIRST, "nginx -s reload")  # forgets earlier failures
    backed.await_workers(FIRST)
    backed.run(FIRST, "until ss -Hltn 'sport = :30001' | grep -q .; do sleep 0.1; done")
    assert backed.get(f"{SITE}/identity/").status == 200
    posted = [backed.get(f"{SITE}/identity/", "-X", "POST", "-d", "amount=1").status for _ in range(2)]
    assert posted == [502, 502], "a payment may have been made twice"


def test_by_default_no_node_asks_another(bare: Rig) -> None:
    rig = changed(bare)
    rig.configure(FIRST)
    rig.stop_backend(FIRST)
    try:
        assert {rig.get(f"{SITE}/identity/").status for _ in range(6)} == {502}
    finally:
        rig.start_backend(FIRST)
    rig.run(FIRST, "until curl -s 127.0.0.1:30001/ >/dev/null; do sleep 0.1; done")
    assert rig.get(f"{SITE}/identity/").status == 200, "given up for a while after failures"


def test_a_path_can_be_taken_away_before_the_service_is_asked(bare: Rig) -> None:
    rig = changed(bare, stripPrefix=True)
    rig.configure(FIRST)
    asked = {path: json.loads(rig.get(SITE + path).body)["path"] for path in ("/identity/users?id=7", "/identity")}
    assert asked == {"/identity/users?id=7": "/users?id=7", "/identity": "/"}


def test_with_origin_pulls_nobody_but_cloudflare_reaches_a_service(bare: Rig, tmp_path: Path) -> None:
    """X-76: the monitors of the other nodes have no certificate of Cloudflare's, and see the region's health."""
    make = ["openssl", "req", "-x509", "-nodes", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
    for name in ("cloudflare", "stranger"):
        key, certificate = str(tmp_path / f"{name}.key"), str(tmp_path / f"{name}.pem")
        argv = [*make, "-subj", f"/CN={name}", "-keyout", key, "-out", certificate]
        subprocess.run(argv, check=True, capture_output=True)

    def shown(name: str) -> tuple[str, ...]:
        return ("--cert", str(tmp_path / f"{name}.pem"), "--key", str(tmp_path / f"{name}.key"))

    rig = changed(bare, originPullCa=(tmp_path / "cloudflare.pem").read_text())
    rig.configure(FIRST)
    try:
        assert rig.get(f"{SITE}/identity/").status == 403
        assert rig.get(f"{SITE}/identity/", *shown("cloudflare")).status == 200
        assert rig.get(f"{SITE}/identity/", *shown("stranger")).status == 400
        assert rig.get(f"{SITE}/health").status == 200
    finally:
        bare.configure(FIRST)
    assert rig.get(f"{SITE}/identity/").status == 200


IPTABLES = """iptables -t nat -N CNI-HOSTPORT-DNAT
iptables -t nat -A CNI-HOSTPORT-DNAT -p tcp -m comment --comment svclb-traefik -m multiport --dports 80,443 -j RETURN
"""
NFT = "nft 'table ip k3s { chain CNI-DN-a1b2c3 { tcp dport 80 counter accept; }; }'"


@pytest.mark.parametrize(
    ("rules", "undo"),
    [
        (IPTABLES, "iptables -t nat -F CNI-HOSTPORT-DNAT && iptables -t nat -X CNI-HOSTPORT-DNAT"),
        (NFT, "nft delete table ip k3s"),
    ],
    ids=["iptables", "nft"],
)
def test_ports_that_k3s_leads_to_traefik_are_explained_and_nothing_is_changed(bare: Rig, rules: str, undo: str) -> None:
    """X-32: the rules of K3s's ServiceLB, as the CNI writes them; the host may have no iptables of its own."""
    rig = changed(bare)
    rig.run(SECOND, rules)
    try:
        done = rig.provision(SECOND, rig.nginx(SECOND))
        assert done.returncode != 0
        assert "nothing was changed: K3s leads ports 80 and 443 of this node to a pod" in done.stderr
        assert "disable: [traefik, servicelb]" in done.stderr
        assert f"{DRIFT}K3s leads ports 80 and 443" in rig.ssh(SECOND, "bash -s", bare.nginx(SECOND).check()).stdout
    finally:
        rig.run(SECOND, undo)


def test_a_port_that_another_program_holds_is_named(bare: Rig) -> None:
    holder = "import socket, time; s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1);"
    holder += "s.bind(('', 80)); s.listen(); open('/run/held', 'w').close(); time.sleep(60)"
    bare.run(SECOND, "nginx -s stop; until ! pgrep -x nginx >/dev/null; do sleep 0.1; done")
    bare.run(SECOND, f'nohup python3 -c "{holder}" >/dev/null 2>&1 & until [ -e /run/held ]; do sleep 0.1; done')
    try:
        done = bare.provision(SECOND, bare.nginx(SECOND))
        assert done.returncode != 0
        assert "port 80 or 443 is another's" in done.stderr
        assert "python3" in done.stderr
    finally:
        bare.run(SECOND, "kill $(ss -Hltnp 'sport = :80' | grep -oP 'pid=\\K\\d+')")
    bare.succeed(SECOND, bare.nginx(SECOND))
    assert bare.get(f"{SITE}/identity/", host=SECOND).status == 200


def test_a_configuration_of_10000_connections_has_the_descriptors_for_them(bare: Rig) -> None:
    """NGX-18: two connections for each client that is proxied, in every worker that may have to carry all of them."""
    whole = bare.run(FIRST, "nginx -T 2>/dev/null")

    def value(name: str) -> int:
        (found,) = re.findall(rf"^\s*{name} (\d+);", whole, re.MULTILINE)
        return int(found)

    assert value("worker_connections") >= 2 * 10_000
    assert value("worker_rlimit_nofile") >= 2 * value("worker_connections")
    hard = bare.run(FIRST, "awk '/Max open files/ { print $5 }' /proc/$(cat /run/nginx.pid)/limits")
    if int(hard) >= value("worker_rlimit_nofile"):  # else the machine underneath forbids it
        worker = bare.run(FIRST, "pgrep -P $(cat /run/nginx.pid) | tail -n 1").strip()
        open_files = bare.run(FIRST, f"awk '/Max open files/ {{ print $4 }}' /proc/{worker}/limits")
        assert int(open_files) == value("worker_rlimit_nofile")
    assert "Active connections: " in bare.run(FIRST, "curl -s http://127.0.0.1:8090/status")
    assert bare.get(f"http://{where.node(FIRST).public_address}:8090/status").status == 0


HANDSHAKE = """
import socket, ssl, sys
context = ssl.create_default_context()
context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
context.minimum_version = context.maximum_version = ssl.TLSVersion[sys.argv[2]]
context.set_ciphers(sys.argv[3])
context.set_alpn_protocols(["h2", "http/1.1"])
try:
    plain = socket.create_connection((sys.argv[1], 443))
    with context.wrap_socket(plain, server_hostname="api.gxcoin.money") as client:
        print(client.version(), client.selected_alpn_protocol())
except ssl.SSLError as error:
    print("refused", error.reason)
"""


def test_a_request_that_is_too_large_or_takes_too_long_to_send_is_ended(bare: Rig, tmp_path: Path) -> None:
    rig = changed(bare)
    rig.configure(FIRST)
    large = tmp_path / "large"
    large.write_bytes(bytes(11 * 1024 * 1024))
    refused = rig.get(f"{SITE}/identity/", "--data-binary", f"@{large}", "-H", "Expect:")
    assert (refused.status, json.loads(refused.body)["status"]) == (413, 413)
    assert "strict-transport-security" in refused.headers
    address = where.node(FIRST).public_address
    argv = ["openssl", "s_client", "-quiet", "-connect", f"{address}:443", "-servername", "api.gxcoin.money"]
    prefix, begun = where.nsenter_argv(rig.layout.netns(where.INTERNET)), time.monotonic()
    silent = subprocess.DEVNULL
    with subprocess.Popen([*prefix, *argv], stdin=subprocess.PIPE, stdout=silent, stderr=silent) as dawdler:
        assert dawdler.stdin
        dawdler.stdin.write(b"GET /identity/ HTTP/1.1\r\nHost: api")
        dawdler.stdin.flush()
        dawdler.wait(timeout=30)
    assert 9 < time.monotonic() - begun < 20


@pytest.mark.parametrize(
    ("version", "ciphers", "spoken"),
    [
        ("TLSv1_3", "ALL", "TLSv1.3 h2"),
        ("TLSv1_2", "ECDHE+AESGCM:ECDHE+CHACHA20", "TLSv1.2 h2"),
        ("TLSv1_1", "ALL:@SECLEVEL=0", "refused"),
        ("TLSv1_2", "AES128-SHA256:AES256-GCM-SHA384", "refused"),
        ("TLSv1_2", "ECDHE-RSA-AES128-SHA:ECDHE-ECDSA-AES128-SHA", "refused"),
    ],
)
def test_tls_is_mozillas_intermediate_profile(bare: Rig, version: str, ciphers: str, spoken: str) -> None:
    """NGX-04, NGX-06: https://ssl-config.mozilla.org, version 6: 1.2 and 1.3, forward secrecy and AEAD alone."""
    prefix = where.nsenter_argv(bare.layout.netns(where.INTERNET))
    argv = [*prefix, sys.executable, "-W", "ignore", "-c", HANDSHAKE, str(where.node(FIRST).public_address)]
    done = subprocess.run([*argv, version, ciphers], capture_output=True, text=True, check=True)
    assert done.stdout.startswith(spoken), done.stdout


def test_every_line_of_the_access_log_is_json_whatever_the_client_sends(bare: Rig) -> None:
    bare.get(f'{SITE}/identity/%22%0a?q="', "-H", 'User-Agent: "}\\ \t{"x":"', "-H", 'CF-Ray: "quoted"')
    bare.run(FIRST, "nginx -s reopen; sleep 6")  # buffered for five seconds
    lines = bare.run(FIRST, "cat /var/log/nginx/api.access.log").splitlines()
    assert {"time", "client", "status", "request_id", "cf_ray", "upstream_seconds"} <= set(json.loads(lines[-1]))
    assert all(json.loads(line) for line in lines)


def test_gixy_finds_nothing_in_what_nginx_reads(bare: Rig, tmp_path: Path) -> None:
    """It gets the whole, as ``nginx -T`` prints it, but for one check: a cache would hide a challenge just written."""
    dump = tmp_path / "dump.conf"
    dump.write_text(bare.run(FIRST, "nginx -T 2>/dev/null"))
    argv = [
        str(Path(sys.executable).with_name("gixy")),
        "--skips",
        "try_files_is_evil_too",
        "--format",
        "json",
        str(dump),
    ]
    found = subprocess.run(argv, capture_output=True, text=True, check=False)
    findings = [each for each in json.loads(found.stdout) if each["severity"] in {"HIGH", "MEDIUM"}]
    assert findings == [], found.stdout


def test_another_parser_reads_and_writes_the_whole_without_a_difference(bare: Rig, tmp_path: Path) -> None:
    """What crossplane reads has the arguments and the places that directives may have; written out it is the same."""
    tree = base64.b64decode(bare.run(FIRST, "tar -C / -ch etc/nginx | base64"))
    subprocess.run(["tar", "-x", "-C", str(tmp_path)], input=tree, check=True)
    for file in (tmp_path / "etc/nginx").rglob("*.conf"):
        file.write_text(file.read_text().replace("include /etc/nginx/", f"include {tmp_path}/etc/nginx/"))
    read = parsed(tmp_path / "etc/nginx/nginx.conf")
    for config in read:
        Path(config["file"]).write_text(crossplane.build(config["parsed"]))
    assert without_lines(parsed(tmp_path / "etc/nginx/nginx.conf")) == without_lines(read)
    assert {"gx/mainnet/https.conf", "conf.d/00-gx-host.conf"} <= {
        str(Path(config["file"]).relative_to(tmp_path / "etc/nginx")) for config in read
    }


def parsed(file: Path) -> list[dict[str, Any]]:
    payload = crossplane.parse(str(file), catch_errors=False)
    return list(payload["config"])


def without_lines(value: Any) -> Any:  # noqa: ANN401 - JSON
    if isinstance(value, dict):
        return {key: without_lines(each) for key, each in value.items() if key != "line"}
    return [without_lines(each) for each in value] if isinstance(value, list) else value
