"""Pods whose volume is on a node that is away (X-18)."""

from collections.abc import Iterator

from operations.preflight.cluster import is_ready
from operations.preflight.observed import Document, Observed
from operations.preflight.rows import Level, Row, by_name
from settings.model import Settings

RUNBOOK = "docs/runbooks/volumes.md"
FAILOVER = "docs/runbooks/postgres-failover.md"


def pinned_volumes(settings: Settings, observed: Observed) -> Iterator[Row]:
    """A pod stays where its volume is: one that waits for its node is told with what to do about the volume."""
    live = by_name(observed.nodes)
    namespace = settings.environment.namespace
    waiting = 0
    for pod in observed.pods:
        claims = _claims(pod)
        if pod["metadata"]["namespace"] != namespace or not claims or pod["status"].get("phase") == "Succeeded":
            continue
        node = str(pod["spec"].get("nodeName", ""))
        said = _no_node(pod) if not node else "" if node in live and is_ready(live[node]) else f"{node} is away"
        if said:
            waiting += 1
            name = str(pod["metadata"]["name"])
            fix = f"nothing if the node returns; if it never does: {_gone_for_good(settings, name, claims)}"
            yield Row(name=f"volume of {name}", level=Level.WARN, said=said, fix=fix)
    if not waiting:
        yield Row(name="volumes", level=Level.OK, said="no pod waits for the node of its volume")


def _claims(pod: Document) -> list[str]:
    volumes = pod["spec"].get("volumes", [])
    return [each["persistentVolumeClaim"]["claimName"] for each in volumes if "persistentVolumeClaim" in each]


def _no_node(pod: Document) -> str:
    """What the scheduler says about a pod; empty as long as it has not given up on it."""
    for each in pod["status"].get("conditions", []):
        if each["type"] == "PodScheduled" and each.get("reason") == "Unschedulable":
            return f"the pod finds no node: {each.get('message', 'no reason given')}"
    return ""


def _gone_for_good(settings: Settings, pod: str, claims: list[str]) -> str:
    app, _, ordinal = pod.rpartition("-")
    instances = {"postgres": settings.postgres.replicas, "redis": settings.redis.replicas}
    if app == "postgres" and settings.postgres.replicas > 1 and ordinal == str(settings.postgres.primary_ordinal):
        return f"make another instance the primary first ({FAILOVER}), then {RUNBOOK}"
    if instances.get(app, 1) == 1:
        # Nothing to copy from: it comes back from a backup.
        return RUNBOOK
    kubectl = f"kubectl -n {settings.environment.namespace}"
    return (
        f"{kubectl} delete pvc {' '.join(claims)} --wait=false && {kubectl} delete pod {pod} --force;"
        f" it copies from its peers ({RUNBOOK})"
    )
