"""Who may reach whom, asked of the policies of both environments as a policy engine would."""

import ipaddress
from dataclasses import dataclass

import pytest

from checks.policy_engine import ANY_PORT, Direction, End, PodPort, allowed
from components.network_policies import Policy, fabric_ingress, policies
from tests.stacks import settings

STACKS = ("mainnet", "testnet")


@dataclass(frozen=True)
class Backend:
    """The policies of one environment, and its pods."""

    stack: str
    policies: tuple[Policy, ...]

    @property
    def namespace(self) -> str:
        return f"backend-{self.stack}"

    def pod(self, app: str, *access: str) -> End:
        return elsewhere(self.namespace, {"app": app} | {f"{each}-access": "true" for each in access})

    def workload(self, app: str, *access: str) -> End:
        return self.pod(app, "postgres", "redis", *access)

    def ingress(self, source: End, target: End, port: int, protocol: str = "TCP") -> bool:
        """Whether a pod of this namespace may be reached."""
        return self._allows(Direction.INGRESS, target, source, port, protocol)

    def egress(self, source: End, target: End, port: int, protocol: str = "TCP") -> bool:
        """Whether a pod of this namespace may reach out."""
        return self._allows(Direction.EGRESS, source, target, port, protocol)

    def open(self, source: End, target: End, port: int) -> bool:
        """Whether one pod of this namespace reaches another: both ends have to allow it."""
        return self.egress(source, target, port) and self.ingress(source, target, port)

    def shut(self, source: End, target: End, port: int) -> bool:
        """Whether both ends refuse, so that one mistake alone does not open the way."""
        return not self.egress(source, target, port) and not self.ingress(source, target, port)

    def _allows(self, direction: Direction, own: End, other: End, port: int, protocol: str) -> bool:
        found = allowed(self.policies, direction, own, other)
        assert ANY_PORT not in found, f"no policy isolates {own}"
        return PodPort(protocol, port) in found


def elsewhere(namespace: str, labels: dict[str, str] | None = None) -> End:
    return End(name="", namespace=namespace, labels=labels or {})


def address(value: str) -> End:
    return End(name="", address=value)


@pytest.fixture(params=STACKS)
def backend(request: pytest.FixtureRequest) -> Backend:
    return Backend(request.param, policies(settings(request.param)))


@pytest.fixture
def mainnet() -> Backend:
    return Backend("mainnet", policies(settings("mainnet")))


def test_every_pod_is_denied_everything_by_default(backend: Backend) -> None:
    stranger, other = backend.pod("stranger"), backend.pod("other")
    assert backend.shut(stranger, other, 8080)
    assert not backend.egress(stranger, address("1.1.1.1"), 443)
    assert not backend.ingress(address("1.1.1.1"), stranger, 443)


def test_the_documented_policies_keep_their_names(backend: Backend) -> None:
    names = [policy.name for policy in backend.policies]
    assert len(names) == len(set(names))
    assert {
        "default-deny-all",
        "allow-dns-egress",
        "allow-fabric-egress",
        "allow-backend-internal",
        "allow-nodeport-ingress",
        "allow-prometheus-scrape",
    } <= set(names)


def test_every_policy_says_why_it_is_there(backend: Backend) -> None:
    assert all(policy.why.endswith(".") for policy in backend.policies)


@pytest.mark.parametrize("protocol", ["UDP", "TCP"])
def test_every_pod_resolves_names_at_cluster_dns_and_reaches_nothing_else_there(
    backend: Backend, protocol: str
) -> None:
    dns, other = (
        elsewhere("kube-system", {"k8s-app": "kube-dns"}),
        elsewhere("kube-system", {"k8s-app": "metrics-server"}),
    )
    for pod in (backend.pod("postgres"), backend.workload("projector"), backend.pod("redis-proxy")):
        assert backend.egress(pod, dns, 53, protocol)
        assert not backend.egress(pod, dns, 443, protocol)
        assert not backend.egress(pod, other, 53, protocol)


def test_workloads_and_standbys_reach_postgres_and_redis_does_not(backend: Backend) -> None:
    postgres = backend.pod("postgres")
    for source in (backend.workload("projector"), backend.workload("api-gateway", "service"), postgres):
        assert backend.open(source, postgres, 5432)
        assert backend.shut(source, postgres, 22)
    assert backend.shut(backend.pod("redis"), postgres, 5432)
    assert backend.shut(backend.pod("redis-proxy"), postgres, 5432)


def test_workloads_reach_redis_and_postgres_does_not(backend: Backend) -> None:
    redis = backend.pod("redis")
    assert backend.open(backend.workload("projector"), redis, 6379)
    assert backend.shut(backend.workload("projector"), redis, 26379)
    assert backend.shut(backend.pod("postgres"), redis, 6379)


def test_redis_its_sentinels_and_its_proxy_reach_each_other_where_it_is_replicated(mainnet: Backend) -> None:
    redis, proxy = mainnet.pod("redis"), mainnet.pod("redis-proxy")
    assert mainnet.open(mainnet.workload("svc-tax", "service"), proxy, 6379)
    for port in (6379, 26379):
        assert mainnet.open(redis, redis, port)
        assert mainnet.open(proxy, redis, port)
    assert mainnet.shut(redis, proxy, 6379)


def test_services_and_the_gateway_reach_each_other_on_their_ports(backend: Backend) -> None:
    gateway, tax = backend.workload("api-gateway", "service"), backend.workload("svc-tax", "service")
    assert backend.open(gateway, tax, 3007)
    assert backend.open(tax, gateway, 8080)
    assert backend.shut(gateway, tax, 9090)


def test_workers_and_databases_reach_no_service_and_are_not_reached_by_one(backend: Backend) -> None:
    service, worker = backend.workload("svc-tax", "service"), backend.workload("projector", "fabric")
    for source in (worker, backend.pod("postgres"), backend.pod("redis")):
        assert backend.shut(source, service, 3007)
    assert not backend.ingress(service, worker, 9090)


def test_nodes_reach_exactly_the_services_that_have_a_node_port(mainnet: Backend) -> None:
    identity, wallet = mainnet.workload("svc-identity", "service"), mainnet.workload("svc-wallet", "service")
    for each in ("10.60.0.11", "10.60.0.14", "10.42.0.0", "10.42.0.1", "10.42.3.0", "10.42.3.1"):
        assert mainnet.ingress(address(each), identity, 3001), each
        assert not mainnet.ingress(address(each), wallet, 3002), each
        assert not mainnet.ingress(address(each), mainnet.pod("postgres"), 5432), each
    for each in ("10.42.0.2", "10.60.0.15", "72.60.210.201", "1.1.1.1"):
        assert not mainnet.ingress(address(each), identity, 3001), each


def test_no_policy_opens_a_network_wider_than_one_address(backend: Backend) -> None:
    networks = [
        ipaddress.ip_network(peer.network)
        for policy in backend.policies
        for rule in (*policy.ingress, *policy.egress)
        for peer in rule.peers
        if peer.network is not None
    ]
    assert all(network.num_addresses == 1 for network in networks)
    assert networks or backend.stack != "mainnet"


def test_prometheus_reads_metrics_and_nothing_else(backend: Backend) -> None:
    prometheus = elsewhere("monitoring", {"app": "prometheus"})
    assert backend.ingress(prometheus, backend.workload("projector"), 9090)
    assert not backend.ingress(prometheus, backend.workload("svc-tax", "service"), 3007)
    assert not backend.ingress(elsewhere("default"), backend.workload("projector"), 9090)


def test_exporters_reach_their_database_and_prometheus_reaches_the_exporters_alone(backend: Backend) -> None:
    prometheus = elsewhere("monitoring", {"app": "prometheus"})
    of_postgres, of_redis = backend.pod("postgres-exporter", "postgres"), backend.pod("redis-exporter")
    assert backend.ingress(prometheus, of_postgres, 9187)
    assert backend.ingress(prometheus, of_redis, 9121)
    assert not backend.ingress(elsewhere("default"), of_postgres, 9187)
    assert not backend.ingress(prometheus, backend.pod("postgres"), 5432)
    assert not backend.ingress(prometheus, backend.pod("postgres"), 9187)
    assert backend.open(of_postgres, backend.pod("postgres"), 5432)
    assert backend.open(of_redis, backend.pod("redis"), 6379)
    assert backend.open(of_redis, backend.pod("redis"), 26379) == (backend.stack == "mainnet")
    assert backend.shut(of_redis, backend.pod("redis-proxy"), 6379)
    assert not backend.open(of_postgres, backend.pod("redis"), 6379)
    assert not backend.open(of_redis, backend.pod("postgres"), 5432)


def test_only_pods_with_fabric_access_reach_the_fabric_network_of_their_environment(backend: Backend) -> None:
    own, other = ("fabric", "fabric-testnet") if backend.stack == "mainnet" else ("fabric-testnet", "fabric")
    worker = backend.workload("projector", "fabric")
    for port in (7050, 7051):
        assert backend.egress(worker, elsewhere(own), port)
        assert not backend.egress(worker, elsewhere(other), port)
        assert not backend.egress(backend.workload("svc-tax", "service"), elsewhere(own), port)
        assert not backend.egress(backend.pod("postgres"), elsewhere(own), port)
    assert not backend.egress(worker, elsewhere(own), 9443)


def test_another_environment_is_out_of_reach(mainnet: Backend) -> None:
    foreign = elsewhere("backend-testnet", {"app": "svc-tax", "service-access": "true", "postgres-access": "true"})
    for target, port in ((mainnet.pod("postgres"), 5432), (mainnet.workload("svc-tax", "service"), 3007)):
        assert not mainnet.ingress(foreign, target, port)
        assert not mainnet.egress(target, foreign, port)


def test_the_fabric_side_allows_exactly_the_pods_with_fabric_access() -> None:
    fabric = settings("mainnet").fabric
    assert fabric is not None
    policy = fabric_ingress(fabric, "backend-mainnet")
    (rule,) = policy.ingress
    assert rule.ports == (7050, 7051, 7054)
    assert [(peer.namespace, dict(peer.pods.labels)) for peer in rule.peers] == [
        ("backend-mainnet", {"fabric-access": "true"})
    ]


def test_a_node_with_ipv6_addresses_is_a_source_too() -> None:
    values = settings("mainnet")
    node = values.cluster.nodes["srv1089618"].model_copy(update={"internal_ip": "fd00::1", "pod_cidr": "fd42::/64"})
    cluster = values.cluster.model_copy(update={"nodes": {"srv1089618": node}})
    found = Backend("mainnet", policies(values.model_copy(update={"cluster": cluster})))
    for each in ("fd00::1", "fd42::", "fd42::1"):
        assert found.ingress(address(each), found.workload("svc-tax", "service"), 3007)


def test_a_stack_without_node_ports_or_services_has_no_policy_for_them() -> None:
    values = settings("mainnet").model_copy(update={"services": {}, "fabric": None})
    assert not {"allow-nodeport-ingress", "allow-backend-internal", "allow-fabric-egress"} & {
        policy.name for policy in policies(values)
    }
