"""Full ``up`` from empty and a one-value change, against ``kubectl apply --server-side`` of the same objects.

kubectl applies all at once, which is the goal's floor, and once more in the program's order (databases, workers,
services), each waited for: the difference between the two is the price of the order. All work on one scratch namespace
of testnet's shape, in turn: it is made, changed and removed by the one, then by the others. The deployed stacks keep
running beside it.
"""

import json
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from sandbox.stacks import render
from settings import stackfile
from settings.stackfile import PROJECT
from tests.bench import scratch
from tests.bench.engine import BIN, Engine, decrypted, run, write_config
from tests.bench.states import registered
from tests.bench.timing import Comparison, interleaved, seconds

BASE = "testnet"
STACK = "bench"
NAMESPACE = "backend-bench"
CHANGED = "svc-tax"
PARALLEL = "64"
UP_GOAL = 1.6

_SMALL = {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"cpu": "500m", "memory": "512Mi"}}


@dataclass(frozen=True, kw_only=True)
class RollOut:
    """The measurement's figures."""

    objects: int
    pods: int
    up: Comparison
    up_ordered: Comparison
    change: Comparison


def patch() -> dict[str, object]:
    """What makes of the base stack one that finds room beside it: other names and ports, and small requests."""
    base = stackfile.config(render(BASE).read_text(encoding="utf-8"))
    services, workers = _names(base, "services"), _names(base, "workers")
    return {
        **scratch.settings(STACK, NAMESPACE),
        "postgres": _SMALL,
        "redis": {**_SMALL, "maxMemory": "64Mi"},
        "workers": {name: {**_SMALL, "fabricAccess": False} for name in workers},
        "services": {name: {**_SMALL, **_other_port(services[name]), "fabricAccess": False} for name in services},
    }


def _names(base: dict[str, object], family: str) -> dict[str, Any]:
    found = base[family]
    assert isinstance(found, dict)
    return found


def _other_port(service: dict[str, Any]) -> dict[str, int]:
    return {"nodePort": service["nodePort"] + 100} if "nodePort" in service else {}


def _changed(base: dict[str, object]) -> dict[str, object]:
    """One value of the stack file: an image by its tag alone instead of tag and digest."""
    image = str(_names(_names(base, "images"), "workloads")[CHANGED])
    return {"images": {"workloads": {CHANGED: image.partition("@")[0]}}}


def measure(directory: Path, runs: int) -> RollOut:
    """Make, change and remove the scratch namespace each way, ``runs`` times. Leaves nothing of it behind."""
    directory.mkdir(exist_ok=True)
    engine = Engine(directory / "rollout")
    engine.create(PROJECT, STACK)
    rendered = render(BASE)
    before = write_config(directory / "before.yaml", rendered, patch())
    after = write_config(directory / "after.yaml", before, _changed(stackfile.config(before.read_text())))
    objects = _objects(engine, before)
    manifests = {before: _manifest(directory, objects), after: _manifest(directory, _objects(engine, after))}
    stages = [_manifest(directory, stage) for stage in _stages(objects, patch())]
    changes: dict[str, list[float]] = {"ours": [], "floor": []}

    def up(config: Path) -> None:
        engine.pulumi(
            *("up", "--stack", STACK, "--config-file", config, "--yes", "--skip-preview"),
            *("--parallel", PARALLEL, "--suppress-outputs"),
        )

    def ours() -> float:
        with scratch.gone_after(NAMESPACE):
            taken = seconds(lambda: up(before))
            changes["ours"].append(seconds(lambda: up(after)))
        # The objects are gone; the state starts anew as well.
        engine.pulumi("stack", "rm", STACK, "--yes", "--force", cwd=engine.directory / "new" / PROJECT)
        engine.create(PROJECT, STACK)
        return taken

    def floor() -> float:
        with scratch.gone_after(NAMESPACE):
            taken = seconds(lambda: _apply(manifests[before]))
            changes["floor"].append(seconds(lambda: _apply(manifests[after])))
        return taken

    def ordered() -> float:
        with scratch.gone_after(NAMESPACE):
            return sum(seconds(partial(_apply, stage)) for stage in stages)

    scratch.remove(NAMESPACE)
    made, applied, in_order = interleaved(runs, ours, floor, ordered)
    return RollOut(
        objects=len(objects),
        pods=sum(each["spec"]["replicas"] for each in objects if each["kind"] in {"Deployment", "StatefulSet"}),
        up=Comparison(
            title=f"Full `up` from empty at --parallel {PARALLEL}, against `kubectl apply --server-side` and waiting",
            ours=made,
            floor=applied,
            goal=UP_GOAL,
        ),
        up_ordered=Comparison(
            title="… against the same by kubectl in the program's order, each family waited for",
            ours=made,
            floor=in_order,
        ),
        change=Comparison(
            title="One changed value (an image) until rolled out, against the same by `kubectl apply`",
            ours=tuple(changes["ours"]),
            floor=tuple(changes["floor"]),
        ),
    )


def _objects(engine: Engine, config: Path) -> list[dict[str, Any]]:
    """The Kubernetes objects that the program declares, in its order."""
    program = registered(STACK, decrypted(engine, STACK, config))
    return [each.inputs for each in program.resources if each.type.startswith("kubernetes:")]


def _stages(objects: list[dict[str, Any]], settings: dict[str, object]) -> list[list[dict[str, Any]]]:
    """The objects in the program's order: the Deployments of workers and of services come last."""
    families = [list(_names(settings, family)) for family in ("workers", "services")]
    late = [
        [each for each in objects if each["kind"] == "Deployment" and each["metadata"]["name"] in names]
        for names in families
    ]
    return [[each for each in objects if not any(each in stage for stage in late)], *late]


def _manifest(directory: Path, objects: list[dict[str, Any]]) -> Path:
    path = directory / f"objects-{len(list(directory.glob('objects-*')))}.yaml"
    path.touch(mode=0o600)
    path.write_text(yaml.safe_dump_all(objects))
    return path


def _apply(manifest: Path) -> None:
    """What an operator without Pulumi does: apply everything, then wait for every roll-out."""
    kubectl = BIN / "kubectl"
    run(kubectl, "apply", "--server-side", "--force-conflicts", "-f", manifest)
    for kind in ("statefulset", "deployment"):
        listed = json.loads(run(kubectl, "get", kind, "-n", NAMESPACE, "-o", "json"))["items"]
        for each in listed:
            name = each["metadata"]["name"]
            run(kubectl, "rollout", "status", f"{kind}/{name}", "-n", NAMESPACE, f"--timeout={scratch.DEADLINE}")
