"""The contract of a log line, and the files for the shared Loki and the API servers."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from tests import stacks

DOCS = Path(__file__).resolve().parents[2] / "docs"
SCHEMA = json.loads((DOCS / "log-line.schema.json").read_text())
VALIDATOR = Draft202012Validator(SCHEMA)
# Of the source document, section 10.4.
EXAMPLE: dict[str, Any] = {
    "timestamp": "2025-11-13T10:15:30.123Z",
    "level": "INFO",
    "service": "svc-identity",
    "traceId": "abc123",
    "userId": "user_xyz",
    "message": "User profile retrieved",
    "duration_ms": 15,
}
DAYS = {"mainnet": 90, "testnet": 30, "devnet": 7}


def test_the_documents_example_is_a_line_and_stands_in_the_documentation() -> None:
    Draft202012Validator.check_schema(SCHEMA)
    assert VALIDATOR.is_valid(EXAMPLE)
    shown = (DOCS / "logging.md").read_text().split("```json\n")[1].split("```")[0]
    assert json.loads(shown) == EXAMPLE


@pytest.mark.parametrize(
    "change",
    [
        {"timestamp": None},
        {"timestamp": "2025-11-13 10:15:30"},
        {"timestamp": "2025-11-13T10:15:30.123+01:00"},
        {"level": "info"},
        {"message": ""},
        {"service": None},
        {"traceId": None},
        {"duration_ms": -1},
        {"txId": "0xabc"},
        {"password": "x"},
        {"accessToken": "x"},
        {"api_secret": "x"},
    ],
    ids=str,
)
def test_what_is_no_line_is_refused(change: dict[str, object]) -> None:
    line = {key: value for key, value in (EXAMPLE | change).items() if value is not None}
    assert not VALIDATOR.is_valid(line)


def test_the_projectors_and_the_ledgers_keys_are_known() -> None:
    assert VALIDATOR.is_valid(EXAMPLE | {"lag_ms": 12.5, "txId": "ab" * 32, "anything": {"else": 1}})


def test_every_environment_is_kept_as_long_as_the_document_says() -> None:
    loki = yaml.safe_load((DOCS / "shared" / "loki-retention.yaml").read_text())
    periods = {each["selector"]: each["period"] for each in loki["limits_config"]["retention_stream"]}
    assert periods == {
        f'{{namespace="{stacks.settings(name).environment.namespace}"}}': f"{days * 24}h" for name, days in DAYS.items()
    }
    assert loki["compactor"]["retention_enabled"] is True


def test_every_environment_logs_at_its_level() -> None:
    levels = {name: stacks.settings(name).environment.log_level.value for name in DAYS}
    assert levels == {"mainnet": "INFO", "testnet": "DEBUG", "devnet": "TRACE"}


POLICY = yaml.safe_load((DOCS / "shared" / "audit-policy.yaml").read_text())


def level(user: str, verb: str, resource: str, namespace: str = "backend-mainnet", groups: tuple[str, ...] = ()) -> str:
    """What the policy keeps of a request: the first rule decides (k8s.io/apiserver, pkg/audit/policy/checker.go)."""
    group, _, name = resource.rpartition("/") if "." in resource else ("", "", resource)
    for rule in POLICY["rules"]:
        if "nonResourceURLs" in rule or ("users" in rule and user not in rule["users"]):
            continue
        if "userGroups" in rule and not set(groups) & set(rule["userGroups"]):
            continue
        if "verbs" in rule and verb not in rule["verbs"]:
            continue
        if "namespaces" in rule and namespace not in rule["namespaces"]:
            continue
        if "resources" in rule and not any(
            each["group"] == group and name in each["resources"] for each in rule["resources"]
        ):
            continue
        return str(rule["level"])
    return "None"


def test_what_a_person_does_is_kept_and_a_secret_never() -> None:
    assert (POLICY["apiVersion"], POLICY["kind"]) == ("audit.k8s.io/v1", "Policy")
    assert level("alice", "list", "pods") == "Metadata"
    assert level("alice", "create", "pods/exec") != "None"
    assert level("alice", "patch", "deployments") == "Request"
    assert level("alice", "delete", "pods", namespace="fabric") == "Metadata"
    for resource in ("secrets", "configmaps", "serviceaccounts/token"):
        assert {level("alice", verb, resource) for verb in ("get", "create", "patch")} == {"Metadata"}
    assert {rule["level"] for rule in POLICY["rules"]} == {"None", "Metadata", "Request"}


def test_the_clusters_own_reading_is_not() -> None:
    assert level("system:node:a", "get", "pods", groups=("system:nodes",)) == "None"
    assert level("system:node:a", "patch", "pods", groups=("system:nodes",)) == "Request"
    assert level("system:node:a", "patch", "coordination.k8s.io/leases", groups=("system:nodes",)) == "None"
    assert (
        level("alice", "patch", "coordination.k8s.io/leases", "kube-system", groups=("system:masters",)) == "Metadata"
    )
