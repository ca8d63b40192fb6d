"""The host firewall on real hosts: who gets through, what is left alone, and that it cannot lock anybody out. Root."""

import subprocess
import time
from collections.abc import Iterator

import pytest

from components.edge.firewall import firewall_step
from components.edge.packages import FIREWALL_PROGRAMS, packages_step
from components.edge.steps import Step
from sandbox import layout as where
from sandbox import netns, processes
from sandbox.edge import service as edge
from settings.model import Firewall, NodePortAccess, WebAccess
from tests.services import edge_hosts
from tests.services.edge_hosts import FIRST, HOSTS, SECOND, Rig

OUTSIDE = where.CLIENT_ADDRESSES[0]
NODE_PORT, POD_PORT = 30011, 8080
# A node without Kubernetes, with what kube-proxy and a CNI would have there: a NodePort that is rewritten, and chains.
KUBE_PROXY = f"""
nft -f - <<'END'
table ip kube {{
    chain services {{
        type nat hook prerouting priority dstnat; policy accept;
        tcp dport {NODE_PORT} redirect to :{POD_PORT}
    }}
    chain output {{
        type nat hook output priority -100; policy accept;
        ip daddr 127.0.0.1 tcp dport {NODE_PORT} redirect to :{POD_PORT}
    }}
}}
END
"""
SERVER = """
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
import sys, threading
class Answer(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.send_header("Content-Length", "2"); self.end_headers(); self.wfile.write(b"ok")
    def log_message(self, *args): pass
for port in map(int, sys.argv[1:]):
    threading.Thread(target=ThreadingHTTPServer(("0.0.0.0", port), Answer).serve_forever).start()
"""


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    root = tmp_path_factory.mktemp("firewall")
    try:
        rig = edge_hosts.start(root)
        for host in HOSTS:
            assert rig.provision(host.name, packages_step("Packages", FIREWALL_PROGRAMS)).returncode == 0
            rig.run(host.name, KUBE_PROXY)
            serve(rig, host.name, POD_PORT, 80, 30777)
        yield rig
    finally:
        edge_hosts.stop(root)


def serve(rig: Rig, machine: str, *ports: int) -> None:
    """Listen on ports of a machine."""
    argv = [*netns.enter_argv(rig.layout, machine), "/usr/bin/python3", "-c", SERVER, *map(str, ports)]
    processes.spawn(rig.layout, f"{machine}-answers", argv)
    for port in ports:
        rig.run(machine, f"until ss -Hltn 'sport = :{port}' | grep -q .; do sleep 0.05; done")


def step(rig: Rig, access: NodePortAccess, web: WebAccess, rollback_seconds: int = 60) -> Step:
    chosen = rig.edge.model_copy(update={"firewall": Firewall(node_ports=access, web=web)})
    return firewall_step(chosen, rig.settings.cluster.nodes, rollback_seconds)


def apply(rig: Rig, access: NodePortAccess = NodePortAccess.ENFORCE, web: WebAccess = WebAccess.OPEN) -> str:
    done = rig.provision(FIRST, step(rig, access, web))
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def reaches(rig: Rig, machine: str, port: int, *options: str, host: str = FIRST) -> bool:
    """Whether a request from a machine to a host's public address is answered."""
    url = f"http://{where.node(host).public_address}:{port}/"
    argv = ["curl", "-s", "-m", "2", "-o", "/dev/null", *options, url]
    return processes.succeeds([*netns.enter_argv(rig.layout, machine), *argv])


def from_outside(rig: Rig, port: int) -> bool:
    return reaches(rig, where.INTERNET, port, "--interface", OUTSIDE)


def rules(rig: Rig) -> str:
    return rig.run(FIRST, "nft --stateless list ruleset")


def test_without_it_a_node_port_is_open_to_everybody(rig: Rig) -> None:
    """The hole, X-16: a rule on INPUT would not see the packet, whose destination is a pod by then."""
    rig.run(FIRST, "nft 'add table ip t; add chain ip t i { type filter hook input priority 0; }; "
            f"add rule ip t i tcp dport {NODE_PORT} drop'")  # fmt: skip
    assert from_outside(rig, NODE_PORT)
    rig.run(FIRST, "nft delete table ip t")


def test_counting_lets_pass_and_counts(rig: Rig) -> None:
    apply(rig, NodePortAccess.COUNT)
    assert from_outside(rig, NODE_PORT)
    counted = rig.run(FIRST, "nft list table inet gx_firewall | grep 'counter.*node ports'")
    assert int(counted.split("packets")[1].split()[0]) > 0


def test_node_ports_are_for_the_nodes_alone_and_the_rest_is_as_it_was(rig: Rig) -> None:
    before = rig.run(FIRST, "nft --stateless list table ip kube")
    apply(rig)
    assert not from_outside(rig, NODE_PORT)
    assert not from_outside(rig, 30777)
    assert reaches(rig, SECOND, NODE_PORT)
    assert rig.run(FIRST, f"curl -s -m 2 http://127.0.0.1:{NODE_PORT}/") == "ok"
    assert from_outside(rig, 80)
    assert rig.run(FIRST, "nft --stateless list table ip kube") == before


def test_answers_to_the_hosts_own_connections_pass_whatever_port_they_come_back_to(rig: Rig) -> None:
    """Masquerading gives a pod's connection any port from 1024 on; dropping by port alone loses one in seventeen."""
    apply(rig)
    argv = [*where.nsenter_argv(rig.layout.netns(where.INTERNET)), "/usr/bin/python3", "-c", SERVER, "8099"]
    processes.spawn(rig.layout, "internet-answers", argv)
    deadline = time.monotonic() + 10
    ask = f"curl -s -m 5 --local-port 31000-31100 http://{OUTSIDE}:8099/"
    while (answer := rig.ssh(FIRST, ask).stdout) != "ok":
        assert time.monotonic() < deadline, answer
    processes.stop(rig.layout, "internet-answers")


def test_web_ports_can_be_cloudflares_and_the_nodes_alone(rig: Rig) -> None:
    apply(rig, web=WebAccess.CLOUDFLARE)
    assert not from_outside(rig, 80)
    assert reaches(rig, where.CLOUDFLARE, 80, "--interface", where.CLOUDFLARE_PUBLIC_ADDRESS)
    assert reaches(rig, SECOND, 80), "a peer must be able to ask for challenges and health"
    apply(rig)
    assert from_outside(rig, 80)


def test_the_same_rules_again_change_nothing(rig: Rig) -> None:
    apply(rig)
    assert "nothing done" in apply(rig)


def test_a_change_by_hand_is_put_right(rig: Rig) -> None:
    apply(rig)
    before = rules(rig)
    rig.run(FIRST, "nft flush chain inet gx_firewall prerouting")
    assert "nothing done" not in apply(rig)
    assert rules(rig) == before


def test_rules_that_nft_refuses_change_nothing(rig: Rig) -> None:
    apply(rig)
    before = rules(rig)
    good = step(rig, NodePortAccess.ENFORCE, WebAccess.OPEN)
    done = rig.provision(
        FIRST,
        Step(title="t", script=good.script, files={**good.files, "rules.nft": "table inet gx_firewall { oops }\n"}),
    )
    assert done.returncode != 0
    assert "nothing was changed" in done.stderr
    assert rules(rig) == before


def test_rules_that_cut_the_connection_they_came_by_are_taken_back(rig: Rig) -> None:
    """The case the timer is for: a first rule that drops SSH. The previous rules are back without anybody's help."""
    apply(rig)
    before = rules(rig)
    good = step(rig, NodePortAccess.ENFORCE, WebAccess.OPEN, rollback_seconds=6)
    passing = "tcp dport 22 counter accept"
    locked = good.files["rules.nft"].replace(passing, f"tcp dport 22 drop\n        {passing}")
    assert locked != good.files["rules.nft"]
    broken = Step(title="t", script=good.script, files={**good.files, "rules.nft": locked})
    try:
        rig.ssh(FIRST, "timeout 30 bash -s", broken.stdin(0))
    except subprocess.TimeoutExpired:
        pytest.fail("the connection never came back")
    deadline = time.monotonic() + 30
    while rig.ssh(FIRST, "true").returncode != 0:
        assert time.monotonic() < deadline, "locked out"
    assert rules(rig) == before
    assert not from_outside(rig, NODE_PORT)


def test_a_provisioning_that_dies_half_way_is_taken_back_and_the_next_one_holds(rig: Rig) -> None:
    apply(rig)
    before = rules(rig)
    half = step(rig, NodePortAccess.ENFORCE, WebAccess.CLOUDFLARE, rollback_seconds=10)
    rig.ssh(FIRST, "bash -s", half.stdin(0).replace("still_connected ||", "kill -9 $$; still_connected ||"))
    assert "cloudflare4" in rules(rig)
    deadline = time.monotonic() + 60
    while rules(rig) != before:
        assert time.monotonic() < deadline, "not taken back"
    apply(rig, web=WebAccess.CLOUDFLARE)
    assert not from_outside(rig, 80)


def test_it_is_in_force_after_a_reboot(rig: Rig) -> None:
    apply(rig)
    processes.stop(rig.layout, f"{FIRST}-answers")
    netns.power_off(rig.layout, FIRST)
    netns.start(rig.layout, FIRST)
    edge_hosts.boot(rig.layout, where.node(FIRST))
    edge.start(rig.layout)
    deadline = time.monotonic() + 20
    while "gx_firewall" not in rules(rig):
        assert time.monotonic() < deadline, "no rules after the reboot"
    # The reboot has started Nginx on port 80.
    serve(rig, FIRST, 30777)
    deadline = time.monotonic() + 20
    while not reaches(rig, SECOND, 30777):
        assert time.monotonic() < deadline
    assert not from_outside(rig, 30777)
