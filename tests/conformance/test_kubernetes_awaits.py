"""Waiting for objects to become ready, and what is said and kept when they do not."""

from __future__ import annotations

import time

from tests.conformance.program import PAUSE_IMAGE, Program, get, kubectl, source

_AWAIT = "https://github.com/pulumi/pulumi-kubernetes/tree/master/provider/pkg/await"
_PROVIDER = "https://github.com/pulumi/pulumi-kubernetes/blob/master/provider/pkg/provider/provider.go"
_NAMESPACE = 'space = k8s.core.v1.Namespace("space", metadata={"name": ns}, opts=o)\n'


def deployment(image: str = PAUSE_IMAGE, annotations: str = "{}", replicas: int = 2, options: str = "o") -> str:
    return f"""
app = k8s.apps.v1.Deployment("app",
    metadata={{"name": "app", "namespace": space.metadata.name, "annotations": {annotations}}},
    opts={options}, spec={{
        "replicas": {replicas}, "selector": {{"match_labels": {{"app": "app"}}}},
        "template": {{"metadata": {{"labels": {{"app": "app"}}}},
                     "spec": {{"termination_grace_period_seconds": 0,
                              "containers": [{{"name": "c", "image": "{image}",
                                              "resources": {{"requests": {{"cpu": "10m", "memory": "8Mi"}},
                                                             "limits": {{"cpu": "100m", "memory": "32Mi"}}}}}}]}}}}}})
"""


@source(f"{_AWAIT}/deployment.go")
def test_up_returns_when_a_deployment_is_rolled_out(program: Program) -> None:
    program.write(_NAMESPACE + deployment())
    program.up().succeeded()
    assert get("deployment", "app", program.namespace)["status"]["availableReplicas"] == 2
    assert program.planned() == {}
    program.write(_NAMESPACE + deployment(replicas=3))
    assert program.planned() == {"update Deployment": 1}
    program.up().succeeded()
    assert get("deployment", "app", program.namespace)["status"]["availableReplicas"] == 3


@source(f"{_AWAIT}/deployment.go, error.go and provider.go (partialError: the resource stays in the state)")
def test_a_deployment_that_does_not_come_up_fails_with_the_pods_reason_and_the_next_up_repairs_it(
    program: Program,
) -> None:
    impatient = '{"pulumi.com/timeoutSeconds": "15"}'
    program.write(_NAMESPACE + deployment(image="registry.invalid/none:1", annotations=impatient))
    output = program.up().failed()
    assert "timed out waiting to be Ready" in output
    assert "ErrImagePull" in output or "ImagePullBackOff" in output
    assert program.resource("app")["initErrors"]
    uid = get("deployment", "app", program.namespace)["metadata"]["uid"]
    program.write(_NAMESPACE + deployment())
    program.up().succeeded()
    assert get("deployment", "app", program.namespace)["metadata"]["uid"] == uid
    assert "initErrors" not in program.resource("app")


@source("the real plugin, 4.32.0-27-g94977969d: ReplicaFailure, the condition with the reason, is not in its message")
def test_a_deployment_over_quota_fails_without_a_word_of_the_quota(program: Program) -> None:
    quota = """
quota = k8s.core.v1.ResourceQuota("quota", metadata={"name": "quota", "namespace": space.metadata.name}, opts=o,
                                  spec={"hard": {"requests.cpu": "5m"}})
late = pulumi.ResourceOptions(provider=cluster, depends_on=[quota])
"""
    program.write(_NAMESPACE + quota + deployment(annotations='{"pulumi.com/timeoutSeconds": "5"}', options="late"))
    said = program.up().failed()
    assert "Minimum number of live Pods was not attained" in said
    assert "exceeded quota" not in said


@source("https://www.pulumi.com/registry/packages/kubernetes/installation-configuration/ (pulumi.com/skipAwait)")
def test_skip_await_returns_at_once(program: Program) -> None:
    program.write(
        _NAMESPACE + deployment(image="registry.invalid/none:1", annotations='{"pulumi.com/skipAwait": "true"}')
    )
    program.up().succeeded()


@source("https://www.pulumi.com/docs/iac/concepts/resources/options/customtimeouts/")
def test_a_custom_timeout_of_the_resource_is_honoured(program: Program) -> None:
    options = 'pulumi.ResourceOptions(provider=cluster, custom_timeouts=pulumi.CustomTimeouts(create="3s"))'
    program.write(_NAMESPACE + deployment(image="registry.invalid/none:1", options=options))
    started = time.monotonic()
    assert "timed out waiting to be Ready" in program.up().failed()
    assert time.monotonic() - started < 60


@source(f"{_AWAIT}/statefulset.go")
def test_up_returns_when_a_stateful_set_and_its_service_are_ready(program: Program) -> None:
    program.write(
        _NAMESPACE
        + f"""
service = k8s.core.v1.Service("db", metadata={{"name": "db", "namespace": space.metadata.name}}, opts=o,
    spec={{"cluster_ip": "None", "selector": {{"app": "db"}}, "ports": [{{"port": 5432}}]}})
claim = {{"metadata": {{"name": "data"}}, "spec": {{"access_modes": ["ReadWriteOnce"],
          "storage_class_name": "local-path", "resources": {{"requests": {{"storage": "8Mi"}}}}}}}}
k8s.apps.v1.StatefulSet("set", metadata={{"name": "db", "namespace": space.metadata.name}}, opts=o, spec={{
    "replicas": 2, "service_name": "db", "selector": {{"match_labels": {{"app": "db"}}}},
    "volume_claim_templates": [claim],
    "template": {{"metadata": {{"labels": {{"app": "db"}}}},
                 "spec": {{"termination_grace_period_seconds": 0,
                          "containers": [{{"name": "c", "image": "{PAUSE_IMAGE}",
                          "volume_mounts": [{{"name": "data", "mount_path": "/data"}}]}}]}}}}}})
"""
    )
    program.up().succeeded()
    assert get("statefulset", "db", program.namespace)["status"]["readyReplicas"] == 2
    assert program.planned() == {}


@source(f"{_AWAIT}/awaiters.go (untilCoreV1PersistentVolumeClaimReady: WaitForFirstConsumer stays pending)")
def test_a_volume_claim_that_binds_on_first_use_is_not_waited_for(program: Program) -> None:
    program.write(
        _NAMESPACE
        + """
k8s.core.v1.PersistentVolumeClaim("claim", metadata={"name": "claim", "namespace": space.metadata.name}, opts=o,
    spec={"access_modes": ["ReadWriteOnce"], "storage_class_name": "local-path",
          "resources": {"requests": {"storage": "8Mi"}}})
"""
    )
    program.up().succeeded()
    assert get("pvc", "claim", program.namespace)["status"]["phase"] == "Pending"


def job(command: str, annotations: str = "{}") -> str:
    return f"""
metadata = {{"name": "job", "namespace": space.metadata.name, "annotations": {annotations}}}
k8s.batch.v1.Job("job", metadata=metadata, opts=o, spec={{
    "backoff_limit": 0, "template": {{"spec": {{"restart_policy": "Never", "containers": [
        {{"name": "c", "image": "{PAUSE_IMAGE}", "command": ["{command}"]}}]}}}}}})
"""


@source(f"{_AWAIT}/checker/job/check.go (BackoffLimitExceeded fails at once)")
def test_a_job_that_gives_up_fails_the_deployment_at_once(program: Program) -> None:
    program.write(_NAMESPACE + job("/does-not-exist"))
    assert "BackoffLimitExceeded" in program.up().failed()


@source(f"{_PROVIDER} (Diff: metadata.ReplaceUnready)")
def test_a_job_that_has_failed_is_made_anew_where_it_asks_for_that(program: Program) -> None:
    program.write(_NAMESPACE + job("/does-not-exist", '{"pulumi.com/replaceUnready": "true"}'))
    program.up().failed()
    uid = get("job", "job", program.namespace)["metadata"]["uid"]
    assert program.planned()["replace Job"] == 1
    program.up().failed()
    assert get("job", "job", program.namespace)["metadata"]["uid"] != uid


@source(f"{_AWAIT}/service.go (endpoints settle for ten seconds, none of them not ready)")
def test_a_service_is_ready_when_its_endpoints_have_settled(program: Program) -> None:
    program.write(
        _NAMESPACE
        + deployment()
        + """
k8s.core.v1.Service("web", metadata={"name": "web", "namespace": space.metadata.name}, opts=o,
    spec={"selector": {"app": "app"}, "ports": [{"port": 80, "target_port": 8080}]})
"""
    )
    program.up().succeeded()
    addresses = kubectl(
        "get", "endpoints", "web", "-n", program.namespace, "-o", "jsonpath={.subsets[*].addresses[*].ip}"
    )
    assert len(addresses.split()) == 2
    assert program.planned() == {}
