"""What holds for everything that a stack registers, whatever the stack."""

import functools
import re
from typing import Any

import pytest

from checks.objects.access import selects
from checks.objects.data import leaves
from checks.objects.model import Declared, Rule
from checks.objects.rules import RULES
from settings.types import amount
from tests import capture
from tests.capture import RESOURCE_TYPES, Capture, Registered
from tests.program.test_components import COMPONENTS, token
from tests.stacks import complete, settings

STACKS = ("mainnet", "testnet", "devnet")
COMPONENT_TYPES = {token(component) for component in COMPONENTS}


def containers(program: Capture) -> list[tuple[str, dict[str, Any]]]:
    """Every container and init container, with its pod."""
    found = [
        (f"{owner}/{container['name']}", container)
        for owner, template in program.pods().items()
        for kind in ("containers", "initContainers")
        for container in template["spec"].get(kind, [])
    ]
    assert found
    return found


@functools.cache
def declared(stack: str) -> list[Declared]:
    """What a stack registers, as the policy pack sees it."""
    return [
        Declared(urn=each.urn, type=each.type, stack=stack, protect=each.protect, inputs=each.inputs)
        for each in capture.stack(stack).resources
    ]


def kubernetes(program: Capture) -> list[Registered]:
    """Every Kubernetes object."""
    found = [resource for resource in program.resources if resource.type.startswith("kubernetes:")]
    assert found
    return found


def components(program: Capture) -> list[Registered]:
    """Every component."""
    found = [resource for resource in program.resources if not resource.custom]
    assert found
    return found


def strings(value: object) -> list[str]:
    """Every text in a property, keys included."""
    if isinstance(value, dict):
        return [text for key, each in value.items() for text in (str(key), *strings(each))]
    if isinstance(value, list):
        return [text for each in value for text in strings(each)]
    return [value] if isinstance(value, str) else []


@functools.cache
def canaries() -> frozenset[str]:
    """Every secret of both complete stacks."""
    found = frozenset(
        text for stack in ("mainnet", "testnet") for text in strings(complete(stack)["secrets"]) if "canary" in text
    )
    assert len(found) > 8
    return found


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
@pytest.mark.parametrize("stack", STACKS)
def test_no_rule_of_the_policy_pack_finds_anything(stack: str, rule: Rule) -> None:
    assert [str(problem) for _, problem in rule.find(declared(stack))] == []


def test_the_rules_judge_what_the_stacks_declare() -> None:
    """Nothing above is vacuous: what each rule looks at is there, and in mainnet every kind of it."""
    found = declared("mainnet")
    kinds = {each.kind for each in found}
    assert {"Deployment", "StatefulSet", "ServiceAccount", "ConfigMap", "Secret", "LimitRange", "Namespace"} <= kinds
    assert {"NetworkPolicy", "Service", "DnsRecord"} <= kinds
    assert {each.kind for each in found if each.protect} == {"Namespace", "StatefulSet", "PersistentVolumeClaim"}
    assert any(
        port.get("nodePort") for each in found if each.kind == "Service" for port in each.inputs["spec"]["ports"]
    )


def test_every_pod_runs_as_a_numbered_user(program: Capture) -> None:
    """The kubelet cannot tell from an image's user name that it is not root."""
    for where, template in program.pods().items():
        assert template["spec"]["securityContext"]["runAsUser"] > 0, where


def test_no_pod_carries_a_token_of_the_api_server(program: Capture) -> None:
    for where, template in program.pods().items():
        assert template["spec"]["automountServiceAccountToken"] is False, where


def test_everything_fits_the_quota_with_room_for_one_more_pod_of_the_largest_workload(program: Capture) -> None:
    """Without that room a roll-out waits for ever (X-03, X-07)."""
    (quota,) = program.of("ResourceQuota")
    hard = quota.inputs["spec"]["hard"]
    for key in ("requests.cpu", "requests.memory", "limits.cpu", "limits.memory"):
        section, kind = key.split(".")
        sizes = [
            (
                owner.inputs["spec"]["replicas"],
                sum(
                    amount(container["resources"][section][kind])
                    for container in owner.inputs["spec"]["template"]["spec"]["containers"]
                ),
                owner.type,
            )
            for owner in program.of("Deployment", "StatefulSet")
        ]
        surge = max(size for _, size, kind_of in sizes if kind_of.endswith("Deployment"))
        assert sum(count * size for count, size, _ in sizes) + surge <= amount(hard[key]), key


def test_every_long_running_container_has_a_readiness_and_a_liveness_probe(program: Capture) -> None:
    for where, template in program.pods("Deployment", "StatefulSet").items():
        for container in template["spec"]["containers"]:
            assert {"readinessProbe", "livenessProbe"} <= container.keys(), (where, container["name"])


def test_probes_start_few_processes_in_a_pod(program: Capture) -> None:
    """A process started by a probe costs most on a busy node, and kills what it should guard: one in 7 s at most."""
    for where, template in program.pods("Deployment", "StatefulSet").items():
        probes = [
            container[kind]
            for container in template["spec"]["containers"]
            for kind in ("readinessProbe", "livenessProbe")
            if "exec" in container[kind]
        ]
        assert sum(1 / probe["periodSeconds"] for probe in probes) <= 1 / 7, where


def test_every_pod_is_below_fabric_in_priority(program: Capture) -> None:
    (priority,) = program.of("PriorityClass")
    assert priority.inputs["value"] < 0
    assert priority.inputs["preemptionPolicy"] == "Never"
    for where, template in program.pods().items():
        assert template["spec"]["priorityClassName"] == priority.kubernetes_name, where


def test_every_selector_picks_the_pods_of_its_own_owner_alone(program: Capture) -> None:
    owners = program.of("Deployment", "StatefulSet")
    apps = [owner.inputs["spec"]["template"]["metadata"]["labels"]["app"] for owner in owners]
    assert len(apps) == len(set(apps))
    for owner, app in zip(owners, apps, strict=True):
        assert owner.inputs["spec"]["selector"]["matchLabels"] == {"app": app}
    for guarded in program.of("Service"):
        assert guarded.inputs["spec"]["selector"]["app"] in apps, guarded.name


def test_every_service_targets_a_declared_port_of_its_pods(program: Capture) -> None:
    declared: dict[str, set[int]] = {}
    for template in program.pods().values():
        ports = {port["containerPort"] for each in template["spec"]["containers"] for port in each.get("ports", [])}
        declared[template["metadata"]["labels"]["app"]] = ports
    for service in program.of("Service"):
        for port in service.inputs["spec"]["ports"]:
            assert port["targetPort"] in declared[service.inputs["spec"]["selector"]["app"]], service.name


def test_every_service_has_a_policy_that_lets_somebody_through_and_no_policy_opens_an_unused_port(
    program: Capture,
) -> None:
    (namespace,) = program.of("Namespace")
    pods = {name: template["metadata"]["labels"] for name, template in program.pods().items()}
    listening = {
        name: {port["containerPort"] for each in template["spec"]["containers"] for port in each.get("ports", [])}
        for name, template in program.pods().items()
    }
    opened: dict[str, set[int]] = {name: set() for name in pods}
    for policy in program.of("NetworkPolicy"):
        if policy.namespace != namespace.kubernetes_name:
            continue
        about = {name for name, labels in pods.items() if selects(policy.inputs["spec"]["podSelector"], labels)}
        assert about, f"{policy.name} is about no pod"
        for rule in policy.inputs["spec"].get("ingress", []):
            for port in rule["ports"]:
                assert any(port["port"] in listening[name] for name in about), f"{policy.name} opens {port}"
                for name in about:
                    opened[name].add(port["port"])
    for service in program.of("Service"):
        app = service.inputs["spec"]["selector"]["app"]
        (name,) = [name for name, labels in pods.items() if labels["app"] == app]
        assert {port["targetPort"] for port in service.inputs["spec"]["ports"]} <= opened[name], service.name


def test_every_rule_names_its_peers_and_ports_and_a_namespace_by_the_label_that_all_namespaces_have(
    program: Capture,
) -> None:
    """A rule without peers or ports opens everything, one with a label that nobody sets opens nothing (X-10)."""
    namespaces: set[str] = set()
    for policy in program.of("NetworkPolicy"):
        for direction, peers in (("ingress", "from"), ("egress", "to")):
            for rule in policy.inputs["spec"].get(direction, []):
                assert rule[peers], policy.name
                assert rule["ports"], policy.name
                for peer in rule[peers]:
                    assert peer, policy.name
                    assert peer.get("podSelector") != {}, policy.name
                    if "namespaceSelector" in peer:
                        ((key, value),) = peer["namespaceSelector"]["matchLabels"].items()
                        assert key == "kubernetes.io/metadata.name", policy.name
                        namespaces.add(value)
    assert {"kube-system", "monitoring"} < namespaces


def test_every_referenced_secret_config_map_and_key_exists(program: Capture) -> None:
    keys = {
        (kind, each.kubernetes_name): {**each.inputs.get("data", {}), **each.inputs.get("stringData", {})}.keys()
        for kind in ("Secret", "ConfigMap")
        for each in program.of(kind)
    }
    references = 0
    for where, container in containers(program):
        for source in container.get("envFrom", []):
            assert ("ConfigMap", source["configMapRef"]["name"]) in keys, where
            references += 1
        for variable in container.get("env", []):
            reference = variable.get("valueFrom", {}).get("secretKeyRef")
            if reference:
                assert reference["key"] in keys["Secret", reference["name"]], where
                references += 1
    claims = {each.kubernetes_name for each in program.of("PersistentVolumeClaim")}
    for where, template in program.pods().items():
        for volume in template["spec"].get("volumes", []):
            if "persistentVolumeClaim" in volume:
                assert volume["persistentVolumeClaim"]["claimName"] in claims, where
            if "configMap" in volume:
                assert ("ConfigMap", volume["configMap"]["name"]) in keys, where
            if "secret" in volume:
                assert ("Secret", volume["secret"]["secretName"]) in keys, where
    assert references


def test_every_object_is_in_the_stacks_own_namespace(program: Capture) -> None:
    (namespace,) = program.of("Namespace")
    whole_cluster = {"Namespace", "PriorityClass"}
    for resource in kubernetes(program):
        expected = None if resource.type.rsplit(":", 1)[-1] in whole_cluster else namespace.kubernetes_name
        if resource.name == "observability-prometheus" or resource.name.startswith("monitoring-"):
            # The shared monitoring mounts what is in its own namespace; the name says whose it is.
            expected = settings("mainnet").cluster.monitoring_namespace
            assert resource.kubernetes_name.startswith(f"{namespace.kubernetes_name}-"), resource.name
        assert resource.namespace == expected, resource.name


def test_every_object_states_its_name(program: Capture) -> None:
    """Names are the documented ones, so that a running system can be adopted; none is made up by the engine."""
    for resource in kubernetes(program):
        assert re.fullmatch(r"[a-z0-9][a-z0-9.-]*", resource.kubernetes_name), resource.name


def test_no_two_objects_are_one_in_the_cluster(program: Capture) -> None:
    """The engine tells them apart by their logical names; the API server would let them overwrite each other."""
    objects = [(resource.type, resource.namespace, resource.kubernetes_name) for resource in kubernetes(program)]
    assert len(objects) == len(set(objects))


def test_no_resource_uses_a_default_provider(program: Capture) -> None:
    providers = {resource.urn for resource in program.resources if resource.type.startswith("pulumi:providers:")}
    assert providers
    for resource in program.resources:
        if resource.custom and resource.urn not in providers:
            package = resource.type.split(":", 1)[0]
            assert f"pulumi:providers:{package}::" in resource.provider, f"{resource.name}: {resource.provider!r}"


def test_every_resource_is_a_child_of_a_component_and_carries_its_name(program: Capture) -> None:
    by_urn = {component.urn: component for component in components(program)}
    for resource in program.resources:
        if resource.custom and not resource.type.startswith("pulumi:providers:"):
            parent = by_urn[resource.parent]
            assert resource.name.startswith(f"{parent.name}-"), resource.name


def test_every_component_has_a_known_type_and_registers_its_outputs(program: Capture) -> None:
    for component in components(program):
        assert component.type in COMPONENT_TYPES, component.type
        assert component.urn in program.outputs, component.name


def test_every_type_and_component_is_used_by_a_stack(mainnet: Capture, testnet: Capture) -> None:
    used = {resource.type for each in (mainnet, testnet) for resource in each.resources}
    assert COMPONENT_TYPES - used == set()
    assert RESOURCE_TYPES - used == set()


def test_no_secret_is_outside_secrets_and_what_is_marked_secret(program: Capture) -> None:
    for resource in program.resources:
        if not resource.custom:
            continue
        for path, text in leaves(resource.inputs):
            if any(canary in text for canary in canaries()):
                assert any(path.startswith(secret) for secret in resource.secrets), (resource.name, path)
                assert resource.type.rsplit(":", 1)[-1] not in {"ConfigMap", "Deployment", "StatefulSet"}
    assert not any(canary in text for canary in canaries() for text in strings(program.exports))


def test_every_secret_reaches_the_cluster(program: Capture) -> None:
    """The check above would be empty if no secret were used at all."""
    assert any(secret.secrets for secret in program.of("Secret"))


def test_workloads_come_after_the_databases_and_the_databases_after_the_quota(program: Capture) -> None:
    quota = program.of("ResourceQuota")[0].urn
    databases = {owner.urn for owner in program.of("StatefulSet")}
    workloads = [each for each in program.of("Deployment") if each.kubernetes_name != "redis-proxy"]
    assert len(databases) == 2
    for database in program.of("StatefulSet"):
        assert quota in before(program, database), database.name
    for workload in workloads:
        assert databases <= before(program, workload), workload.name


def test_services_come_after_the_workers(program: Capture) -> None:
    stack = settings("mainnet")
    deployments = {each.kubernetes_name: each for each in program.of("Deployment")}
    workers = {deployments[name].urn for name in stack.workers}
    for name in stack.services:
        assert workers <= before(program, deployments[name]), name


def before(program: Capture, resource: Registered) -> frozenset[str]:
    """Everything that is finished before this resource starts."""
    return program.after(resource.urn)


@pytest.mark.parametrize("stack", ["mainnet", "testnet"])
def test_a_second_run_registers_the_same(stack: str) -> None:
    """Anything random or dependent on time would show as a change in every preview."""
    first, second = (
        {resource.urn: (resource.inputs, resource.dependencies) for resource in capture.fresh(stack).resources}
        for _ in range(2)
    )
    assert first.keys() == second.keys()
    assert all(first[urn][0] == second[urn][0] for urn in first)
