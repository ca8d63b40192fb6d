"""What an operator does beside Pulumi: the deployment checklist, and the commands of the runbooks that only read."""

import os
import subprocess
import sys

import pytest

from sandbox.stacks import render
from tests.engine.stack import BIN, ROOT, Stack, kubectl
from tests.runbooks import Block, blocks

SECONDS = 120


def shell(*argv: str) -> subprocess.CompletedProcess[str]:
    """Run a command where `kubectl`, `pulumi` and `curl` are those of the sandbox."""
    environment = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}"}
    return subprocess.run(argv, cwd=ROOT, env=environment, check=False, capture_output=True, text=True, timeout=SECONDS)


def checklist(stack: Stack) -> tuple[int, dict[str, str]]:
    """Status of `make verify`, and how each item ends."""
    argv = (sys.executable, "-m", "operations.verify", stack.name, "--config-file", str(render(stack.name)))
    done = shell(*argv)
    rows = [line.split() for line in done.stdout.splitlines() if line.startswith("CHK-")]
    assert len(rows) == 22, done.stdout + done.stderr
    print(done.stdout)
    return done.returncode, {row[0]: row[1] for row in rows}


@pytest.mark.parametrize("name", ["mainnet", "testnet"])
def test_the_checklist_finds_a_deployed_stack_whole(name: str, deployed: None) -> None:
    status, items = checklist(Stack(name))
    assert "stop" not in items.values(), items
    assert status == 0
    # What the sandbox has not: a metrics server, and what monitoring and Fabric answer.
    assert {item for item, level in items.items() if level == "look"} <= {"CHK-01", "CHK-19", "CHK-20", "CHK-22"}


def test_the_checklist_names_a_workload_that_is_not_whole(testnet: Stack) -> None:
    kubectl("scale", "deployment", "svc-tax", "-n", testnet.namespace, "--replicas=0")
    try:
        status, items = checklist(testnet)
        assert (status, items["CHK-15"]) == (1, "stop")
    finally:
        kubectl("scale", "deployment", "svc-tax", "-n", testnet.namespace, "--replicas=1")
        kubectl("rollout", "status", "deployment/svc-tax", "-n", testnet.namespace, "--timeout=120s")


def test_the_nodes_of_a_deployed_stack_are_as_written(mainnet: Stack) -> None:
    lines = mainnet.operate("edge_drift").ok().output.splitlines()
    assert len(lines) == 4
    assert all(": as written (" in line for line in lines), lines


@pytest.mark.parametrize("name", ["mainnet", "testnet"])
def test_a_cluster_with_a_deployed_stack_passes_the_preflight(name: str, deployed: None) -> None:
    print(Stack(name).operate("preflight").ok().output)


@pytest.mark.parametrize("block", [each for each in blocks() if each.sandbox], ids=lambda each: each.name)
def test_the_commands_of_a_runbook_run(block: Block, deployed: None) -> None:
    done = shell("sh", "-euc", block.script)
    assert done.returncode == 0, f"{block.script}\n{done.stdout}{done.stderr}"
    assert done.stdout
