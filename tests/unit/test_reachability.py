"""The reachability proof: silent on the committed stacks, and loud on every rule that is removed or loosened."""

import subprocess
import sys
from pathlib import Path

import pytest

from checks.paths import compare, declared
from checks.policy_engine import ANY_PORT, Direction, End, allowed
from checks.reachability import declaration, find, matrix
from components.network_policies import Policy
from settings.loader import load
from settings.model import Settings
from settings.stackfile import ROOT, merge
from tests import stacks
from tests.policy_mutants import mutants
from tests.stacks import settings

STACKS = ("mainnet", "testnet", "devnet")


def changed(**patch: object) -> Settings:
    return load(merge(stacks.complete("mainnet"), patch))


def is_found(values: Settings, declared: dict[str, tuple[Policy, ...]]) -> bool:
    """Whether the proof finds something, without looking for all of it."""
    return any(cell.extra or cell.missing for cell in matrix(values, declared)) or any(find(values, declared))


@pytest.mark.parametrize("stack", STACKS)
def test_a_committed_stack_opens_exactly_what_is_meant(stack: str) -> None:
    assert [str(finding) for finding in find(settings(stack))] == []


@pytest.mark.parametrize(("stack", "about"), [("mainnet", ""), ("testnet", "redis")])
def test_every_rule_that_is_removed_or_loosened_is_found(stack: str, about: str) -> None:
    """No rule is dead. Testnet differs by its single Redis, which has policies of its own."""
    values = settings(stack)
    every = {what: declared for what, declared in mutants(values) if about in what.partition(":")[0]}
    survived = [what for what, declared in every.items() if not is_found(values, declared)]
    assert len(every) >= (10 if about else 100)
    assert survived == []


def test_every_policy_gone_is_found() -> None:
    values = settings("testnet")
    names = {finding.name for finding in find(values, {}) if not finding.name.startswith("reach-missing-")}
    assert names == {
        f"reach-{what}-{direction}"
        for what in ("extra-no-policy", "no-default-deny")
        for direction in ("ingress", "egress")
    }


def blocked(source: Settings, target: End, port: int) -> bool:
    """Whether no pod of a stack reaches a target outside it."""
    own = source.environment.namespace
    pods = [
        End(name=app, namespace=own, labels={"app": app} | dict.fromkeys(ACCESS, "true"))
        for app in ("postgres", "redis", *source.workers, *source.services)
    ]
    return not any(
        each == ANY_PORT or each.number == port
        for pod in pods
        for each in allowed(declaration(source)[own], Direction.EGRESS, pod, target)
    )


ACCESS = ("postgres-access", "redis-access", "service-access", "fabric-access")


@pytest.mark.parametrize("port", [7050, 7051, 7054])
def test_the_fabric_networks_of_mainnet_and_testnet_are_apart(port: int) -> None:
    """Section 9.2: backend-mainnet does not reach fabric-testnet (NP-10), nor testnet mainnet's."""
    assert blocked(settings("mainnet"), End(name="peer", namespace="fabric-testnet"), port)
    assert blocked(settings("testnet"), End(name="peer", namespace="fabric"), port)


@pytest.mark.parametrize("port", [3001, 5432, 6379, 8080, 9090])
def test_testnet_does_not_reach_mainnet_and_mainnet_does_not_let_it_in(port: int) -> None:
    """Section 9.2 (NP-11), whatever labels the pod wears."""
    mainnet, testnet = settings("mainnet"), settings("testnet")
    for app in ("postgres", "redis", "svc-identity"):
        worn = {"app": app} | dict.fromkeys(ACCESS, "true")
        here = End(name=app, namespace="backend-mainnet", labels=worn)
        there = End(name=app, namespace="backend-testnet", labels=worn)
        assert blocked(testnet, here, port)
        assert not allowed(declaration(mainnet)["backend-mainnet"], Direction.INGRESS, here, there)


def test_kube_system_is_blocked_but_for_dns_and_the_outside_reaches_nothing() -> None:
    """Section 9.2 (NP-12, NP-13)."""
    values = settings("mainnet")
    own = declaration(values)["backend-mainnet"]
    pod = End(name="svc-identity", namespace="backend-mainnet", labels={"app": "svc-identity"})
    assert not allowed(own, Direction.EGRESS, pod, End(name="x", namespace="kube-system"))
    for port in (53, 443, 6443, 10250):
        assert blocked(values, End(name="x", namespace="kube-system"), port)
    for node in values.cluster.nodes.values():
        assert blocked(values, End(name="API server", address=node.internal_ip), 6443)
        if node.public_ip:
            assert not allowed(own, Direction.INGRESS, pod, End(name="node", address=node.public_ip))
    assert not allowed(own, Direction.INGRESS, pod, End(name="client", address="1.1.1.1"))


def test_prometheus_in_fabrics_or_in_the_systems_namespace_is_as_good() -> None:
    """The document leaves its namespace open (X-17)."""
    for namespace in ("fabric", "kube-system"):
        assert not list(find(changed(cluster={"monitoringNamespace": namespace})))


def test_an_environment_that_monitors_itself_opens_what_is_not_meant() -> None:
    mainnet = settings("mainnet")
    cluster = mainnet.cluster.model_copy(update={"monitoring_namespace": mainnet.environment.namespace})
    found = {each.name: each for each in find(mainnet.model_copy(update={"cluster": cluster}))}
    finding = found["reach-extra-allow-prometheus-scrape-ingress"]
    assert "opens, without intent, postgres to postgres on TCP 9090" in str(finding)


def test_a_change_shows_the_paths_it_opens_and_closes() -> None:
    before, after = declared(settings("mainnet")), declared(changed(services={"svc-tax": {"fabricAccess": True}}))
    assert compare(before, before).markdown() == "No network path opens or closes.\n"
    table = compare(before, after).markdown()
    assert table.splitlines()[2:] == ["| opens | svc-tax | a pod of fabric | TCP 7050, TCP 7051, TCP 7054 |"]
    assert compare(after, before).markdown() == table.replace("opens", "closes")


def test_the_command_tells_what_is_wrong_with_a_stack_file_and_of_one_that_is_not_there(tmp_path: Path) -> None:
    broken = tmp_path / "Pulumi.broken.yaml"
    broken.write_text("config: {}")
    for argument, told in ("Pulumi.none.yaml", "Fix: name an existing stack"), (str(broken), "missing"):
        done = subprocess.run(
            [sys.executable, "-m", "checks.paths", argument, argument],
            cwd=ROOT, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 1
        assert told in done.stderr
        assert "Traceback" not in done.stderr


def test_the_proof_needs_no_pulumi() -> None:
    code = "import sys, checks.prove, checks.paths; print([m for m in ('pulumi', 'grpc') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
