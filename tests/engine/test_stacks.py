"""The main job on its real input: both stacks up on real nodes, ordinary diffs, drift, roll-outs, protection."""

import json
import re
from collections import Counter

import pytest

from tests.engine.failover import dials
from tests.engine.stack import BIN, LASTING, LAYOUT, Stack, get, kubectl, run

CONTROL_PLANE = {"srv1089618", "srv1089624", "srv1092158"}
WORKER = {"srv1117946"}
ORDER = "POST /order-plz "
BESIDE_THE_BACKUPS = (
    "postgres-archive",
    "postgres-backup-reports",
    "postgres-base-backup-reports",
    "redis-backup-reports",
)


def ready(pod: dict[str, object]) -> bool:
    """Whether a pod's Ready condition is true."""
    conditions = pod["status"]["conditions"]  # type: ignore[index]
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


def nodes_by_app(namespace: str) -> dict[str, list[str]]:
    """Node names of the ready pods of each workload."""
    found: dict[str, list[str]] = {}
    for pod in get("pods", namespace, "--field-selector", "status.phase=Running", *LASTING):
        assert ready(pod), f"{pod['metadata']['name']} is not Ready"
        found.setdefault(pod["metadata"]["labels"]["app"], []).append(pod["spec"]["nodeName"])
    return found


def test_every_mainnet_pod_is_ready_on_a_node_the_document_names(mainnet: Stack) -> None:
    found = nodes_by_app(mainnet.namespace)
    counts = {app: len(nodes) for app, nodes in found.items()}
    services = {
        f"svc-{name}": 3
        for name in ("identity", "admin", "wallet", "tokenomics", "organization", "loanpool", "governance", "tax")
    }
    assert counts == services | {
        "postgres": 3,
        "redis": 3,
        "redis-proxy": 2,
        "outbox-submitter": 2,
        "projector": 2,
        "api-gateway": 3,
        "postgres-exporter": 1,
        "redis-exporter": 1,
        **dict.fromkeys(BESIDE_THE_BACKUPS, 1),
    }
    for database in ("postgres", "redis"):
        assert set(found[database]) == CONTROL_PLANE, f"{database} is not one per control-plane node"
    for app in BESIDE_THE_BACKUPS:
        assert set(found.pop(app)) == WORKER, f"{app} is not where the volumes of the backups are"
    assert {node for nodes in found.values() for node in nodes} <= CONTROL_PLANE


def test_every_testnet_pod_is_ready_on_the_worker(testnet: Stack) -> None:
    found = nodes_by_app(testnet.namespace)
    assert len(found) == 17, sorted(found)
    assert {app: len(nodes) for app, nodes in found.items()} == dict.fromkeys(found, 1)
    assert {node for nodes in found.values() for node in nodes} == WORKER


@pytest.mark.parametrize("path", ["identity", "tokenomics", "organization", "loanpool", "governance", "tax"])
def test_a_request_through_cloudflare_and_nginx_is_answered_by_a_container(mainnet: Stack, path: str) -> None:
    answer = run(BIN / "curl", "--silent", "--fail", f"https://api.gxcoin.money/{path}/ping").ok()
    body = json.loads(answer.output)
    assert (body["service"], body["path"]) == (f"svc-{path}", f"/{path}/ping")


def test_the_admin_service_is_closed_to_the_world(mainnet: Stack) -> None:
    status = run(BIN / "curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "https://api.gxcoin.money/admin/x").ok()
    assert status.output in {"403", "404"}


@pytest.mark.parametrize("name", ["mainnet", "testnet"])
def test_a_second_up_changes_nothing(deployed: None, name: str) -> None:
    orders = LAYOUT.log("pebble").read_text().count(ORDER)
    with dials() as counted:
        Stack(name).pulumi("up", "--yes", "--expect-no-changes").ok()
    assert counted == [0, 0], f"SSH dials and Kubernetes connections: {counted}"
    assert LAYOUT.log("pebble").read_text().count(ORDER) == orders, "a certificate was ordered"
    Stack(name).pulumi("preview", "--expect-no-changes").ok()
    Stack(name).pulumi("refresh", "--yes", "--expect-no-changes").ok()


def test_a_deleted_and_an_edited_object_are_shown_by_refresh_and_healed_by_up(testnet: Stack) -> None:
    namespace = testnet.namespace
    kubectl("delete", "service", "svc-tax", "-n", namespace)
    kubectl("scale", "deployment/svc-wallet", "-n", namespace, "--replicas", "2")
    shown = testnet.pulumi("refresh", "--preview-only", "--diff").ok().output
    assert "svc-tax" in shown
    assert "svc-wallet" in shown
    testnet.pulumi("refresh", "--yes").ok()
    testnet.up().ok()
    assert get("service", namespace, "--field-selector", "metadata.name=svc-tax")
    deployment = json.loads(kubectl("get", "deployment", "svc-wallet", "-n", namespace, "-o", "json"))
    assert deployment["spec"]["replicas"] == 1
    testnet.pulumi("preview", "--expect-no-changes").ok()


def test_a_changed_value_rolls_exactly_the_workloads_that_read_it(testnet: Stack) -> None:
    def generations() -> dict[str, int]:
        objects = get("deployments", testnet.namespace) + get("statefulsets", testnet.namespace)
        return {item["metadata"]["name"]: item["metadata"]["generation"] for item in objects}

    before = generations()
    # An endpoint of Fabric is read by the pods with access to Fabric, and by no other.
    changed = testnet.edited("peer0-org2.fabric-testnet", "peer1-org2.fabric-testnet")
    changed.up().ok()
    rolled = {name for name, generation in generations().items() if generation != before[name]}
    assert rolled == {"outbox-submitter", "projector", "svc-identity"}
    testnet.up().ok()


def test_a_roll_out_that_cannot_become_ready_fails_with_its_reason_and_the_next_up_recovers(testnet: Stack) -> None:
    image = re.search(r"ghcr.io/gx-protocol/svc-tax:\S+", testnet.config_text())
    assert image
    broken = testnet.edited(image[0], f"ghcr.io/gx-protocol/svc-tax:missing@sha256:{'0' * 64}")
    failed = broken.up()
    assert failed.code != 0
    assert "svc-tax" in failed.output
    assert "ImagePullBackOff" in failed.output or "ErrImagePull" in failed.output, failed.output
    testnet.up().ok()
    assert nodes_by_app(testnet.namespace)["svc-tax"]
    testnet.pulumi("preview", "--expect-no-changes").ok()


def test_a_larger_volume_replaces_nothing_and_a_smaller_one_is_refused_at_the_preview(testnet: Stack) -> None:
    grown = testnet.edited("storage: 100Gi", "storage: 120Gi")
    # The restore test's scratch disk, and what alerts and dashboards say of the size, follow it.
    assert grown.changes() == {
        "update kubernetes:apps/v1:StatefulSet": 1,
        "update kubernetes:batch/v1:CronJob": 1,
        "update kubernetes:core/v1:ConfigMap": 2,
    }
    refused = testnet.edited("storage: 100Gi", "storage: 90Gi").pulumi("preview")
    assert refused.code != 0
    assert "postgres.storage: a volume cannot shrink. Got '90Gi'. Fix: 100Gi, as deployed" in refused.output
    testnet.pulumi("preview", "--expect-no-changes").ok()


def test_destroy_of_a_protected_stack_is_refused_and_touches_nothing(mainnet: Stack) -> None:
    def kinds() -> Counter[str]:
        lasting = "pods,replicasets,deployments,statefulsets,services,cronjobs"
        return Counter(item["kind"] for item in get(lasting, mainnet.namespace, *LASTING))

    before = kinds()
    refused = mainnet.pulumi("destroy", "--preview-only")
    assert refused.code != 0
    assert "protect" in refused.output
    assert kinds() == before


def test_an_unprotected_stack_is_destroyed_but_for_its_volumes_and_comes_up_again(testnet: Stack) -> None:
    def volumes() -> set[str]:
        items = json.loads(kubectl("get", "pv", "-o", "json"))["items"]
        return {pv["metadata"]["name"] for pv in items if pv["spec"]["claimRef"]["namespace"] == testnet.namespace}

    held = volumes()
    assert held
    unprotected = testnet.edited("protectData: true", "protectData: false")
    unprotected.up().ok()
    unprotected.pulumi("destroy", "--yes").ok()
    assert kubectl("get", "namespace", testnet.namespace, "--ignore-not-found") == ""
    assert volumes() == held, "the volumes of the databases did not survive"
    testnet.up().ok()
    assert volumes() > held, "the new databases started on the old volumes"
    assert set(nodes_by_app(testnet.namespace)) >= {"postgres", "redis", "svc-identity"}
    testnet.pulumi("preview", "--expect-no-changes").ok()
