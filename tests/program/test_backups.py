"""The jobs around the databases as each stack declares them: backups, restore tests and the migration."""

from datetime import date
from typing import Any

import pytest

from checks.prove import prove
from checks.workloads import workloads
from settings.loader import load
from settings.stackfile import merge
from settings.types import amount
from tests import capture
from tests.capture import Capture, Registered
from tests.stacks import OFF_SITE, complete, settings

BACKUPS = ("postgres-backup", "redis-backup")
RESTORE_TESTS = ("postgres-restore-test", "redis-restore-test")
BASE_BACKUP, ARCHIVE = "postgres-base-backup", "postgres-archive"


def job(program: Capture, name: str) -> dict[str, Any]:
    spec: dict[str, Any] = program.one("CronJob", name).inputs["spec"]
    return spec


def template(program: Capture, name: str) -> dict[str, Any]:
    return program.pods("CronJob")[f"CronJob/{name}"]


def variables(program: Capture, name: str) -> dict[str, Any]:
    (container,) = template(program, name)["spec"]["containers"]
    return {each["name"]: each.get("value", each.get("valueFrom")) for each in container["env"]}


def mounts(program: Capture, name: str) -> dict[str, dict[str, Any]]:
    (container,) = template(program, name)["spec"]["containers"]
    return {each["mountPath"]: each for each in container["volumeMounts"]}


@pytest.mark.parametrize("name", BACKUPS)
def test_backups_are_made_every_six_hours_utc_one_at_a_time_and_thirty_are_kept(program: Capture, name: str) -> None:
    spec = job(program, name)
    assert (spec["schedule"], spec["timeZone"]) == ("0 0,6,12,18 * * *", "Etc/UTC")
    assert spec["concurrencyPolicy"] == "Forbid"
    assert variables(program, name)["KEEP"] == "30"
    once = spec["jobTemplate"]["spec"]
    assert spec["startingDeadlineSeconds"] + once["activeDeadlineSeconds"] < 6 * 3600, "it would run into the next"
    assert once["backoffLimit"] >= 1
    assert spec["failedJobsHistoryLimit"] >= 1


def test_the_volumes_are_the_documented_ones_of_the_class_that_retains(program: Capture) -> None:
    for name, size in (("postgres-backups", "50Gi"), ("redis-backups", "20Gi")):
        spec = program.one("PersistentVolumeClaim", name).inputs["spec"]
        assert spec["resources"]["requests"]["storage"] == size
        assert spec["storageClassName"] == "local-path-retain"


def test_mainnets_backups_are_not_on_the_disks_of_its_databases(mainnet: Capture) -> None:
    for name in (*BACKUPS, *RESTORE_TESTS):
        affinity = template(mainnet, name)["spec"]["affinity"]["nodeAffinity"]
        required = affinity["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
        assert required == [
            {"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": ["srv1117946"]}]}
        ]


def test_a_backup_knows_one_password_that_cannot_write(program: Capture) -> None:
    assert variables(program, "postgres-backup")["PGUSER"] == "gx_backup"
    assert variables(program, "postgres-backup")["PGPASSWORD"]["secretKeyRef"]["key"] == "backup"
    assert variables(program, "redis-backup")["REDIS_USER"] == "backup"
    assert variables(program, "redis-backup")["REDISCLI_AUTH"]["secretKeyRef"]["key"] == "backup"


@pytest.mark.parametrize("name", RESTORE_TESTS)
def test_a_restore_test_knows_no_password_reaches_nothing_and_cannot_change_a_backup(
    program: Capture, name: str
) -> None:
    assert job(program, name)["schedule"] == "0 3 * * 0"
    assert not any(isinstance(value, dict) for value in variables(program, name).values())
    assert template(program, name)["metadata"]["labels"] == {"app": name}
    assert mounts(program, name)["/backups"]["readOnly"] is True
    assert mounts(program, name)["/reports"]["subPath"] == "reports"


def test_the_restore_tests_keep_clear_of_the_backups(program: Capture) -> None:
    """They share a volume, and the quota."""
    backup = job(program, "postgres-backup")
    longest = backup["startingDeadlineSeconds"] + backup["jobTemplate"]["spec"]["activeDeadlineSeconds"]
    assert longest <= 3 * 3600
    test = job(program, "postgres-restore-test")
    assert test["startingDeadlineSeconds"] + test["jobTemplate"]["spec"]["activeDeadlineSeconds"] <= 3 * 3600


def test_no_job_wears_the_label_of_a_database(program: Capture) -> None:
    """Its Service would send it connections, and its disruption budget would count it (X-73)."""
    apps = {each["metadata"]["labels"]["app"] for each in program.pods("CronJob", "Job").values()}
    assert apps - {"postgres-promote", BASE_BACKUP} == {*BACKUPS, *RESTORE_TESTS, "migration"}


def test_a_restore_of_redis_has_room_for_the_whole_data_set(program: Capture) -> None:
    (container,) = template(program, "redis-restore-test")["spec"]["containers"]
    assert amount(container["resources"]["limits"]["memory"]) > amount(settings("mainnet").redis.max_memory)


def test_a_stack_without_backups_has_no_such_job() -> None:
    program = capture.stack("devnet")
    assert not program.has("CronJob")
    assert not program.has("PersistentVolumeClaim")


def archive(program: Capture) -> dict[str, Any]:
    pod: dict[str, Any] = program.pods("Deployment")[f"Deployment/{ARCHIVE}"]
    return pod


def test_the_wal_of_mainnet_is_archived_by_one_pod_beside_its_base_backups(mainnet: Capture) -> None:
    spec = mainnet.one("Deployment", ARCHIVE).inputs["spec"]
    assert (spec["replicas"], spec["strategy"]) == (1, {"type": "Recreate"}), "two would share a volume"
    for pod in (archive(mainnet), template(mainnet, BASE_BACKUP)):
        (volume,) = [each for each in pod["spec"]["volumes"] if "persistentVolumeClaim" in each]
        assert volume["persistentVolumeClaim"]["claimName"] == "postgres-base-backups"
        affinity = pod["spec"]["affinity"]["nodeAffinity"]
        backup = template(mainnet, "postgres-backup")["spec"]["affinity"]["nodeAffinity"]
        assert affinity == backup, "a volume on a node's disk is on one node"
    assert mainnet.one("PersistentVolumeClaim", "postgres-base-backups").inputs["spec"]["storageClassName"] == (
        "local-path-retain"
    )
    assert job(mainnet, BASE_BACKUP)["schedule"] == "0 9 * * 6"
    assert variables(mainnet, BASE_BACKUP)["KEEP"] == "3"


def test_the_archive_streams_over_tls_as_a_role_that_is_no_standby(mainnet: Capture) -> None:
    for pod in (archive(mainnet), template(mainnet, BASE_BACKUP)):
        (container,) = pod["spec"]["containers"]
        told = {each["name"]: each.get("value", each.get("valueFrom")) for each in container["env"]}
        assert told["HOSTS"].split() == [f"postgres-{each}.postgres-headless" for each in range(3)]
        assert {"user=gx_archive", "sslmode=verify-full", "tcp_user_timeout=5000"} <= {*told["CONNECTION"].split()}
        assert told["PGPASSWORD"]["secretKeyRef"] == {"name": "postgres-secrets", "key": "archive"}
        assert pod["metadata"]["labels"]["postgres-access"] == "true"
        assert told["SIZE_KIB"] == str(60 * 2**20)


def test_the_archive_rolls_when_its_scripts_or_its_password_change_and_not_when_the_primary_does(
    mainnet: Capture,
) -> None:
    before = archive(mainnet)["metadata"]["annotations"]
    moved = archive(capture.stack("mainnet", {"postgres": {"primaryOrdinal": 1}}))
    assert moved["metadata"]["annotations"] == before
    password = {"secrets": {"postgres": {"archive": "canary-postgres-another-password"}}}
    assert archive(capture.stack("mainnet", password))["metadata"]["annotations"] != before


def test_a_stack_without_restores_to_a_point_in_time_archives_nothing() -> None:
    program = capture.stack("testnet")
    assert not [each for each in program.of("Deployment") if each.kubernetes_name == ARCHIVE]
    assert "ARCHIVE=false" in program.one("ConfigMap", "postgres-config").inputs["data"]["cluster.env"]
    with_archive = capture.stack("mainnet")
    assert "ARCHIVE=true" in with_archive.one("ConfigMap", "postgres-config").inputs["data"]["cluster.env"]


def migration(program: Capture) -> Registered:
    (found,) = [each for each in program.of("Job") if each.kubernetes_name.startswith("migration-")]
    return found


def test_the_schema_is_migrated_then_seeded_by_its_owner(program: Capture) -> None:
    spec = migration(program).inputs["spec"]["template"]["spec"]
    (wait, migrate), (seed,) = spec["initContainers"], spec["containers"]
    assert "pg_isready" in wait["command"][-1], "a policy learns of a pod after its start"
    told = {each["name"]: each["value"] for each in wait["env"]}
    assert told["PGHOST"].startswith("postgres-primary.")
    assert told["PGUSER"], "the user of the pod has no name in that image"
    assert migrate["command"] == ["npx", "prisma", "migrate", "deploy"]
    assert seed["command"] == ["npx", "prisma", "db", "seed"]
    for container in (migrate, seed):
        (url,) = [each for each in container["env"] if each["name"] == "DATABASE_URL"]
        assert url["valueFrom"]["secretKeyRef"] == {"name": "postgres-secrets", "key": "migration-url"}
    assert migration(program).inputs["spec"]["backoffLimit"] == 3
    assert "ttlSecondsAfterFinished" not in migration(program).inputs["spec"], "the engine would make it again"


def test_the_migration_comes_after_the_databases_and_before_everything_that_uses_them(program: Capture) -> None:
    databases = {each.urn for each in program.of("StatefulSet")}
    assert databases <= program.after(migration(program).urn)
    for workload in program.of("Deployment"):
        if workload.kubernetes_name not in {"redis-proxy", ARCHIVE}:
            assert migration(program).urn in program.after(workload.urn), workload.name


def test_a_new_image_migrates_again_and_nothing_else_does() -> None:
    before = migration(capture.stack("testnet")).kubernetes_name
    same = capture.stack("testnet", {"services": {"svc-tax": {"replicas": 2}}})
    image = f"ghcr.io/gx-protocol/migration:next@sha256:{'cd' * 32}"
    other = capture.stack("testnet", {"images": {"migration": image}})
    assert migration(same).kubernetes_name == before
    assert migration(other).kubernetes_name != before
    assert migration(other).delete_before_replace is True


def test_a_stack_may_have_no_seed_or_no_migration() -> None:
    unseeded = capture.stack("testnet", {"migration": {"seed": []}})
    spec = migration(unseeded).inputs["spec"]["template"]["spec"]
    assert [each["name"] for each in spec["containers"]] == ["migrate"]
    assert [each["name"] for each in spec["initContainers"]] == ["await-database"]
    assert not capture.stack("testnet", {"migration": None, "images": {"migration": None}}).has("Job")


@pytest.fixture(scope="module")
def copied() -> Capture:
    """Mainnet with copies of its backups in an object store."""
    return capture.stack("mainnet", OFF_SITE)


@pytest.mark.parametrize("kind", ["postgres", "redis"])
def test_what_a_backup_made_is_copied_away_by_a_container_that_knows_no_password_of_a_database(
    copied: Capture, kind: str
) -> None:
    spec = template(copied, f"{kind}-backup")["spec"]
    (dump,), (copy,) = spec["initContainers"], spec["containers"]
    assert dump["name"] == f"{kind}-backup"
    told = {each["name"]: each.get("value") for each in copy["env"]}
    assert told["RCLONE_CONFIG_OFFSITE_REMOTE"] == f"store:gx-backups/backend-mainnet/{kind}"
    references = [each["valueFrom"]["secretKeyRef"] for each in copy["env"] if "valueFrom" in each]
    assert {each["name"] for each in references} == {"backup-off-site"}
    secret = copied.one("Secret", "backup-off-site")
    assert {each["key"] for each in references} == secret.inputs["stringData"].keys()
    assert "stringData" in secret.secrets
    assert copy["securityContext"] == dump["securityContext"]


@pytest.mark.parametrize("kind", ["postgres", "redis"])
def test_a_store_that_is_away_costs_no_older_backup(copied: Capture, mainnet: Capture, kind: str) -> None:
    """A second try of the pod would back up again, and each backup that counts takes the place of the oldest."""
    spec = job(copied, f"{kind}-backup")["jobTemplate"]["spec"]
    assert spec["podFailurePolicy"]["rules"] == [
        {
            "action": "FailJob",
            "onExitCodes": {"containerName": "off-site-copy", "operator": "NotIn", "values": [0]},
        }
    ]
    assert spec["template"]["spec"]["restartPolicy"] == "Never", "the API server asks for it"
    assert "podFailurePolicy" not in job(mainnet, f"{kind}-backup")["jobTemplate"]["spec"]


def test_the_archive_is_copied_as_it_grows_by_a_container_beside_it(copied: Capture) -> None:
    receiver, copy = archive(copied)["spec"]["containers"]
    assert (receiver["name"], copy["name"]) == (ARCHIVE, "off-site-wal")
    assert copy["command"] == ["sh", "/etc/backups/off-site-wal.sh"]
    told = {each["name"]: each.get("value") for each in copy["env"]}
    assert told["RCLONE_CONFIG_OFFSITE_REMOTE"] == "store:gx-backups/backend-mainnet/postgres-base"
    secrets = {each["valueFrom"]["secretKeyRef"]["name"] for each in copy["env"] if "valueFrom" in each}
    assert secrets == {"backup-off-site"}
    assert not {"readinessProbe", "startupProbe"} & copy.keys(), "no roll-out waits for the object store"
    assert copied.one("Secret", "backup-off-site").urn in copied.after(copied.one("Deployment", ARCHIVE).urn)


def test_the_archive_rolls_when_the_key_of_the_object_store_changes(copied: Capture) -> None:
    key = {"secrets": {"offSite": {"secretAccessKey": "canary-another-access-key"}}}
    changed = archive(capture.stack("mainnet", merge(OFF_SITE, key)))
    assert changed["metadata"]["annotations"] != archive(copied)["metadata"]["annotations"]
    assert "canary" not in str(changed)


def test_only_backups_reach_the_object_store_and_nothing_else_outside(copied: Capture, mainnet: Capture) -> None:
    policy = copied.one("NetworkPolicy", "allow-backup-object-store-egress").inputs["spec"]
    (rule,) = policy["egress"]
    assert rule["to"] == [{"ipBlock": {"cidr": "203.0.113.0/24"}}]
    assert rule["ports"] == [{"protocol": "TCP", "port": 443}]
    wearing = {
        owner
        for owner, pod in copied.pods().items()
        if policy["podSelector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()
    }
    assert wearing == {"CronJob/postgres-backup", "CronJob/redis-backup", f"Deployment/{ARCHIVE}"}
    names = {each.kubernetes_name for each in mainnet.of("NetworkPolicy")}
    assert "allow-backup-object-store-egress" not in names, "there is nothing to reach"


def test_the_proofs_know_the_copying_containers(copied: Capture) -> None:
    values = load(merge(complete("mainnet"), OFF_SITE), stack="mainnet")
    judged = {each.name: each for each in workloads(values)}
    for name in BACKUPS:
        spec = template(copied, name)["spec"]
        declared = [(each["name"], True) for each in spec["initContainers"]]
        declared += [(each["name"], False) for each in spec["containers"]]
        assert [(each.name, each.init) for each in judged[name].containers] == declared
    declared = [(each["name"], False) for each in archive(copied)["spec"]["containers"]]
    assert [(each.name, each.init) for each in judged[ARCHIVE].containers] == declared
    assert not prove(values, date(2026, 11, 25)).refused
