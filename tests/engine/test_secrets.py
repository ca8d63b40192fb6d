"""No password, token or key stands in clear: every secret of the stack is a canary, searched for everywhere."""

import json
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from sandbox import layout as sandbox_layout
from tests.engine.stack import BIN, Stack, kubectl, run

LAYOUT = sandbox_layout.current()


def leaves(value: Any) -> Iterator[str]:  # noqa: ANN401 - a JSON value
    """Every string of a JSON value."""
    if isinstance(value, Mapping):
        for item in value.values():
            yield from leaves(item)
    elif isinstance(value, str) and value:
        # A multi-line key is searched for by its longest line: encodings change the line ends.
        yield max(value.splitlines(), key=len)


@pytest.fixture(scope="module", params=["mainnet", "testnet"])
def stack(deployed: None, request: pytest.FixtureRequest) -> Stack:
    """Each deployed stack."""
    return Stack(str(request.param))


@pytest.fixture(scope="module")
def canaries(stack: Stack) -> set[str]:
    """Every secret value of the stack."""
    shown = run(BIN / "pulumi", "config", "--show-secrets", "--json", "--stack", stack.name).ok().output
    secrets = json.loads(json.loads(shown)["gx-backend-infra:secrets"]["value"])
    found = set(leaves(secrets))
    assert len(found) >= 8, "the stack has fewer secrets than it must have"
    return found


def assert_absent(canaries: set[str], text: str, where: str) -> None:
    """Fail, without printing it, when a canary occurs in a text."""
    assert not any(canary in text for canary in canaries), f"a secret stands in clear in {where}"


def test_the_state_and_the_printed_diff_hold_no_secret(stack: Stack, canaries: set[str]) -> None:
    assert_absent(canaries, json.dumps(stack.state()), "the state")
    assert_absent(canaries, stack.pulumi("preview", "--diff", "--refresh").output, "the printed diff")


def test_no_object_but_a_secret_holds_a_secret(stack: Stack, canaries: set[str]) -> None:
    kinds = "configmaps,pods,deployments,statefulsets,services,serviceaccounts,replicasets,events"
    assert_absent(canaries, kubectl("get", kinds, "-n", stack.namespace, "-o", "yaml"), "a Kubernetes object")


def test_no_log_holds_a_secret(stack: Stack, canaries: set[str]) -> None:
    for path in LAYOUT.logs.rglob("*"):
        if path.is_file():
            assert_absent(canaries, path.read_text(errors="replace"), str(path.name))
    for pod in json.loads(kubectl("get", "pods", "-n", stack.namespace, "-o", "json"))["items"]:
        name, status = pod["metadata"]["name"], pod["status"]
        for container in status.get("initContainerStatuses", []) + status["containerStatuses"]:
            # One that has never run has no log: that of a job whose first step failed.
            if "waiting" not in container["state"]:
                log = kubectl("logs", "-n", stack.namespace, name, "-c", container["name"], "--tail=-1")
                assert_absent(canaries, log, f"the log of {container['name']} in {name}")


def test_no_command_line_holds_a_secret_while_an_up_runs(stack: Stack, canaries: set[str]) -> None:
    seen: set[str] = set()
    done = threading.Event()

    def watch() -> None:
        while not done.wait(0.02):
            for path in Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    seen.add(path.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
                except OSError:
                    continue  # the process ended between the listing and the read

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        stack.up("--refresh").ok()
    finally:
        done.set()
        watcher.join()
    assert any("pulumi" in line for line in seen), "the watcher saw no Pulumi process"
    for line in seen:
        assert_absent(canaries, line, "a command line")
