"""Mistakes in stack files: each is refused with exactly the lines that tell it."""

import time
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import yaml

from checks.prove import prove
from settings.loader import SettingsError, load
from settings.stackfile import merge
from tests import stacks
from tests.pace import pace

TODAY = date(2026, 11, 25)
SECONDS = 5
CASES: list[dict[str, Any]] = yaml.safe_load((Path(__file__).parent / "bad_stacks" / "mainnet.yaml").read_text())
TWINS = [case for case in CASES if "twin" in case]


def report(config: dict[str, object], secret_keys: frozenset[str] | None = None) -> list[str]:
    """What stops a run: mistakes in the settings, or else what the proofs refuse."""
    try:
        settings = load(config, stack="mainnet", secret_keys=secret_keys)
    except SettingsError as error:
        return [str(problem) for problem in error.problems]
    return [str(finding) for finding in prove(settings, TODAY).refused]


def patched(patch: dict[str, Any]) -> dict[str, object]:
    """A whole stack file with a patch; in another namespace it has other certificates."""
    namespace = patch.get("environment", {}).get("namespace")
    certificates = {} if namespace is None else stacks.tls(namespace)
    return merge(merge(stacks.complete("mainnet"), certificates), patch)


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_a_mistake_is_told_in_one_line(case: dict[str, Any]) -> None:
    assert sorted(report(patched(case["patch"]))) == sorted(case["expect"])


@pytest.mark.parametrize("case", TWINS, ids=[case["name"] for case in TWINS])
def test_the_good_twin_of_a_mistake_is_accepted(case: dict[str, Any]) -> None:
    assert report(patched(case["twin"])) == []


OF_TESTNET = {
    "the Fabric network of mainnet": (
        {
            "fabric": {
                "namespace": "fabric",
                "orderers": [{"host": "orderer0-org0.fabric.svc.cluster.local", "port": 7050}],
                "peers": [],
                "certificateAuthorities": [],
            }
        },
        "fabric.namespace: the Fabric network of mainnet, in testnet. Got 'fabric'."
        " Fix: name the namespace of testnet's own",
    ),
}


@pytest.mark.parametrize("case", OF_TESTNET.values(), ids=OF_TESTNET)
def test_testnet_keeps_off_what_is_mainnets(case: tuple[dict[str, object], str]) -> None:
    patch, line = case
    assert report(merge(stacks.complete("testnet"), patch)) == [line]


def test_there_are_enough_bad_stacks_and_none_twice() -> None:
    assert len({case["name"] for case in CASES}) == len(CASES) >= 40


def test_a_thousand_services_too_many_are_told_in_seconds_and_in_one_line_each() -> None:
    size = {"cpu": "100m", "memory": "256Mi"}
    service = {"replicas": 1, "port": 4000, "fabricAccess": False, "requests": size, "limits": size}
    names = [f"svc-{number}" for number in range(990)]
    patch = {
        "services": dict.fromkeys(names, service),
        "images": {"workloads": dict.fromkeys(names, f"ghcr.io/gx-protocol/svc:1@sha256:{'ab' * 32}")},
        "postgres": {"maxConnections": 5000, "connectionsPerPod": 1},
    }
    begun = time.process_time()
    lines = report(patched(patch))
    assert time.process_time() - begun < SECONDS * pace()
    assert {line.partition(":")[0] for line in lines} >= {"quota.requests.cpu", "quota.requests.memory", "quota.pods"}
    assert any("no placement on the nodes exists: " in line and " more together have no room" in line for line in lines)
    assert all(len(line) < 400 for line in lines)


def test_the_report_names_the_file_counts_the_problems_and_gives_each_a_line() -> None:
    patch = {"postgres": {"maxConnections": 100}, "dns": {"proxied": False}, "environment": {"logLevel": "LOUD"}}
    with pytest.raises(SettingsError) as raised:
        load(merge(stacks.complete("mainnet"), patch), stack="mainnet")
    lines = str(raised.value).splitlines()
    assert lines[0] == "Pulumi.mainnet.yaml: 3 problems. Nothing was deployed."
    assert [line.split(":")[0].strip() for line in lines[1:]] == [
        "environment.logLevel",
        "dns.proxied",
        "postgres.maxConnections",
    ]


def test_mistakes_of_form_do_not_hide_broken_rules_in_other_sections() -> None:
    patch = {"environment": {"protectData": 1}, "redis": {"replicas": 2}}
    assert [line.split(":")[0] for line in report(merge(stacks.complete("mainnet"), patch))] == [
        "environment.protectData",
        "redis.replicas",
    ]


def test_an_empty_stack_file_is_told_every_missing_value() -> None:
    lines = report({})
    assert all(": missing" in line for line in lines)
    assert {line.split(":")[0].split(".")[0] for line in lines} == {
        "environment", "cluster", "placement", "quota", "containerLimits", "postgres", "redis", "tls", "workers",
        "services", "images", "secrets",
    }  # fmt: skip


def test_secrets_in_clear_are_refused() -> None:
    assert report(stacks.complete("mainnet"), secret_keys=frozenset()) == [
        "secrets: stands in the stack file in clear. Fix: remove it, treat its values as leaked, and run"
        " `make configure STACK=mainnet` for new ones"
    ]


def test_no_report_shows_a_secret() -> None:
    """Neither a malformed secret nor an encrypted value that stands where it does not belong."""
    canary = "canary-4711"
    config = merge(
        stacks.complete("mainnet"),
        {
            "secrets": {"postgres": {"admin": canary, "owner": [canary]}, "redis": canary, canary[:6]: canary},
            "dns": {"zoneId": canary},
            "password": canary,
        },
    )
    with pytest.raises(SettingsError) as raised:
        load(config, stack="mainnet", secret_keys=frozenset({"secrets", "dns"}))
    assert canary not in str(raised.value)
    assert raised.value.__cause__ is None
    assert raised.value.__context__ is None, "the traceback of the cause would show the values"


def test_no_broken_rule_shows_what_is_encrypted() -> None:
    address = "217.196.51.190"
    patch = {"cluster": {"nodes": {"srv1089618": {"publicIp": address}}}}
    line = "cluster.nodes.srv1089624.publicIp: the address of srv1089618 too. Fix: give each node its own"
    assert report(patched(patch), secret_keys=frozenset({"secrets", "cluster"})) == [line]
