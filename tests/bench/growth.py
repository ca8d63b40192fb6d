"""How composition and no-op preview grow with the number of workloads.

The stacks are generated and never deployed: composition runs under mocks, and the preview runs with the real engine and
the sandbox's plugins on a state computed from what the program registers.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sandbox.stacks import render
from settings import stackfile
from settings.stackfile import PROJECT, ROOT
from tests.bench.engine import Engine, decrypted, deployed_state, write_config
from tests.bench.noop import under_mocks
from tests.bench.states import registered, settled
from tests.bench.timing import seconds

BASE = "testnet"
SIZES = (1, 50, 200, 500)


@dataclass(frozen=True, kw_only=True)
class Grown:
    """One size, besides the two workers: CPU seconds of the program under mocks, seconds of the preview."""

    workloads: int
    resources: int
    composition: float
    preview: float


def measure(directory: Path) -> Iterator[Grown]:
    """Each size once."""
    directory.mkdir(exist_ok=True)
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
        argv = ("preview", "--stack", stack, "--config-file", config, "--expect-no-changes")
        yield Grown(
            workloads=size,
            resources=len(state["deployment"]["resources"]),
            composition=child.cpu,
            preview=seconds(lambda argv=argv, engine=engine: engine.pulumi(*argv)),  # type: ignore[misc]
        )


def patch(size: int) -> dict[str, object]:
    """What makes of the base stack one with ``size`` services, and a quota that holds them."""
    found = stackfile.config(render(BASE).read_text(encoding="utf-8"))["services"]
    assert isinstance(found, dict)
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
    return {
        "environment": {"requireImageDigests": False},
        "quota": {"requests": sizes, "limits": sizes, "pods": 2 * size + 10},
        "postgres": {"maxConnections": 100 + 4 * size, "connectionsPerPod": 1},
        "services": {**gone, **dict.fromkeys(names, service)},
        "images": {"workloads": {**gone, **dict.fromkeys(names, "ghcr.io/gx-protocol/generated:1")}},
    }
