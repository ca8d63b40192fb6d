"""How composition, no-op preview and `up` from empty grow with the number of workloads.

The stacks are generated. Composition runs under mocks; the preview runs with the real engine and the sandbox's plugins
on a state computed from what the program registers; `up` makes the stack in a scratch namespace of the real control
plane, on simulated nodes.
"""

import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sandbox.stacks import render
from settings import stackfile
from settings.stackfile import PROJECT, ROOT
from tests.bench import scratch
from tests.bench.engine import BIN, LAYOUT, Engine, decrypted, deployed_state, run, write_config
from tests.bench.noop import under_mocks
from tests.bench.rollout import PARALLEL
from tests.bench.states import registered, settled
from tests.bench.timing import seconds
from tests.simulated import node, simulated

BASE = "testnet"
SIZES = (1, 50, 200, 500)
NAMESPACE = "backend-grown"
NODES = tuple(f"simulated-{number}" for number in range(10))
PATIENCE_SECONDS = 3600
"""After this an `up` is cut short: its figure is that it takes longer."""
_NODE_SIZE = {"cpu": "100", "memory": "200Gi"}


@dataclass(frozen=True, kw_only=True)
class Grown:
    """One size, besides the two workers: CPU seconds of the program under mocks, seconds of preview and `up`.

    ``up`` is None where it was cut short.
    """

    workloads: int
    resources: int
    composition: float
    preview: float
    up: float | None


def measure(directory: Path) -> Iterator[Grown]:
    """Each size once. Leaves nothing behind on the cluster."""
    directory.mkdir(exist_ok=True)
    with simulated([node(name, **_NODE_SIZE) for name in NODES], directory / "kwok.log"):
        try:
            yield from _each(directory)
        finally:
            _remove_volumes()


def _each(directory: Path) -> Iterator[Grown]:
    exported = deployed_state(BASE)
    # Of the deployed stack only the way its secrets are encrypted is taken over.
    nothing = {**exported, "deployment": {**exported["deployment"], "resources": []}}
    for size in SIZES:
        stack = f"grown{size}"
        engine = Engine(directory / "growth")
        engine.create(PROJECT, stack)
        config = write_config(directory / f"{stack}.yaml", render(BASE), patch(size))
        values = decrypted(engine, stack, config)
        child = under_mocks(ROOT / "__main__.py", stack, values)
        state = settled(stack, registered(stack, values), nothing)
        engine.load(PROJECT, stack, state)
        argv = ("--stack", stack, "--config-file", config)
        preview = seconds(lambda: engine.pulumi("preview", *argv, "--expect-no-changes"))  # noqa: B023 - called at once
        engine.load(PROJECT, stack, nothing)
        with scratch.gone_after(NAMESPACE):
            up = _up(engine, *argv)
        yield Grown(
            workloads=size,
            resources=len(state["deployment"]["resources"]),
            composition=child.cpu,
            preview=preview,
            up=up,
        )


def _up(engine: Engine, *argv: str | Path) -> float | None:
    flags = ("--yes", "--skip-preview", "--parallel", PARALLEL)
    try:
        return seconds(lambda: engine.pulumi("up", *argv, *flags, timeout=PATIENCE_SECONDS))
    except subprocess.TimeoutExpired:
        return None


def _remove_volumes() -> None:
    """The volumes of nodes that have no machine, which their provisioner leaves for the machine's return."""
    columns = "jsonpath={range .items[?(@.spec.claimRef.namespace=='" + NAMESPACE + "')]}{.metadata.name} {end}"
    volumes = run(BIN / "kubectl", "get", "persistentvolumes", "-o", columns).split()
    if volumes:
        run(BIN / "kubectl", "delete", "persistentvolume", *volumes)
    for name in NODES:
        shutil.rmtree(LAYOUT.data(name), ignore_errors=True)


def patch(size: int) -> dict[str, object]:
    """What makes of the base stack one with ``size`` services on the simulated nodes, and a quota for them."""
    base = stackfile.config(render(BASE).read_text(encoding="utf-8"))
    found, workers = base["services"], base["workers"]
    assert isinstance(found, dict)
    assert isinstance(workers, dict)
    gone: dict[str, object] = dict.fromkeys(found)
    service = {
        "replicas": 1,
        "port": 3001,
        "requests": {"cpu": "100m", "memory": "128Mi"},
        "limits": {"cpu": "100m", "memory": "128Mi"},
        "fabricAccess": False,
    }
    names = [f"generated-{number:03}" for number in range(size)]
    sizes = {"cpu": "1000", "memory": "2000Gi"}
    own = scratch.settings("grown", NAMESPACE)
    place = {"role": "worker", "region": "Simulated", "zone": "simulated", "disk": "10T", **_NODE_SIZE}
    nodes = {
        name: {
            **place,
            "internalIp": f"10.99.255.{number + 1}",
            "podCidr": f"10.99.{number}.0/24",
            "reservedCpu": "1",
            "reservedMemory": "1Gi",
        }
        for number, name in enumerate(NODES)
    }
    return {
        **own,
        "cluster": {"storageClass": "local-path", "nodes": nodes},
        "placement": {family: {"require": {"hostnames": list(NODES)}} for family in ("databases", "workloads")},
        "quota": {"requests": sizes, "limits": sizes, "pods": 2 * size + 10},
        "postgres": {"maxConnections": 100 + 4 * size, "connectionsPerPod": 1},
        "workers": {name: {"fabricAccess": False} for name in workers},
        "services": {**gone, **dict.fromkeys(names, service)},
        "images": {"workloads": {**gone, **dict.fromkeys(names, "ghcr.io/gx-protocol/generated:1")}},
    }
