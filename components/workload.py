"""One application workload: a CQRS worker, an HTTP service or the gateway (WK, API and NPORT rows)."""

import math
from dataclasses import dataclass
from typing import Any

import pulumi
import pulumi_kubernetes as k8s

from components.base import Component, content_hash, owned
from components.network_policies import FABRIC_ACCESS, METRICS_PORT, POSTGRES_ACCESS, REDIS_ACCESS, SERVICE_ACCESS
from components.placement import FAST_EVICTION, affinity, resources
from components.security import CONTAINER_SECURITY_CONTEXT, pod_security_context
from components.tls import CLIENT_AUTHORITY, CLIENT_DIRECTORY
from components.workload_config import FABRIC_CREDENTIALS, FABRIC_DIRECTORY, ConfigSource, SecretFiles, SecretKey
from settings.model import Placement, Resources

UID = 1000
CONTENT = "gxcoin.money/content"

TERMINATION_GRACE_SECONDS = 30
# Endpoints take a moment to disappear everywhere; a pod that went at once would still be sent requests.
DRAIN_SECONDS = 5
# A container has this long to start before it is restarted.
STARTUP_PERIOD_SECONDS, STARTUP_FAILURES = 2, 140
# One step of a roll-out: an image pull, the start and the termination of the pod before it.
PROGRESS_DEADLINE_SECONDS = 300 + TERMINATION_GRACE_SECONDS


@dataclass(frozen=True, kw_only=True)
class WorkloadArgs:
    """Arguments of ``Workload``.

    ``app`` is the name of every object and the ``app`` label. Without ``port`` the workload is a worker: it has no
    Service, and is probed on its metrics port (X-28). With ``node_port`` its Service is a NodePort. Numbers and names
    are plain, since they decide which objects exist. ``fabric_credentials`` are for ``fabric_access`` alone.
    """

    app: str
    namespace: pulumi.Input[str]
    priority_class: pulumi.Input[str]
    image: str
    replicas: int
    requests: Resources
    limits: Resources
    placement: Placement
    database: SecretKey
    cache: SecretKey
    authority: ConfigSource
    config: tuple[ConfigSource, ...]
    fabric_access: bool
    fabric_credentials: SecretFiles | None = None
    port: int | None = None
    node_port: int | None = None


class Workload(Component):
    """Deployment with its ServiceAccount, and where they make sense a Service and a PodDisruptionBudget.

    Its pods are hardened (SEC-01 to SEC-04), carry no token of the API server, spread over zones and nodes, leave a
    dead node after a minute, and roll when, and only when, something they read has changed.

    Attributes:
        deployment: Name of the Deployment.
        service: Name of the Service; None for a worker.
    """

    area = "app"
    deployment: pulumi.Output[str]
    service: pulumi.Output[str] | None

    def __init__(self, name: str, args: WorkloadArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(name, opts)
        account = k8s.core.v1.ServiceAccount(
            self.child_name("account"),
            metadata=owned(args.app, args.namespace),
            automount_service_account_token=False,
            opts=self.child(),
        )
        service = self._service(args)
        if args.replicas >= 2:
            self._disruption_budget(args)
        deployment = k8s.apps.v1.Deployment(
            self.child_name("deployment"),
            metadata=owned(args.app, args.namespace, labels={"app": args.app}),
            spec={
                "replicas": args.replicas,
                "revision_history_limit": 5,
                "progress_deadline_seconds": PROGRESS_DEADLINE_SECONDS,
                "selector": {"match_labels": {"app": args.app}},
                "strategy": {"type": "RollingUpdate", "rolling_update": rolling_update(args.replicas)},
                "template": {
                    "metadata": {"labels": pod_labels(args), "annotations": {CONTENT: content(args)}},
                    "spec": pod_spec(args, account.metadata.name.apply(str)),
                },
            },
            opts=self.child(custom_timeouts=roll_out_timeouts(args.replicas)),
        )
        self.deployment = deployment.metadata.name.apply(str)
        self.service = service.metadata.name.apply(str) if service else None
        self.register_outputs({"deployment": self.deployment, "service": self.service})

    def _service(self, args: WorkloadArgs) -> k8s.core.v1.Service | None:
        if args.port is None:
            return None
        # Metrics are read from the pods: a second port of a NodePort Service would get a NodePort too.
        http: dict[str, Any] = {"name": "http", "protocol": "TCP", "port": args.port, "target_port": args.port}
        spec: dict[str, Any] = {
            "type": "ClusterIP",
            "selector": {"app": args.app},
            "ports": [http],
            # Requests stay in their zone while it has a ready pod (design decision 4).
            "traffic_distribution": "PreferClose",
        }
        if args.node_port is not None:
            http["node_port"] = args.node_port
            spec |= {"type": "NodePort", "external_traffic_policy": "Local"}
        return k8s.core.v1.Service(
            self.child_name("service"),
            # Whether endpoints exist is the Deployment's to say, in its own time; both awaiting the same pods would
            # report one failure twice.
            metadata=owned(
                args.app, args.namespace, labels={"app": args.app}, annotations={"pulumi.com/skipAwait": "true"}
            ),
            spec=spec,
            opts=self.child(),
        )

    def _disruption_budget(self, args: WorkloadArgs) -> None:
        k8s.policy.v1.PodDisruptionBudget(
            self.child_name("pdb"),
            metadata=owned(f"{args.app}-pdb", args.namespace),
            spec={
                "min_available": 1 if args.port is None else args.replicas - 1,
                "selector": {"match_labels": {"app": args.app}},
                # A pod that never becomes ready must not keep a node from being drained.
                "unhealthy_pod_eviction_policy": "AlwaysAllow",
            },
            opts=self.child(),
        )


def rolling_update(replicas: int) -> dict[str, int]:
    """One up, one down (API-12); with a single pod the new one is ready before the old one goes (X-31)."""
    return {"max_unavailable": 1 if replicas >= 2 else 0, "max_surge": 1}


def roll_out_timeouts(replicas: int) -> pulumi.CustomTimeouts:
    """How long a roll-out may take: two pods change in a step, each step has a progress deadline, and a margin."""
    seconds = math.ceil(replicas / 2) * PROGRESS_DEADLINE_SECONDS + 30
    return pulumi.CustomTimeouts(create=f"{seconds}s", update=f"{seconds}s")


def pod_labels(args: WorkloadArgs) -> dict[str, str]:
    """Labels of the pods: their name, and what they may reach (``components.network_policies``)."""
    access = [POSTGRES_ACCESS, REDIS_ACCESS]
    access += [SERVICE_ACCESS] if args.port is not None else []
    access += [FABRIC_ACCESS] if args.fabric_access else []
    return {"app": args.app} | dict.fromkeys(access, "true")


def content(args: WorkloadArgs) -> pulumi.Output[str]:
    """Digest of everything outside the pod template that the pods read at their start.

    Not a secret, though passwords are in it: it is one-way, and stands in the pods for all to see.
    """
    sources: list[ConfigSource | SecretFiles | SecretKey] = [*args.config, args.authority, args.database, args.cache]
    sources += [args.fabric_credentials] if args.fabric_credentials else []
    digests = pulumi.Output.all(*(source.digest for source in sources))
    return pulumi.Output.unsecret(digests.apply(lambda each: content_hash(" ".join(each))))


def pod_spec(args: WorkloadArgs, account: pulumi.Input[str]) -> dict[str, Any]:
    """Pod of the workload: one container."""
    spec: dict[str, Any] = {
        "service_account_name": account,
        "automount_service_account_token": False,
        "enable_service_links": False,
        "priority_class_name": args.priority_class,
        "termination_grace_period_seconds": TERMINATION_GRACE_SECONDS,
        "security_context": pod_security_context(UID),
        "affinity": affinity(args.placement, args.app, one_per_node=False),
        "tolerations": FAST_EVICTION,
        "containers": [_container(args)],
        "volumes": [
            {"name": "tmp", "empty_dir": {"size_limit": "64Mi"}},
            {"name": "database-authority", "config_map": {"name": args.authority.name}},
            *_fabric_volumes(args),
        ],
    }
    if args.replicas >= 2:
        spec["topology_spread_constraints"] = [
            {
                "topology_key": "topology.kubernetes.io/zone",
                "max_skew": 1,
                "when_unsatisfiable": "ScheduleAnyway",
                "label_selector": {"match_labels": {"app": args.app}},
                # Each revision is spread by itself, or a roll-out would spread over the pods it replaces.
                "match_label_keys": ["pod-template-hash"],
            }
        ]
    return spec


def _container(args: WorkloadArgs) -> dict[str, Any]:
    http = [] if args.port is None else [{"name": "http", "container_port": args.port, "protocol": "TCP"}]
    return {
        "name": args.app,
        "image": args.image,
        "image_pull_policy": "IfNotPresent",
        "env": _environment(args),
        "env_from": [{"config_map_ref": {"name": source.name}} for source in args.config],
        "ports": [*http, {"name": "metrics", "container_port": METRICS_PORT, "protocol": "TCP"}],
        "resources": resources(args.requests, args.limits),
        "security_context": CONTAINER_SECURITY_CONTEXT,
        "volume_mounts": [
            {"name": "tmp", "mount_path": "/tmp"},  # noqa: S108 - a volume of the pod's own
            {"name": "database-authority", "mount_path": CLIENT_DIRECTORY, "read_only": True},
            *(
                {"name": volume["name"], "mount_path": FABRIC_DIRECTORY, "read_only": True}
                for volume in _fabric_volumes(args)
            ),
        ],
        "lifecycle": {"pre_stop": {"sleep": {"seconds": DRAIN_SECONDS}}},
        **_probes(METRICS_PORT if args.port is None else args.port),
    }


def _fabric_volumes(args: WorkloadArgs) -> list[dict[str, Any]]:
    """The files for Fabric, where there are any: root's, and readable by the pod's group."""
    if args.fabric_credentials is None:
        return []
    files = {"secret_name": args.fabric_credentials.name, "default_mode": 0o440}
    return [{"name": FABRIC_CREDENTIALS, "secret": files}]


def _environment(args: WorkloadArgs) -> list[dict[str, Any]]:
    values = {"SERVICE_NAME": args.app, "METRICS_PORT": str(METRICS_PORT)}
    # A Redis URL cannot name the authority. https://nodejs.org/api/cli.html#node_extra_ca_certsfile
    values["NODE_EXTRA_CA_CERTS"] = CLIENT_AUTHORITY
    values |= {} if args.port is None else {"PORT": str(args.port)}
    fields = {"POD_NAME": "metadata.name", "NODE_NAME": "spec.nodeName"}
    secrets = {"DATABASE_URL": args.database, "REDIS_URL": args.cache}
    return [
        *({"name": name, "value": value} for name, value in values.items()),
        *({"name": name, "value_from": {"field_ref": {"field_path": path}}} for name, path in fields.items()),
        *(
            {"name": name, "value_from": {"secret_key_ref": {"name": secret.name, "key": secret.key}}}
            for name, secret in secrets.items()
        ),
    ]


def _probes(port: int) -> dict[str, Any]:
    """Readiness and liveness as documented (API-09, API-10), and a start that may be slow (X-28).

    Only readiness looks at the databases: a liveness that did would restart every pod in a database outage.
    """
    alive = {"http_get": {"path": "/healthz", "port": port}}
    ready = {"http_get": {"path": "/readyz", "port": port}}
    return {
        "startup_probe": alive | {"period_seconds": STARTUP_PERIOD_SECONDS, "failure_threshold": STARTUP_FAILURES},
        "readiness_probe": ready | {"initial_delay_seconds": 10, "period_seconds": 5, "timeout_seconds": 3},
        "liveness_probe": alive | {"initial_delay_seconds": 30, "period_seconds": 10, "timeout_seconds": 3},
    }
