"""Hosts behind the Cloudflare double and in front of Pebble, in private namespaces beside whatever sandbox runs.

They are as `sandbox.edge` boots them: Debian with sshd, Nginx and certbot installed and untouched. What is done to
them is done over SSH.
"""

import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from components.edge.certificate import certificate_step
from components.edge.firewall import firewall_steps
from components.edge.nginx import nginx_step
from components.edge.node import node_steps
from components.edge.steps import Step
from sandbox import layout as where
from sandbox import netns, processes
from sandbox.acme import service as acme
from sandbox.cloudflare import service as cloudflare
from sandbox.cluster import hardware
from sandbox.edge import service as edge
from sandbox.layout import Layout, NodeSpec
from settings import stackfile
from settings.loader import load
from settings.model import Edge, Settings
from tests import stacks

ORIGINS = tuple(node for node in where.NODES if node.public_address)
HOSTS = ORIGINS[:2]
FIRST, SECOND = (host.name for host in HOSTS)
STACK = "mainnet"
CA_BUNDLE = "/etc/ssl/gx-acme.pem"
_CHECKOUT = Path(where.__file__).parents[1]
_MOUNTS = _CHECKOUT / "sandbox/cluster/node-mounts.sh"
# Stands for a service behind its NodePort: it answers what it was asked, and is ready, at once, unless told otherwise.
_BACKEND = """
import json, os, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
class Service(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        down = self.path == "/readyz" and os.path.exists("/run/not-ready")
        if os.path.exists("/run/slow"): time.sleep(float(open("/run/slow").read()))
        headers = {k.lower(): v for k, v in self.headers.items()}
        body = json.dumps({"host": os.uname().nodename, "path": self.path, "headers": headers}).encode()
        self.send_response(503 if down else 200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-Frame-Options", "DENY")
        self.end_headers()
        self.wfile.write(body)
    def do_POST(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.do_GET()
    def log_message(self, *args): pass
ThreadingHTTPServer.request_queue_size = 4096
ThreadingHTTPServer(("0.0.0.0", 30001), Service).serve_forever()
"""


@dataclass(frozen=True)
class Reply:
    """What curl got: the final status, the headers in lower case, the body."""

    status: int
    headers: dict[str, str]
    body: str


@dataclass(frozen=True)
class Rig:
    """The hosts, and what one does with them."""

    layout: Layout
    settings: Settings
    config: Mapping[str, object]
    """What the settings were loaded from."""
    hosts: tuple[NodeSpec, ...] = HOSTS

    @property
    def edge(self) -> Edge:
        """The edge section of the stack that is provisioned."""
        assert self.settings.edge is not None
        return self.settings.edge

    @property
    def key(self) -> Path:
        """Private key that logs in on the hosts."""
        return edge.operator_key(self.layout)

    def ssh(self, host: str, command: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Run a command line on a host as the command plugin does."""
        argv = ["ssh", "-q", "-i", str(edge.operator_key(self.layout)), "-o", "BatchMode=yes"]
        argv += ["-o", f"UserKnownHostsFile={edge.operator_key(self.layout).parent / 'known_hosts'}"]
        argv += ["-o", "StrictHostKeyChecking=yes", f"root@{where.node(host).public_address}", command]
        prefix = where.nsenter_argv(self.layout.netns(where.INTERNET))
        return subprocess.run([*prefix, *argv], input=stdin, capture_output=True, text=True, timeout=240, check=False)

    def run(self, host: str, command: str) -> str:
        """What a command line prints that must succeed."""
        done = self.ssh(host, command)
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout

    def write(self, host: str, path: str, text: str) -> None:
        """Put a file onto a host, in the place of what is there."""
        assert self.ssh(host, f"rm -f {path} && cat >{path}", text).returncode == 0

    def provision(self, host: str, step: Step, reprovision: int = 0) -> subprocess.CompletedProcess[str]:
        """Send a step to a host."""
        return self.ssh(host, "bash -s", step.stdin(reprovision))

    def succeed(self, host: str, step: Step, reprovision: int = 0) -> str:
        """Send a step to a host, which must succeed; what it printed."""
        done = self.provision(host, step, reprovision)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def steps(self, host: str) -> dict[str, Step]:
        """The steps of a host, in order."""
        whole = self.settings
        return node_steps(
            host, self.edge, whole.cluster.nodes, whole.services, STACK, dns=whole.dns, secrets=whole.secrets
        )

    def firewall(self) -> dict[str, Step]:
        """The steps of a host's firewall, in order."""
        return firewall_steps(self.edge, self.settings.cluster.nodes)

    def provision_all(self) -> None:
        """Publish the hosts and provision them from nothing, at the same time, as `pulumi up` does it."""
        for host in self.hosts:
            self.publish(host.name)

        def whole(host: str) -> None:
            for step in self.steps(host).values():
                self.succeed(host, step)

        with ThreadPoolExecutor() as pool:
            list(pool.map(whole, [host.name for host in self.hosts]))

    def await_workers(self, host: str) -> None:
        """Wait until the workers from before a reload have ended: until then one may still take a request."""
        wanted = "$(getconf _NPROCESSORS_ONLN)"
        self.run(host, f"until [ $(pgrep -c -P $(cat /run/nginx.pid)) = {wanted} ]; do sleep 0.05; done")

    def configure(self, host: str, edge_settings: Edge | None = None) -> None:
        """Put Nginx's configuration in force: the next request is answered by it."""
        self.succeed(host, self.nginx(host, edge_settings))
        self.await_workers(host)

    def nginx(self, host: str, edge_settings: Edge | None = None) -> Step:
        """The Nginx step of a host."""
        chosen = edge_settings or self.edge
        return nginx_step(host, chosen, self.settings.cluster.nodes, self.settings.services, STACK)

    def certificate(self) -> Step:
        """The certificate step."""
        return certificate_step(self.edge, self.settings.dns, STACK)

    def monitor(self, host: str) -> Step:
        """The monitor step of a host."""
        return self.steps(host)["monitor"]

    def burst(self, url: str, count: int, *, source: str, to: str | None = None) -> list[int]:
        """The statuses of as many requests at once, from one client to the first host, or to another address."""
        address = to or where.node(FIRST).public_address
        argv = ["curl", "-sk", "-m", "20", "--connect-to", f"::{address}:", "-o", "/dev/null"]
        argv += ["-w", "%{http_code}\\n", "--parallel", "--parallel-max", "30", "--interface", source]
        prefix = where.nsenter_argv(self.layout.netns(where.INTERNET))
        return [int(code) for code in processes.run([*prefix, *argv, f"{url}?[1-{count}]"]).split()]

    def get(self, url: str, *options: str, host: str = FIRST, source: str | None = None) -> Reply:
        """Ask a host directly, past Cloudflare, from the internet; status 0 when there was no answer of HTTP."""
        address = where.node(host).public_address
        argv = ["curl", "-sk", "-i", "-m", "20", "--connect-to", f"::{address}:", *options, url]
        if source:
            argv += ["--interface", source]
        prefix = where.nsenter_argv(self.layout.netns(where.INTERNET))
        done = subprocess.run([*prefix, *argv], capture_output=True, text=True, check=False)
        head, _, body = done.stdout.replace("\r\n", "\n").partition("\n\n")
        if not head:
            return Reply(0, {}, done.stderr)
        lines = head.splitlines()
        pairs = (line.partition(": ") for line in lines[1:])
        return Reply(int(lines[0].split()[1]), {name.lower(): value for name, _, value in pairs}, body)

    def at_the_desk(
        self,
        argv: Sequence[str],
        config: Mapping[str, object] | None = None,
        variables: Mapping[str, str] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run one of the operators' commands on the internet.

        Instead of the engine, a file says what the stack is configured with: the rig's own config unless another is
        given.
        """
        desk = self.layout.runtime / "desk"
        desk.mkdir(exist_ok=True)
        values = {f"gx-backend-infra:{key}": {"objectValue": value} for key, value in (config or self.config).items()}
        (desk / "config.json").write_text(json.dumps(values))
        (desk / "pulumi").write_text(f"#!/bin/sh\ncat {desk}/config.json\n")
        (desk / "pulumi").chmod(0o755)
        return subprocess.run(
            [*where.nsenter_argv(self.layout.netns(where.INTERNET)), *argv],
            capture_output=True,
            text=True,
            check=False,
            cwd=_CHECKOUT,
            env={**os.environ, "PATH": f"{desk}:{os.environ['PATH']}", **(variables or {})},
        )

    def orders(self) -> int:
        """Certificates that were ordered from Pebble so far."""
        return self.layout.log("pebble").read_text().count("POST /order-plz ")

    def start_backend(self, host: str, program: str = _BACKEND) -> None:
        """Run what stands for a service behind its NodePort."""
        argv = [*netns.enter_argv(self.layout, host), "/usr/bin/python3", "-c", program]
        processes.spawn(self.layout, f"{host}-backend", argv)

    def stop_backend(self, host: str) -> None:
        """End it."""
        processes.stop(self.layout, f"{host}-backend")

    def publish(self, host: str) -> None:
        """Put a host into DNS."""
        record = {"type": "A", "name": self.edge.hostname, "content": where.node(host).public_address}
        url = f"{where.CLOUDFLARE_API_URL}/zones/{cloudflare.zone_id()}/dns_records"
        argv = ["curl", "-sf", "-H", f"Authorization: Bearer {cloudflare.token(self.layout)}", "--json"]
        prefix = where.nsenter_argv(self.layout.netns(where.INTERNET))
        processes.run([*prefix, *argv, json.dumps({**record, "proxied": True, "ttl": 1}), url])


def start(root: Path, hosts: tuple[NodeSpec, ...] = HOSTS, faults: Mapping[str, str] | None = None) -> Rig:
    """Bring everything up, with nothing provisioned; ``faults`` are those of the certificate authority."""
    layout = Layout(root)
    whole = stackfile.merge(
        stacks.complete(STACK),
        {
            "edge": {
                "nodes": [host.name for host in hosts],
                "ssh": {"hostKeys": None},
                "acme": {"directory": where.ACME_DIRECTORY_URL, "caBundle": CA_BUNDLE},
            },
            "dns": {"origins": None},
        },
    )
    edge.ensure_keys(layout)
    keys = {node.name: edge.host_key(layout, node) for node in where.NODES}
    origins = {host.name: "enabled" for host in hosts}
    whole = stackfile.merge(
        whole,
        {
            "edge": {"ssh": {"hostKeys": keys}},
            "dns": {"origins": origins},
            "secrets": {"sshPrivateKey": edge.operator_key(layout).read_text()},
        },
    )
    rig = Rig(layout, load(whole, stack=STACK), whole, hosts)
    for name in (where.INTERNET, where.CLOUDFLARE, *(host.name for host in hosts)):
        netns.start(layout, name)
    for host in hosts:
        boot(layout, host)
    cloudflare.start(layout)
    acme.start(layout, faults)
    edge.start(layout)
    for host in hosts:
        rig.write(host.name, CA_BUNDLE, acme.bundle_path(layout).read_text())
        rig.start_backend(host.name)
    return rig


def boot(layout: Layout, host: NodeSpec) -> None:
    """Give a machine that was just started its disk. Nothing runs on it yet."""
    disk = layout.data(host.name)
    hardware.write(disk / "hardware", cpus=where.NODE_CPUS, memory_gib=where.NODE_MEMORY_GIB)
    (disk / "host").mkdir(exist_ok=True)
    netns.run_in(layout, host.name, ["sh", str(_MOUNTS), str(disk), host.name, str(layout.root), str(_CHECKOUT)])
    etc = netns.host_path(layout, host.name, "/etc")
    (etc / "resolv.conf").write_text(f"nameserver {where.CLOUDFLARE_ADDRESS}\n")


def stop(root: Path) -> None:
    """End everything and remove it."""
    layout = Layout(root)
    edge.stop(layout)
    acme.stop(layout)
    cloudflare.stop(layout)
    for name in (*(host.name for host in ORIGINS), where.CLOUDFLARE, where.INTERNET):
        netns.remove(layout, name)
