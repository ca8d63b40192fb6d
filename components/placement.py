"""Scheduling shared by all pods: node affinity from the stack file, pods apart, fast eviction from dead nodes."""

from typing import Any

from settings.model import NodeSelection, Placement, Resources


def resources(requests: Resources, limits: Resources) -> dict[str, Any]:
    """Container resources; every container states both (X-06)."""
    return {"requests": requests.model_dump(), "limits": limits.model_dump()}


def _expressions(selection: NodeSelection) -> list[dict[str, Any]]:
    if selection.label is not None:
        return [{"key": selection.label, "operator": "Exists"}]
    return [{"key": "kubernetes.io/hostname", "operator": "In", "values": list(selection.hostnames)}]


def node_affinity(placement: Placement) -> dict[str, Any] | None:
    """Required and preferred node affinity (PG-08, PG-10, WK-04, API-08), or nothing."""
    affinity: dict[str, Any] = {}
    if placement.require is not None:
        affinity["required_during_scheduling_ignored_during_execution"] = {
            "node_selector_terms": [{"match_expressions": _expressions(placement.require)}]
        }
    if placement.prefer is not None:
        affinity["preferred_during_scheduling_ignored_during_execution"] = [
            {"weight": 100, "preference": {"match_expressions": _expressions(placement.prefer)}}
        ]
    return affinity or None


def _anti_affinity_term(app: str) -> dict[str, Any]:
    return {"label_selector": {"match_labels": {"app": app}}, "topology_key": "kubernetes.io/hostname"}


def affinity(placement: Placement, app: str, *, one_per_node: bool) -> dict[str, Any]:
    """Affinity of one workload: its nodes, and its own pods apart, by rule (databases) or by preference (the rest)."""
    term = _anti_affinity_term(app)
    apart: dict[str, Any] = (
        {"required_during_scheduling_ignored_during_execution": [term]}
        if one_per_node
        else {"preferred_during_scheduling_ignored_during_execution": [{"weight": 100, "pod_affinity_term": term}]}
    )
    nodes = node_affinity(placement)
    return {"pod_anti_affinity": apart} | ({"node_affinity": nodes} if nodes else {})


# Kubernetes waits 300 s before it moves pods from an unreachable node; stateless pods move after one minute.
FAST_EVICTION: list[dict[str, Any]] = [
    {"key": f"node.kubernetes.io/{condition}", "operator": "Exists", "effect": "NoExecute", "toleration_seconds": 60}
    for condition in ("not-ready", "unreachable")
]
