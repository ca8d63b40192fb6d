"""What no stack, or not this one, may contain. Each test first makes sure that there is something to look at."""

import subprocess
import sys

from settings.stackfile import ROOT
from tests import capture
from tests.capture import RESOURCE_TYPES, Capture
from tests.stacks import settings


def test_no_stack_can_grant_rights_in_the_cluster_or_open_an_ingress() -> None:
    assert len(RESOURCE_TYPES) > 10
    forbidden = ("rbac.authorization.k8s.io", "Ingress", "ClusterRole", "Role")
    assert not [each for each in RESOURCE_TYPES for word in forbidden if word in each]


def test_the_wallet_and_the_gateway_have_no_node_port(program: Capture) -> None:
    for name in ("svc-wallet", "api-gateway"):
        assert program.one("Service", name).inputs["spec"]["type"] == "ClusterIP"


def test_no_database_is_reached_from_outside_the_cluster(program: Capture) -> None:
    stack = settings("mainnet")
    own = {*stack.services}
    databases = [each for each in program.of("Service") if each.kubernetes_name not in own]
    assert databases
    assert all(each.inputs["spec"].get("type", "ClusterIP") == "ClusterIP" for each in databases)


def test_no_port_of_mainnet_is_a_port_of_testnet(mainnet: Capture, testnet: Capture) -> None:
    ports = [
        {
            port["nodePort"]
            for each in program.of("Service")
            for port in each.inputs["spec"]["ports"]
            if "nodePort" in port
        }
        for program in (mainnet, testnet)
    ]
    assert ports[0]
    assert not ports[0] & ports[1]


def test_one_replica_never_has_a_disruption_budget(program: Capture) -> None:
    """It would keep its node from ever being drained."""
    replicas = {
        owner.inputs["spec"]["template"]["metadata"]["labels"]["app"]: owner.inputs["spec"]["replicas"]
        for owner in program.of("Deployment", "StatefulSet")
    }
    guarded = {
        budget.inputs["spec"]["selector"]["matchLabels"]["app"]: budget.inputs["spec"]["minAvailable"]
        for budget in program.resources
        if budget.type.endswith(":PodDisruptionBudget")
    }
    assert {app for app, count in replicas.items() if count >= 2} == guarded.keys()
    assert all(available < replicas[app] for app, available in guarded.items())


def test_testnet_has_no_public_name_and_no_edge(mainnet: Capture, testnet: Capture) -> None:
    for kind in ("DnsRecord", "ZoneSetting", "Command"):
        assert mainnet.has(kind)
        assert not testnet.has(kind)


def test_testnet_does_not_pay_for_the_cloudflare_and_command_libraries() -> None:
    script = (
        "import sys; from tests import capture; print(len(capture.stack('testnet').resources)); print(*sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, check=True, capture_output=True, text=True, timeout=120
    )
    registered, modules = done.stdout.splitlines()
    assert int(registered) > 10
    assert not {"pulumi_cloudflare", "pulumi_command"} & set(modules.split())


def test_data_is_protected_exactly_where_the_stack_file_says_so() -> None:
    for wanted in (True, False):
        program = capture.stack("testnet", {"environment": {"protectData": wanted}})
        for resource in program.of("Namespace", "StatefulSet", "PersistentVolumeClaim"):
            assert resource.protect is wanted, resource.name
            assert resource.retain_on_delete is wanted, resource.name


def test_dns_waits_for_no_node_and_no_object_in_the_cluster(mainnet: Capture) -> None:
    """Failing a region over must work with the cluster and the node unreachable (CF-20)."""
    for record in mainnet.of("DnsRecord"):
        waits_for = " ".join(mainnet.after(record.urn))
        assert "kubernetes:" not in waits_for, record.name
        assert "EdgeNode" not in waits_for, record.name
        assert "command:" not in waits_for, record.name
