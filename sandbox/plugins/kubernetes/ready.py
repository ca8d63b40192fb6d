"""When an object counts as ready, by kind: the real plugin's await rules as functions of what the API server shows.

https://github.com/pulumi/pulumi-kubernetes/tree/master/provider/pkg/await
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

Object = dict[str, Any]


@dataclass(frozen=True)
class Readiness:
    """Whether an object is ready; if not, what it waits for, what is wrong, and whether waiting longer is pointless."""

    ready: bool
    progress: str = ""
    problems: list[str] = field(default_factory=list)
    failed: bool = False


READY = Readiness(ready=True)


def readiness(obj: Object) -> Readiness:
    """The readiness of ``obj`` from its own status. Kinds without a rule are ready once they exist."""
    rule = _RULES.get(f"{obj['apiVersion']}/{obj['kind']}")
    return rule(obj) if rule else READY


def has_rule(obj: Object) -> bool:
    """Whether objects of this kind have to become ready at all."""
    return f"{obj['apiVersion']}/{obj['kind']}" in _RULES


def _conditions(obj: Object) -> dict[str, Object]:
    return {item["type"]: item for item in (obj.get("status") or {}).get("conditions") or []}


def _observed(obj: Object) -> bool:
    return int((obj.get("status") or {}).get("observedGeneration") or 0) >= int(obj["metadata"].get("generation") or 0)


def _deployment(obj: Object) -> Readiness:
    wanted = int(obj["spec"].get("replicas", 1))
    status = obj.get("status") or {}
    if not _observed(obj):
        return Readiness(ready=False, progress="Waiting for the Deployment controller")
    conditions = _conditions(obj)
    available = conditions.get("Available", {}).get("status") == "True"
    progressing = conditions.get("Progressing", {})
    revision = (obj["metadata"].get("annotations") or {}).get("deployment.kubernetes.io/revision", "")
    rolled_out = revision == "1" or (
        progressing.get("status") == "True" and progressing.get("reason") == "NewReplicaSetAvailable"
    )
    updated = int(status.get("updatedReplicas") or 0)
    ready_replicas = int(status.get("readyReplicas") or 0)
    if available and revision and rolled_out and updated >= wanted and ready_replicas >= wanted:
        return READY
    problems = [
        f"[{item.get('reason')}] {item.get('message')}"
        for kind, item in conditions.items()
        if kind in {"Available", "Progressing"} and item.get("status") != "True"
    ]
    if not available:
        problems.append("Minimum number of live Pods was not attained")
    elif revision == "1" or not rolled_out:
        problems.append("Minimum number of Pods to consider the application live was not attained")
    else:
        problems.append("Attempted to roll forward to new ReplicaSet, but minimum number of Pods did not become live")
    live = min(updated, ready_replicas)
    progress = f"Waiting for app ReplicaSet to be available ({live}/{wanted} Pods available)"
    return Readiness(ready=False, progress=progress, problems=problems)


def _stateful_set(obj: Object) -> Readiness:
    wanted = int(obj["spec"].get("replicas", 1))
    status = obj.get("status") or {}
    if not _observed(obj):
        return Readiness(ready=False, progress="Waiting for the StatefulSet controller")
    ready_replicas = int(status.get("readyReplicas") or 0)
    current, update = status.get("currentRevision", ""), status.get("updateRevision", "")
    counts = [int(status.get(key) or 0) for key in ("replicas", "readyReplicas")]
    on_delete = (obj["spec"].get("updateStrategy") or {}).get("type") == "OnDelete"
    if on_delete and int(obj["metadata"]["generation"]) > 1:
        revision_ready = True
    else:
        revision_ready = bool(current) and current == update
        counts.append(int(status.get("currentReplicas") or 0))
    replicas_ready = all(count == wanted for count in counts)
    if replicas_ready and revision_ready:
        return READY
    problems = []
    live = ready_replicas if revision_ready else min(ready_replicas, int(status.get("updatedReplicas") or 0))
    if not replicas_ready:
        problems.append(f"{live} out of {wanted} replicas succeeded readiness checks")
    if not revision_ready:
        problems.append(f'StatefulSet controller failed to advance from revision "{current}" to revision "{update}"')
    progress = f"Waiting for StatefulSet to create Pods ({live}/{wanted} Pods ready)"
    return Readiness(ready=False, progress=progress, problems=problems)


def _daemon_set(obj: Object) -> Readiness:
    status = obj.get("status") or {}
    wanted = int(status.get("desiredNumberScheduled") or 0)
    updated = int(status.get("updatedNumberScheduled") or 0)
    ready_pods = int(status.get("numberReady") or 0)
    if _observed(obj) and updated == wanted and ready_pods == wanted:
        return READY
    progress = f"Waiting for DaemonSet to be ready ({ready_pods}/{wanted} Pods ready)"
    return Readiness(ready=False, progress=progress, problems=[f"{ready_pods} out of {wanted} Pods are ready"])


def _job(obj: Object) -> Readiness:
    status = obj.get("status") or {}
    conditions = _conditions(obj)
    failed = conditions.get("Failed", {})
    if failed.get("status") == "True" and failed.get("reason") in {"BackoffLimitExceeded", "DeadlineExceeded"}:
        return Readiness(ready=False, failed=True, problems=[f"[{failed['reason']}] {failed.get('message', '')}"])
    if status.get("startTime") and conditions.get("Complete", {}).get("status") == "True":
        return READY
    tally = " | ".join(f"{key.title()}: {status.get(key) or 0}" for key in ("active", "succeeded", "failed"))
    return Readiness(
        ready=False, progress=f"Waiting for Job to succeed ({tally})", problems=[f"Job did not succeed ({tally})"]
    )


def _resource_quota(obj: Object) -> Readiness:
    if obj["spec"].get("hard") == (obj.get("status") or {}).get("hard"):
        return READY
    return Readiness(ready=False, progress="Waiting for the quota controller", problems=["The quota has no status yet"])


def _ingress(obj: Object) -> Readiness:
    if ((obj.get("status") or {}).get("loadBalancer") or {}).get("ingress"):
        return READY
    problem = "Ingress .status.loadBalancer field was not updated with a hostname/IP address"
    return Readiness(ready=False, progress="Waiting for an ingress controller", problems=[problem])


_RULES = {
    "apps/v1/Deployment": _deployment,
    "apps/v1/StatefulSet": _stateful_set,
    "apps/v1/DaemonSet": _daemon_set,
    "batch/v1/Job": _job,
    "v1/ResourceQuota": _resource_quota,
    "networking.k8s.io/v1/Ingress": _ingress,
}


def claim_readiness(claim: Object, binding_mode: str, *, updating: bool) -> Readiness:
    """A volume claim: bound, or pending by design because its class binds on first use."""
    phase = (claim.get("status") or {}).get("phase", "")
    if phase == "Bound" and (updating or binding_mode != "WaitForFirstConsumer"):
        return READY
    if binding_mode == "WaitForFirstConsumer" and phase in {"Pending", "Bound"}:
        return READY
    return Readiness(
        ready=False, progress=f"Waiting for the claim to be bound ({phase})", problems=[f"Claim is {phase}"]
    )


def needs_endpoints(service: Object) -> bool:
    """Whether a Service's pods are waited for: not without a selector, headless or an external name."""
    spec = service["spec"]
    return bool(spec.get("selector")) and spec.get("clusterIP") != "None" and spec.get("type") != "ExternalName"


def pending_endpoints(endpoints: Object | None) -> bool:
    """Whether some selected pod is known and not ready."""
    subsets = (endpoints or {}).get("subsets") or []
    return any(subset.get("notReadyAddresses") for subset in subsets)


def pod_problems(pod: Object) -> list[str]:
    """Why a pod is not ready: scheduling, image, crash; empty while it is simply starting."""
    status = pod.get("status") or {}
    name = f"{pod['metadata'].get('namespace', '')}/{pod['metadata']['name']}"
    problems = []
    for condition in status.get("conditions") or []:
        if condition["type"] == "PodScheduled" and condition["status"] != "True" and condition.get("message"):
            problems.append(f"[Pod {name}]: {condition['message']}")
    for container in [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]:
        if container.get("ready"):
            continue
        state = container.get("state") or {}
        waiting, terminated = state.get("waiting") or {}, state.get("terminated") or {}
        if waiting.get("reason") and waiting["reason"] not in {"ContainerCreating", "PodInitializing"}:
            problems.append(f"[Pod {name}]: [{waiting['reason']}] {waiting.get('message', '')}".rstrip())
        if terminated.get("reason") and terminated.get("exitCode"):
            problems.append(
                f'[Pod {name}]: container "{container["name"]}" completed with exit code {terminated["exitCode"]}'
            )
        last = (container.get("lastState") or {}).get("terminated") or {}
        if last:
            problems.append(
                f'[Pod {name}]: container "{container["name"]}" terminated at {last.get("finishedAt")} '
                f"({last.get('reason')}: exit code {last.get('exitCode')})"
            )
    return problems
