"""The traceability table: complete, well formed, and true in every path and name it gives.

The values of the source document that stand in the stack files are held here too, since the table points at them.
"""

import ipaddress
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest

from settings.model import Settings
from tests.stacks import settings

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = ROOT / "docs" / "traceability.md"
IDS = (ROOT / "docs" / "requirement-ids.txt").read_text().split()
COLUMNS = ["ID", "Requirement", "Carried by", "Proven by", "State"]
LATER_WORK = {"data", "edge", "proofs", "observability", "operations"}
STATE = re.compile(r"done|open \(([a-z]+)\)|declined \(`(docs/decisions/\d{4}-[a-z0-9-]+\.md)`\)")
REFERENCE = re.compile(r"`([^`]+)`")


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    identifier: str
    requirement: str
    carrier: str
    proof: str
    state: str

    @property
    def references(self) -> list[str]:
        """Paths, and paths with a name, in all columns that give one."""
        return [each for cell in (self.carrier, self.proof, self.state) for each in REFERENCE.findall(cell)]


def tables() -> list[list[str]]:
    """Cells of every line of every table but headings and rules."""
    lines = [line for line in DOCUMENT.read_text().splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [each for each in cells if each != COLUMNS and set(each[0]) - set("-")]


ROWS = [Row(*cells) for cells in tables() if len(cells) == len(COLUMNS)]


def test_every_line_of_a_table_is_a_row_of_five_filled_cells_or_of_the_summary() -> None:
    summary = [cells for cells in tables() if len(cells) != len(COLUMNS)]
    assert [cells[0] for cells in summary] == ["State", "done", "open", "declined", "all"]
    assert all(len(cells) == 2 for cells in summary)
    assert not [row for row in ROWS if "" in (row.identifier, row.requirement, row.carrier, row.proof, row.state)]


def test_every_requirement_has_exactly_one_row_in_the_order_of_the_list() -> None:
    assert len(set(IDS)) == len(IDS) == 386
    assert [row.identifier for row in ROWS] == IDS


def test_every_row_stands_under_the_heading_of_its_prefix() -> None:
    heading = ""
    for line in DOCUMENT.read_text().splitlines():
        heading = line.removeprefix("## ").split(":")[0] if line.startswith("## ") else heading
        if found := re.match(r"\| ([A-Z]+)-\d", line):
            assert found[1] == heading, line


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.identifier)
def test_a_row_is_what_its_state_says(row: Row) -> None:
    found = STATE.fullmatch(row.state)
    assert found, f"{row.state!r} is no state"
    if row.state == "done":
        assert REFERENCE.search(row.carrier), "done, and nothing carries it"
        proofs = REFERENCE.findall(row.proof)
        assert proofs, "done, and nothing proves it"
        assert any("::test_" in proof or proof.endswith(".md") for proof in proofs), "neither a test nor a document"
    elif found[1]:
        assert found[1] in LATER_WORK


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.identifier)
def test_what_a_row_refers_to_exists(row: Row) -> None:
    for reference in row.references:
        path, _, name = reference.partition("::")
        target = (ROOT / path).resolve()
        assert target.is_relative_to(ROOT), f"{path} is outside the project"
        assert target.exists(), f"{path} does not exist"
        if name.startswith("test_"):
            assert re.search(rf"^def {re.escape(name)}\(", target.read_text(), re.MULTILINE), f"no test {reference}"
        elif name:
            assert name in target.read_text(), f"{path} does not mention {name}"


def test_the_summary_counts_the_rows() -> None:
    counted = Counter(row.state.split(" ")[0] for row in ROWS)
    summary = {cells[0]: cells[1] for cells in tables() if len(cells) == 2 and cells[0] != "State"}
    assert summary == {state: str(counted[state]) for state in ("done", "open", "declined")} | {"all": str(len(ROWS))}


def test_every_decision_that_declines_something_is_referred_to_and_has_its_four_parts() -> None:
    for path in {path for row in ROWS if (path := REFERENCE.search(row.state))}:
        text = (ROOT / path[1]).read_text()
        for part in ("Context", "Considered", "Decided", "Consequences"):
            assert f"**{part}.**" in text, path[1]


@pytest.fixture(scope="module", params=["mainnet", "testnet", "devnet"])
def stack(request: pytest.FixtureRequest) -> Settings:
    """Each environment's settings."""
    return settings(str(request.param))


def test_every_stack_lists_the_four_nodes_with_their_sizes_sites_and_addresses(stack: Settings) -> None:
    nodes = {
        name: (node.role.value, node.region, str(node.public_ip) if node.public_ip else None)
        for name, node in stack.cluster.nodes.items()
    }
    assert nodes == {
        "srv1089618": ("control-plane", "Kuala Lumpur", "72.60.210.201"),
        "srv1089624": ("control-plane", "Phoenix", "217.196.51.190"),
        "srv1092158": ("control-plane", "Frankfurt", "72.61.81.3"),
        "srv1117946": ("worker", "Secondary data centre", None),
    }
    sizes = [(str(node.cpu), str(node.memory), str(node.disk)) for node in stack.cluster.nodes.values()]
    assert sizes == [("16", "64Gi", "1T")] * 4, "64 cores, 256 GB and 4 TB in all"
    assert stack.cluster.context == "gx-protocol-cluster"


def test_every_stack_has_its_documented_namespace_labels_and_log_level(stack: Settings) -> None:
    environment = stack.environment
    expected = {
        "mainnet": ("backend-mainnet", "production", "INFO"),
        "testnet": ("backend-testnet", "testnet", "DEBUG"),
        "devnet": ("backend-devnet", "development", "TRACE"),
    }[environment.name]
    labels = dict(environment.labels)
    assert (environment.namespace, labels["environment"], environment.log_level.value) == expected
    assert labels["component"] == "backend"


def test_every_stack_has_its_documented_quota(stack: Settings) -> None:
    quota = stack.quota
    requests = (str(quota.requests.cpu), str(quota.requests.memory))
    rest = (str(quota.limits.cpu), str(quota.limits.memory), quota.persistent_volume_claims, quota.pods)
    documented = {"mainnet": ("16", "32Gi"), "testnet": ("8", "16Gi"), "devnet": ("4", "8Gi")}
    assert requests == documented[stack.environment.name]
    if stack.environment.name != "devnet":
        assert rest == {"mainnet": ("32", "64Gi", 10, 50), "testnet": ("16", "32Gi", 5, 30)}[stack.environment.name]


def test_mainnet_has_the_documented_container_limits() -> None:
    limits = settings("mainnet").container_limits
    sizes = [
        (str(each.cpu), str(each.memory)) for each in (limits.max, limits.min, limits.default, limits.default_request)
    ]
    assert sizes == [("4", "8Gi"), ("100m", "128Mi"), ("500m", "512Mi"), ("250m", "256Mi")]


def test_fabric_endpoints_are_the_documented_ones() -> None:
    mainnet, testnet = settings("mainnet").fabric, settings("testnet").fabric
    assert mainnet
    assert testnet
    assert [f"{e.host}:{e.port}" for e in (*mainnet.orderers, *mainnet.peers, *mainnet.certificate_authorities)] == [
        *(f"orderer{n}-org0.fabric.svc.cluster.local:7050" for n in range(5)),
        *(f"peer{n}-org{org}.fabric.svc.cluster.local:7051" for org in (1, 2) for n in (0, 1)),
        *(f"ca-org{n}.fabric.svc.cluster.local:7054" for n in (1, 2)),
    ]
    assert [f"{e.host}:{e.port}" for e in (*testnet.orderers, *testnet.peers)] == [
        "orderer0-org0.fabric-testnet.svc.cluster.local:7050",
        *(f"peer0-org{n}.fabric-testnet.svc.cluster.local:7051" for n in (1, 2)),
    ]
    assert (mainnet.namespace, testnet.namespace) == ("fabric", "fabric-testnet")
    assert settings("devnet").fabric is None


def test_every_workload_has_its_documented_replicas() -> None:
    for name, (database, worker, service) in {"mainnet": (3, 2, 3), "testnet": (1, 1, 1)}.items():
        s = settings(name)
        assert (s.postgres.replicas, s.redis.replicas) == (database, database)
        assert {each.replicas for each in s.workers.values()} == {worker}
        assert {each.replicas for each in s.services.values()} == {service}
        assert list(s.workers) == ["outbox-submitter", "projector"]


@pytest.mark.parametrize("name", ["mainnet", "testnet"])
def test_every_container_has_its_documented_size(name: str) -> None:
    s = settings(name)
    documented = {"svc-identity", "svc-wallet", "svc-tokenomics", "api-gateway"}
    sized = [(app, each.requests) for app, each in s.workers.items()]
    sized += [(app, each.requests) for app, each in s.services.items()]
    sizes = {app: (str(requests.cpu), str(requests.memory)) for app, requests in sized}
    assert {size for app, size in sizes.items() if app in documented or app in s.workers} == {("500m", "1Gi")}
    assert {size for app, size in sizes.items() if app not in documented and app not in s.workers} == {
        ("100m", "256Mi")
    }
    assert (str(s.postgres.requests.cpu), str(s.postgres.requests.memory)) == ("1000m", "2Gi")
    assert (str(s.postgres.limits.cpu), str(s.postgres.limits.memory)) == ("2000m", "4Gi")
    assert (str(s.redis.requests.cpu), str(s.redis.requests.memory)) == ("500m", "1Gi")
    assert (str(s.postgres.storage), str(s.redis.storage)) == ("100Gi", "20Gi")
    assert (s.postgres.admin_user, s.postgres.database) == ("gx_admin", "gx_protocol")


def test_the_public_name_its_origins_and_the_monitor_are_the_documented_ones() -> None:
    s = settings("mainnet")
    assert s.dns
    assert s.edge
    control_plane = ["srv1089618", "srv1089624", "srv1092158"]
    assert (s.dns.zone, s.dns.hostname, s.edge.hostname) == ("gxcoin.money", "api.gxcoin.money", "api.gxcoin.money")
    assert list(s.dns.origins) == list(s.edge.nodes) == control_plane
    assert (s.edge.rate_limit.requests_per_second, s.edge.rate_limit.burst) == (10, 20)
    monitor = s.edge.monitor
    assert (str(monitor.interval), str(monitor.timeout), monitor.certificate_warning_days) == ("60s", "10s", 15)


def test_the_documents_internal_ips_are_the_first_of_each_pod_network_and_in_no_record() -> None:
    """CF-07, X-48: addresses of the bridges that pods hang on; nothing outside the cluster may be led there."""
    s = settings("mainnet")
    assert s.dns
    origins = {name: s.cluster.nodes[name] for name in s.dns.origins}
    bridges = [str(next(ipaddress.ip_network(node.pod_cidr).hosts())) for node in origins.values()]
    assert bridges == ["10.42.0.1", "10.42.1.1", "10.42.2.1"]
    assert all(ipaddress.ip_address(str(node.public_ip)).is_global for node in origins.values())
