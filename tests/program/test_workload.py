"""One workload: a service with a NodePort, a service without, a worker, one replica and several."""

from typing import Any

import pulumi
import pytest
from pydantic import SecretStr

from components.tls import CLIENT_AUTHORITY
from components.workload import Workload, WorkloadArgs, roll_out_timeouts
from components.workload_config import ApplicationConfig, ApplicationConfigArgs, SecretKey
from settings.model import LogLevel, NodeSelection, Placement, Resources
from tests import capture
from tests.capture import Capture
from tests.stacks import settings

FABRIC = settings("mainnet").fabric


def deployed(
    *,
    digest: str = "one",
    log_level: LogLevel = LogLevel.INFO,
    authority: str = "PEM",
    peers: int = 4,
    **changes: Any,  # noqa: ANN401
) -> Capture:
    """A stack of one workload, ``app`` by name."""
    credentials = {name: SecretStr(text) for name, text in (changes.pop("credentials", None) or {}).items()}

    def program() -> None:
        assert FABRIC is not None
        config = ApplicationConfig(
            "config",
            ApplicationConfigArgs(
                namespace="backend",
                log_level=log_level,
                authority=authority,
                fabric=FABRIC.model_copy(update={"peers": FABRIC.peers[:peers]}),
                fabric_credentials=credentials,
            ),
        )
        access = bool(changes.pop("fabric_access", False))
        assert (config.fabric_credentials is None) == (not credentials)
        arguments: dict[str, Any] = {
            "app": "app",
            "namespace": "backend",
            "priority_class": "backend",
            "image": "ghcr.io/gx-protocol/app:1",
            "replicas": 3,
            "requests": Resources(cpu="500m", memory="1Gi"),
            "limits": Resources(cpu="1000m", memory="2Gi"),
            "placement": Placement(prefer=NodeSelection(label="node-role.kubernetes.io/control-plane")),
            "database": SecretKey(name="postgres-secrets", key="url", digest=pulumi.Output.secret(digest)),
            "cache": SecretKey(name="redis-secrets", key="url", digest="two"),
            "authority": config.authority,
            "config": config.sources(fabric_access=access),
            "fabric_access": access,
            "fabric_credentials": config.fabric_credentials if access else None,
            "port": 3001,
            "node_port": 30001,
        }
        Workload("app", WorkloadArgs(**(arguments | changes)))

    return capture.run(program)


def spec(found: Capture) -> dict[str, Any]:
    """Spec of the Deployment."""
    inputs: dict[str, Any] = found.one("Deployment", "app").inputs["spec"]
    return inputs


def pod(found: Capture) -> dict[str, Any]:
    """Spec of the pods."""
    template: dict[str, Any] = spec(found)["template"]["spec"]
    return template


def container(found: Capture) -> dict[str, Any]:
    """The one container."""
    (only,) = pod(found)["containers"]
    return dict(only)


def environment(found: Capture) -> dict[str, Any]:
    """Environment of the container: values, and the names of Secrets and fields."""
    found_values: dict[str, Any] = {}
    for variable in container(found)["env"]:
        source = variable.get("valueFrom", {})
        secret, own_field = source.get("secretKeyRef"), source.get("fieldRef")
        found_values[variable["name"]] = (
            variable.get("value")
            if not source
            else (secret["name"], secret["key"])
            if secret
            else own_field["fieldPath"]
        )
    return found_values


def content(found: Capture) -> str:
    """The annotation that rolls the pods."""
    return str(spec(found)["template"]["metadata"]["annotations"]["gxcoin.money/content"])


def test_a_service_with_a_node_port_is_reached_on_its_own_node_and_zone_first() -> None:
    service = deployed().one("Service", "app").inputs["spec"]
    assert service == {
        "type": "NodePort",
        "externalTrafficPolicy": "Local",
        "trafficDistribution": "PreferClose",
        "selector": {"app": "app"},
        "ports": [{"name": "http", "protocol": "TCP", "port": 3001, "targetPort": 3001, "nodePort": 30001}],
    }


def test_a_service_without_a_node_port_is_reached_inside_the_cluster_alone() -> None:
    service = deployed(node_port=None).one("Service", "app").inputs["spec"]
    assert service["type"] == "ClusterIP"
    assert "externalTrafficPolicy" not in service
    assert all("nodePort" not in port for port in service["ports"])


def test_a_worker_has_no_service_and_is_probed_on_its_metrics_port() -> None:
    found = deployed(port=None, node_port=None, replicas=2)
    assert not found.has("Service")
    assert [port["name"] for port in container(found)["ports"]] == ["metrics"]
    assert "PORT" not in environment(found)
    probes = [container(found)[f"{kind}Probe"] for kind in ("startup", "readiness", "liveness")]
    assert {probe["httpGet"]["port"] for probe in probes} == {9090}


def test_readiness_and_liveness_are_probed_as_documented() -> None:
    found = container(deployed())
    readiness, liveness = found["readinessProbe"], found["livenessProbe"]
    assert readiness["httpGet"] == {"path": "/readyz", "port": 3001}
    assert (readiness["initialDelaySeconds"], readiness["periodSeconds"]) == (10, 5)
    assert liveness["httpGet"] == {"path": "/healthz", "port": 3001}
    assert (liveness["initialDelaySeconds"], liveness["periodSeconds"]) == (30, 10)


def test_a_slow_start_is_not_killed_by_the_liveness_probe() -> None:
    startup = container(deployed())["startupProbe"]
    assert startup["httpGet"]["path"] == "/healthz"
    assert startup["periodSeconds"] * startup["failureThreshold"] >= 60


@pytest.mark.parametrize(("replicas", "unavailable"), [(1, 0), (2, 1), (3, 1)])
def test_a_roll_out_never_leaves_a_single_replica_at_zero(replicas: int, unavailable: int) -> None:
    strategy = spec(deployed(replicas=replicas))["strategy"]
    assert strategy == {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": unavailable}}


@pytest.mark.parametrize(("port", "replicas", "available"), [(3001, 3, 2), (3001, 2, 1), (None, 2, 1), (None, 4, 1)])
def test_a_disruption_budget_keeps_all_but_one_service_pod_and_one_worker(
    port: int | None, replicas: int, available: int
) -> None:
    budget = deployed(port=port, node_port=None, replicas=replicas).one("PodDisruptionBudget", "app-pdb").inputs["spec"]
    assert budget["minAvailable"] == available
    assert budget["unhealthyPodEvictionPolicy"] == "AlwaysAllow"
    assert budget["selector"] == {"matchLabels": {"app": "app"}}


def test_one_replica_has_no_disruption_budget_and_no_spread() -> None:
    found = deployed(replicas=1)
    assert not found.has("PodDisruptionBudget")
    assert "topologySpreadConstraints" not in pod(found)


def test_replicas_spread_over_nodes_and_zones_and_prefer_the_control_plane() -> None:
    found = pod(deployed())
    (spread,) = found["topologySpreadConstraints"]
    assert (spread["topologyKey"], spread["whenUnsatisfiable"]) == ("topology.kubernetes.io/zone", "ScheduleAnyway")
    apart = found["affinity"]["podAntiAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"]
    assert apart[0]["podAffinityTerm"]["topologyKey"] == "kubernetes.io/hostname"
    preferred = found["affinity"]["nodeAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"]
    assert preferred[0]["preference"]["matchExpressions"][0]["key"] == "node-role.kubernetes.io/control-plane"


def test_pods_leave_a_dead_node_after_a_minute() -> None:
    tolerations = {each["key"]: each["tolerationSeconds"] for each in pod(deployed())["tolerations"]}
    assert tolerations == {"node.kubernetes.io/not-ready": 60, "node.kubernetes.io/unreachable": 60}


def test_a_pod_that_goes_is_first_taken_out_of_the_endpoints() -> None:
    found = deployed()
    drain = container(found)["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert 0 < drain < pod(found)["terminationGracePeriodSeconds"]


def test_passwords_reach_the_container_by_reference_only() -> None:
    found = deployed()
    assert environment(found)["DATABASE_URL"] == ("postgres-secrets", "url")
    assert environment(found)["REDIS_URL"] == ("redis-secrets", "url")


def test_the_container_learns_its_name_ports_pod_and_node() -> None:
    found = environment(deployed())
    assert {name: found[name] for name in ("SERVICE_NAME", "PORT", "METRICS_PORT", "POD_NAME", "NODE_NAME")} == {
        "SERVICE_NAME": "app",
        "PORT": "3001",
        "METRICS_PORT": "9090",
        "POD_NAME": "metadata.name",
        "NODE_NAME": "spec.nodeName",
    }


def test_fabric_endpoints_reach_only_pods_with_fabric_access() -> None:
    without = deployed()
    assert container(without)["envFrom"] == [{"configMapRef": {"name": "application-config"}}]
    assert "fabric-access" not in spec(without)["template"]["metadata"]["labels"]
    found = deployed(fabric_access=True)
    assert container(found)["envFrom"][1:] == [{"configMapRef": {"name": "fabric-endpoints"}}]
    assert spec(found)["template"]["metadata"]["labels"]["fabric-access"] == "true"
    data = found.one("ConfigMap", "fabric-endpoints").inputs["data"]
    assert data["FABRIC_CAS"] == "ca-org1.fabric.svc.cluster.local:7054,ca-org2.fabric.svc.cluster.local:7054"
    assert len(data["FABRIC_ORDERERS"].split(",")) == 5


def test_the_pods_have_what_the_databases_are_verified_with_and_roll_when_it_changes() -> None:
    found = deployed()
    assert found.one("ConfigMap", "database-authority").inputs["data"] == {"ca.crt": "PEM"}
    (mount,) = (each for each in container(found)["volumeMounts"] if each["name"] == "database-authority")
    (volume,) = (each for each in pod(found)["volumes"] if each["name"] == "database-authority")
    assert volume["configMap"] == {"name": "database-authority"}
    variables = {each["name"]: each.get("value") for each in container(found)["env"]}
    assert variables["NODE_EXTRA_CA_CERTS"] == f"{mount['mountPath']}/ca.crt" == CLIENT_AUTHORITY
    assert content(deployed(authority="other")) != content(found)


def test_a_changed_password_or_log_level_rolls_the_pods() -> None:
    assert content(deployed()) == content(deployed())
    assert content(deployed(digest="new")) != content(deployed())
    assert content(deployed(log_level=LogLevel.DEBUG)) != content(deployed())


def test_a_changed_fabric_endpoint_rolls_only_the_pods_that_read_it() -> None:
    assert content(deployed(peers=2)) == content(deployed())
    assert content(deployed(peers=2, fabric_access=True)) != content(deployed(fabric_access=True))


def test_fabric_credentials_are_files_for_those_with_fabric_access_and_roll_them_alone() -> None:
    old, new = {"tls.key": "canary-key"}, {"tls.key": "canary-new-key"}
    found = deployed(fabric_access=True, credentials=old)
    secret = found.one("Secret", "fabric-credentials")
    assert secret.inputs["stringData"] == old
    assert "stringData" in secret.secrets
    (mount,) = (each for each in container(found)["volumeMounts"] if each["name"] == "fabric-credentials")
    assert mount == {"name": "fabric-credentials", "mountPath": "/etc/fabric", "readOnly": True}
    (volume,) = (each for each in pod(found)["volumes"] if each["name"] == "fabric-credentials")
    assert volume["secret"] == {"secretName": "fabric-credentials", "defaultMode": 0o440}
    assert content(deployed(fabric_access=True, credentials=new)) != content(found)
    others = deployed(credentials=old)
    assert not [each for each in pod(others)["volumes"] if each["name"] == "fabric-credentials"]
    assert content(deployed(credentials=new)) == content(others)


def test_a_roll_out_that_stands_still_is_reported_soon_and_a_moving_one_has_time_for_every_step() -> None:
    deadline = spec(deployed())["progressDeadlineSeconds"]
    allowed = {count: int(str(roll_out_timeouts(count).create).removesuffix("s")) for count in (1, 3, 50)}
    assert deadline < allowed[1] <= deadline + 60
    assert 2 * deadline < allowed[3]
    assert 25 * deadline < allowed[50]
    assert deployed().one("Deployment", "app").timeouts["create"]


def test_fabric_access_without_a_fabric_network_is_refused() -> None:
    def program() -> None:
        config = ApplicationConfig(
            "config", ApplicationConfigArgs(namespace="backend", log_level=LogLevel.INFO, authority="", fabric=None)
        )
        config.sources(fabric_access=True)

    with pytest.raises(ValueError, match="fabricAccess without a Fabric network"):
        capture.run(program)
