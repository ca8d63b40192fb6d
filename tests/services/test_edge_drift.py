"""``make edge-drift`` at an operator's desk on the internet, against real hosts. Needs root."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from sandbox import layout as where
from sandbox import netns
from sandbox.edge import service as edge
from settings import stackfile
from tests.services import edge_hosts
from tests.services.edge_hosts import FIRST, SECOND, STACK, Rig

ROOT = Path(__file__).resolve().parents[2]
URN = f"urn:pulumi:mainnet::gx-backend-infra::gx:edge:EdgeNode$command:remote:Command::{FIRST}-"


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    root = tmp_path_factory.mktemp("drift")
    try:
        rig = edge_hosts.start(root)
        # No machine stands for the other nodes; what dials them is told so at once.
        for name in set(rig.settings.cluster.nodes) - {FIRST, SECOND}:
            off = rig.settings.cluster.nodes[name]
            netns.run_in(
                rig.layout, where.INTERNET, ["ip", "route", "replace", "unreachable", off.public_ip or off.internal_ip]
            )
        rig.provision_all()
        for host in (FIRST, SECOND):
            for step in rig.firewall().values():
                rig.succeed(host, step)
        yield rig
    finally:
        edge_hosts.stop(root)


def drift(
    rig: Rig, config: Mapping[str, object] | None = None, scratch: Path | None = None, around: Sequence[str] = ()
) -> dict[str, str]:
    """What the command prints, by node. Instead of the engine, a file says what the stack is configured with."""
    argv = [*around, sys.executable, "-m", "operations.edge_drift", STACK]
    done = rig.at_the_desk(argv, config, {"TMPDIR": str(scratch)} if scratch else {})
    # Two of the four nodes are off in this rig.
    assert done.returncode == 1, done.stdout + done.stderr
    found: dict[str, str] = {}
    node = ""
    for line in done.stdout.splitlines():
        node = node if line.startswith(" ") else line.partition(":")[0]
        found[node] = found.get(node, "") + line + "\n"
    return found


def inside(rig: Rig) -> list[str]:
    """Runs what follows at the operator's desk."""
    return where.nsenter_argv(rig.layout.netns(where.INTERNET))


def with_agent(rig: Rig) -> list[str]:
    """Runs what follows with an SSH agent that holds the operator's key."""
    return ["ssh-agent", "sh", "-ec", f'ssh-add -q {edge.operator_key(rig.layout)}; exec "$@"', "sh"]


@pytest.fixture
def behind(rig: Rig) -> Iterator[Mapping[str, object]]:
    """The stack's config when the second node is reached through the first alone, and with the operator's agent."""
    first = where.node(FIRST)
    table = f"table inet behind {{ chain in {{ type filter hook input priority 0; ip saddr != {{ {first.address}, "
    table += f"{first.public_address} }} tcp dport 22 drop; }}; }}"
    rig.run(SECOND, f"nft '{table}'")
    jump = {"host": first.public_address, "user": "root", "hostKey": edge.host_key(rig.layout, first)}
    try:
        yield stackfile.merge(
            rig.config, {"edge": {"ssh": {"agent": True, "jump": jump}}, "secrets": {"sshPrivateKey": None}}
        )
    finally:
        unpinned = ["-q", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"]
        argv = [
            *inside(rig),
            *with_agent(rig),
            "ssh",
            *unpinned,
            "-A",
            f"root@{first.public_address}",
            "ssh",
            *unpinned,
        ]
        argv += [str(where.node(SECOND).public_address), "nft delete table inet behind"]
        subprocess.run(argv, check=True, capture_output=True)


def test_a_node_behind_a_jump_host_is_asked_with_the_operators_agent(rig: Rig, behind: Mapping[str, object]) -> None:
    assert drift(rig, around=with_agent(rig))[SECOND].startswith(f"{SECOND}: not reachable")
    assert drift(rig, behind, around=with_agent(rig))[SECOND] == f"{SECOND}: as written (6 steps)\n"


def test_the_plugin_reaches_a_node_behind_a_jump_host_with_the_operators_agent(
    rig: Rig, behind: Mapping[str, object]
) -> None:
    def endpoint(host: where.NodeSpec) -> dict[str, object]:
        key = edge.host_key(rig.layout, host)
        limits = {"dialErrorLimit": 0, "perDialTimeout": 5}
        return {"host": host.public_address, "port": 22, "user": "root", "hostKey": key, **limits}

    connection = {**endpoint(where.node(SECOND)), "proxy": endpoint(where.node(FIRST))}
    program = "import json, sys, threading; from sandbox.plugins.command import ssh\n"
    program += "session = ssh.connect(ssh.Endpoint.parse(json.loads(sys.argv[1])), threading.Event(), print)\n"
    program += "print(ssh.run(session, 'hostname', '', {}, lambda *_: None).stdout)\n"
    argv = [*inside(rig), *with_agent(rig), sys.executable, "-c", program, json.dumps(connection)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.stdout.strip() == SECOND, done.stderr


def files(rig: Rig, host: str) -> str:
    """Every file that provisioning has a say in, with the time it was last changed in any way."""
    where = "/etc /usr/local /var/lib/gx-edge /var/www /var/spool"
    # The monitor runs meanwhile, and keeps what it saw.
    return rig.run(host, f"find {where} -type f -not -path '*monitor*' -printf '%p %C@\\n' | sort")


def test_hosts_as_they_were_provisioned_have_no_drift_and_are_not_changed(rig: Rig) -> None:
    before = files(rig, FIRST)
    found = drift(rig)
    assert found[FIRST] == f"{FIRST}: as written (6 steps)\n"
    assert found[SECOND] == f"{SECOND}: as written (6 steps)\n"
    assert files(rig, FIRST) == before


def test_an_edited_file_is_named_with_its_step_and_put_back_by_that_step(rig: Rig) -> None:
    """An editor follows the links into the release, which must not pass for the original because of its name."""
    rig.run(FIRST, "sed -i 's/client_max_body_size 10m/client_max_body_size 99m/' /etc/nginx/gx/mainnet/limits.conf")
    rig.run(FIRST, "nginx -s reload")
    found = drift(rig)[FIRST]
    assert f"  {FIRST}-nginx: /etc/nginx/gx/mainnet/limits.conf differs\n" in found
    assert f"    Fix: pulumi up --stack mainnet --target-replace '{URN}nginx'\n" in found
    assert f"edge.reprovision.{FIRST}" in found
    assert found.count("Fix: pulumi up") == 1
    rig.configure(FIRST)
    assert "as written" in drift(rig)[FIRST]
    assert rig.get("https://api.gxcoin.money/identity/", "--data-binary", "@/etc/passwd").status != 413
    assert "99m" in rig.run(FIRST, "cat /var/backups/gx-edge/*/release-*/mainnet/limits.conf")


BY_HAND = (
    ("nginx", "rm /etc/nginx/conf.d/api.conf", "/etc/nginx/conf.d/api.conf does not lead to the program's file"),
    ("nginx", "nginx -s stop", "Nginx does not run"),
    ("certificate", "rm /etc/letsencrypt/renewal-hooks/deploy/gx-nginx", "gx-nginx is missing"),
    ("certificate", "pkill -x cron", "cron does not run"),
    ("monitor", "echo >>/etc/gx-health-monitor/gx-health-monitor.conf", "gx-health-monitor.conf differs"),
    ("monitor", "chmod 0644 /usr/local/bin/gx-health-monitor", "has mode 644 instead of 755"),
    ("monitor", "rm /etc/cron.d/gx-health-monitor", "/etc/cron.d/gx-health-monitor is missing"),
    ("firewall-rules", "nft flush chain inet gx_firewall prerouting", "are not those that were loaded"),
    ("firewall-rules", "rm /etc/cron.d/gx-firewall", "the rules are not loaded at boot"),
    ("firewall-rules", "echo >>/etc/gx-firewall/rules.nft", "/etc/gx-firewall/rules.nft differs"),
)


def test_what_somebody_did_by_hand_is_said_under_its_step_and_healed_by_it(rig: Rig) -> None:
    for _, by_hand, _ in BY_HAND:
        rig.run(FIRST, by_hand)
    found = drift(rig)[FIRST].splitlines()
    for step, _, said in BY_HAND:
        assert [line for line in found if line.startswith(f"  {FIRST}-{step}: ") and said in line], (step, said, found)
    steps = rig.steps(FIRST) | {f"firewall-{part}": each for part, each in rig.firewall().items()}
    for step in dict.fromkeys(step for step, _, _ in BY_HAND):
        rig.succeed(FIRST, steps[step])
    assert drift(rig)[FIRST] == f"{FIRST}: as written (6 steps)\n"


def test_rules_that_are_gone_are_said(rig: Rig) -> None:
    rig.run(SECOND, "nft delete table inet gx_firewall")
    assert f"  {SECOND}-firewall-rules: the table inet gx_firewall is not in force" in drift(rig)[SECOND]
    rig.succeed(SECOND, rig.firewall()["rules"])


def test_a_removed_package_and_a_foreign_certificate_are_named(rig: Rig) -> None:
    rig.run(SECOND, "mv /usr/bin/certbot /usr/bin/certbot.away")
    live = "/etc/letsencrypt/live/api.gxcoin.money"
    rig.run(SECOND, f"openssl ecparam -name prime256v1 -genkey -noout -out /root/key; cp /root/key {live}/privkey.pem")
    try:
        found = drift(rig)[SECOND]
        assert f"{SECOND}-packages: the package certbot is missing" in found
        assert f"{SECOND}-certificate: the key in {live} does not belong to the certificate" in found
    finally:
        rig.run(SECOND, "mv /usr/bin/certbot.away /usr/bin/certbot")


def test_an_edited_stack_file_shows_as_a_difference(rig: Rig) -> None:
    found = drift(rig, stackfile.merge(rig.config, {"edge": {"adminAllow": ["198.51.100.0/24"]}}))
    assert f"{FIRST}-nginx: /etc/nginx/gx/mainnet/admin-access.conf differs" in found[FIRST]


def test_a_node_that_swallows_packets_is_a_line_and_no_hang(rig: Rig) -> None:
    netns.cut(rig.layout, SECOND)
    started = time.monotonic()
    try:
        found = drift(rig)
    finally:
        netns.heal(rig.layout, SECOND)
    assert time.monotonic() - started < 30
    assert found[SECOND].startswith(f"{SECOND}: not reachable over SSH")
    assert found[SECOND].count("\n") == 1
    assert "as written" in found[FIRST]


def test_a_node_with_another_host_key_is_sent_nothing(rig: Rig) -> None:
    other = edge.host_key(rig.layout, where.node(SECOND))
    found = drift(rig, stackfile.merge(rig.config, {"edge": {"ssh": {"hostKeys": {FIRST: other}}}}))
    assert found[FIRST].startswith(f"{FIRST}: not reachable over SSH")
    assert "Host key verification failed" in found[FIRST]


def test_the_private_key_is_in_no_file_and_nothing_is_left(rig: Rig) -> None:
    scratch, seen, desk = rig.layout.runtime / "scratch", rig.layout.runtime / "seen", rig.layout.runtime / "desk"
    scratch.mkdir()
    drift(rig)  # makes the desk
    (desk / "ssh").write_text(f'#!/bin/sh\ncp -rn {scratch} {seen}\nexec /usr/bin/ssh "$@"\n')
    (desk / "ssh").chmod(0o755)
    drift(rig, scratch=scratch)
    (desk / "ssh").unlink()
    texts = [path.read_text() for path in seen.rglob("*") if path.is_file()]
    assert any("HostKeyAlias" in text for text in texts)
    key = edge.operator_key(rig.layout).read_text().splitlines()[2]
    assert not [text for text in texts if key in text]
    assert not list(scratch.iterdir())
