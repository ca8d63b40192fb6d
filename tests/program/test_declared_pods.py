"""The pods that the proofs judge are the pods that the program declares, in every stack."""

from decimal import Decimal
from typing import Any

import pytest

from checks.workloads import Kind, Workload, workloads
from settings.model import NodeSelection, Placement
from settings.rules_exposure import PARTS
from settings.types import amount
from tests import capture
from tests.capture import Capture, Registered
from tests.stacks import settings

STACKS = ("mainnet", "testnet", "devnet")


@pytest.fixture(scope="module", params=STACKS)
def both(request: pytest.FixtureRequest) -> tuple[dict[str, Workload], Capture]:
    judged = {f"{each.kind}/{each.name}": each for each in workloads(settings(request.param))}
    return judged, capture.stack(request.param)


def owners(program: Capture) -> dict[str, Registered]:
    kinds = {str(kind) for kind in Kind}
    return {
        f"{kind}/{resource.kubernetes_name}": resource
        for resource in program.resources
        if (kind := resource.type.rsplit(":", 1)[-1]) in kinds
    }


def job_spec(owner: Registered) -> dict[str, Any]:
    spec: dict[str, Any] = owner.inputs["spec"]
    return spec["jobTemplate"]["spec"] if "jobTemplate" in spec else spec


def pod(owner: Registered) -> dict[str, Any]:
    template: dict[str, Any] = job_spec(owner)["template"]
    return template


def placement(spec: dict[str, Any]) -> Placement:
    """What a pod's node affinity says, as the stack file would."""
    affinity = spec.get("affinity", {}).get("nodeAffinity", {})
    required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution")
    preferred = affinity.get("preferredDuringSchedulingIgnoredDuringExecution")
    return Placement(
        require=selection(required["nodeSelectorTerms"][0]) if required else None,
        prefer=selection(preferred[0]["preference"]) if preferred else None,
    )


def selection(term: dict[str, Any]) -> NodeSelection:
    (expression,) = term["matchExpressions"]
    if expression["operator"] == "Exists":
        return NodeSelection(label=expression["key"])
    assert (expression["key"], expression["operator"]) == ("kubernetes.io/hostname", "In")
    return NodeSelection(hostnames=tuple(expression["values"]))


def apart(spec: dict[str, Any], labels: dict[str, str]) -> bool:
    """Whether the pod refuses a node with another of its own."""
    rules = (
        spec.get("affinity", {}).get("podAntiAffinity", {}).get("requiredDuringSchedulingIgnoredDuringExecution", [])
    )
    for rule in rules:
        assert rule["topologyKey"] == "kubernetes.io/hostname"
        assert rule["labelSelector"]["matchLabels"].items() <= labels.items(), "the proofs know no other kind"
    return bool(rules)


def sizes(resources: dict[str, Any]) -> dict[str, Decimal]:
    return {
        f"{kind}.{field}": amount(str(resources[kind][field]))
        for kind in ("requests", "limits")
        for field in ("cpu", "memory")
    }


def test_every_owner_of_pods_is_judged_and_nothing_else_is(both: tuple[dict[str, Workload], Capture]) -> None:
    judged, program = both
    assert judged.keys() == owners(program).keys(), "add what is new to checks/workloads.py"


def test_containers_are_judged_at_their_declared_sizes(both: tuple[dict[str, Workload], Capture]) -> None:
    judged, program = both
    for name, owner in owners(program).items():
        spec = pod(owner)["spec"]
        declared = {
            (container["name"], kind == "initContainers"): sizes(container["resources"])
            for kind in ("initContainers", "containers")
            for container in spec.get(kind, [])
        }
        expected = {
            (each.name, each.init): sizes({"requests": each.requests.model_dump(), "limits": each.limits.model_dump()})
            for each in judged[name].containers
        }
        assert expected == declared, name


def test_replicas_placement_and_roll_out_are_judged_as_declared(both: tuple[dict[str, Workload], Capture]) -> None:
    judged, program = both
    for name, owner in owners(program).items():
        workload, spec, template = judged[name], owner.inputs["spec"], pod(owner)
        assert workload.placement == placement(template["spec"]), name
        assert workload.one_per_node == apart(template["spec"], template["metadata"].get("labels", {})), name
        assert workload.replicas == spec.get("replicas", job_spec(owner).get("parallelism", 1)), name
        if workload.kind is Kind.DEPLOYMENT:
            strategy = spec["strategy"].get("rollingUpdate", {"maxSurge": 0, "maxUnavailable": 1})
            assert (workload.max_surge, workload.max_unavailable) == (
                strategy["maxSurge"],
                strategy["maxUnavailable"],
            ), name
        if not workload.lasting:
            assert workload.schedule == spec.get("schedule"), name
            assert workload.deadline == job_spec(owner).get("activeDeadlineSeconds"), name
            assert workload.start_within == spec.get("startingDeadlineSeconds", 0), name
            assert spec.get("timeZone", "Etc/UTC") == "Etc/UTC", name
            assert spec.get("concurrencyPolicy", "Forbid") == "Forbid", name


def test_disruption_budgets_are_judged_as_declared(both: tuple[dict[str, Workload], Capture]) -> None:
    judged, program = both
    declared = {
        budget.inputs["spec"]["selector"]["matchLabels"]["app"]: budget.inputs["spec"]["minAvailable"]
        for budget in program.resources
        if budget.type.endswith(":PodDisruptionBudget")
    }
    assert {each.name: each.min_available for each in judged.values() if each.min_available is not None} == declared


def test_volume_claims_are_judged_as_declared(both: tuple[dict[str, Workload], Capture]) -> None:
    judged, program = both
    declared = [
        amount(claim["spec"]["resources"]["requests"]["storage"])
        for owner in owners(program).values()
        for claim in owner.inputs["spec"].get("volumeClaimTemplates", [])
        for _ in range(owner.inputs["spec"]["replicas"])
    ]
    declared += [
        amount(claim.inputs["spec"]["resources"]["requests"]["storage"])
        for claim in program.resources
        if claim.type.endswith(":PersistentVolumeClaim")
    ]
    expected = [
        amount(claim.storage)
        for each in judged.values()
        for claim in each.claims
        for _ in range(each.replicas if each.kind is Kind.STATEFUL_SET else 1)
    ]
    assert sorted(expected) == sorted(declared)


def test_shared_volumes_are_judged_as_mounted(both: tuple[dict[str, Workload], Capture]) -> None:
    judged, program = both
    for name, owner in owners(program).items():
        mounted = [
            volume["persistentVolumeClaim"]["claimName"]
            for volume in pod(owner)["spec"].get("volumes", [])
            if "persistentVolumeClaim" in volume
        ]
        assert mounted == [judged[name].volume] * len(mounted), name
        assert bool(mounted) == (judged[name].volume is not None), name


@pytest.mark.parametrize("stack", STACKS)
def test_no_workload_may_have_the_name_of_another_part(stack: str) -> None:
    """The names that ``settings.rules_exposure`` keeps are those of all pods, accounts and Services but theirs."""
    declared = settings(stack)
    kinds = {"Service", "ServiceAccount", *map(str, Kind)}
    others = {
        resource.kubernetes_name
        for resource in capture.stack(stack).resources
        if resource.type.startswith("kubernetes:") and resource.type.rsplit(":", 1)[-1] in kinds
    } - {*declared.workers, *declared.services}
    assert {name.partition("-")[0] for name in others} == set(PARTS)
