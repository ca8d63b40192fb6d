"""Items of the checklist that the API server answers: nodes, namespace, databases, workloads, health."""

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta

from checks.workloads import millicores, whole_bytes
from components.network_policies import POSTGRES_APP, REDIS_APP, REDIS_PROXY_APP
from operations.preflight import cluster
from operations.preflight.observed import Document
from operations.preflight.rows import Level, Row, by_name
from operations.verify.observed import Observed, containers, is_ready
from settings.model import NodeRole, Settings
from settings.rules_placement import CONTROL_PLANE_LABEL

# Above it the next peak has no room left, and the kubelet begins to evict soon after (MON: 80 and 85 per cent alert).
FULL = 0.85
RECENT = timedelta(minutes=10)
GATEWAY = "api-gateway"
ENFORCE = "pod-security.kubernetes.io/enforce"


def capacity(settings: Settings, observed: Observed) -> Iterator[Row]:
    """CHK-01: room on the nodes, as `kubectl top nodes` shows it."""
    live = by_name(observed.nodes)
    gone = [name for name in settings.cluster.nodes if name not in live or not cluster.is_ready(live[name])]
    if gone:
        fix = f"kubectl describe node {gone[0]}"
        yield Row(name="capacity", level=Level.STOP, said=f"not Ready: {', '.join(gone)}", fix=fix)
    elif isinstance(observed.usage, str):
        fix = "kubectl top nodes, once a metrics server runs; `make preflight` compares what is requested"
        yield Row(name="capacity", level=Level.LOOK, said=f"use is not known: {observed.usage}", fix=fix)
    else:
        shares = {
            f"{name} {what}": used / whole
            for name, usage in observed.usage.items()
            if name in live
            for what, used, whole in (
                ("CPU", usage.millicores, millicores(live[name]["status"]["allocatable"]["cpu"])),
                ("memory", usage.bytes, whole_bytes(live[name]["status"]["allocatable"]["memory"])),
            )
        }
        full = [f"{what} {share:.0%}" for what, share in shares.items() if share > FULL]
        if full:
            fix = "kubectl top pods -A --sort-by=memory"
            yield Row(name="capacity", level=Level.WARN, said=f"nearly full: {', '.join(full)}", fix=fix)
        else:
            most = max(shares, key=lambda name: shares[name], default="nothing")
            said = f"{len(live)} nodes Ready; most used is {most}, {shares.get(most, 0):.0%}"
            yield Row(name="capacity", level=Level.OK, said=said)


def labels(settings: Settings, observed: Observed) -> Iterator[Row]:
    """CHK-02: the control plane is labelled; K3s does that by itself."""
    live = by_name(observed.nodes)
    wrong = [
        name
        for name, node in settings.cluster.nodes.items()
        if name in live
        and (CONTROL_PLANE_LABEL in live[name]["metadata"].get("labels", {})) != (node.role is NodeRole.CONTROL_PLANE)
    ]
    if wrong:
        said = f"{CONTROL_PLANE_LABEL} is not where the stack file has it: {', '.join(wrong)}"
        yield Row(name="node labels", level=Level.STOP, said=said, fix=f"correct cluster.nodes.{wrong[0]}.role")
    else:
        yield Row(name="node labels", level=Level.OK, said="the control plane's are K3s's own")


def namespace(settings: Settings, observed: Observed) -> Iterator[Row]:
    """CHK-03: the namespace, with its labels and the level of Pod Security."""
    wanted = {**settings.environment.labels, ENFORCE: "restricted"}
    found = by_name(observed.namespaces).get(settings.environment.namespace)
    here = {} if found is None else found["metadata"].get("labels", {})
    wrong = [f"{label}={value}" for label, value in wanted.items() if here.get(label) != value]
    if found is None:
        yield Row(name="namespace", level=Level.STOP, said="is not there", fix=_up(settings))
    elif wrong:
        yield Row(name="namespace", level=Level.STOP, said=f"is without {', '.join(wrong)}", fix=_up(settings))
    else:
        yield Row(name="namespace", level=Level.OK, said=f"{settings.environment.namespace}, restricted")


def secrets(settings: Settings, observed: Observed) -> Iterator[Row]:
    """CHK-04: the databases' Secrets; their keys are seen, their values are not."""
    missing = [name for name in ("postgres-secrets", "redis-secrets") if not observed.secret_keys.get(name)]
    yield from _present("secrets", missing, "postgres-secrets, redis-secrets", settings)


def config_maps(settings: Settings, observed: Observed) -> Iterator[Row]:
    """CHK-05: the databases' ConfigMaps."""
    there = observed.of_kind("ConfigMap")
    missing = [name for name in ("postgres-config", "redis-config") if not there.get(name, {}).get("data")]
    yield from _present("config maps", missing, "postgres-config, redis-config", settings)


def postgres(settings: Settings, observed: Observed) -> Iterator[Row]:
    """CHK-06: every instance of Postgres."""
    yield from _rolled_out("postgres", [("StatefulSet", POSTGRES_APP, settings.postgres.replicas)], settings, observed)


def volumes(settings: Settings, observed: Observed) -> Iterator[Row]:
    """CHK-07: every claim is bound that a pod asks for; a class that waits binds the others with their first pod."""
    claims = observed.of_kind("PersistentVolumeClaim")
    used = {
        volume["persistentVolumeClaim"]["claimName"]
        for pod in observed.of_kind("Pod").values()
        for volume in pod["spec"].get("volumes", [])
        if "persistentVolumeClaim" in volume
    }
    loose = [name for name, claim in claims.items() if claim.get("status", {}).get("phase") != "Bound"]
    stuck = [*(name for name in loose if name in used), *sorted(used - claims.keys())]
    wanted = settings.postgres.replicas + settings.redis.replicas
    if stuck or len(claims) < wanted:
        said = f"{', '.join(stuck)} not bound" if stuck else f"{len(claims)} claims, {wanted} databases"
        fix = f"kubectl -n {settings.environment.namespace} describe pvc {' '.join(stuck)}".rstrip()
        yield Row(name="volumes", level=Level.STOP, said=said, fix=fix)
    elif loose:
        said = f"{', '.join(loose)} have had no pod yet"
        fix = f"wait for the first backup, or: kubectl -n {settings.environment.namespace} create job first" + (
            " --from=cronjob/postgres-backup"
        )
        yield Row(name="volumes", level=Level.WARN, said=said, fix=fix)
    else:
        yield Row(name="volumes", level=Level.OK, said=f"{len(claims)} claims bound")


def redis(settings: Settings, observed: Observed) -> Iterator[Row]:
    """CHK-08: every instance of Redis, and the proxy in front of several."""
    wanted = [("StatefulSet", REDIS_APP, settings.redis.replicas)]
    if settings.redis.replicas > 1:
        wanted.append(("Deployment", REDIS_PROXY_APP, settings.redis.proxy_replicas))
    yield from _rolled_out("redis", wanted, settings, observed)


def running(settings: Settings, observed: Observed) -> Iterator[Row]:
    """CHK-09: every pod runs; those of Jobs have ended well or run."""
    jobs = observed.of_kind("Job").values()
    failed = [
        each["metadata"]["name"]
        for each in jobs
        if any(c["type"] == "Failed" and c["status"] == "True" for c in each.get("status", {}).get("conditions", []))
    ]
    pods = list(observed.pods())
    wrong = [_named(pod) for pod in pods if pod.get("status", {}).get("phase") != "Running"]
    if wrong or not pods:
        said = f"not Running: {', '.join(wrong)}" if wrong else "there is none"
        fix = f"kubectl -n {settings.environment.namespace} get pods"
        yield Row(name="pods", level=Level.STOP, said=said, fix=fix)
    elif failed:
        fix = f"kubectl -n {settings.environment.namespace} logs job/{failed[-1]}"
        yield Row(name="pods", level=Level.WARN, said=f"Running, but failed: job {', '.join(failed)}", fix=fix)
    else:
        yield Row(name="pods", level=Level.OK, said=f"{len(pods)} Running")


def workers(settings: Settings, observed: Observed) -> Iterator[Row]:
    """CHK-14: the CQRS workers."""
    wanted = [("Deployment", name, each.replicas) for name, each in settings.workers.items()]
    yield from _rolled_out("workers", wanted, settings, observed)


def services(settings: Settings, observed: Observed) -> Iterator[Row]:
    """CHK-15: the API services."""
    gateway = _gateway(settings)
    wanted = [("Deployment", name, each.replicas) for name, each in settings.services.items() if name != gateway]
    yield from _rolled_out("services", wanted, settings, observed)


def gateway(settings: Settings, observed: Observed) -> Iterator[Row]:
    """CHK-16: the gateway."""
    name = _gateway(settings)
    if name is None:
        yield Row(name="gateway", level=Level.OK, said="not in this stack")
        return
    yield from _rolled_out("gateway", [("Deployment", name, settings.services[name].replicas)], settings, observed)


def ingress(settings: Settings, observed: Observed) -> Iterator[Row]:
    """CHK-17: what the nodes' Nginx leads to; there is no ingress controller (decision 0009)."""
    there = observed.of_kind("Service")
    wanted = {name: each.node_port for name, each in settings.services.items() if each.node_port is not None}
    wrong = [
        f"{name}:{port}"
        for name, port in wanted.items()
        if port not in [each.get("nodePort") for each in there.get(name, {}).get("spec", {}).get("ports", [])]
    ]
    if wrong:
        said = f"no Service has the NodePort of {', '.join(wrong)}"
        yield Row(name="ingress", level=Level.STOP, said=said, fix=_up(settings))
    elif wanted:
        yield Row(name="ingress", level=Level.OK, said=f"{len(wanted)} NodePorts for Nginx on the nodes")
    else:
        yield Row(name="ingress", level=Level.OK, said="nothing is exposed by this stack")


def healthy(settings: Settings, observed: Observed) -> Iterator[Row]:
    """CHK-18: every pod is ready, and none has just been restarted."""
    pods = list(observed.pods())
    unready = [_named(pod) for pod in pods if not is_ready(pod)]
    restarted = [pod["metadata"]["name"] for pod in pods if _restarted(pod, observed.now)]
    where = f"kubectl -n {settings.environment.namespace}"
    if unready or not pods:
        said = f"not ready: {', '.join(unready)}" if unready else "there is no pod"
        yield Row(name="health", level=Level.STOP, said=said, fix=f"{where} describe pod, docs/runbooks/crash-loop.md")
    elif restarted:
        said = f"ready, but restarted within ten minutes: {', '.join(restarted)}"
        yield Row(name="health", level=Level.WARN, said=said, fix=f"{where} logs {restarted[0]} --previous")
    else:
        yield Row(name="health", level=Level.OK, said=f"{len(pods)} pods ready")


def _rolled_out(
    what: str, wanted: Iterable[tuple[str, str, int]], settings: Settings, observed: Observed
) -> Iterator[Row]:
    """Everything is there in the numbers of the stack file, and in its newest version."""
    wrong, names = [], []
    for kind, name, replicas in wanted:
        found = observed.of_kind(kind).get(name)
        status = {} if found is None else found.get("status", {})
        ready, updated = status.get("readyReplicas", 0), status.get("updatedReplicas", 0)
        seen = found is not None and status.get("observedGeneration", 0) >= found["metadata"].get("generation", 0)
        names.append(f"{name} {ready}/{replicas}")
        if not seen or (ready, updated) != (replicas, replicas):
            wrong.append(f"{name} is not there" if found is None else f"{name} {ready}/{replicas} ready, {updated} new")
    if wrong:
        fix = f"kubectl -n {settings.environment.namespace} get pods, docs/runbooks/rolling-update.md"
        yield Row(name=what, level=Level.STOP, said=", ".join(wrong), fix=fix)
    else:
        yield Row(name=what, level=Level.OK, said=", ".join(names) or "none in this stack")


def _present(what: str, missing: list[str], all_of_them: str, settings: Settings) -> Iterator[Row]:
    if missing:
        said = f"{', '.join(missing)} missing or empty"
        yield Row(name=what, level=Level.STOP, said=said, fix=_up(settings))
    else:
        yield Row(name=what, level=Level.OK, said=all_of_them)


def _gateway(settings: Settings) -> str | None:
    named = settings.edge.gateway_service if settings.edge else None
    return named or (GATEWAY if GATEWAY in settings.services else None)


def _named(pod: Document) -> str:
    """A pod, and why it does not run."""
    status = pod.get("status", {})
    waits = [
        each["state"]["waiting"].get("reason", "") for each in containers(pod) if "waiting" in each.get("state", {})
    ]
    return f"{pod['metadata']['name']} ({next(filter(None, waits), status.get('reason') or status.get('phase'))})"


def _restarted(pod: Document, now: datetime) -> bool:
    ended = [each.get("lastState", {}).get("terminated", {}).get("finishedAt") for each in containers(pod)]
    return any(now - datetime.fromisoformat(each) < RECENT for each in ended if each)


def _up(settings: Settings) -> str:
    return f"pulumi up --stack {settings.environment.name}"
