"""Deploys stacks on the running platform with the ordinary Pulumi commands, and tells what to look at."""

import subprocess
import time
from collections.abc import Sequence

from sandbox import stacks
from sandbox.layout import Layout
from sandbox.parts import say
from sandbox.processes import SandboxError

# Pulumi's default of four operations per core would wait on roll-outs instead of starting them
# (81 objects: 56 s at the default, 20 s at 64).
PARALLEL = "64"


def deploy(layout: Layout, names: Sequence[str]) -> None:
    """Bring each stack up; a stack that already is costs one preview. Raises with the way to see why one failed."""
    for name in names:
        begun = time.monotonic()
        stacks.prepare(name)
        say(f"deploying {name}: sandbox/bin/pulumi up --stack {name}")
        argv = ["up", "--stack", name, "--yes", "--skip-preview", "--parallel", PARALLEL, "--suppress-outputs"]
        done = subprocess.run([str(layout.root / "sandbox/bin/pulumi"), *argv], cwd=layout.root, check=False)
        if done.returncode:
            raise SandboxError(
                f"{name} did not come up. See it with: sandbox/bin/kubectl get pods -n backend-{name} and "
                f"sandbox/bin/pulumi preview --stack {name}; then run the same command again"
            )
        say(f"{name} is up after {time.monotonic() - begun:.0f} s")


def tour(names: Sequence[str]) -> None:
    """Print how to look at what runs."""
    say("")
    say("What to look at:")
    for name in names:
        say(f"  sandbox/bin/kubectl get pods -n backend-{name} -o wide")
        say(f"  sandbox/bin/pulumi preview --stack {name}")
    if "mainnet" in names:
        say("  sandbox/bin/curl https://api.gxcoin.money/identity/users    through the edge to a pod")
        say("  sandbox/bin/curl -s http://10.60.0.20:8787/__sandbox/records    the Cloudflare double's records")
        say("  edit dns / origins in Pulumi.mainnet.yaml, then: sandbox/bin/pulumi up --stack mainnet    a failover")
    say("  make sandbox-status    make sandbox-down")
