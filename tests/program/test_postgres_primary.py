"""A changed `postgres.primaryOrdinal` in the program: what it touches, and in which order."""

from typing import Any

from checks import promotion
from settings.loader import load
from settings.stackfile import merge
from tests import capture
from tests.capture import Capture, Registered
from tests.stacks import complete


def moved(**postgres: object) -> Capture:
    return capture.stack("mainnet", {"postgres": {"primaryOrdinal": 1, **postgres}})


def job(program: Capture) -> Registered:
    (found,) = [each for each in program.of("Job") if each.kubernetes_name.startswith("postgres-promote-")]
    return found


def environment(program: Capture) -> dict[str, Any]:
    (container,) = job(program).inputs["spec"]["template"]["spec"]["containers"]
    return {each["name"]: each.get("value") for each in container["env"]}


def test_the_line_changes_one_job_one_selector_and_the_file_that_the_instances_read(mainnet: Capture) -> None:
    before, after = ({each.urn: each for each in program.resources} for program in (mainnet, moved()))
    assert before.keys() == after.keys()
    changed = {
        (each.type.rsplit(":", 1)[-1], each.name) for urn, each in after.items() if each.inputs != before[urn].inputs
    }
    assert changed == {("Job", "postgres-promote"), ("Service", "postgres-primary"), ("ConfigMap", "postgres-config")}


def test_an_unchanged_line_runs_no_job(mainnet: Capture) -> None:
    assert job(capture.fresh("mainnet")).inputs == job(mainnet).inputs


def test_the_primarys_service_selects_one_pod_and_only_when_the_job_has_promoted_it(mainnet: Capture) -> None:
    for program, ordinal in ((mainnet, 0), (moved(), 1)):
        service = program.one("Service", "postgres-primary")
        selector = service.inputs["spec"]["selector"]
        assert selector == {"app": "postgres", "statefulset.kubernetes.io/pod-name": f"postgres-{ordinal}"}
        assert job(program).urn in program.after(service.urn)
        assert environment(program)["TARGET"] == f"postgres-{ordinal}"


def test_the_job_waits_for_the_line_that_keeps_an_old_primary_from_starting_as_one(mainnet: Capture) -> None:
    after = mainnet.after(job(mainnet).urn)
    assert mainnet.one("ConfigMap", "postgres-config").urn in after
    assert mainnet.one("StatefulSet", "postgres").urn in after
    assert mainnet.one("Service", "postgres-primary").urn not in after


def test_the_job_is_named_by_its_target_and_does_not_try_again_what_it_refused(mainnet: Capture) -> None:
    assert job(mainnet).kubernetes_name == "postgres-promote-0"
    assert job(moved()).kubernetes_name == "postgres-promote-1"
    assert job(mainnet).delete_before_replace
    assert job(mainnet).inputs["spec"]["backoffLimit"] == 0


def test_the_job_runs_beside_its_target_and_on_no_node_by_name(mainnet: Capture) -> None:
    spec = job(moved()).inputs["spec"]["template"]["spec"]
    (beside,) = spec["affinity"]["podAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"]
    target = beside["podAffinityTerm"]["labelSelector"]["matchLabels"]
    assert target == {"statefulset.kubernetes.io/pod-name": "postgres-1"}
    assert not {"nodeName", "nodeSelector"} & spec.keys()


def test_the_job_reads_one_password_and_no_other_secret(mainnet: Capture) -> None:
    spec = job(mainnet).inputs["spec"]["template"]["spec"]
    (container,) = spec["containers"]
    secrets = [each["valueFrom"]["secretKeyRef"]["key"] for each in container["env"] if "secretKeyRef" in str(each)]
    assert secrets == ["failover"]
    assert not [volume for volume in spec["volumes"] if "secret" in volume]


def test_a_single_instance_has_no_job(testnet: Capture) -> None:
    assert "Job/postgres-promote-0" not in testnet.pods()
    assert testnet.one("Service", "postgres-primary").inputs["spec"]["selector"]["app"] == "postgres"


def test_an_accepted_loss_reaches_the_job_and_is_reported() -> None:
    patch = {"postgres": {"primaryOrdinal": 1, "acceptLoss": ["postgres-0", "postgres-2"]}}
    program = moved(acceptLoss=["postgres-0", "postgres-2"])
    assert environment(program)["ACCEPT_LOSS"] == "postgres-0 postgres-2"
    (finding,) = promotion.find(load(merge(complete("mainnet"), patch), stack="mainnet"))
    assert str(finding) == (
        "postgres.acceptLoss: a failover that does not reach postgres-0, postgres-2 loses what these alone have "
        "acknowledged. Fix: remove the line as soon as the failover is done"
    )
    assert not list(promotion.find(load(complete("mainnet"), stack="mainnet")))
