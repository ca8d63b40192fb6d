"""Restores into a real Postgres: every table comes back as it was, and nothing live is overwritten without the word."""

import shutil
from collections.abc import Iterator

import pytest

from tests.services.backup_jobs import Jobs
from tests.services.pods import Lab
from tests.services.test_postgres_backup import CONNECTION, TABLES
from tests.services.test_postgres_scripts import ADDRESSES, PASSWORDS, UID, Cluster

OWNER = CONNECTION | {"PGUSER": "gx_owner", "PGPASSWORD": PASSWORDS["owner"]}
CONTENT = "select count(*), sum(hashtextextended(t::text, 0)::numeric) from {} t"


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with Lab(tmp_path_factory.mktemp("restores"), ADDRESSES | {"postgres-primary": 10}) as lab:
        yield lab


@pytest.fixture(scope="module")
def started(lab: Lab) -> Cluster:
    cluster = Cluster(lab, members=1)
    cluster.start(0)
    cluster.await_says(0, "primary: slots and passwords are as the settings say")
    return cluster


@pytest.fixture
def cluster(started: Cluster) -> Cluster:
    """A database with the tables of the tests, fresh."""
    grants = (
        "alter default privileges in schema public grant select, insert, update, delete on tables to gx_application"
    )
    owner(started, "drop owned by current_user cascade", grants, TABLES.replace("200000", "2000"))
    return started


@pytest.fixture
def backed_up(cluster: Cluster) -> Jobs:
    """One backup of that database."""
    jobs = Jobs(lab=cluster.lab, uid=UID, gid=UID, env=CONNECTION | {"PGPASSWORD": PASSWORDS["backup"]})
    shutil.rmtree(jobs.backups, ignore_errors=True)
    done = jobs.run("postgres-backup.sh")
    assert done.returncode == 0, done.stderr
    return jobs


def owner(cluster: Cluster, *statements: str) -> str:
    done = [cluster.client(0, "owner", sql, asker=0) for sql in statements]
    assert all(each.returncode == 0 for each in done), [each.stderr for each in done]
    return done[-1].stdout.strip()


def restore(jobs: Jobs, what: str, **env: str) -> tuple[int, str]:
    done = jobs.run("postgres-restore.sh", **OWNER, WHAT=what, **env)
    return done.returncode, done.stderr


def content(cluster: Cluster) -> list[str]:
    tables = ("wallet", "transfer", "hidden", "audit.log")
    return [cluster.admin(0, CONTENT.format(table)) for table in tables]


def test_a_database_is_replaced_whole_and_only_with_both_words(cluster: Cluster, backed_up: Jobs) -> None:
    before = content(cluster)
    damage = ("delete from transfer", "update wallet set balance = 0", "create table newer (id int references hidden)")
    owner(cluster, "alter table hidden add primary key (id)", *damage)
    damaged = content(cluster)

    status, said = restore(backed_up, "database", EXECUTE="yes")
    assert (status, "Fix: add --overwrite" in said) == (2, True), said
    status, said = restore(backed_up, "database", OVERWRITE="yes")
    assert (status, "dry run: nothing was changed" in said) == (0, True), said
    assert "plan: replace all of it by 4 tables" in said
    assert content(cluster) == damaged

    status, said = restore(backed_up, "database", OVERWRITE="yes", EXECUTE="yes")
    assert status == 0, said
    assert content(cluster) == before
    assert cluster.admin(0, "select to_regclass('newer') is null") == "t"
    # Grants and defaults are back too.
    assert cluster.client(0, "application", "update wallet set balance = 9", asker=0).returncode == 0
    assert cluster.client(0, "application", "drop table wallet", asker=0).returncode != 0


def test_an_empty_database_needs_no_word_to_be_filled(cluster: Cluster, backed_up: Jobs) -> None:
    """That is a new cluster, after the old one was lost. The schedule backs it up before anybody restores it."""
    before = content(cluster)
    owner(cluster, "drop owned by current_user cascade")
    assert backed_up.run("postgres-backup.sh").returncode == 0
    status, said = restore(backed_up, "database", EXECUTE="yes")
    assert status == 0, said
    assert "restored: 4 tables, each as recorded" in said
    assert content(cluster) == before


def test_a_restore_that_breaks_off_changes_nothing(cluster: Cluster, backed_up: Jobs) -> None:
    owner(cluster, "delete from transfer")
    damaged = content(cluster)
    # Something of somebody else stands in the way of one of the backup's tables.
    cluster.admin(0, "drop table hidden; create view hidden as select 1")
    status, said = restore(backed_up, "database", OVERWRITE="yes", EXECUTE="yes")
    assert status == 1
    assert 'relation "hidden" already exists' in said
    assert "the live database is as it was" in said
    cluster.admin(0, "drop view hidden")
    assert [each for each in content(cluster) if each] == [damaged[0], damaged[1], damaged[3]]


def test_a_database_that_cannot_be_read_is_not_taken_for_an_empty_one(cluster: Cluster, backed_up: Jobs) -> None:
    cluster.admin(0, "create table foreigner (id int)")
    status, said = restore(backed_up, "database", EXECUTE="yes")
    cluster.admin(0, "drop table foreigner")
    assert status == 1
    assert "permission denied for table foreigner" in said
    assert "nothing was changed" in said


def test_a_table_comes_back_beside_the_live_one(cluster: Cluster, backed_up: Jobs) -> None:
    whole = cluster.admin(0, CONTENT.format("wallet"))
    owner(cluster, "update wallet set balance = 0")
    damaged = cluster.admin(0, CONTENT.format("wallet"))
    status, said = restore(backed_up, "table", TABLE="public.wallet", EXECUTE="yes")
    assert status == 0, said
    beside = f"restored.wallet_{backed_up.newest().name.lower()}"
    assert beside.replace("wallet", '"wallet') + '"' in said
    assert cluster.admin(0, CONTENT.format(beside)) == whole
    assert cluster.admin(0, CONTENT.format("wallet")) == damaged


def test_the_rows_of_a_live_table_become_those_of_the_backup(cluster: Cluster, backed_up: Jobs) -> None:
    """Although other tables point at them; and an identity that is always generated keeps its numbers."""
    before = content(cluster)
    owner(
        cluster,
        "update wallet set balance = 0 where id < 50",
        "delete from transfer where id < 10; delete from audit.log where id < 10",
        "insert into wallet values (999999, 'new', 1, now()); insert into audit.log (said) values ('{}')",
    )
    for table in ("public.wallet", "public.transfer"):
        status, said = restore(backed_up, "table", TABLE=table, OVERWRITE="yes", EXECUTE="yes")
        assert status == 0, said
    assert content(cluster)[:3] == before[:3]
    status, said = restore(backed_up, "table", TABLE="audit.log", OVERWRITE="yes", EXECUTE="yes")
    assert status == 1
    assert "The table has no primary key. Fix:" in said
    owner(cluster, "alter table audit.log add primary key (id)")
    status, said = restore(backed_up, "table", TABLE="audit.log", OVERWRITE="yes", EXECUTE="yes")
    assert status == 0, said
    assert content(cluster) == before


def test_a_dropped_table_is_made_again_and_what_it_still_lacks_is_told(cluster: Cluster, backed_up: Jobs) -> None:
    whole = cluster.admin(0, CONTENT.format("transfer"))
    owner(cluster, "drop table transfer")
    status, said = restore(backed_up, "table", TABLE="public.transfer", EXECUTE="yes")
    assert status == 0, said
    assert cluster.admin(0, CONTENT.format("transfer")) == whole
    for lacking in (
        "ADD CONSTRAINT transfer_pkey PRIMARY KEY (id);",
        "CREATE SEQUENCE public.transfer_id_seq\n",
        "ALTER COLUMN id SET DEFAULT nextval('public.transfer_id_seq'::regclass);",
    ):
        assert lacking in said, said
    assert "wallet_pkey" not in said


def test_a_dropped_table_with_capitals_is_made_again_too(cluster: Cluster, backed_up: Jobs) -> None:
    """As Prisma names its tables."""
    owner(cluster, 'create table "User" (id bigint generated always as identity primary key)')
    owner(cluster, 'insert into "User" default values')
    assert backed_up.run("postgres-backup.sh").returncode == 0
    owner(cluster, 'drop table "User"')
    status, said = restore(backed_up, "table", TABLE="public.User", EXECUTE="yes")
    assert status == 0, said
    assert cluster.admin(0, 'select id from "User"') == "1"
    assert 'ADD CONSTRAINT "User_pkey" PRIMARY KEY (id);' in said
    assert "ADD GENERATED ALWAYS AS IDENTITY" in said


@pytest.mark.parametrize(
    ("env", "remedy"),
    [
        ({"WHAT": "table", "TABLE": "wallet"}, "the table is 'wallet'. Fix: write it as schema.name"),
        ({"WHAT": "table", "TABLE": "public.wallets"}, "has no table public.wallets. Fix: one of: audit.log"),
        ({"WHAT": "database", "BACKUP": "20200101T000000Z"}, "no backup 20200101T000000Z. Fix: one of: 2"),
        ({"WHAT": "everything"}, "WHAT is 'everything'. Fix: database or table"),
    ],
)
def test_a_mistake_is_told_with_its_remedy(backed_up: Jobs, env: dict[str, str], remedy: str) -> None:
    done = backed_up.run("postgres-restore.sh", **OWNER, **env)
    assert done.returncode == 2
    assert remedy in done.stderr


def test_the_restore_test_restores_everything_and_reports(backed_up: Jobs) -> None:
    done = backed_up.run("postgres-restore-test.sh", PGPASSWORD="")
    assert done.returncode == 0, done.stderr
    assert "is restorable: 4 tables as recorded" in done.stderr
    metrics = backed_up.metrics("restore-test")
    assert metrics["gx_restore_test_success"] == 1
    assert metrics["gx_restore_test_backup_timestamp_seconds"] > 0


def test_the_restore_test_tells_a_table_that_is_not_as_recorded(backed_up: Jobs) -> None:
    """The dump is whole and well-formed, and yet not what was there: checksums alone would not tell."""
    tables = backed_up.newest() / "tables"
    tables.write_text(tables.read_text().replace("public.hidden|1|", "public.hidden|2|"))
    pod = backed_up.pod()
    assert pod.run("sh", "-c", f"cd /backups/{tables.parent.name} && sha256sum ./[a-z]* > SHA256SUMS").returncode == 0
    done = pod.run("sh", "/etc/backups/postgres-restore-test.sh")
    assert done.returncode == 1
    assert "< public.hidden|2|" in done.stderr
    assert backed_up.metrics("restore-test")["gx_restore_test_success"] == 0
