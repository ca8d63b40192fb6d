"""Creating, changing, replacing and deleting Kubernetes objects."""

from __future__ import annotations

import json
import time

from tests.conformance.program import PAUSE_IMAGE, Program, get, kubectl, objects, source

_DIFF = "https://github.com/pulumi/pulumi-kubernetes/blob/master/provider/pkg/provider/diff.go"
_PROVIDER = "https://github.com/pulumi/pulumi-kubernetes/blob/master/provider/pkg/provider/provider.go"
_AWAIT = "https://github.com/pulumi/pulumi-kubernetes/blob/master/provider/pkg/await/await.go"

_NAMESPACE = 'space = k8s.core.v1.Namespace("space", metadata={"name": ns}, opts=o)\n'
_CONFIG_MAP = """
config = k8s.core.v1.ConfigMap("config", metadata={"name": "config", "namespace": space.metadata.name},
                               data={"key": "VALUE"}, opts=o)
"""


def config_map(value: str) -> str:
    return _NAMESPACE + _CONFIG_MAP.replace("VALUE", value)


@source(f"{_AWAIT} (Creation: dry run; IsNamespaceNotFoundErr becomes a preview of the inputs)")
def test_a_preview_creates_nothing_and_does_not_mind_a_namespace_that_does_not_exist_yet(program: Program) -> None:
    program.write(config_map("1"))
    assert program.planned() == {
        "create Stack": 1,
        "create kubernetes": 1,
        "create Namespace": 1,
        "create ConfigMap": 1,
    }
    assert program.namespace not in kubectl("get", "namespaces", "-o", "name")


@source(f"{_PROVIDER} (Create, Diff)")
def test_what_was_created_has_nothing_left_to_do(program: Program) -> None:
    program.write(config_map("1"))
    program.up().succeeded()
    assert get("configmap", "config", program.namespace)["data"] == {"key": "1"}
    assert program.planned() == {}


@source("https://www.pulumi.com/registry/packages/kubernetes/api-docs/provider/ (enableConfigMapMutable)")
def test_a_mutable_config_map_changes_in_place(program: Program) -> None:
    program.write(config_map("1"))
    program.up().succeeded()
    uid = get("configmap", "config", program.namespace)["metadata"]["uid"]
    program.write(config_map("2"))
    assert program.planned() == {"update ConfigMap": 1}
    program.up().succeeded()
    live = get("configmap", "config", program.namespace)
    assert (live["data"], live["metadata"]["uid"]) == ({"key": "2"}, uid)
    assert program.planned() == {}


@source(f"{_DIFF} (ConfigMap .data unless mutable) and {_PROVIDER} (deleteBeforeReplace for a fixed name)")
def test_an_immutable_config_map_with_a_fixed_name_is_deleted_before_it_is_replaced(program: Program) -> None:
    program.write(config_map("1"), provider="")
    program.up().succeeded()
    uid = get("configmap", "config", program.namespace)["metadata"]["uid"]
    program.write(config_map("2"), provider="")
    assert program.planned()["replace ConfigMap"] == 1
    program.up().succeeded()
    live = get("configmap", "config", program.namespace)
    assert live["data"] == {"key": "2"}
    assert live["metadata"]["uid"] != uid


@source(f"{_AWAIT} (Creation since 4.29: AlreadyExists is an error)")
def test_an_object_that_exists_already_is_not_adopted(program: Program) -> None:
    kubectl("create", "namespace", program.namespace)
    program.write(_NAMESPACE)
    output = program.up().failed()
    assert "already exists" in output
    assert "import" in output


@source(f"{_PROVIDER} (Read with no inputs: readFromCluster; ids are namespace/name)")
def test_an_object_that_exists_already_can_be_imported(program: Program) -> None:
    kubectl("create", "namespace", program.namespace)
    kubectl("create", "configmap", "config", "-n", program.namespace, "--from-literal=key=1")
    program.write(
        """
        config = k8s.core.v1.ConfigMap("config", metadata={"name": "config", "namespace": ns}, data={"key": "1"},
            opts=pulumi.ResourceOptions(provider=cluster, import_=f"{ns}/config"))
        """
    )
    program.up().succeeded()
    assert program.planned() == {}
    program.destroy().succeeded()
    assert "config" not in objects("configmap", program.namespace)


@source(f"{_DIFF} (StatefulSet: serviceName, podManagementPolicy, volumeClaimTemplates, selector)")
def test_stateful_set_fields_that_cannot_change_force_a_replacement(program: Program) -> None:
    body = """
        k8s.apps.v1.StatefulSet("db", metadata={"name": "db", "namespace": space.metadata.name}, opts=o, spec={
            "replicas": 0, "service_name": "SERVICE", "selector": {"match_labels": {"app": "db"}},
            "template": {"metadata": {"labels": {"app": "db"}},
                         "spec": {"containers": [{"name": "c", "image": "IMAGE"}]}}})
    """.replace("IMAGE", PAUSE_IMAGE)
    indented = body.replace("\n        ", "\n")
    program.write(_NAMESPACE + indented.replace("SERVICE", "one"))
    program.up().succeeded()
    program.write(_NAMESPACE + indented.replace("SERVICE", "two"))
    assert program.planned()["replace StatefulSet"] == 1
    program.write(
        _NAMESPACE + indented.replace("SERVICE", "one").replace('"replicas": 0', '"replicas": 0, "minReadySeconds": 3')
    )
    assert program.planned() == {"update StatefulSet": 1}


@source("https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/ and clients.Normalize")
def test_another_spelling_of_a_quantity_or_an_empty_value_is_no_change(program: Program) -> None:
    program.write(
        _NAMESPACE
        + """
quota = k8s.core.v1.ResourceQuota("quota", metadata={"name": "quota", "namespace": space.metadata.name}, opts=o,
                                  spec={"hard": {"requests.cpu": "1000m", "requests.memory": "1024Mi", "pods": "10"}})
config = k8s.core.v1.ConfigMap("config", metadata={"name": "config", "namespace": space.metadata.name, "labels": {}},
                               data={"empty": ""}, opts=o)
"""
    )
    program.up().succeeded()
    assert program.planned() == {}
    program.refresh().succeeded()
    assert program.planned() == {}


@source(f"{_AWAIT} (Deletion waits until the object is gone)")
def test_destroy_returns_when_everything_is_gone(program: Program) -> None:
    program.write(config_map("1"))
    program.up().succeeded()
    program.destroy().succeeded()
    assert f"namespace/{program.namespace}" not in kubectl("get", "namespaces", "-o", "name").splitlines()


@source(f"{_PROVIDER} (hasComputedValue: the preview returns the inputs)")
def test_a_value_that_only_the_deployment_will_know_stays_unknown_in_a_preview(program: Program) -> None:
    program.write(
        _NAMESPACE
        + """
config = k8s.core.v1.ConfigMap("config", metadata={"name": "config", "namespace": ns}, opts=o,
                               data={"uid": space.metadata.uid})
pulumi.export("copied", config.data["uid"])
"""
    )
    program.run("preview", "--stack", "s").succeeded()
    program.up().succeeded()
    assert (
        get("configmap", "config", program.namespace)["data"]["uid"]
        == get("namespace", program.namespace, "")["metadata"]["uid"]
    )
    assert program.planned() == {}


@source(f"{_PROVIDER} (Check: AssignNameIfAutonamable)")
def test_an_object_without_a_name_gets_one_and_keeps_it(program: Program) -> None:
    body = (
        _NAMESPACE
        + 'k8s.core.v1.ConfigMap("config", metadata={"namespace": space.metadata.name}, data={"a": "A"}, opts=o)\n'
    )
    program.write(body)
    program.up().succeeded()
    name = program.resource("config")["outputs"]["metadata"]["name"]
    assert name.startswith("config-")
    assert name in objects("configmap", program.namespace)
    program.write(body.replace('"A"', '"B"'))
    program.up().succeeded()
    assert program.resource("config")["outputs"]["metadata"]["name"] == name


@source(f"{_PROVIDER} (DiffConfig: clusterIdentifier)")
def test_another_address_of_the_same_cluster_replaces_nothing(program: Program) -> None:
    program.write(config_map("1"))
    program.up().succeeded()
    program.write(config_map("1"), provider='enable_config_map_mutable=True, context="another"')
    text = (program.directory / "__main__.py").read_text()
    assert 'context="another"' in text
    assert not [operation for operation in program.planned() if operation.startswith(("replace", "delete"))]


@source(f"{_PROVIDER} (Configure: clusterUnreachable; Check and Diff then ask nothing)")
def test_a_run_that_changes_no_object_ends_when_the_api_server_is_black_holed(program: Program) -> None:
    program.write(config_map("1"))
    program.up().succeeded()
    nowhere = json.dumps(
        {
            "current-context": "c",
            "clusters": [{"name": "k", "cluster": {"server": "https://192.0.2.1:6443"}}],
            "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u"}}],
            "users": [{"name": "u", "user": {"token": "t"}}],
        }
    )
    program.write(
        config_map("1"),
        provider=f"kubeconfig={nowhere!r}, kube_client_settings=k8s.KubeClientSettingsArgs(timeout=5), "
        "enable_config_map_mutable=True, enable_secret_mutable=True",
    )
    started = time.monotonic()
    output = program.up().succeeded()
    assert "ConfigMap" not in output
    assert time.monotonic() - started < 60
