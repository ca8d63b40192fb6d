"""Adopt databases that were independent primaries into the replicated one: ``… STACK dump | compare | move``.

``dump`` backs up each former instance into a volume of its own, where the dumps stay. ``compare`` holds them against
each other row by row and names the conflicts. ``move`` makes the rows of the ``--chosen`` instance the content of the
live database; rows of the others go beside them with ``--take-rows`` where they conflict with nothing, and all others
into the table ``adopted.rows``. Nothing is changed without ``--execute``, and no former instance ever.

The work is done by Jobs in the cluster. ``docs/runbooks/adopt-databases.md`` is the procedure.
"""

import argparse
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from components.backups import config
from components.backups.pod import JobArgs, Kind, labels, pod_spec, postgres
from components.postgres import config as postgres_config
from operations.jobs import JobError, Target, job, run_job
from operations.stack import OperationError, add_config_file, encrypted
from settings.loader import SettingsError
from settings.model import Backups, Settings
from settings.types import amount

NAME = "postgres-adoption"
DUMPS = "/adoption"
_SCRIPTS = Path(__file__).resolve().parent / "adoption"


@dataclass(frozen=True, kw_only=True)
class Former:
    """The former instances: their names, which are those of their pods, and who may read all of each.

    ``secret`` and ``key`` say where the cluster has the password; it is never on a command line.
    """

    instances: tuple[str, ...]
    service: str
    user: str
    secret: str
    key: str


@dataclass(frozen=True, kw_only=True)
class Adoption:
    """What to do; ``chosen`` is needed for all but ``dump``."""

    what: str
    former: Former
    chosen: str | None = None
    take_rows: bool = False
    overwrite: bool = False
    execute: bool = False

    @property
    def words(self) -> dict[str, str]:
        """What the scripts are told."""
        told = {
            "EXECUTE": self.execute,
            "OVERWRITE": self.overwrite,
            "TAKE_ROWS": self.take_rows,
            "MOVE": self.what == "move",
        }
        return {name: "yes" for name, said in told.items() if said}


def main() -> int:
    """Run the command; 0 when every Job of it succeeded."""
    parser = argparse.ArgumentParser(
        prog="python -m operations.adopt_databases",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("stack")
    parser.add_argument("what", choices=("dump", "compare", "move"))
    parser.add_argument("--chosen", help="the instance whose rows stay as they are, as postgres-0")
    parser.add_argument(
        "--take-rows", action="store_true", help="take what is on another instance alone into its table"
    )
    parser.add_argument("--overwrite", action="store_true", help="move: replace live data")
    parser.add_argument("--execute", action="store_true", help="do it; without it nothing is changed")
    parser.add_argument(
        "--instances", help="names of the former pods, by commas; as many as postgres.replicas without it"
    )
    parser.add_argument("--service", default="postgres-headless", help="their headless Service")
    parser.add_argument("--user", help="their superuser; postgres.adminUser without it")
    parser.add_argument("--secret", default="postgres-secrets", help="the Secret with its password")
    parser.add_argument("--key", default="POSTGRES_PASSWORD", help="the key of the password in it")
    add_config_file(parser)
    given = parser.parse_args()
    if (given.what == "dump") == (given.chosen is not None):
        parser.error(
            "`compare` and `move` need --chosen, and `dump` has no use for it, as: compare --chosen postgres-0"
        )
    try:
        settings = encrypted(given.stack, given.config_file).settings
        names = (
            given.instances.split(",")
            if given.instances
            else [f"postgres-{n}" for n in range(settings.postgres.replicas)]
        )
        former = Former(
            instances=tuple(names),
            service=given.service,
            user=given.user or settings.postgres.admin_user,
            secret=given.secret,
            key=given.key,
        )
        wanted = Adoption(
            what=given.what,
            former=former,
            chosen=given.chosen,
            take_rows=given.take_rows,
            overwrite=given.overwrite,
            execute=given.execute,
        )
        return run(settings, wanted)
    except (OperationError, SettingsError) as error:
        print(error, file=sys.stderr)
        return 1


def run(settings: Settings, wanted: Adoption) -> int:
    """Do it, and return the status of the first Job that fails, or 0."""
    target = Target(cluster=settings.cluster, namespace=settings.environment.namespace)
    made = jobs(settings, wanted)
    for needed in objects(settings):
        target.kubectl("apply", "-f", "-", stdin=json.dumps(needed))
    for each in made:
        status = run_job(target, each)
        if status:
            return status
    return 0


def jobs(settings: Settings, wanted: Adoption) -> list[dict[str, Any]]:
    """The Jobs, one after the other: one for each instance, or the one that compares and moves."""
    if wanted.what == "dump":
        return [_dump(settings, wanted, instance) for instance in wanted.former.instances]
    if wanted.chosen not in wanted.former.instances:
        raise JobError(f"no such instance. Got '{wanted.chosen}'. Fix: one of {', '.join(wanted.former.instances)}")
    return [_compare(settings, wanted)]


def objects(settings: Settings) -> list[dict[str, Any]]:
    """What the Jobs need: their scripts, and the volume of the dumps. Neither is a part of the stack."""
    metadata = {"name": NAME, "labels": {"app": NAME}}
    claim = {
        "accessModes": ["ReadWriteOnce"],
        "storageClassName": settings.cluster.storage_class,
        "resources": {"requests": {"storage": _backups(settings).postgres.storage}},
    }
    return [
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": scripts(settings)},
        {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata, "spec": claim},
    ]


def scripts(settings: Settings) -> dict[str, str]:
    """Files of the Jobs: their own, those of the backups, and what makes a new database."""
    own = {path.name: path.read_text() for path in sorted(_SCRIPTS.iterdir())}
    bootstrap = "bootstrap.sql"
    return config.scripts() | {bootstrap: postgres_config.files(settings.postgres)[bootstrap]} | own


def dump_environment(former: Former, instance: str, database: str) -> dict[str, str]:
    """How a dump reaches an instance. The former ones have no TLS, nor the network any policy of ours to need it."""
    host = {"PGHOST": f"{instance}.{former.service}", "PGDATABASE": database, "PGSSLMODE": "prefer"}
    return host | {"PGUSER": former.user, "KEEP": "1000"}


def compare_environment(wanted: Adoption, kind: Kind, database: str) -> dict[str, str]:
    """What the comparison is told; only a move knows the live database."""
    live = {**kind.host, **kind.restorer} if wanted.what == "move" else {"PGDATABASE": database}
    return live | {"INSTANCES": " ".join(wanted.former.instances), "CHOSEN": wanted.chosen or ""}


def _backups(settings: Settings) -> Backups:
    if settings.backups is None:
        raise JobError("the stack has no backups, whose sizes these Jobs have. Fix: add gx-backend-infra:backups")
    return settings.backups


def _dump(settings: Settings, wanted: Adoption, instance: str) -> dict[str, Any]:
    former = wanted.former
    kind = replace(postgres(settings.postgres.database), secret=former.secret)
    login = dump_environment(former, instance, settings.postgres.database) | wanted.words
    return _job(settings, kind, f"adopt-dump-{instance}", "adopt-dump", login, password=former.key, directory=instance)


def _compare(settings: Settings, wanted: Adoption) -> dict[str, Any]:
    kind = postgres(settings.postgres.database)
    made = _job(
        settings,
        kind,
        "adopt-compare",
        "adopt-compare",
        compare_environment(wanted, kind, settings.postgres.database) | wanted.words,
        password=kind.restorer_key if wanted.what == "move" else None,
        directory="merged",
        # Each instance, all of them together, and what a sort of the largest table takes.
        scratch=str(int(amount(settings.postgres.storage)) * (len(wanted.former.instances) + 2)),
    )
    (container,) = made["spec"]["template"]["spec"]["containers"]
    container["volumeMounts"].append({"name": "backups", "mountPath": DUMPS})
    return made


def _job(
    settings: Settings,
    kind: Kind,
    name: str,
    script: str,
    login: Mapping[str, str],
    *,
    password: str | None,
    directory: str,
    scratch: str | None = None,
) -> dict[str, Any]:
    backups = _backups(settings)
    args = JobArgs(
        name=script,
        kind=replace(kind, claim=NAME),
        image=settings.images.postgres,
        size=backups.postgres,
        placement=backups.placement,
        # The stack may not exist yet, with its class and its accounts.
        priority_class=None,
        account="default",
        login=login,
        password=password,
        scratch=scratch,
        scripts=NAME,
        directory=directory,
    )
    return job(name, labels(args), pod_spec(args))


if __name__ == "__main__":
    sys.exit(main())
