"""Fields that others own, drift, and secrets."""

from __future__ import annotations

from tests.conformance.program import PAUSE_IMAGE, Program, get, kubectl, source

_PROVIDER = "https://github.com/pulumi/pulumi-kubernetes/blob/master/provider/pkg/provider/provider.go"
_SSA = "https://www.pulumi.com/registry/packages/kubernetes/how-to-guides/managing-resources-with-server-side-apply/"
_NAMESPACE = 'space = k8s.core.v1.Namespace("space", metadata={"name": ns}, opts=o)\n'


def config_map(value: str, annotations: str = "{}") -> str:
    return (
        _NAMESPACE
        + f"""
config = k8s.core.v1.ConfigMap("config", opts=o, data={{"key": "{value}"}},
    metadata={{"name": "config", "namespace": space.metadata.name, "annotations": {annotations}}})
"""
    )


def _take_over(namespace: str, value: str) -> None:
    """Another field manager applies its own value."""
    metadata = f"metadata: {{name: config, namespace: {namespace}}}"
    manifest = f"apiVersion: v1\nkind: ConfigMap\n{metadata}\ndata: {{key: '{value}'}}\n"
    kubectl("apply", "--server-side", "--force-conflicts", "--field-manager=other", "-f", "-", stdin=manifest)


@source(f"{_SSA}#handle-field-conflicts-on-existing-resources")
def test_a_field_that_another_manager_took_is_not_overwritten_without_force(program: Program) -> None:
    program.write(config_map("1"))
    program.up().succeeded()
    program.write(config_map("2"))
    program.up().succeeded()
    _take_over(program.namespace, "theirs")
    program.write(config_map("3"))
    output = program.up().failed()
    assert "server-side apply field conflict detected" in output
    assert get("configmap", "config", program.namespace)["data"] == {"key": "theirs"}
    program.write(config_map("3", annotations='{"pulumi.com/patchForce": "true"}'))
    program.up().succeeded()
    assert get("configmap", "config", program.namespace)["data"] == {"key": "3"}


@source(f"{_PROVIDER} (Diff: the pruned live state against the new inputs)")
def test_drift_shows_after_a_refresh_and_up_repairs_it(program: Program) -> None:
    program.write(config_map("1"))
    program.up().succeeded()
    kubectl(
        "patch",
        "configmap",
        "config",
        "-n",
        program.namespace,
        "--type=merge",
        '-p={"data":{"key":"drifted","more":"x"}}',
    )
    assert program.planned() == {}
    program.refresh().succeeded()
    assert program.planned() == {"update ConfigMap": 1}
    program.write(config_map("1", annotations='{"pulumi.com/patchForce": "true"}'))
    program.up().succeeded()
    assert get("configmap", "config", program.namespace)["data"]["key"] == "1"


@source(f"{_PROVIDER} (Read: 404 is a deletion)")
def test_an_object_somebody_deleted_is_created_again_after_a_refresh(program: Program) -> None:
    program.write(config_map("1"))
    program.up().succeeded()
    kubectl("delete", "configmap", "config", "-n", program.namespace)
    program.refresh().succeeded()
    assert program.planned() == {"create ConfigMap": 1}
    program.up().succeeded()
    assert get("configmap", "config", program.namespace)["data"] == {"key": "1"}


@source(f"{_PROVIDER} (annotateSecrets: a Secret's data and stringData are secret)")
def test_a_secrets_contents_are_neither_in_the_state_nor_in_the_output(program: Program) -> None:
    program.write(
        _NAMESPACE
        + """
k8s.core.v1.Secret("plain", metadata={"name": "plain", "namespace": space.metadata.name},
                   string_data={"password": "hunter2-correct-horse"}, opts=o)
"""
    )
    printed = program.run("preview", "--diff", "--stack", "s").output + program.up("--diff").succeeded()
    encoded = get("secret", "plain", program.namespace)["data"]["password"]
    for text in (printed, program.state()):
        assert "hunter2-correct-horse" not in text
        assert encoded not in text
    assert program.planned() == {}


@source(f"{_PROVIDER} (annotateSecrets follows the inputs' secrets)")
def test_a_secret_value_in_another_kind_stays_secret(program: Program) -> None:
    program.write(
        _NAMESPACE
        + """
k8s.core.v1.ConfigMap("config", metadata={"name": "config", "namespace": space.metadata.name},
                      data={"key": pulumi.Output.secret("hunter2-correct-horse")}, opts=o)
"""
    )
    printed = program.up("--diff").succeeded()
    assert "hunter2-correct-horse" not in printed + program.state()
    assert get("configmap", "config", program.namespace)["data"] == {"key": "hunter2-correct-horse"}


@source("https://github.com/pulumi/pulumi-kubernetes/blob/master/provider/pkg/await/await.go (handleSSAIgnoreFields)")
def test_an_ignored_field_keeps_the_value_somebody_else_gave_it(program: Program) -> None:
    def app(label: str) -> str:
        return (
            _NAMESPACE
            + f"""
k8s.apps.v1.Deployment("app",
    metadata={{"name": "app", "namespace": space.metadata.name, "labels": {{"v": "{label}"}}}},
    opts=pulumi.ResourceOptions(provider=cluster, ignore_changes=["spec.replicas"]), spec={{
        "replicas": 1, "selector": {{"match_labels": {{"app": "app"}}}},
        "template": {{"metadata": {{"labels": {{"app": "app"}}}},
                     "spec": {{"termination_grace_period_seconds": 0,
                              "containers": [{{"name": "c", "image": "{PAUSE_IMAGE}"}}]}}}}}})
"""
        )

    program.write(app("1"))
    program.up().succeeded()
    kubectl("scale", "deployment/app", "-n", program.namespace, "--replicas=3")
    program.write(app("2"))
    program.up().succeeded()
    assert get("deployment", "app", program.namespace)["spec"]["replicas"] == 3
