"""Provisioning that is cut off in the middle, at any command of any step, and run again. Needs root."""

import os
import random
import subprocess
import time
from collections.abc import Iterator

import pytest

from components.edge.steps import DRIFT, Step
from sandbox import layout as where
from sandbox import netns
from tests.services import edge_hosts
from tests.services.edge_hosts import FIRST, SECOND, Rig

SEED = 5
CUTS = int(os.environ.get("GX_EDGE_CUTS", "1"))
HOST_NAME = "api.gxcoin.money"
COUNTER = "/run/gx-commands"
# Every bash that is not interactive reads this first: the counted command is the last, and no trap runs after it.
BASH_ENV = f"""
set -T
trap '
    gx_count=$((gx_count + 1))
    if [[ $0 == */gx-step.* ]]; then
        echo "$gx_count" >{COUNTER}
        if ((gx_count == ${{GX_CUT:-0}})); then kill -KILL 0; fi
    fi' DEBUG
"""


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    root = tmp_path_factory.mktemp("cuts")
    try:
        rig = edge_hosts.start(root)
        rig.provision_all()
        rig.write(FIRST, "/root/cut.sh", BASH_ENV)
        yield rig
    finally:
        edge_hosts.stop(root)


def run(rig: Rig, step: Step, cut: int = 0) -> subprocess.CompletedProcess[str]:
    """Send a step that ends at its n-th command, with all its processes, as when the host loses power."""
    return rig.ssh(FIRST, f"GX_CUT={cut} BASH_ENV=/root/cut.sh setsid -w bash -s", step.stdin(0))


def differences(rig: Rig, step: Step, host: str = FIRST) -> list[str]:
    done = rig.ssh(host, "bash -s", step.check())
    assert done.returncode == 0, done.stderr
    return [line for line in done.stdout.splitlines() if line.startswith(DRIFT)]


def settled(rig: Rig) -> str:
    """What a step leaves on the host, without what differs from one run to the next."""
    return rig.run(
        FIRST,
        "cd /etc/nginx && find -L . -type f | LC_ALL=C sort | xargs sha256sum;"
        " ls -I gx-health-monitor /var/lib/gx-edge;"
        " cat /etc/cron.d/gx-* /etc/gx-health-monitor/*; sha256sum /usr/local/bin/gx-health-monitor",
    )


@pytest.mark.parametrize(("name", "cuts"), [("nginx", 6), ("monitor", 4), ("certificate", 3)])
def test_a_step_that_is_cut_at_any_command_and_run_again_ends_in_the_same_state(rig: Rig, name: str, cuts: int) -> None:
    """Each cut falls into a run that has something to do; the next run has to repair what it finds."""
    before = rig.steps(FIRST)[name]
    changed = rig.edge.model_copy(
        update={
            "admin_allow": ("198.51.100.0/24",),
            "monitor": rig.edge.monitor.model_copy(update={"failures_before_alert": 5}),
        }
    )
    after = Rig(rig.layout, rig.settings.model_copy(update={"edge": changed}), rig.config).steps(FIRST)[name]

    def undo() -> None:
        rig.succeed(FIRST, before)
        if name == "certificate":
            rig.run(FIRST, f"certbot -q delete --non-interactive --cert-name {HOST_NAME}")

    undo()
    assert run(rig, after).returncode == 0
    total, wanted = int(rig.run(FIRST, f"cat {COUNTER}")), settled(rig)
    assert total > 15
    chance, fell = random.Random(SEED), 0  # noqa: S311 - which cuts, not a secret
    while fell < cuts:
        cut = chance.randrange(1, total)
        undo()
        if run(rig, after, cut).returncode == 0:
            # It had to wait less often than the run that was counted, and is the one that counts now.
            total = int(rig.run(FIRST, f"cat {COUNTER}"))
            continue
        fell += 1
        assert rig.get(f"http://{HOST_NAME}/identity/").status == 301, f"cut at {cut}: the host serves no more"
        again = run(rig, after)
        assert again.returncode == 0, f"cut at {cut}: {again.stderr}"
        assert differences(rig, after) == [], f"cut at {cut}"
        if name != "certificate":
            assert settled(rig) == wanted, f"cut at {cut}"


# What gives a step something to do.
UNDONE = {
    "packages": "true",
    "nginx": "rm -f /etc/nginx/conf.d/api.conf",
    "certificate": f"certbot -q delete --non-interactive --cert-name {HOST_NAME}",
    "monitor": "rm -f /usr/local/bin/gx-health-monitor",
}


@pytest.mark.parametrize("host", [FIRST, SECOND])
def test_a_connection_that_dies_in_any_step_leaves_it_to_the_next_run(rig: Rig, host: str) -> None:
    """The cable is out; the client gives up; the step on the host has nobody to talk to."""
    moments = random.Random(f"{SEED} {host}")  # noqa: S311 - when to cut, not a secret
    steps = rig.steps(host)
    assert set(UNDONE) == set(steps)
    for name, step in steps.items():
        for _ in range(CUTS):
            rig.run(host, UNDONE[name])
            cut_off(rig, host, step, after=moments.uniform(0.1, 1.5))
            rig.succeed(host, step)
            assert differences(rig, step, host) == [], name
    assert rig.get(f"https://{HOST_NAME}/identity/", host=host).status == 200


def cut_off(rig: Rig, host: str, step: Step, *, after: float) -> None:
    """Send a step and pull the cable after some seconds; it is back when the client has given up."""
    argv = ["ssh", "-q", "-i", str(rig.key), "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no"]
    argv += ["-o", "UserKnownHostsFile=/dev/null", f"root@{where.node(host).public_address}", "bash -s"]
    prefix = where.nsenter_argv(rig.layout.netns(where.INTERNET))
    client = subprocess.Popen([*prefix, *argv], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    assert client.stdin is not None
    client.stdin.write(step.stdin(0))
    client.stdin.flush()
    # Standard input stays open, so that the client does not end with the step.
    time.sleep(after)
    netns.cut(rig.layout, host)
    client.kill()
    client.wait()
    netns.heal(rig.layout, host)
