"""The proof of fit, judged by the real scheduler and the real quota admission on simulated nodes.

Every generated stack arrives in three orders. What the proof says cannot fit must never be placed, what it says the
quota holds or refuses must be so, and it may be undecided (tight) about a tenth of them at most. What it says fits
should be placed to the last pod: it tries 60 orders of arrival, and near a boundary the scheduler may meet another.
Seen: 0 of 23; the goal is none. That number is printed, and fails the test far past the goal alone.
"""

import json
import os
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from checks import quota
from checks.fit import placed
from checks.placement import Outcome
from checks.workloads import Kind, Workload, workloads
from components.placement import affinity
from operations.manifest import in_camel_case
from sandbox import processes
from settings.model import Settings
from tests.generated_stacks import Generated, stacks
from tests.kubernetes import items, kubectl
from tests.simulated import node, simulated
from tests.stacks import settings

STACKS = int(os.environ.get("GX_GENERATED_STACKS", "40"))
SEED = 20261126
ORDERS = 3
TOGETHER = 20
MADE, LABEL = "gx-made-by", "gx-fit"
RESERVED = "fit-reserved"
JUDGED = ("pods", "-A", "-l", LABEL)
# Nobody else's pods may land on the simulated nodes.
TAINT = {"key": LABEL, "effect": "NoSchedule"}

pytestmark = pytest.mark.usefixtures("cluster")


@dataclass
class Tally:
    """What the proof said and what happened."""

    said: dict[str, int] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)
    left_over: list[str] = field(default_factory=list)
    on_the_boundary: int = 0


def test_no_verdict_is_contradicted_by_the_scheduler_or_the_quota(tmp_path: Path) -> None:
    tally = Tally()
    every = list(enumerate(stacks(settings("testnet"), STACKS, SEED)))
    for first in range(0, STACKS, TOGETHER):
        judge(every[first : first + TOGETHER], tally, tmp_path)
    print(f"{STACKS} stacks, {tally.on_the_boundary} within one pod of a boundary: {tally.said}")
    print(f"said to fit and left a pod over: {len(tally.left_over)} (goal 0) {tally.left_over}")
    assert not tally.wrong
    assert len(tally.left_over) <= tally.said["fits"] / 8
    assert tally.on_the_boundary >= STACKS / 3
    # A tenth of many; of few, two more may be among them.
    assert tally.said["tight"] <= STACKS / 10 + 2
    assert all(tally.said[said] >= STACKS / 20 for said in ("fits", "cannot", "refused by quota"))


def judge(batch: Sequence[tuple[int, Generated]], tally: Tally, directory: Path) -> None:
    nodes = [each for _, generated in batch for each in simulated_nodes(generated.settings)]
    verdicts = {number: verdict(generated.settings) for number, generated in batch}
    for said in verdicts.values():
        tally.said[said] = tally.said.get(said, 0) + 1
    tally.on_the_boundary += sum(generated.on_the_boundary for _, generated in batch)
    settled = {number: generated.settings for number, generated in batch}
    with simulated(nodes, directory / "kwok.log"), prepared(settled):
        for order in range(ORDERS):
            for number, found in arrive(settled, order).items():
                told = f"stack {number}, order {order}: said {verdicts[number]}, found {found}"
                if verdicts[number] == Outcome.FITS and found == "pending":
                    tally.left_over.append(told)
                elif contradicts(verdicts[number], found):
                    tally.wrong.append(told)


@contextmanager
def prepared(batch: dict[int, Settings]) -> Iterator[None]:
    """A namespace and its quota for each stack and order, and the nodes as full as their reservations say."""
    places = [(number, order, stack) for number, stack in batch.items() for order in range(ORDERS)]
    objects = [each for number, order, stack in places for each in namespace(name_of(number, order), stack)]
    try:
        # That of the batch before may still be ending.
        reserved = f"{RESERVED}-{min(batch)}"
        create([namespace_object(reserved), *objects])
        create([pod for stack in batch.values() for pod in reservations(stack, reserved)])
        # Until its controller has counted, a quota admits everything.
        quotas = ("resourcequotas", "-A", "-l", MADE)
        processes.wait_until(
            "every quota is counted", lambda: all("hard" in each["status"] for each in items(*quotas)), timeout=120
        )
        yield
    finally:
        kubectl("delete", "pods", "-A", "-l", MADE, "--force", "--grace-period=0", "--wait=false")
        # What is in them is gone; the rest of their end is nobody's concern here.
        kubectl("delete", "namespace", "-l", MADE, "--wait=false")


def verdict(stack: Settings) -> str:
    if any(row.free < 0 for row in quota.headroom(stack.quota, workloads(stack))):
        return "refused by quota"
    return str(placed(stack).verdict.outcome)


def contradicts(said: str, found: str) -> bool:
    if "quota" in said or "quota" in found:
        return said != found
    return said == Outcome.CANNOT and found == "placed"


def simulated_nodes(stack: Settings) -> Iterator[dict[str, Any]]:
    for name, each in stack.cluster.nodes.items():
        made = node(name, cpu=each.cpu, memory=each.memory)
        made["metadata"]["labels"]["topology.kubernetes.io/zone"] = each.zone
        made["spec"] = {"taints": [TAINT]}
        yield made


def arrive(batch: dict[int, Settings], order: int) -> dict[int, str]:
    """What became of each stack whose pods arrived in an order of their own. None of the pods is left."""
    create([pod for number, stack in batch.items() for pod in shuffled(number, stack, order)], some_refused=True)
    processes.wait_until("every pod is decided", lambda: all(map(decided, items(*JUDGED))), timeout=120)
    existing = items(*JUDGED)
    # kubectl would wait for one pod after the other.
    kubectl("delete", "pods", "-A", "-l", LABEL, "--force", "--grace-period=0", "--wait=false")
    processes.wait_until("every pod is gone", lambda: not items(*JUDGED), timeout=120)
    return {number: outcome(existing, name_of(number, order), stack) for number, stack in batch.items()}


def name_of(number: int, order: int) -> str:
    return f"fit-{number}-{order}"


def decided(pod: dict[str, Any]) -> bool:
    """Whether the pod has a node, or the scheduler has said why not."""
    return "nodeName" in pod["spec"] or "conditions" in pod["status"]


def outcome(existing: list[dict[str, Any]], namespace: str, stack: Settings) -> str:
    own = [pod for pod in existing if pod["metadata"]["namespace"] == namespace]
    if len(own) < sum(each.replicas for each in workloads(stack)):
        return "refused by quota"
    return "placed" if all("nodeName" in pod["spec"] for pod in own) else "pending"


def namespace_object(name: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": {MADE: "fit"}}}


def namespace(name: str, stack: Settings) -> list[dict[str, Any]]:
    hard = stack.quota
    sizes = {
        f"{kind}.{resource}": getattr(getattr(hard, kind), resource)
        for kind in ("requests", "limits")
        for resource in ("cpu", "memory")
    }
    return [
        namespace_object(name),
        {
            "apiVersion": "v1",
            "kind": "ResourceQuota",
            "metadata": {"name": "quota", "namespace": name, "labels": {MADE: "fit"}},
            "spec": {"hard": {**sizes, "pods": str(hard.pods)}},
        },
    ]


def reservations(stack: Settings, namespace: str) -> Iterator[dict[str, Any]]:
    """What others use of the nodes, on them before anything else."""
    for name, each in stack.cluster.nodes.items():
        size = {"cpu": each.reserved_cpu, "memory": each.reserved_memory}
        made = manifest(namespace, f"reserved-{name}", [{"requests": size, "limits": size}])
        made["spec"]["nodeName"] = name
        yield made


def shuffled(number: int, stack: Settings, order: int) -> list[dict[str, Any]]:
    pods = [pod(name_of(number, order), each, index) for each in workloads(stack) for index in range(each.replicas)]
    random.Random(f"{number}/{order}").shuffle(pods)  # noqa: S311 - no secret depends on it
    return pods


def pod(namespace: str, workload: Workload, index: int) -> dict[str, Any]:
    """A pod as its owner would make it, for the scheduler's eyes."""
    sizes = [
        {"requests": each.requests.model_dump(), "limits": each.limits.model_dump()}
        for each in workload.containers
        if not each.init
    ]
    made = manifest(namespace, f"{workload.name}-{index}", sizes)
    made["metadata"]["labels"] |= {"app": workload.name, LABEL: "judged"}
    made["spec"]["tolerations"] = [{"key": LABEL, "operator": "Exists"}]
    made["spec"]["affinity"] = in_camel_case(
        affinity(workload.placement, workload.name, one_per_node=workload.one_per_node)
    )
    if workload.kind is Kind.DEPLOYMENT and workload.replicas >= 2:
        made["spec"]["topologySpreadConstraints"] = [
            {
                "topologyKey": "topology.kubernetes.io/zone",
                "maxSkew": 1,
                "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": {"matchLabels": {"app": workload.name}},
            }
        ]
    return made


def manifest(namespace: str, name: str, sizes: list[dict[str, Any]]) -> dict[str, Any]:
    containers = [{"name": f"c{number}", "image": "none", "resources": each} for number, each in enumerate(sizes)]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, "labels": {MADE: "fit"}},
        "spec": {"containers": containers, "terminationGracePeriodSeconds": 0},
    }


def create(objects: list[dict[str, Any]], *, some_refused: bool = False) -> None:
    done = kubectl(
        "create", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}), check=False
    )
    refusals = [line for line in done.stderr.splitlines() if not (some_refused and "exceeded quota" in line)]
    assert not refusals, refusals[:5]
