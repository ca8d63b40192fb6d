"""Three real independent primaries with scattered rows become one database, and not one row is lost."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.services.former_primaries import ADDRESSES as FORMER_ADDRESSES
from tests.services.former_primaries import COMPARE, MOVE, NAMES, AdoptionJobs, Primary
from tests.services.pods import Lab
from tests.services.test_postgres_scripts import ADDRESSES, Cluster

SCHEMA = """
create type kind as enum ('person', 'company');
create table wallet (id serial primary key, owner text not null, kind kind not null default 'person',
    balance numeric(20, 4) not null default 0, changed timestamptz not null default '2026-11-01 12:00:00+08');
create unique index wallet_owner on wallet (lower(owner)) where kind = 'person';
create table transfer (id bigint generated always as identity primary key, wallet int not null references wallet,
    amount numeric not null, doubled numeric generated always as (amount * 2) stored, raw bytea);
create table membership (wallet int references wallet, team text, note text, primary key (wallet, team));
create table category (id int primary key, parent int references category, name text);
create table event (said text, value float8, document json);
create schema audit;
create table audit.log (id bigserial primary key, said jsonb);
create table setting (name text primary key, value text);
"""
# Would change the rows that are put together, and refuse some, if it ran.
TRIGGER = """
create function refuse() returns trigger language plpgsql as $$ begin raise exception 'a trigger ran'; end $$;
create trigger refuse before insert or update or delete on public.wallet for each row execute function refuse();
"""
COMMON = """
insert into wallet (owner, balance) select 'common ' || n, n / 7.0 from generate_series(1, 100) n;
insert into transfer (wallet, amount, raw) select n, n * 1.5, decode(md5(n::text), 'hex')
    from generate_series(1, 100) n;
insert into event select 'started', n, '{"a":  1, "a": 2}' from generate_series(1, 3) n;
insert into audit.log (said) values ('{"n": 1}');
insert into setting values ('theme', 'dark'), ('language', 'ms');
insert into category values (1, null, 'root');
"""
SCATTERED = {
    "postgres-0": """
insert into wallet (id, owner) values (101, 'here alone'), (102, 'Taken Name');
insert into event values ('repeated', 1, null), ('repeated', 1, null);
""",
    "postgres-1": """
insert into wallet (id, owner) values (101, 'another customer'), (200, 'there alone'), (201, 'taken NAME'),
    (202, 'twin'), (203, 'from one'), (204, 'on two of them');
insert into transfer (id, wallet, amount) overriding system value
    values (1001, 200, 1), (1002, 101, 2), (1003, 5, 3), (1004, 201, 4), (1005, 204, 5);
insert into membership values (101, 'red', null), (200, 'red', null), (5, 'blue', null);
insert into category values (10, 11, 'child'), (11, 10, 'parent'), (12, 13, 'child of a conflict'),
    (13, null, 'conflict');
insert into event values ('repeated', 1, null), ('repeated', 1, null), ('repeated', 1, null);
insert into audit.log (said) select '{"n": 2}' from generate_series(1, 20);
alter table setting add column scope text;
""",
    "postgres-2": """
insert into wallet (id, owner) values (301, 'TWIN'), (203, 'from the other'), (204, 'on two of them'), (300, 'third');
insert into transfer (id, wallet, amount) overriding system value values (1005, 204, 5), (1006, 203, 6);
insert into category values (13, null, 'the other conflict');
insert into event values ('repeated', 1, null), ('repeated', 1, null), ('repeated', 1, null),
    ('once', 'NaN', '[1,  2]');
create table legacy (id int primary key, said text);
insert into legacy values (1, 'old'), (2, null);
select setval('wallet_id_seq', 5000);
""",
}


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    names = ADDRESSES | {"postgres-primary": 10} | FORMER_ADDRESSES
    with Lab(tmp_path_factory.mktemp("adoption"), names) as lab:
        yield lab


@pytest.fixture(scope="module")
def live(lab: Lab) -> Cluster:
    cluster = Cluster(lab, members=1)
    cluster.start(0)
    cluster.await_says(0, "primary: slots and passwords are as the settings say")
    return cluster


@pytest.fixture(scope="module")
def primaries(lab: Lab) -> dict[str, Primary]:
    """Three former instances with rows in common, rows of their own and conflicts."""
    found = {name: Primary(lab, number) for number, name in enumerate(NAMES)}
    for name, primary in found.items():
        primary.start()
        primary.sql(SCHEMA, COMMON, SCATTERED[name], TRIGGER)
    return found


@pytest.fixture(scope="module")
def dumped(lab: Lab, live: Cluster, primaries: dict[str, Primary]) -> AdoptionJobs:
    """Their dumps."""
    jobs = AdoptionJobs(lab)
    for name, primary in primaries.items():
        primary.fence()
        done = jobs.dump(name)
        assert done.returncode == 0, done.stderr
    return jobs


@pytest.fixture
def empty(live: Cluster, dumped: AdoptionJobs) -> Cluster:
    """A live database without a table, as the first `pulumi up` makes it."""
    grants = (
        "alter default privileges in schema public grant select, insert, update, delete on tables to gx_application"
    )
    for sql in ("drop owned by current_user cascade", grants):
        assert live.client(0, "owner", sql, asker=0).returncode == 0
    shutil.rmtree(dumped.dumps / "merged", ignore_errors=True)
    return live


TABLES = ("wallet", "transfer", "membership", "category", "event", "audit.log")


def rows(primary: Primary, table: str) -> list[str]:
    """Every row of an instance's table, as text in UTC."""
    return primary.sql("set timezone = 'UTC'", f"select _c::text from {table} as _c").splitlines()  # noqa: S608


def live_rows(cluster: Cluster, table: str) -> list[str]:
    return cluster.admin(0, f"select _c::text from {table} as _c").splitlines()  # noqa: S608


def beside(cluster: Cluster, columns: str, where: str = "true") -> list[str]:
    ask = f"select {columns} from adopted.rows where {where} order by source, table_name, key, id"  # noqa: S608
    return cluster.admin(0, ask).splitlines()


def lost(cluster: Cluster, primaries: dict[str, Primary]) -> list[tuple[str, str, str]]:
    """Rows of the former instances that are neither in their table nor beside it."""
    missing = []
    for name, primary in primaries.items():
        for table in (*TABLES, "setting", *(["legacy"] if name == "postgres-2" else [])):
            left = live_rows(cluster, table) if table != "legacy" else []
            full = table if "." in table else f"public.{table}"
            left += beside(cluster, "content", f"source = '{name}' and table_name = '{full}'")
            for row in rows(primary, table):
                if row in left:
                    left.remove(row)
                else:
                    missing.append((name, table, row))
    return missing


def test_a_dump_wants_an_instance_that_nobody_can_write_to(
    lab: Lab, live: Cluster, primaries: dict[str, Primary]
) -> None:
    jobs, first = AdoptionJobs(lab), primaries["postgres-0"]
    first.fence(fenced=False)
    done = jobs.dump("postgres-0")
    assert (done.returncode, "postgres-0.former accepts writes. Fix: ALTER SYSTEM" in done.stderr) == (2, True), (
        done.stderr
    )
    first.fence()
    done = jobs.dump("postgres-0", execute=False)
    assert (done.returncode, "dry run: nothing was written" in done.stderr) == (0, True), done.stderr
    assert "PostgreSQL 15" in done.stderr
    assert not list((jobs.dumps / "postgres-0").iterdir())


def test_the_comparison_names_every_conflict_and_changes_nothing(
    empty: Cluster, dumped: AdoptionJobs, primaries: dict[str, Primary]
) -> None:
    done = dumped.compare(COMPARE)
    assert done.returncode == 0, done.stderr
    report = json.loads((dumped.dumps / "report.json").read_text())
    assert report["chosen"] == "postgres-0"
    tables = report["tables"]
    wallet = tables["public.wallet"]
    assert wallet["postgres-0"]["rows"] == 102
    outcome = {reason: each["keys"] for reason, each in wallet["postgres-1"]["outcome"].items() if reason != "the same"}
    assert outcome == {
        "the chosen instance has another row with its key": ["(101)"],
        "another instance has another row with its key": ["(203)"],
        "another row has its values in the unique index wallet_owner": ["(201)", "(202)"],
        "only there": ["(200)", "(204)"],
    }
    assert wallet["postgres-1"]["outcome"]["the same"]["rows"] == 100
    transfer = {reason: each["keys"] for reason, each in tables["public.transfer"]["postgres-1"]["outcome"].items()}
    assert transfer["it refers to a row of public.wallet that stays beside"] == ["(1002)", "(1004)"]
    assert transfer["only there"] == ["(1001)", "(1003)", "(1005)"]
    category = {reason: each["keys"] for reason, each in tables["public.category"]["postgres-1"]["outcome"].items()}
    assert category["only there"] == ["(10)", "(11)"], "a circle of rows that refer to each other is whole"
    assert category["it refers to a row of public.category that stays beside"] == ["(12)"]
    assert tables["public.event"]["postgres-1"]["outcome"]["only there"]["rows"] == 1
    assert tables["public.legacy"]["postgres-2"]["outcome"] == {
        "the chosen instance has no such table": {"rows": 2, "keys": None}
    }
    assert tables["public.setting"]["postgres-1"]["outcome"] == {
        "columns differ: scope is text and here missing": {"rows": 2, "keys": None}
    }
    assert "CONFLICT, the chosen instance has another row with its key: 1, (101)" in done.stdout
    assert "postgres-2: " in done.stdout.splitlines()[-1]
    assert empty.admin(0, "select count(*) from pg_tables where schemaname in ('public', 'adopted')") == "0"
    assert not list((dumped.dumps / "merged").iterdir())


def test_a_move_loses_no_row_and_takes_what_conflicts_with_nothing(
    empty: Cluster, dumped: AdoptionJobs, primaries: dict[str, Primary]
) -> None:
    dry = dumped.compare(replace(MOVE, take_rows=True))
    assert (dry.returncode, "dry run: nothing was changed" in dry.stderr) == (0, True), dry.stderr
    assert empty.admin(0, "select count(*) from pg_tables where schemaname in ('public', 'adopted')") == "0"

    move = replace(MOVE, take_rows=True, execute=True)
    done = dumped.compare(move)
    assert done.returncode == 0, done.stderr
    assert lost(empty, primaries) == []
    chosen = primaries["postgres-0"]
    for table in TABLES:
        assert not set(rows(chosen, table)) - set(live_rows(empty, table))
    assert (
        empty.admin(0, "select string_agg(id::text, ' ' order by id) from wallet where id > 100")
        == "101 102 200 204 300"
    )
    assert empty.admin(0, "select owner from wallet where id = 101") == "here alone"
    assert (
        empty.admin(0, "select string_agg(id::text, ' ' order by id) from transfer where id > 100") == "1001 1003 1005"
    )
    assert empty.admin(0, "select count(*) from event where said = 'repeated'") == "3"
    assert empty.admin(0, "select value, document from event where said = 'once'") == "NaN|[1,  2]"
    assert beside(empty, "source, key", "table_name = 'public.wallet'") == [
        "postgres-1|(101)", "postgres-1|(201)", "postgres-1|(202)", "postgres-1|(203)",
        "postgres-2|(203)", "postgres-2|(301)",
    ]  # fmt: skip
    assert empty.admin(0, "select (content::public.wallet).owner from adopted.rows where key = '(201)'") == "taken NAME"

    # Numbers that were given out anywhere are not given out again.
    assert (
        empty.client(
            0, "application", "insert into transfer (wallet, amount) values (300, 1) returning id", asker=0
        ).stdout
        == "1007\n"
    )
    empty.admin(0, "drop trigger refuse on wallet")
    assert (
        empty.client(0, "application", "insert into wallet (owner) values ('new') returning id", asker=0).stdout
        == "5001\n"
    )
    assert empty.admin(0, "select nextval('audit.log_id_seq')") == "22"

    again = dumped.compare(replace(move, execute=True))
    assert again.returncode == 2
    assert "the live database holds rows" in again.stderr


def test_a_second_run_changes_nothing(empty: Cluster, dumped: AdoptionJobs, primaries: dict[str, Primary]) -> None:
    move = replace(MOVE, execute=True)
    assert dumped.compare(move).returncode == 0
    assert lost(empty, primaries) == []
    assert live_rows(empty, "wallet") == rows(primaries["postgres-0"], "wallet"), "no row is taken without the word"
    ask = "select xmin, ctid from adopted.rows union all select xmin, ctid from wallet"
    before = empty.admin(0, ask)
    done = dumped.compare(move)
    assert (done.returncode, "as recorded already: nothing to restore" in done.stderr) == (0, True), done.stderr
    assert empty.admin(0, ask) == before


def test_a_move_that_is_killed_leaves_the_live_database_as_it_was(empty: Cluster, dumped: AdoptionJobs) -> None:
    move = replace(MOVE, take_rows=True, execute=True)
    # A lock that the restore has to wait for, so that it is killed in its transaction.
    assert empty.client(0, "owner", "create table blocked (id int)", asker=0).returncode == 0
    pod = empty.lab.pods["postgres-0"]
    pod.start(
        *("blocker", "psql", "-Xq", "-h", "/var/run/postgresql", "-U", "gx_admin", "gx_protocol"),
        *("-c", "begin; lock table blocked in access share mode; select pg_sleep(600)"),
    )
    waiting = "select count(*) from pg_stat_activity where usename = 'gx_owner' and wait_event_type = 'Lock'"
    dumped.comparing(move).start("adoption", "sh", "/etc/backups/adopt-compare.sh")
    empty.lab.wait("the restore is in its transaction", lambda: empty.admin(0, waiting) == "1", timeout=120)
    empty.lab.kill("adoption")
    # As the server does by itself when it misses the keepalives of a client, after a minute and a half.
    empty.admin(0, "select pg_terminate_backend(pid) from pg_stat_activity where usename = 'gx_owner'")
    empty.admin(0, "select pg_terminate_backend(pid) from pg_stat_activity where wait_event = 'PgSleep'")
    tables = "select string_agg(tablename, ' ') from pg_tables where schemaname in ('public', 'adopted')"
    empty.await_answer(0, "select count(*) from pg_stat_activity where usename = 'gx_owner'", "0")
    assert empty.admin(0, tables) == "blocked"
    done = dumped.compare(move)
    assert done.returncode == 0, done.stderr


def test_a_row_that_got_lost_on_the_way_stops_everything(empty: Cluster, dumped: AdoptionJobs) -> None:
    """The count at the end does not trust what comes before it."""
    pod = dumped.comparing(replace(MOVE, execute=True))
    script = empty.lab.scratch / "adoption-scripts/adopt-merge.sql"
    text = script.read_text()
    assert "CALL stage.move_sequences();" in text
    script.write_text(text.replace("CALL stage.move_sequences();", "DELETE FROM adopted.rows WHERE key = '(201)';"))
    done = pod.run("sh", "/etc/backups/adopt-compare.sh", timeout=120)
    script.write_text(text)
    assert done.returncode == 1
    assert "1 rows of public.wallet of postgres-1 are neither in the table nor in adopted.rows" in done.stderr
    assert empty.admin(0, "select count(*) from pg_tables where schemaname in ('public', 'adopted')") == "0"


def test_what_cannot_be_right_is_refused(empty: Cluster, dumped: AdoptionJobs) -> None:
    system = dumped.dumps / "postgres-1/system"
    right = system.read_text()
    system.write_text((dumped.dumps / "postgres-0/system").read_text())
    done = dumped.compare(COMPARE)
    system.write_text(right)
    assert (done.returncode, "is the same database as" in done.stderr) == (2, True), done.stderr

    dump = next((dumped.dumps / "postgres-2").glob("*Z")) / "database.dump"
    whole = dump.read_bytes()
    dump.write_bytes(whole[:-100])
    done = dumped.compare(COMPARE)
    dump.write_bytes(whole)
    assert (done.returncode, "it is damaged" in done.stderr) == (1, True), done.stderr
