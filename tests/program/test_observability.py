"""Exporters and Prometheus' configuration as a whole stack declares them, in both forms."""

from typing import Any

import yaml

from tests import capture
from tests.capture import Capture

EXPORTERS = {"postgres-exporter", "redis-exporter", "postgres-backup-reports", "redis-backup-reports"}
OF_THE_ARCHIVE = "postgres-base-backup-reports"


def exporters(program: Capture) -> dict[str, dict[str, Any]]:
    """Pod templates of the exporters."""
    return {
        each.kubernetes_name: each.inputs["spec"]["template"]
        for each in program.of("Deployment")
        if each.kubernetes_name in {*EXPORTERS, OF_THE_ARCHIVE}
    }


def test_no_database_has_an_exporter_in_its_pod(program: Capture) -> None:
    """A new version of an exporter rolls no database."""
    for owner in program.of("StatefulSet"):
        names = {container["name"] for container in owner.inputs["spec"]["template"]["spec"]["containers"]}
        assert names <= {"postgres", "redis", "sentinel"}
    assert exporters(program).keys() - {OF_THE_ARCHIVE} == EXPORTERS


def test_every_volume_of_backups_has_a_reader(program: Capture) -> None:
    read = {
        volume["persistentVolumeClaim"]["claimName"]
        for template in exporters(program).values()
        for volume in template["spec"]["volumes"]
        if "persistentVolumeClaim" in volume
    }
    claims = {each.kubernetes_name for each in program.of("PersistentVolumeClaim")}
    assert read == claims


def test_a_reader_of_reports_sees_the_reports_alone_and_runs_as_the_jobs_do(program: Capture) -> None:
    jobs = {
        each.kubernetes_name: each.inputs["spec"]["jobTemplate"]["spec"]["template"]["spec"]
        for each in program.of("CronJob")
    }
    readers = exporters(program)
    for kind in ("postgres", "redis", *(("postgres-base",) if OF_THE_ARCHIVE in readers else ())):
        spec = readers[f"{kind}-backup-reports"]["spec"]
        (container,) = spec["containers"]
        (mount,) = container["volumeMounts"]
        assert (mount["subPath"], mount["readOnly"]) == ("reports", True)
        assert spec["volumes"][0]["persistentVolumeClaim"]["claimName"] == f"{kind}-backups"
        user = {key: value for key, value in spec["securityContext"].items() if key.startswith("runAs")}
        assert user.items() <= jobs[f"{kind}-backup"]["securityContext"].items()


def test_prometheus_finds_its_configuration_in_its_own_namespace(program: Capture) -> None:
    (config,) = [each for each in program.of("ConfigMap") if each.kubernetes_name.endswith("-prometheus")]
    assert config.namespace == "monitoring"
    files = config.inputs["data"]
    jobs = yaml.safe_load(files["scrape.yaml"])["scrape_configs"]
    (namespace,) = program.of("Namespace")
    assert all(job["job_name"].startswith(namespace.kubernetes_name) for job in jobs), "unique in a shared Prometheus"
    services = {each.kubernetes_name for each in program.of("Service")}
    for job in jobs:
        for static in job.get("static_configs", []):
            assert static["targets"][0].partition(".")[0] in services
    assert sum(len(text) for text in files.values()) < 900_000, "a ConfigMap holds a megabyte"


def test_the_operator_gets_the_same_rules_as_objects_in_the_stacks_namespace() -> None:
    labels = {"release": "kube-prometheus-stack"}
    patch = {"observability": {"mode": "operator", "labels": labels}}
    program = capture.stack("mainnet", patch)
    custom = [each for each in program.resources if each.type.startswith("kubernetes:monitoring.coreos.com/")]
    kinds = {"AlertmanagerConfig", "PodMonitor", "ServiceMonitor", "PrometheusRule"}
    assert {each.type.rsplit(":", 1)[-1] for each in custom} == kinds
    assert all(each.namespace == "backend-mainnet" for each in custom)
    assert all(labels.items() <= each.inputs["metadata"]["labels"].items() for each in custom)
    shared = {each.kubernetes_name for each in program.of("ConfigMap") if each.namespace == "monitoring"}
    assert all("-dashboard-" in name for name in shared)

    plain = capture.stack("mainnet")
    (config,) = [each for each in plain.of("ConfigMap") if each.kubernetes_name.endswith("-prometheus")]
    files = {name: text for name, text in config.inputs["data"].items() if name.startswith("rules-")}
    of_files = [group for text in files.values() for group in yaml.safe_load(text)["groups"]]
    of_objects = [
        group for each in custom if each.type.endswith("PrometheusRule") for group in each.inputs["spec"]["groups"]
    ]
    assert {group["name"]: group for group in of_files} == {group["name"]: group for group in of_objects}
    services = {each.inputs["metadata"]["labels"]["app"] for each in program.of("Service")}
    for each in custom:
        if each.type.endswith("ServiceMonitor"):
            assert each.inputs["spec"]["selector"]["matchLabels"]["app"] in services
