"""Grafana's dashboards: valid by its published schemas, of metrics that exist, alike in every environment."""

import json
import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft7Validator

from components.observability import dashboards, rules
from components.observability.metrics import METRICS, SERVICES
from settings.model import Observability, Settings
from tests import stacks
from tests.promql import metric_names

SCHEMAS = Path(__file__).parent / "golden" / "grafana"
ENVIRONMENTS = ("mainnet", "testnet", "devnet")


def of(stack: str) -> tuple[Settings, Observability]:
    settings = stacks.settings_off_site(stack)
    assert settings.observability
    return settings, settings.observability


@cache
def made(stack: str) -> dict[str, Any]:
    return {name: json.loads(text) for name, text in dashboards.files(*of(stack)).items()}


def panels(stack: str) -> list[dict[str, Any]]:
    return [panel for each in made(stack).values() for panel in each["panels"] if panel["type"] != "row"]


@cache
def validator(name: str) -> Draft7Validator:
    schema = json.loads((SCHEMAS / f"{name}.jsonschema.json").read_text())
    if name in {"timeseries", "stat"}:
        schema["$ref"] = "#/definitions/Options"
    return Draft7Validator(schema)


@pytest.mark.parametrize("stack", ENVIRONMENTS)
def test_they_keep_to_grafanas_schemas(stack: str) -> None:
    for name, content in made(stack).items():
        assert [error.message for error in validator("dashboard").iter_errors(content)] == [], name
    for panel in panels(stack):
        assert [e.message for e in validator(panel["type"]).iter_errors(panel["options"])] == [], panel["title"]
        for target in panel["targets"]:
            assert [e.message for e in validator("prometheus").iter_errors(target)] == [], panel["title"]


def test_the_schema_refuses_what_grafana_does_not_know() -> None:
    broken = made("mainnet")["overview"] | {"pannels": []}
    assert list(validator("dashboard").iter_errors(broken))


@pytest.mark.parametrize("stack", ENVIRONMENTS)
def test_every_metric_is_exported_or_recorded(stack: str) -> None:
    settings, observability = of(stack)
    recorded = {
        rule["record"]
        for area in rules.AREAS
        for group in rules.groups(settings, observability, area)
        for rule in group["rules"]
        if "record" in rule
    }
    unknown = {
        f"{panel['title']}: {name}"
        for panel in panels(stack)
        for target in panel["targets"]
        for name in metric_names(target["expr"])
        if name not in METRICS | recorded
    }
    assert unknown == set()


@pytest.mark.parametrize("stack", ENVIRONMENTS)
def test_every_panel_has_a_place_of_its_own_and_says_what_it_shows(stack: str) -> None:
    for content in made(stack).values():
        taken: set[tuple[int, int]] = set()
        for panel in content["panels"]:
            at = panel["gridPos"]
            cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
            assert not cells & taken, panel["title"]
            assert at["x"] + at["w"] <= 24
            taken |= cells
        ids = [panel["id"] for panel in content["panels"]]
        titles = [panel["title"] for panel in content["panels"] if panel["type"] != "row"]
        assert len(set(ids)) == len(ids)
        assert len(set(titles)) == len(titles)
        assert all(titles)
        assert "@" not in json.dumps(content)


def test_what_the_source_document_asks_for_is_there() -> None:
    titles = {name: {panel["title"] for panel in each["panels"]} for name, each in made("mainnet").items()}
    assert titles["overview"] >= {"Pods by namespace and phase", "CPU", "Memory", "Requests", "Latency", "Errors (5xx)"}
    assert titles["cqrs"] >= {
        "Outbox depth", "Projector lag", "Events processed", "Failed transactions in five minutes",
    }  # fmt: skip
    assert titles["database"] >= {"Connections", "Query latency", "Cache hit rate", "Size", "Growth in a day"}


def test_environments_differ_in_what_they_have_alone() -> None:
    assert set(made("mainnet")) == set(dashboards.NAMES)
    assert "edge" not in made("devnet")
    # The WAL leaves the cluster where it is archived.
    off_site = {"What restores from off site would miss", "Newest second off site"}
    shown = {stack: off_site & {panel["title"] for panel in panels(stack)} for stack in ENVIRONMENTS}
    assert shown == {"mainnet": off_site, "testnet": set(), "devnet": set()}
    uids = [each["uid"] for stack in ENVIRONMENTS for each in made(stack).values()]
    assert len(set(uids)) == len(uids)
    for stack in ("testnet", "devnet"):
        assert "backend-mainnet" not in json.dumps(made(stack))


def test_the_contract_of_the_services_has_every_metric_of_theirs_and_no_other() -> None:
    text = (Path(__file__).resolve().parents[2] / "docs" / "service-contract.md").read_text()
    metrics, _, _ = text.partition("\n# What the applications keep")
    promised = set(re.findall(r"^\| `(\w+)`", metrics, re.MULTILINE))
    assert promised == {re.sub(r"_(bucket|count|sum)$", "", name) for name in SERVICES}
