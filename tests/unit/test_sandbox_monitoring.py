"""What the sandbox changes of the stacks' parts for its Prometheus and Alertmanager, and that it changes no more."""

from typing import Any

import pytest
import yaml

from components.observability import alertmanager, rules, scrape
from sandbox.monitoring import configuration, service
from sandbox.monitoring.configuration import Part
from sandbox.monitoring.outside import targets
from tests import stacks

WAITS = {"group_wait", "group_interval"}


def part(stack: str) -> Part:
    """What a stack gives, as it is rendered."""
    settings = stacks.settings(stack)
    assert settings.observability is not None
    assert settings.observability.alerts is not None
    namespace = settings.environment.namespace
    files = {f"rules-{name}": text for name, text in rules.files(settings, settings.observability).items()}
    files["scrape.yaml"] = yaml.safe_dump({"scrape_configs": scrape.scrape_configs(settings)})
    routes = alertmanager.fragment(namespace, stack, settings.observability.alerts)
    return Part(namespace=namespace, prometheus=files, alertmanager=routes)


PARTS = [part("mainnet"), part("testnet")]


def test_without_hurry_rules_and_routes_are_as_rendered() -> None:
    files = configuration.prometheus(PARTS, 1)
    for each in PARTS:
        for name, text in each.prometheus.items():
            if name.startswith("rules-"):
                assert yaml.safe_load(files[f"{each.namespace}-{name}"]) == yaml.safe_load(text)
    routes = yaml.safe_load(configuration.alertmanager(PARTS, 1))["route"]["routes"]
    assert routes == [route for each in PARTS for route in yaml.safe_load(each.alertmanager)["route"]["routes"]]


def test_in_a_hurry_nothing_but_waits_is_other() -> None:
    rendered, hurried = (configuration.prometheus(PARTS, hurry) for hurry in (1, 15))
    assert rendered.keys() == hurried.keys()
    for name in rendered.keys() - {"prometheus.yml"}:
        before, after = yaml.safe_load(rendered[name]), yaml.safe_load(hurried[name])
        for group, other in zip(before["groups"], after["groups"], strict=True):
            for rule, changed in zip(group["rules"], other["rules"], strict=True):
                assert {**rule, "for": changed.get("for")} == {**changed, "for": changed.get("for")}
                if "for" in rule:
                    assert configuration.seconds(changed["for"]) == round(configuration.seconds(rule["for"]) / 15)
    routes, quick = (yaml.safe_load(configuration.alertmanager(PARTS, hurry))["route"]["routes"] for hurry in (1, 15))
    assert [_without(route, WAITS) for route in routes] == [_without(route, WAITS) for route in quick]
    assert quick[0]["group_interval"] == "20s"


def test_the_discovery_is_another_and_what_is_made_of_it_is_not() -> None:
    (job,) = [each for each in scrape.scrape_configs(stacks.settings("mainnet")) if "kubernetes_sd_configs" in each]
    changed = configuration.scraped(job, 1)
    assert changed.pop("http_sd_configs")[0]["url"].endswith("/pods/backend-mainnet")
    assert changed == {key: value for key, value in job.items() if key != "kubernetes_sd_configs"}


def test_every_label_that_is_made_of_a_pod_is_one_that_the_discovery_has() -> None:
    pod = {
        "metadata": {"name": "svc-tax-1", "namespace": "backend-mainnet", "labels": {"app": "svc-tax"}},
        "spec": {
            "nodeName": "srv1",
            "containers": [
                {
                    "name": "svc-tax",
                    "ports": [{"name": "http", "containerPort": 1}, {"name": "metrics", "containerPort": 2}],
                }
            ],
        },
        "status": {"phase": "Running", "podIP": "10.42.0.9"},
    }
    found = list(targets([pod, {**pod, "status": {"phase": "Pending"}}]))
    assert [each["targets"] for each in found] == [["10.42.0.9:1"], ["10.42.0.9:2"]]
    labels: Any = found[1]["labels"]
    wanted = {label for each in scrape.scrape_configs(stacks.settings("mainnet"))[0]["relabel_configs"]
              for label in each["source_labels"]}  # fmt: skip
    assert wanted <= labels.keys()
    assert labels["__meta_kubernetes_pod_container_port_name"] == "metrics"


def test_no_address_of_a_receiver_stands_in_the_configuration_but_the_heartbeats() -> None:
    text = configuration.alertmanager(PARTS, 15)
    receivers = configuration.receivers("backend-mainnet")
    assert receivers[alertmanager.SLACK_URL] not in text
    assert receivers[alertmanager.PAGERDUTY_KEY] not in text
    assert receivers[alertmanager.HEARTBEAT_URL] in text


def test_pods_are_replaced_when_their_configuration_is_another() -> None:
    def annotations(hurry: int) -> list[object]:
        found = service.objects(PARTS, hurry)
        return [
            each["spec"]["template"]["metadata"].get("annotations") for each in found if each["kind"] == "Deployment"
        ]

    assert annotations(1) == annotations(1)
    assert annotations(1) != annotations(15)


def test_a_duration_in_two_units_is_refused() -> None:
    with pytest.raises(ValueError, match=r"'1m30s' is no duration in one unit\. Fix: write it as 90s or 2m"):
        configuration.seconds("1m30s")


def _without(route: dict[str, Any], keys: set[str]) -> dict[str, Any]:
    made = {key: value for key, value in route.items() if key not in keys | {"routes"}}
    return made | {"routes": [_without(each, keys) for each in route.get("routes", [])]}
