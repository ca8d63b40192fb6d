"""Volumes move by the commands of their runbook, on the sandbox's nodes, one instance after the other."""

import json

import pytest

from tests.engine.databases import Databases
from tests.engine.stack import Stack, awaited, get, kubectl
from tests.long.runbook_blocks import follow
from tests.long.test_drains import PATIENT, recovered

PAGE = "volumes.md"
MOVE = "k rollout status statefulset/postgres"


def volume(stack: Stack, claim: str) -> str:
    """The volume that a claim is bound to."""
    found = json.loads(kubectl("get", "persistentvolumeclaim", claim, "-n", stack.namespace, "-o", "json"))
    return str(found["spec"]["volumeName"])


@pytest.mark.parametrize("app", ["postgres", "redis"])
def test_an_instance_gets_a_new_volume_and_what_its_peers_have(mainnet: Stack, app: str) -> None:
    awaited("every pod is ready", lambda: recovered(mainnet), timeout=PATIENT)
    claim = f"{app}-data-{app}-2"
    former = volume(mainnet, claim)
    said = follow(PAGE, MOVE, namespace=mainnet.namespace, instead={"postgres": app})
    assert former in said, "the page names the volume that is left over"
    assert volume(mainnet, claim) != former
    awaited(f"{app} is whole again", lambda: recovered(mainnet) and Databases(mainnet).redundant(0), timeout=PATIENT)
    (left,) = [each for each in get("persistentvolumes", mainnet.namespace) if each["metadata"]["name"] == former]
    assert (left["status"]["phase"], left["spec"]["persistentVolumeReclaimPolicy"]) == ("Released", "Retain")
    mainnet.pulumi("preview", "--expect-no-changes").ok()
    kubectl("delete", "persistentvolume", former)
