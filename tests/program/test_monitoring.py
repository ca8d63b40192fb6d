"""What a stack declares for the Alertmanager and the Grafana of the cluster, in both forms."""

import json

import pytest
import yaml

from components.observability import SharedMonitoring, SharedMonitoringArgs
from operations.capture import Registered
from settings.model import ObservabilityMode, Settings
from tests import capture, stacks


def declared(settings: Settings, **observability: object) -> dict[str, Registered]:
    """The objects of the component, by the names that the cluster knows them under."""
    given = settings.observability
    assert given is not None
    changed = given.model_copy(update=observability)

    def program() -> None:
        SharedMonitoring(
            "monitoring",
            SharedMonitoringArgs(namespace=settings.environment.namespace, settings=settings, observability=changed),
        )

    found = capture.run(program)
    return {each.inputs["metadata"]["name"]: each for each in found.resources if each.custom}


def test_dashboards_and_routes_are_config_maps_where_the_shared_monitoring_reads_them() -> None:
    found = declared(stacks.settings("mainnet"))
    assert found.keys() == {
        f"backend-mainnet-{part}"
        for part in ("alertmanager", *(f"dashboard-{name}" for name in ("overview", "cqrs", "database", "edge")))
    }
    for name, each in found.items():
        assert each.type == "kubernetes:core/v1:ConfigMap"
        assert each.inputs["metadata"]["namespace"] == "monitoring"
        labels = each.inputs["metadata"].get("labels") or {}
        assert labels == ({"grafana_dashboard": "1"} if "dashboard" in name else {})
        # A ConfigMap holds a mebibyte at most.
        assert sum(map(len, each.inputs["data"].values())) < 2**19
    files = found["backend-mainnet-dashboard-cqrs"].inputs["data"]
    assert json.loads(files["backend-mainnet-cqrs.json"])["title"] == "CQRS Health (mainnet)"
    routes = yaml.safe_load(found["backend-mainnet-alertmanager"].inputs["data"]["alertmanager.yaml"])
    assert routes["receivers"][0]["pagerduty_configs"][0]["routing_key_file"].endswith("/backend-mainnet/pagerduty-key")


@pytest.mark.parametrize(("stack", "alerts"), [("testnet", True), ("devnet", False)])
def test_other_environments_have_what_they_need_of_it(stack: str, alerts: bool) -> None:
    found = declared(stacks.settings(stack))
    assert f"backend-{stack}-dashboard-overview" in found
    assert (f"backend-{stack}-alertmanager" in found) == alerts
    assert "pagerduty" not in str([each.inputs for each in found.values()])


def test_the_operator_finds_the_routes_in_the_stacks_own_namespace() -> None:
    found = declared(stacks.settings("mainnet"), mode=ObservabilityMode.OPERATOR, labels={"release": "monitoring"})
    routes = found["backend"]
    assert routes.type == "kubernetes:monitoring.coreos.com/v1alpha1:AlertmanagerConfig"
    assert routes.inputs["metadata"]["namespace"] == "backend-mainnet"
    assert routes.inputs["metadata"]["labels"] == {"release": "monitoring"}
    assert routes.inputs["spec"]["receivers"][0]["name"] == "backend-mainnet-critical"
    assert "backend-mainnet-alertmanager" not in found
