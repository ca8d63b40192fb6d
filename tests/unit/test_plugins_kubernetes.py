"""The Kubernetes stand-in without an API server: requests, kinds, names, waiting and ownership."""

from __future__ import annotations

import json
import time
from importlib import metadata
from typing import Any

import pulumi_kubernetes
import pytest

from sandbox.plugins import versions
from sandbox.plugins.kubernetes import objects, ready, settings
from sandbox.plugins.kubernetes.client import load_cluster
from sandbox.plugins.kubernetes.kinds import _KINDS, kind_of
from sandbox.plugins.kubernetes.ownership import take_over
from sandbox.plugins.kubernetes.plugin import KubernetesProvider
from sandbox.plugins.provider import ChangeKind, ProviderError, Severity
from sandbox.plugins.values import Secret, has_secret
from tests.pace import pace

_DEPLOYMENT = "urn:pulumi:s::p::my:Component$kubernetes:apps/v1:Deployment::app"
_CONFIG_MAP = "urn:pulumi:s::p::kubernetes:core/v1:ConfigMap::config"
_BLACK_HOLE = "https://192.0.2.1:6443"


class _Log:
    def log(self, severity: Severity, message: str, urn: str = "") -> None:
        """Nothing is shown."""

    def status(self, severity: Severity, message: str, urn: str) -> None:
        """Nothing is shown."""


def kubeconfig(server: str = _BLACK_HOLE, **user: str) -> str:
    return json.dumps(
        {
            "current-context": "c",
            "clusters": [{"name": "k", "cluster": {"server": server}}],
            "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u"}}],
            "users": [{"name": "u", "user": user or {"token": "t"}}],
        }
    )


@pytest.fixture
def provider() -> KubernetesProvider:
    """A provider whose API server answers nothing."""
    made = KubernetesProvider()
    made.configure({"kubeconfig": kubeconfig()}, _Log())
    return made


def config_map_state(data: dict[str, str]) -> dict[str, Any]:
    live = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "config", "namespace": "default", "uid": "u", "resourceVersion": "1"},
        "data": data,
    }
    inputs = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "config", "namespace": "default"},
        "data": data,
    }
    return objects.checkpoint(live, inputs, "pulumi-kubernetes-0")


def test_a_run_that_changes_nothing_does_not_wait_for_an_api_server_that_is_black_holed() -> None:
    started = time.monotonic()
    provider = KubernetesProvider()
    provider.configure({"kubeconfig": kubeconfig()}, _Log())
    given = {"metadata": {"name": "config"}, "data": {"a": "1"}}
    checked = provider.check(_CONFIG_MAP, {}, given, b"seed")
    found = provider.diff(_CONFIG_MAP, config_map_state({"a": "1"}), {}, checked.inputs, [])
    assert (checked.failures, found.changes) == ([], {})
    assert time.monotonic() - started < pace()


def test_an_unknown_kind_is_refused_by_name(provider: KubernetesProvider) -> None:
    with pytest.raises(ProviderError) as refused:
        provider.check("urn:pulumi:s::p::kubernetes:core/v1:Endpoints::e", {}, {}, b"")
    assert "kubernetes:core/v1:Endpoints is not available" in str(refused.value)
    assert "kubernetes:apps/v1:Deployment" in str(refused.value)


def test_every_known_kind_is_one_of_the_sdk() -> None:
    for kind in _KINDS:
        group, _, version = kind.token.split(":")[1].partition("/")
        module = getattr(getattr(pulumi_kubernetes, group.split(".")[0]), version)
        assert hasattr(module, kind.kind), kind.token


def test_the_version_served_is_that_of_the_sdk() -> None:
    assert metadata.version("pulumi-kubernetes") == versions.KUBERNETES
    assert metadata.version("pulumi-cloudflare") == versions.CLOUDFLARE
    assert metadata.version("pulumi-command") == versions.COMMAND


def test_an_argument_that_would_not_be_honoured_is_refused_by_name() -> None:
    with pytest.raises(ProviderError, match="renderYamlToDirectory"):
        settings.parse({"renderYamlToDirectory": "out"})
    with pytest.raises(ProviderError, match="enableServerSideApply"):
        settings.parse({"enableServerSideApply": "false"})


def test_flags_arrive_as_json_text() -> None:
    parsed = settings.parse({"enableConfigMapMutable": "true", "enableSecretMutable": "false"})
    assert (parsed.configmap_mutable, parsed.secret_mutable) == (True, False)


@pytest.mark.parametrize(
    ("old", "new", "replaces"),
    [
        ({"kubeconfig": kubeconfig()}, {"kubeconfig": kubeconfig(username="other")}, False),
        ({"kubeconfig": kubeconfig()}, {"kubeconfig": kubeconfig("https://192.0.2.2:6443")}, True),
        (
            {"kubeconfig": kubeconfig(), "clusterIdentifier": "a"},
            {"kubeconfig": kubeconfig("https://192.0.2.2:6443"), "clusterIdentifier": "a"},
            False,
        ),
        (
            {"kubeconfig": kubeconfig(), "clusterIdentifier": "a"},
            {"kubeconfig": kubeconfig(), "clusterIdentifier": "b"},
            True,
        ),
    ],
)
def test_only_another_cluster_replaces_the_provider(
    provider: KubernetesProvider, old: dict[str, str], new: dict[str, str], replaces: bool
) -> None:
    assert bool(provider.diff_config(old, new).replaces) is replaces


def test_a_kubeconfig_that_needs_a_helper_program_is_refused() -> None:
    with pytest.raises(ProviderError, match="exec"):
        load_cluster(kubeconfig(exec="aws"), "", "")


def test_a_missing_context_is_named() -> None:
    with pytest.raises(ProviderError, match="no context named 'prod'"):
        load_cluster(kubeconfig(), "prod", "")


def test_an_immutable_config_map_is_replaced_even_when_config_maps_are_mutable() -> None:
    provider = KubernetesProvider()
    provider.configure({"kubeconfig": kubeconfig(), "enableConfigMapMutable": "true"}, _Log())
    news = provider.check(_CONFIG_MAP, {}, {"metadata": {"name": "config"}, "data": {"a": "2"}}, b"").inputs
    assert provider.diff(_CONFIG_MAP, config_map_state({"a": "1"}), {}, news, []).changes == {
        "data.a": ChangeKind.UPDATE
    }
    immutable = {**news, "immutable": True}
    found = provider.diff(_CONFIG_MAP, config_map_state({"a": "1"}), {}, immutable, [])
    assert found.replaces == ["data.a"]
    assert found.delete_before_replace


def test_a_secret_is_secret_in_the_state_whatever_the_program_marked() -> None:
    live = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s", "namespace": "n"}, "data": {"k": "eA=="}}
    state = objects.checkpoint(live, {"kind": "Secret", "stringData": {"k": "x"}}, "m")
    assert state["data"] == Secret({"k": "eA=="})
    assert state["__inputs"]["stringData"] == Secret({"k": "x"})
    assert not has_secret(state["metadata"])


def test_string_data_counts_as_the_data_the_server_makes_of_it() -> None:
    normal = objects.normalise({"kind": "Secret", "stringData": {"k": Secret("x")}, "data": {"l": "eQ=="}})
    assert normal == {"kind": "Secret", "data": {"k": "eA==", "l": "eQ=="}}


def test_a_name_is_kept_between_runs_and_made_only_when_missing() -> None:
    made = objects.fill_name({"metadata": {}}, {}, "app", bytes.fromhex("0123456789"))
    assert made["metadata"]["name"] == "app-01234567"
    again = objects.fill_name({"metadata": {}}, made, "app", b"other seed")
    assert again["metadata"]["name"] == "app-01234567"
    assert objects.fill_name({"metadata": {"name": "own"}}, made, "app", b"")["metadata"] == {"name": "own"}


def deployment(**status: object) -> dict[str, Any]:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "app", "generation": 2, "annotations": {"deployment.kubernetes.io/revision": "2"}},
        "spec": {"replicas": 2},
        "status": {"observedGeneration": 2, **status},
    }


_ROLLED_OUT = [
    {"type": "Available", "status": "True"},
    {"type": "Progressing", "status": "True", "reason": "NewReplicaSetAvailable"},
]


def test_a_deployment_is_ready_when_the_new_pods_are() -> None:
    assert ready.readiness(deployment(updatedReplicas=2, readyReplicas=2, conditions=_ROLLED_OUT)).ready


@pytest.mark.parametrize(
    "status",
    [
        {"updatedReplicas": 1, "readyReplicas": 2, "conditions": _ROLLED_OUT},
        {"updatedReplicas": 2, "readyReplicas": 1, "conditions": _ROLLED_OUT},
        {"updatedReplicas": 2, "readyReplicas": 2, "conditions": _ROLLED_OUT, "observedGeneration": 1},
        {"updatedReplicas": 2, "readyReplicas": 2, "conditions": _ROLLED_OUT[:1]},
        {},
    ],
)
def test_a_deployment_is_not_ready_while_old_pods_or_an_old_generation_speak_for_it(status: dict[str, Any]) -> None:
    verdict = ready.readiness(deployment(**status))
    assert not verdict.ready
    assert verdict.progress


def test_a_quota_that_refuses_pods_is_not_named_as_the_real_plugin_does_not_either() -> None:
    refused = {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": "exceeded quota: q"}
    problems = ready.readiness(deployment(conditions=[refused])).problems
    assert problems == ["Minimum number of live Pods was not attained"]


def test_a_pods_image_and_crash_are_reported_but_not_that_it_is_starting() -> None:
    def pod(state: dict[str, Any], last: dict[str, Any] | None = None) -> dict[str, Any]:
        container = {"name": "c", "ready": False, "state": state, "lastState": last or {}}
        return {"metadata": {"name": "p", "namespace": "n"}, "status": {"containerStatuses": [container]}}

    assert ready.pod_problems(pod({"waiting": {"reason": "ContainerCreating"}})) == []
    image = {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}
    assert ready.pod_problems(pod(image)) == ["[Pod n/p]: [ImagePullBackOff] no such image"]
    crashed = {"terminated": {"exitCode": 3, "reason": "Error", "finishedAt": "2026-01-01T00:00:00Z"}}
    assert "exit code 3" in ready.pod_problems(pod({"waiting": {"reason": "CrashLoopBackOff"}}, crashed))[1]


def test_kinds_without_a_rule_are_ready_once_they_exist() -> None:
    assert ready.readiness({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {}}).ready


def test_a_services_pods_are_waited_for_only_when_it_selects_and_balances_them() -> None:
    assert ready.needs_endpoints({"spec": {"selector": {"a": "b"}, "clusterIP": "10.43.0.5"}})
    assert not ready.needs_endpoints({"spec": {"selector": {"a": "b"}, "clusterIP": "None"}})
    assert not ready.needs_endpoints({"spec": {"clusterIP": "10.43.0.5"}})
    assert not ready.needs_endpoints({"spec": {"type": "ExternalName", "selector": {"a": "b"}}})


def test_what_a_create_wrote_is_handed_to_the_objects_own_manager() -> None:
    created = {"manager": "pulumi-kubernetes", "operation": "Update", "fieldsV1": {"f:data": {"f:a": {}}}}
    own = {"manager": "pulumi-kubernetes-1", "operation": "Apply", "fieldsV1": {"f:data": {"f:b": {}}}}
    status = {"manager": "pulumi-kubernetes", "operation": "Update", "subresource": "status", "fieldsV1": {}}
    other = {"manager": "hpa", "operation": "Update", "fieldsV1": {"f:spec": {}}}
    taken = take_over([created, own, status, other], "pulumi-kubernetes-1")
    assert taken == [{**own, "fieldsV1": {"f:data": {"f:b": {}, "f:a": {}}}}, status, other]
    assert take_over([own, status, other], "pulumi-kubernetes-1") is None


def test_tokens_lead_to_the_api_paths() -> None:
    assert kind_of("kubernetes:core/v1:Namespace").collection("x") == "/api/v1/namespaces"
    assert kind_of("kubernetes:apps/v1:Deployment").collection("x") == "/apis/apps/v1/namespaces/x/deployments"
