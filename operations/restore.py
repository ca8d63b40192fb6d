"""Restore from a backup: ``python -m operations.restore STACK database | table SCHEMA.NAME | redis | cluster``.

Says what it would do and changes nothing until it is run with ``--execute``; while the live data is not empty, it is
replaced only with ``--overwrite`` besides. ``… STACK point-in-time --at '2026-11-26 04:00:00+00:00'`` restores the
database as it was at a second, from the archived write-ahead log; a table too, with ``--at``. ``… STACK fetch
postgres | redis | postgres-base --backup NAME`` brings a backup back from the object store, beside the others; with a
base backup its write-ahead log, so that a second can be restored.

The work is done by a Job in the cluster, beside the volume of the backups: the command creates it, shows its log and
ends with its result. ``docs/runbooks/restore.md`` is the procedure.
"""

import argparse
import sys
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from components.backups import archive, off_site
from components.backups.pod import JobArgs, Kind, OffSiteCopy, base, labels, pod_spec, postgres, redis
from operations.jobs import JobError, Target, job, run_job
from operations.stack import OperationError, add_config_file, encrypted
from settings.loader import SettingsError
from settings.model import Settings

_BASE = "postgres-base"
_FETCHED = f"postgres, redis or {_BASE}"


@dataclass(frozen=True, kw_only=True)
class Restore:
    """What to restore: ``what`` and ``name`` as the command has them, ``backup`` None for the newest.

    ``at`` is a second in UTC, for what comes from the archived WAL.
    """

    what: str
    name: str | None = None
    backup: str | None = None
    at: datetime | None = None
    overwrite: bool = False
    execute: bool = False

    @property
    def environment(self) -> dict[str, str]:
        """What the scripts are told."""
        told = {
            "WHAT": "database" if self.what in {"cluster", "point-in-time"} else self.what,
            "TABLE": self.name,
            "BACKUP": self.backup,
            "AT": f"{self.at:%Y%m%dT%H%M%SZ}" if self.at else None,
            "OVERWRITE": "yes" if self.overwrite else None,
            "EXECUTE": "yes" if self.execute else None,
        }
        return {name: value for name, value in told.items() if value is not None}


def main() -> int:
    """Run the command; 0 when the restore, or its dry run, succeeded."""
    parser = argparse.ArgumentParser(
        prog="python -m operations.restore",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("stack")
    parser.add_argument("what", choices=("database", "table", "redis", "cluster", "point-in-time", "fetch"))
    parser.add_argument("name", nargs="?", help=f"table: schema.name, as public.wallet; fetch: {_FETCHED}")
    parser.add_argument(
        "--backup", help="a backup by its name, as 20261126T060000Z; without it the newest that holds anything"
    )
    parser.add_argument(
        "--at", type=second, help="a second, as '2026-11-26 04:00:00+00:00': what was committed before it"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace live data")
    parser.add_argument("--execute", action="store_true", help="do it; without it nothing is changed")
    add_config_file(parser)
    given = parser.parse_args()
    if (given.what in {"table", "fetch"}) != (given.name is not None):
        parser.error("`table` and `fetch` take a name and nothing else does, as: table public.wallet, fetch postgres")
    if given.what == "fetch" and given.name not in {"postgres", "redis", _BASE}:
        parser.error(f"fetch takes {_FETCHED}, not {given.name}")
    if (given.what == "point-in-time") != (given.at is not None) and not (given.what == "table" and given.at):
        parser.error("point-in-time needs --at, and of the others only `table` takes it")
    if given.at is not None and given.backup is not None:
        parser.error("--at chooses the base backup by itself: leave --backup out")
    wanted = Restore(
        what=given.what,
        name=given.name,
        backup=given.backup,
        at=given.at,
        overwrite=given.overwrite,
        execute=given.execute,
    )
    try:
        return run(encrypted(given.stack, given.config_file).settings, wanted)
    except (OperationError, SettingsError) as error:
        print(error, file=sys.stderr)
        return 1


def second(text: str) -> datetime:
    """A moment with its time zone, in whole seconds, as UTC. Raises ``ArgumentTypeError`` with the remedy."""
    example = "write it as '2026-11-26 04:00:00+00:00'"
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"not a moment. Got '{text}'. Fix: {example}") from None
    if moment.tzinfo is None:
        raise argparse.ArgumentTypeError(f"no time zone. Got '{text}'. Fix: {example}")
    if moment.microsecond:
        raise argparse.ArgumentTypeError(f"no whole second. Got '{text}'. Fix: {example}")
    return moment.astimezone(UTC)


def run(settings: Settings, wanted: Restore) -> int:
    """Restore, and return the status of the Job; a whole cluster is both databases, the second if the first is good."""
    target = Target(cluster=settings.cluster, namespace=settings.environment.namespace)
    if wanted.what != "cluster":
        return run_job(target, manifest(settings, wanted))
    if wanted.backup is not None:
        raise JobError("--backup names one database's backup. Fix: restore database and redis one by one with it")
    for what in ("database", "redis"):
        status = run_job(target, manifest(settings, replace(wanted, what=what)))
        if status:
            return status
    return 0


def manifest(settings: Settings, wanted: Restore) -> dict[str, Any]:
    """The Job that restores, as kubectl takes it."""
    if settings.backups is None:
        raise JobError("the stack has no backups. Fix: add gx-backend-infra:backups, or name another stack")
    of_redis = "redis" in {wanted.what, wanted.name}
    kind: Kind = redis() if of_redis else postgres(settings.postgres.database)
    if wanted.what == "fetch" and wanted.name == _BASE:
        if settings.backups.point_in_time is None:
            raise JobError("the stack archives no WAL. Fix: add backups.pointInTime, or fetch a backup of the schedule")
        kind = base(settings.postgres)
    if wanted.what == "fetch":
        return job(f"{kind.name}-fetch", *_fetch(settings, kind, wanted))
    if wanted.at is not None:
        return _point_in_time(settings, wanted)
    name = f"{kind.name}-restore"
    args = JobArgs(
        name=name,
        kind=kind,
        image=settings.images.redis if of_redis else settings.images.postgres,
        size=settings.backups.redis if of_redis else settings.backups.postgres,
        placement=settings.backups.placement,
        priority_class=settings.environment.namespace,
        # It may do as little in the cluster as the backup: nothing.
        account=f"{kind.name}-backup",
        login={**kind.host, **kind.restorer, **wanted.environment},
        password=kind.restorer_key,
        scratch=settings.backups.redis.storage if of_redis else settings.postgres.storage,
        reads_only=True,
    )
    return job(name, labels(args), pod_spec(args))


def _point_in_time(settings: Settings, wanted: Restore) -> dict[str, Any]:
    """The Job beside the archive; from the recovered database on it does what the others do, as the schema's owner."""
    backups = settings.backups
    if backups is None or backups.point_in_time is None:
        raise JobError("the stack archives no WAL. Fix: add backups.pointInTime, or restore a backup of the schedule")
    kind = base(settings.postgres)
    name = "postgres-point-in-time"
    args = JobArgs(
        name=name,
        kind=kind,
        image=settings.images.postgres,
        size=backups.postgres,
        placement=backups.placement,
        priority_class=settings.environment.namespace,
        account=archive.BASE_BACKUP,
        login={**kind.host, **kind.restorer, "ADMIN": settings.postgres.admin_user, **wanted.environment},
        password=kind.restorer_key,
        scratch=settings.postgres.storage,
        reads_only=True,
    )
    return job(name, labels(args), pod_spec(args))


def _fetch(settings: Settings, kind: Kind, wanted: Restore) -> tuple[dict[str, str], dict[str, Any]]:
    """Labels and pod of the job that brings a backup back: that of the backup, which copies, with another script."""
    if settings.backups is None or settings.backups.off_site is None or settings.images.rclone is None:
        raise JobError("the stack has no copies. Fix: add backups.offSite, or name another stack")
    variables = off_site.environment(settings.backups.off_site, settings.environment.namespace, kind.name)
    args = JobArgs(
        name=f"{kind.name}-fetch",
        kind=kind,
        image=settings.images.rclone,
        size=settings.backups.redis if kind.name == "redis" else settings.backups.postgres,
        placement=settings.backups.placement,
        priority_class=settings.environment.namespace,
        account=f"{kind.name}-backup",
        copy=OffSiteCopy(image=settings.images.rclone, variables=variables | {"BACKUP": wanted.backup or ""}),
    )
    pod = pod_spec(args)
    del pod["init_containers"]
    (container,) = pod["containers"]
    container |= {"name": "off-site-fetch", "command": ["sh", "/etc/backups/off-site-fetch.sh"]}
    return labels(args), pod


if __name__ == "__main__":
    sys.exit(main())
