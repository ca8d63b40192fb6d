"""Asks the API server and the hosts, and changes nothing: `kubectl get`, and one script over SSH.

The hosts are asked with the operator's own SSH agent, so that no secret of the stack file has to be decrypted. Their
keys are those that the stack file pins.
"""

import json
import subprocess
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from operations.preflight.observed import Document, Host, Observed, parsed
from settings.model import Edge, Settings

SCRIPT = Path(__file__).with_name("host.sh")
SECONDS = 20
# The program of a connection that could not be made: `man ssh`, EXIT STATUS.
NO_CONNECTION = 255


class LiveError(Exception):
    """The cluster cannot be asked, in one line with the remedy."""


def observe(settings: Settings, missing: tuple[str, ...]) -> Observed:
    """Look at everything. ``missing`` are paths of the stack file that only have a stand-in."""
    hosts: dict[str, Host] = {}
    unreachable: dict[str, str] = {}
    for name, answer in _hosts(settings, missing):
        if isinstance(answer, Host):
            hosts[name] = answer
        else:
            unreachable[name] = answer
    return Observed(
        version=_kubectl(settings, "version"),
        nodes=_list(settings, "nodes"),
        namespaces=_list(settings, "namespaces"),
        services=_list(settings, "services", "--all-namespaces"),
        pods=_list(settings, "pods", "--all-namespaces"),
        storage_classes=_list(settings, "storageclasses"),
        hosts=hosts,
        unreachable=unreachable,
    )


def _list(settings: Settings, kind: str, *argv: str) -> tuple[Document, ...]:
    return tuple(_kubectl(settings, "get", kind, *argv)["items"])


def _kubectl(settings: Settings, *argv: str) -> dict[str, Any]:
    cluster = settings.cluster
    kubeconfig = ("--kubeconfig", cluster.kubeconfig) if cluster.kubeconfig else ()
    command = ["kubectl", "--context", cluster.context, *kubeconfig, f"--request-timeout={SECONDS}s", *argv]
    try:
        done = subprocess.run([*command, "--output", "json"], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise LiveError("kubectl is not on PATH. Fix: install it, or put sandbox/bin on PATH") from None
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise LiveError(f"kubectl {' '.join(argv)}: {reason}. Fix: check cluster.context and who you are there")
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def _hosts(settings: Settings, missing: tuple[str, ...]) -> Iterator[tuple[str, Host | str]]:
    """Every node that the stack provisions, all at once: what it said, or why it said nothing."""
    edge = settings.edge
    if edge is None:
        return
    pinned = {name: key for name, key in edge.ssh.host_keys.items() if f"edge.ssh.hostKeys.{name}" not in missing}
    unknown = [name for name in edge.ssh.host_keys if name not in pinned or "edge.ssh.user" in missing]
    yield from ((name, "the stack file has no host key or no account yet") for name in unknown)
    asked = [name for name in pinned if name not in unknown]
    with _known_hosts(settings, edge, pinned) as known, ThreadPoolExecutor(max_workers=8) as pool:
        yield from zip(asked, pool.map(lambda name: _host(settings, edge, name, known), asked), strict=True)


def _host(settings: Settings, edge: Edge, name: str, known: Path) -> Host | str:
    others = [node.internal_ip for other, node in settings.cluster.nodes.items() if other != name]
    options = (
        f"UserKnownHostsFile={known}",
        "StrictHostKeyChecking=yes",
        "BatchMode=yes",
        f"ConnectTimeout={SECONDS}",
    )
    argv = ["ssh", "-p", str(edge.ssh.port), *(part for option in options for part in ("-o", option))]
    command = [*argv, f"{edge.ssh.user}@{_address(settings, name)}", "sh", "-s", "--", *others]
    try:
        done = subprocess.run(
            command,
            input=SCRIPT.read_text(encoding="utf-8"),
            capture_output=True,
            text=True,
            check=False,
            timeout=4 * SECONDS,
        )
    except (FileNotFoundError, subprocess.TimeoutExpired) as error:
        return f"{type(error).__name__} of ssh"
    if done.returncode == NO_CONNECTION:
        return (done.stderr.strip().splitlines() or ["no reason given"])[-1]
    return parsed(done.stdout)


@contextmanager
def _known_hosts(settings: Settings, edge: Edge, pinned: dict[str, str]) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="preflight-") as directory:
        path = Path(directory) / "known_hosts"
        addresses = {name: _address(settings, name) for name in pinned}
        port = edge.ssh.port
        named = {name: address if port == 22 else f"[{address}]:{port}" for name, address in addresses.items()}
        path.write_text("".join(f"{named[name]} {key}\n" for name, key in pinned.items()), encoding="utf-8")
        yield path


def _address(settings: Settings, name: str) -> str:
    node = settings.cluster.nodes[name]
    return node.public_ip or node.internal_ip
