"""The contract that every component keeps, and two of each side by side in one stack."""

import importlib
import inspect
import pkgutil
from collections.abc import Callable

import pytest

import components
from components.backups import DatabaseBackups, DatabaseBackupsArgs
from components.base import PROJECT, Component
from components.dns_failover import DnsFailover, DnsFailoverArgs
from components.edge import EdgeNode, EdgeNodeArgs, NodeFirewall, NodeFirewallArgs
from components.migration import DatabaseMigration, DatabaseMigrationArgs
from components.namespace import BackendNamespace, BackendNamespaceArgs
from components.network import NetworkPolicies, NetworkPoliciesArgs
from components.network_policies import fabric_ingress, policies
from components.observability import Observability, ObservabilityArgs, SharedMonitoring, SharedMonitoringArgs
from components.postgres import PostgresCluster, PostgresClusterArgs
from components.redis import RedisCluster, RedisClusterArgs
from components.tls import ServerTls
from components.workload import Workload, WorkloadArgs
from components.workload_config import ApplicationConfig, ApplicationConfigArgs, ConfigSource, SecretKey
from settings.model import Settings
from tests import capture
from tests.stacks import settings


def _all_components() -> tuple[type[Component], ...]:
    for module in pkgutil.walk_packages(components.__path__, "components."):
        importlib.import_module(module.name)
    return tuple(sorted(Component.__subclasses__(), key=token))


def token(component: type[Component]) -> str:
    """Type token of a component: names the class, never an instance. Changing one replaces what is under it."""
    return f"{PROJECT}:{component.area}:{component.__name__}"


COMPONENTS = _all_components()


def of(component: type[Component], name: str, values: Settings) -> None:
    """One component of its class, as the whole program makes it."""
    builder = BUILDERS[component]
    builder(name, values)


def _namespace(name: str, values: Settings) -> None:
    args = BackendNamespaceArgs(
        environment=values.environment, quota=values.quota, container_limits=values.container_limits
    )
    BackendNamespace(name, args)


def _network(name: str, values: Settings) -> None:
    assert values.fabric is not None
    counterpart = fabric_ingress(values.fabric, name)
    args = NetworkPoliciesArgs(namespace=name, policies=policies(values), elsewhere={"fabric": (counterpart,)})
    NetworkPolicies(name, args)


def _config(name: str, values: Settings) -> None:
    ApplicationConfig(
        name,
        ApplicationConfigArgs(
            namespace=name, log_level=values.environment.log_level, authority=values.tls.authority, fabric=values.fabric
        ),
    )


def _workload(name: str, values: Settings) -> None:
    service = values.services["svc-identity"]
    args = WorkloadArgs(
        app="svc-identity",
        namespace=name,
        priority_class=name,
        image=values.images.workloads["svc-identity"],
        replicas=service.replicas,
        requests=service.requests,
        limits=service.limits,
        placement=values.placement.workloads,
        database=SecretKey(name="postgres-secrets", key="application-url", digest="one"),
        cache=SecretKey(name="redis-secrets", key="url", digest="two"),
        authority=ConfigSource(name="database-authority", digest="three"),
        config=(),
        fabric_access=False,
        port=service.port,
    )
    Workload(name, args)


def _postgres(name: str, values: Settings) -> None:
    args = PostgresClusterArgs(
        namespace=name,
        priority_class=name,
        settings=values.postgres,
        placement=values.placement.databases,
        image=values.images.postgres,
        secrets=values.secrets.postgres,
        tls=ServerTls.of(values, "postgres"),
        storage_class=values.cluster.storage_class,
        protect=True,
    )
    PostgresCluster(name, args)


def _redis(name: str, values: Settings) -> None:
    args = RedisClusterArgs(
        namespace=name,
        priority_class=name,
        settings=values.redis,
        placement=values.placement.databases,
        image=values.images.redis,
        proxy_image=values.images.haproxy,
        secrets=values.secrets.redis,
        tls=ServerTls.of(values, "redis"),
        storage_class=values.cluster.storage_class,
        protect=True,
    )
    RedisCluster(name, args)


def _backups(name: str, values: Settings) -> None:
    assert values.backups is not None
    args = DatabaseBackupsArgs(
        namespace=name,
        environment=name,
        priority_class=name,
        settings=values.backups,
        postgres=values.postgres,
        postgres_image=values.images.postgres,
        redis_image=values.images.redis,
        archive_password=SecretKey(name="postgres-secrets", key="archive", digest="one"),
        storage_class=values.cluster.storage_class,
        protect=True,
    )
    DatabaseBackups(name, args)


def _migration(name: str, values: Settings) -> None:
    assert values.migration is not None
    assert values.images.migration is not None
    args = DatabaseMigrationArgs(
        namespace=name,
        priority_class=name,
        settings=values.migration,
        image=values.images.migration,
        postgres_image=values.images.postgres,
        placement=values.placement.workloads,
        database=SecretKey(name="postgres-secrets", key="migration-url", digest="one"),
        host="postgres-primary",
        authority="database-authority",
    )
    DatabaseMigration(name, args)


def _observability(name: str, values: Settings) -> None:
    assert values.observability is not None
    args = ObservabilityArgs(
        namespace=name,
        priority_class=name,
        settings=values,
        observability=values.observability,
        redis_password=SecretKey(name="redis-secrets", key="exporter", digest="one"),
        authority=ConfigSource(name="database-authority", digest="one"),
    )
    Observability(name, args)


def _dns(name: str, values: Settings) -> None:
    assert values.dns is not None
    DnsFailover(name, DnsFailoverArgs(dns=values.dns, nodes=values.cluster.nodes, stack=name))


def _edge(name: str, values: Settings) -> None:
    assert values.edge is not None
    args = EdgeNodeArgs(
        node=values.edge.nodes[0],
        settings=values.edge,
        nodes=values.cluster.nodes,
        services=values.services,
        stack=name,
        private_key="key",
        secrets=values.secrets,
    )
    EdgeNode(name, args)


def _firewall(name: str, values: Settings) -> None:
    assert values.edge is not None
    args = NodeFirewallArgs(
        node="srv1117946", settings=values.edge, nodes=values.cluster.nodes, private_key=values.edge.hostname
    )
    NodeFirewall(name, args)


def _monitoring(name: str, values: Settings) -> None:
    assert values.observability is not None
    # Its objects are in a namespace of others, so their names say whose they are.
    whose = values.model_copy(update={"environment": values.environment.model_copy(update={"namespace": name})})
    SharedMonitoring(name, SharedMonitoringArgs(namespace=name, settings=whose, observability=values.observability))


BUILDERS: dict[type[Component], Callable[[str, Settings], None]] = {
    ApplicationConfig: _config,
    BackendNamespace: _namespace,
    DatabaseBackups: _backups,
    DatabaseMigration: _migration,
    DnsFailover: _dns,
    EdgeNode: _edge,
    NetworkPolicies: _network,
    NodeFirewall: _firewall,
    Observability: _observability,
    PostgresCluster: _postgres,
    RedisCluster: _redis,
    SharedMonitoring: _monitoring,
    Workload: _workload,
}


def test_the_components_are_these() -> None:
    """A token is part of the state: a class or area that is renamed needs an alias, or everything is replaced."""
    assert [token(component) for component in COMPONENTS] == [
        "gx:app:ApplicationConfig",
        "gx:app:Workload",
        "gx:data:DatabaseBackups",
        "gx:data:DatabaseMigration",
        "gx:data:PostgresCluster",
        "gx:data:RedisCluster",
        "gx:dns:DnsFailover",
        "gx:edge:EdgeNode",
        "gx:edge:NodeFirewall",
        "gx:platform:BackendNamespace",
        "gx:platform:NetworkPolicies",
        "gx:platform:Observability",
        "gx:platform:SharedMonitoring",
    ]


@pytest.mark.parametrize("component", COMPONENTS, ids=token)
def test_a_component_takes_a_name_frozen_arguments_and_options(component: type[Component]) -> None:
    name, args, opts = list(inspect.signature(component.__init__).parameters.values())[1:]
    assert (name.name, args.name, opts.name) == ("name", "args", "opts")
    assert opts.default is None
    kind = args.annotation
    assert kind.__name__ == f"{component.__name__}Args"
    assert kind.__dataclass_params__.frozen
    assert all(each.kw_only for each in kind.__dataclass_fields__.values())


@pytest.mark.parametrize("component", COMPONENTS, ids=token)
def test_two_of_a_component_live_in_one_stack_and_register_the_outputs_they_declare(
    component: type[Component],
) -> None:
    values = settings("mainnet")

    def program() -> None:
        of(component, "one", values)
        of(component, "two", values)

    found = capture.run(program)
    parents = [resource for resource in found.resources if not resource.custom]
    # Registrations are requests on threads: their order of arrival says nothing.
    assert sorted((parent.type, parent.name) for parent in parents) == [
        (token(component), "one"),
        (token(component), "two"),
    ]
    children = [resource for resource in found.resources if resource.custom]
    assert len(children) >= 2
    assert all(child.name.startswith(("one-", "two-")) for child in children)
    declared = {name for name, hint in component.__annotations__.items() if "Output" in str(hint)}
    assert declared
    for parent in parents:
        assert declared <= found.outputs[parent.urn].keys(), parent.name


@pytest.mark.parametrize("component", COMPONENTS, ids=token)
def test_a_component_documents_its_attributes(component: type[Component]) -> None:
    text = inspect.getdoc(component) or ""
    declared = {name for name in component.__annotations__ if name != "area" and not name.startswith("_")}
    documented = {line.split(":")[0].strip() for line in text.partition("Attributes:")[2].splitlines()}
    assert declared <= documented, declared - documented
