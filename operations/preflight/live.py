"""Asks the API server and the hosts, and changes nothing: `kubectl get`, and one script over SSH.

The hosts are asked with the operator's own SSH agent, so that no secret of the stack file has to be decrypted. Their
keys are those that the stack file pins.
"""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from operations.hosts import Hosts, configured
from operations.kubectl import kubectl_json
from operations.preflight.observed import Document, Host, Observed, parsed
from operations.stack import OperationError, last_line
from settings.model import Settings

SCRIPT = Path(__file__).with_name("host.sh")


def observe(settings: Settings, missing: tuple[str, ...]) -> Observed:
    """Look at everything at once. ``missing`` are paths of the stack file that only have a stand-in."""
    with ThreadPoolExecutor() as pool:
        version = pool.submit(kubectl_json, settings.cluster, "version")
        nodes = pool.submit(_list, settings, "nodes")
        namespaces = pool.submit(_list, settings, "namespaces")
        services = pool.submit(_list, settings, "services", "--all-namespaces")
        pods = pool.submit(_list, settings, "pods", "--all-namespaces")
        storage_classes = pool.submit(_list, settings, "storageclasses")
        answers = dict(_hosts(settings, missing))
        return Observed(
            version=version.result(),
            nodes=nodes.result(),
            namespaces=namespaces.result(),
            services=services.result(),
            pods=pods.result(),
            storage_classes=storage_classes.result(),
            hosts={name: answer for name, answer in answers.items() if isinstance(answer, Host)},
            unreachable={name: answer for name, answer in answers.items() if isinstance(answer, str)},
        )


def _list(settings: Settings, kind: str, *argv: str) -> tuple[Document, ...]:
    return tuple(kubectl_json(settings.cluster, "get", kind, *argv)["items"])


def _hosts(settings: Settings, missing: tuple[str, ...]) -> Iterator[tuple[str, Host | str]]:
    """Every node that the stack provisions, all at once: what it said, or why it said nothing."""
    edge = settings.edge
    if edge is None:
        return
    pinned = {name: key for name, key in edge.ssh.host_keys.items() if f"edge.ssh.hostKeys.{name}" not in missing}
    unknown = [name for name in edge.ssh.host_keys if name not in pinned or "edge.ssh.user" in missing]
    yield from ((name, "the stack file has no host key or no account yet") for name in unknown)
    asked = [name for name in pinned if name not in unknown]
    with configured(settings, os.environ) as hosts, ThreadPoolExecutor(max_workers=8) as pool:
        yield from zip(asked, pool.map(lambda name: _host(settings, hosts, name), asked), strict=True)


def _host(settings: Settings, hosts: Hosts, name: str) -> Host | str:
    others = [node.internal_ip for other, node in settings.cluster.nodes.items() if other != name]
    try:
        done = hosts.run(name, f"sh -s -- {' '.join(others)}", SCRIPT.read_text(encoding="utf-8"))
    except OperationError as error:
        return str(error)
    host = parsed(done.stdout)
    # Whoever was reached over SSH listens at least for that.
    return host if host.listening else f"the host told nothing: {last_line(done.stderr or done.stdout)}"
