"""Backups of both databases as CronJobs, with their volumes, and the tests that they can be restored (BK rows)."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import pulumi
import pulumi_kubernetes as k8s

from components.backups import archive, config, off_site
from components.backups.pod import JobArgs, Kind, OffSiteCopy, base, labels, pod_spec, postgres, redis
from components.base import Component, content_hash, owned
from components.storage import CLAIM, claim_spec, kept_volumes, volume_annotation
from components.workload_config import SecretKey
from settings.model import BackupJob, Backups, OffSite, OffSiteSecrets, PointInTime, Postgres


@dataclass(frozen=True, kw_only=True)
class DatabaseBackupsArgs:
    """Arguments of ``DatabaseBackups``; plain values decide which objects exist and what is in their templates.

    ``environment`` is a part of the copies' path in the bucket. ``copy_image`` and ``off_site`` are needed where the
    settings send copies off site, ``archive_password`` where they have restores to a point in time.
    """

    namespace: pulumi.Input[str]
    environment: str
    priority_class: pulumi.Input[str]
    settings: Backups
    postgres: Postgres
    postgres_image: str
    redis_image: str
    copy_image: str | None = None
    off_site: OffSiteSecrets | None = None
    archive_password: SecretKey | None = None
    storage_class: str
    protect: bool


class DatabaseBackups(Component):
    """For each database a volume, a job that backs it up and a job that restores the newest backup for a test.

    For restores of Postgres to a point in time, a volume with base backups and the WAL since the oldest of them: a
    Deployment of one pod that receives WAL, and a job for base backups. Where copies go off site, that pod copies both
    as they come: it takes base backups by itself too.

    Invariants: a backup counts once it was read back whole, and only then may the oldest go; two runs never share a
    volume; no job has a token of the API server or a right to write into a live database. The restore tests reach
    nothing at all. Restores of live data are no object of the stack: ``python -m operations.restore``.

    Attributes:
        schedule: When backups are made, in UTC.
        postgres_claim: Volume of the backups of Postgres.
        redis_claim: Volume of the backups of Redis.
    """

    area = "data"
    schedule: pulumi.Output[str]
    postgres_claim: pulumi.Output[str]
    redis_claim: pulumi.Output[str]

    def __init__(self, name: str, args: DatabaseBackupsArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(name, opts)
        settings = args.settings
        self._args = args
        self._scripts = k8s.core.v1.ConfigMap(
            self.child_name("scripts"),
            metadata=owned(config.CONFIG, args.namespace),
            data=config.scripts(),
            opts=self.child(),
        )
        self._credentials = list(self._off_site(args))
        # What is restored is at most as large as the volume it comes from in production.
        self.postgres_claim = self._kind(
            postgres(args.postgres.database), settings.postgres, args.postgres_image, args.postgres.storage
        )
        self.redis_claim = self._kind(redis(), settings.redis, args.redis_image, settings.redis.storage)
        if settings.point_in_time is not None:
            self._point_in_time(settings.point_in_time)
        self.schedule = pulumi.Output.from_input(settings.schedule)
        self.register_outputs(
            {"schedule": self.schedule, "postgres_claim": self.postgres_claim, "redis_claim": self.redis_claim}
        )

    def _kind(self, kind: Kind, size: BackupJob, image: str, scratch: str) -> pulumi.Output[str]:
        settings = self._args.settings
        claim = self._claim(kind, size, kind.name)
        backup = JobArgs(
            name=f"{kind.name}-backup",
            kind=kind,
            image=image,
            size=size,
            placement=settings.placement,
            priority_class=self._args.priority_class,
            account=self._account(f"{kind.name}-backup"),
            login={**kind.host, **kind.reader, "KEEP": str(settings.keep)},
            password=kind.reader_key,
            copy=self._copy(settings.off_site, kind),
        )
        test = f"{kind.name}-restore-test"
        restore_test = replace(
            backup,
            name=test,
            account=self._account(test),
            login={},
            password=None,
            scratch=scratch,
            reads_only=True,
            copy=None,
        )
        self._cron_job(backup, settings.schedule, config.BACKUP_DEADLINE_SECONDS, claim)
        self._cron_job(restore_test, settings.restore_test_schedule, config.RESTORE_TEST_DEADLINE_SECONDS, claim)
        name: pulumi.Output[str] = claim.metadata.name.apply(str)
        return name

    def _point_in_time(self, settings: PointInTime) -> None:
        args = self._args
        if args.archive_password is None:
            raise ValueError("no password of the archive. Fix: give archive_password, or remove backups.pointInTime")
        claim = self._claim(base(args.postgres), settings, "pointInTime")

        def job(name: str) -> JobArgs:
            return archive.job_args(
                name,
                settings,
                args.postgres,
                image=args.postgres_image,
                placement=args.settings.placement,
                priority_class=args.priority_class,
                account=self._account(name),
            )

        copy = self._copy(args.settings.off_site, base(args.postgres))
        receiver = replace(
            job(archive.ARCHIVE), copy=None if copy is None else replace(copy, script="off-site-wal", beside=True)
        )
        credentials = off_site.secret_data(args.off_site) if copy and args.off_site else {}
        scripts = content_hash(config.scripts() | credentials)
        password = pulumi.Output.from_input(args.archive_password.digest)
        content = password.apply(lambda digest: content_hash(scripts + digest))
        k8s.apps.v1.Deployment(
            self.child_name(archive.ARCHIVE),
            metadata=owned(archive.ARCHIVE, args.namespace, labels={"app": archive.ARCHIVE}),
            spec=archive.deployment_spec(receiver, pulumi.Output.unsecret(content)),
            opts=self.child(depends_on=[claim, self._scripts, *self._credentials]),
        )
        self._cron_job(job(archive.BASE_BACKUP), settings.base_backup_schedule, config.BACKUP_DEADLINE_SECONDS, claim)

    def _copy(self, settings: OffSite | None, kind: Kind) -> OffSiteCopy | None:
        if settings is None:
            return None
        if self._args.copy_image is None:
            raise ValueError("images.rclone is missing. Fix: name the image, or remove backups.offSite")
        variables = off_site.environment(settings, self._args.environment, kind.name)
        return OffSiteCopy(image=self._args.copy_image, variables=variables)

    def _off_site(self, args: DatabaseBackupsArgs) -> Iterator[pulumi.Resource]:
        if args.settings.off_site is None:
            return
        if args.off_site is None:
            raise ValueError("secrets.offSite is missing. Fix: run `make configure`, or remove backups.offSite")
        yield k8s.core.v1.Secret(
            self.child_name("off-site"),
            metadata=owned(off_site.SECRET, args.namespace),
            string_data=pulumi.Output.secret(off_site.secret_data(args.off_site)),
            opts=self.child(),
        )

    def _claim(self, kind: Kind, size: BackupJob, setting: str) -> k8s.core.v1.PersistentVolumeClaim:
        return k8s.core.v1.PersistentVolumeClaim(
            self.child_name(kind.claim),
            # A volume on a node's disk is made when its first pod has found a node.
            metadata=owned(
                kind.claim,
                self._args.namespace,
                annotations={"pulumi.com/skipAwait": "true"}
                | volume_annotation(self._args.storage_class, size.storage),
            ),
            spec=claim_spec(self._args.storage_class, size.storage),
            opts=self.child(
                protect=self._args.protect,
                retain_on_delete=self._args.protect,
                ignore_changes=CLAIM,
                hooks=kept_volumes(self.child_name(kind.claim), f"backups.{setting}.storage"),
            ),
        )

    def _account(self, name: str) -> pulumi.Output[str]:
        account = k8s.core.v1.ServiceAccount(
            self.child_name(f"{name}-account"),
            metadata=owned(name, self._args.namespace),
            automount_service_account_token=False,
            opts=self.child(),
        )
        account_name: pulumi.Output[str] = account.metadata.name.apply(str)
        return account_name

    def _cron_job(self, job: JobArgs, schedule: str, deadline: int, claim: pulumi.Resource) -> None:
        template: dict[str, Any] = {"metadata": {"labels": labels(job)}, "spec": pod_spec(job)}
        once: dict[str, Any] = {"backoff_limit": 2, "active_deadline_seconds": deadline, "template": template}
        if job.copy is not None:
            # A second try would back up again, and each backup takes the place of the oldest. The next run copies it.
            failed = {"container_name": job.copy.script, "operator": "NotIn", "values": [0]}
            once["pod_failure_policy"] = {"rules": [{"action": "FailJob", "on_exit_codes": failed}]}
        k8s.batch.v1.CronJob(
            self.child_name(job.name),
            metadata=owned(job.name, self._args.namespace, labels={"app": job.name}),
            spec={
                "schedule": schedule,
                "time_zone": "Etc/UTC",
                "concurrency_policy": "Forbid",
                "starting_deadline_seconds": config.START_WITHIN_SECONDS,
                "successful_jobs_history_limit": 3,
                "failed_jobs_history_limit": 3,
                "job_template": {"spec": once},
            },
            opts=self.child(depends_on=[claim, self._scripts]),
        )
