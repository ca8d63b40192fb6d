"""The committed stack files: the source document's values, complete but for what only an operator knows."""

import json
import subprocess
import sys
from dataclasses import replace
from decimal import Decimal

import pytest
import yaml

from checks import fit
from checks.placement import Outcome, judge
from checks.schedule import overlapping
from checks.workloads import Kind, workloads
from settings import schema
from settings.loader import SettingsError, load
from settings.mistakes import CONFIGURED
from settings.model import Settings
from settings.stackfile import ROOT
from tests import stacks

STACKS = ("mainnet", "testnet", "devnet")


@pytest.mark.parametrize("stack", STACKS)
def test_a_committed_stack_lacks_only_what_make_configure_fills_in(stack: str) -> None:
    with pytest.raises(SettingsError) as raised:
        load(stacks.committed(stack), stack=stack)
    for problem in raised.value.problems:
        assert problem.problem.startswith(("missing", "not pinned")), problem
        assert problem.path.startswith(CONFIGURED), problem


@pytest.mark.parametrize("stack", STACKS)
def test_a_committed_stack_holds_no_secret(stack: str) -> None:
    assert "secrets" not in stacks.committed(stack)


@pytest.mark.parametrize("stack", STACKS)
def test_a_configured_stack_loads(stack: str) -> None:
    assert stacks.settings(stack).environment.name == stack


def test_no_two_environments_share_a_node_port() -> None:
    """NodePorts are cluster-wide, and the three environments share the cluster (X-05)."""
    ports = [
        service.node_port
        for stack in STACKS
        for service in stacks.settings(stack).services.values()
        if service.node_port is not None
    ]
    assert sorted(ports) == [*range(30001, 30008), *range(30011, 30018), *range(30021, 30028)]


def test_environments_give_way_in_order_and_all_of_them_to_fabric() -> None:
    mainnet, testnet, devnet = (stacks.settings(stack).environment.priority for stack in STACKS)
    assert 0 > mainnet > testnet > devnet


def test_the_environments_fit_on_their_nodes_together_beside_the_scheduled_jobs_of_all() -> None:
    """They share the nodes, and the proofs of each know of itself alone."""
    cluster = stacks.settings("mainnet").cluster
    every = [
        (replace(each, name=f"{stack}-{each.name}"), fit.group(each, cluster))
        for stack in STACKS
        for each in workloads(stacks.settings(stack))
        if each.kind is not Kind.JOB
    ]
    sets = list(overlapping(each for each, _ in every if not each.lasting))
    assert len(sets) > 1
    for jobs in sets:
        groups = [replace(group, name=each.name) for each, group in every if each.lasting or each.name in jobs]
        assert judge(fit.hosts(cluster), groups).outcome is Outcome.FITS, sorted(jobs)


@pytest.mark.parametrize(
    ("stack", "cpu", "memory_gib", "pods"), [("mainnet", "15.1", "30.125", 45), ("testnet", "5.4", "10.75", 17)]
)
def test_requests_add_up_to_what_the_capacity_table_says(stack: str, cpu: str, memory_gib: str, pods: int) -> None:
    """14.0 cores and 28.75Gi of the document's services, three sentinels and two proxies (requirements, section 2).

    And the archive, and the exporters: one for each database and for each volume of backups.
    """
    every = [each for each in workloads(stacks.settings(stack)) if each.lasting]
    assert sum(each.requests.cpu * each.replicas for each in every) == Decimal(cpu) * 1000
    assert sum(each.requests.memory * each.replicas for each in every) == Decimal(memory_gib) * 2**30
    assert sum(each.replicas for each in every) == pods


def test_the_services_are_the_documents() -> None:
    services = stacks.settings("mainnet").services
    assert {name: (s.port, s.node_port, s.path) for name, s in services.items()} == {
        "svc-identity": (3001, 30001, "/identity"),
        "svc-admin": (3002, 30002, "/admin"),
        "svc-wallet": (3002, None, None),
        "svc-tokenomics": (3003, 30003, "/tokenomics"),
        "svc-organization": (3004, 30004, "/organization"),
        "svc-loanpool": (3005, 30005, "/loanpool"),
        "svc-governance": (3006, 30006, "/governance"),
        "svc-tax": (3007, 30007, "/tax"),
        "api-gateway": (8080, None, None),
    }


def test_the_project_file_declares_exactly_the_keys_of_the_model() -> None:
    project = yaml.safe_load((ROOT / "Pulumi.yaml").read_text())
    assert list(project["config"]) == [field.alias for field in Settings.model_fields.values()]
    assert "backend" not in project


def test_the_schema_is_current() -> None:
    assert schema.PATH.read_text() == schema.schema(), "Fix: make schema"


@pytest.mark.parametrize("stack", STACKS)
def test_stack_files_are_bound_to_the_schema(stack: str) -> None:
    assert "# yaml-language-server: $schema=settings/schema.json\n" in (ROOT / f"Pulumi.{stack}.yaml").read_text()


def test_in_the_schema_a_secret_is_an_encrypted_value() -> None:
    definitions = json.loads(schema.schema())["$defs"]
    leaves = {**definitions["PostgresSecrets"]["properties"], **definitions["RedisSecrets"]["properties"]}
    assert leaves
    assert all(leaf["required"] == ["secure"] for leaf in leaves.values())


def test_settings_need_pydantic_alone() -> None:
    """Importing Pulumi costs a second, which commands and tests that need no engine do not pay."""
    code = "import sys, settings.loader; print([m for m in ('pulumi', 'yaml', 'grpc') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_stack_file_is_checked_without_pulumi() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "settings.check", "testnet"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "secrets.postgres.admin: missing. Fix: run `make configure STACK=testnet`" in done.stderr
    assert "Traceback" not in done.stderr
