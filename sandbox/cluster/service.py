"""The four-node cluster as one part of the sandbox: start, stop, status."""

import json
import shutil
import sys
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from sandbox import layout as where
from sandbox import netns, processes
from sandbox.cluster import cgroups, control_plane, fabric, node, pki
from sandbox.cluster.kubectl import apply, apply_file, kubectl
from sandbox.layout import Layout
from sandbox.parts import Health, say
from sandbox.processes import SandboxError
from sandbox.toolchain import tool

PROVISIONER = "local-path-provisioner"

_MANIFESTS = Path(__file__).parent / "manifests"


def start(layout: Layout) -> None:
    """Bring up what is missing of the cluster and return when every node is ready and names resolve.

    etcd lives in the memory of the machine `cp`: when that or the internet between the machines is gone, so is the
    cluster, and what is left of it is cleared away first.
    """
    kept = processes.pid_of(layout, control_plane.ETCD) is not None and all(
        netns.running(layout, name) for name in (where.INTERNET, where.CONTROL_PLANE)
    )
    if not kept:
        stop(layout)
        layout.runtime.mkdir(parents=True, exist_ok=True)
        _require_disk_for_overlays(layout)
        pki.create(layout)
    netns.start(layout, where.INTERNET)
    netns.start(layout, where.CONTROL_PLANE)
    if not kept:
        say("cluster: control plane")
    control_plane.start(layout)
    _link_tools(layout)
    if not kept:
        _declare(layout)
        say(f"cluster: {len(where.NODES)} nodes")
    _start_provisioner(layout)
    _together([lambda spec=spec: node.start(layout, spec) for spec in where.NODES])  # type: ignore[misc]
    processes.wait_until("every node is ready", lambda: not _not_ready(layout), timeout=300)
    if not kept:
        say("cluster: DNS and Fabric's idle pods")
        kubectl(layout, "-n", "kube-system", "rollout", "status", "deployment/coredns", "--timeout=300s")
        for namespace in sorted({tenancy.namespace for tenancy in fabric.TENANCIES}):
            kubectl(layout, "-n", namespace, "wait", "--for=condition=Ready", "pods", "--all", "--timeout=300s")


def stop(layout: Layout) -> None:
    """Power every machine off and remove disks, networks, control groups and credentials. Logs stay."""
    processes.stop(layout, PROVISIONER)
    _together([lambda spec=spec: node.remove(layout, spec) for spec in where.NODES])  # type: ignore[misc]
    for name in (where.CLOUDFLARE, where.CONTROL_PLANE, where.INTERNET):
        netns.remove(layout, name)
    for name in control_plane.DAEMONS:
        processes.stop(layout, name, grace=0)
    cgroups.remove(f"/{layout.id}")
    shutil.rmtree(layout.data(""), ignore_errors=True)
    shutil.rmtree(layout.pki, ignore_errors=True)
    layout.kubeconfig.unlink(missing_ok=True)


def status(layout: Layout) -> list[Health]:
    """One line for the control plane and one for each node."""
    answers = control_plane.ready(layout)
    lines = [Health("control plane", answers, where.API_URL if answers else "the API server does not answer")]
    waiting = _not_ready(layout) if answers else {spec.name for spec in where.NODES}
    for spec in where.NODES:
        dead = node.dead_daemons(layout, spec)
        well = not dead and spec.name not in waiting
        detail = f"{spec.zone}, {spec.public_address or spec.address}"
        lines.append(Health(spec.name, well, detail if well else f"not running: {', '.join(dead) or 'not ready'}"))
    provisioner = processes.pid_of(layout, PROVISIONER) is not None
    lines.append(Health("volumes", provisioner, "local-path, local-path-retain"))
    return lines


def _declare(layout: Layout) -> None:
    """Nodes (so that they join with their labels and pod networks), storage classes, DNS and the co-tenant."""
    nodes: list[dict[str, object]] = [
        {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": spec.name, "labels": spec.labels},
            "spec": {"podCIDR": spec.pod_cidr, "podCIDRs": [spec.pod_cidr], "providerID": f"k3s://{spec.name}"},
        }
        for spec in where.NODES
    ]
    apply(layout, nodes)
    for manifest in sorted(_MANIFESTS.glob("*.yaml")):
        apply_file(layout, manifest)
    apply(layout, fabric.objects())


def _require_disk_for_overlays(layout: Layout) -> None:
    """Nodes and containers lay overlays, and the kernel keeps no overlay's changes on another overlay."""
    kind = processes.run(["stat", "--file-system", "--format=%T", str(layout.runtime)]).strip()
    if kind == "overlayfs":
        raise SandboxError(
            f"{layout.runtime} is on overlayfs, as in a container. Put the checkout, or a volume at .sandbox, on ext4, "
            "xfs or tmpfs"
        )


def _not_ready(layout: Layout) -> set[str]:
    listed = json.loads(kubectl(layout, "get", "nodes", "-o", "json"))["items"]
    ready = {
        item["metadata"]["name"]
        for item in listed
        if any(c["type"] == "Ready" and c["status"] == "True" for c in item.get("status", {}).get("conditions", []))
        and not item["spec"].get("taints")
    }
    return {spec.name for spec in where.NODES} - ready


def _start_provisioner(layout: Layout) -> None:
    """It sees the host's files and processes, and the API server even while the operator does not."""
    if processes.pid_of(layout, PROVISIONER) is None:
        command = [sys.executable, "-m", "sandbox.cluster.provisioner"]
        network = where.nsenter_argv(layout.netns(where.CONTROL_PLANE))
        processes.spawn(layout, PROVISIONER, [*network, *command], env={"PYTHONPATH": str(layout.root)})


def _link_tools(layout: Layout) -> None:
    """Give the wrappers in sandbox/bin a path to kubectl that does not depend on what was built where."""
    link = layout.runtime / "tools" / "kubectl"
    link.parent.mkdir(parents=True, exist_ok=True)
    link.unlink(missing_ok=True)
    link.symlink_to(tool("kubectl"))


def _together(steps: Iterable[Callable[[], None]]) -> None:
    """Run steps at the same time and raise the first error once all have ended."""
    with ThreadPoolExecutor() as pool:
        for done in [pool.submit(step) for step in steps]:
            done.result()
