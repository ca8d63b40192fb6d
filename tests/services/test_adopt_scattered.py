"""Whatever way rows are scattered over three real primaries, each ends where a plain reading of the rules puts it."""

from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.services.former_primaries import ADDRESSES as FORMER_ADDRESSES
from tests.services.former_primaries import MOVE, NAMES, AdoptionJobs, Primary
from tests.services.pods import Lab
from tests.services.test_postgres_scripts import ADDRESSES, Cluster

SCHEMA = """
create table account (id int primary key, name text unique, note text);
create table entry (id int primary key, account int references account, note text);
create table mark (said text);
"""


class Row(NamedTuple):
    """A row of account, where ``value`` is a name that must be unique, or of entry, where it is an account's id."""

    value: str | int | None
    note: str


class Content(NamedTuple):
    """What one instance holds: rows by their primary keys, and a table without one."""

    account: dict[int, Row]
    entry: dict[int, Row]
    mark: list[str]


@st.composite
def contents(draw: st.DrawFn) -> Content:
    notes = st.sampled_from(["", "x"])
    names = draw(st.lists(st.sampled_from("abcdefgh"), unique=True, min_size=3, max_size=6))
    ids = draw(st.lists(st.integers(1, 9), unique=True, min_size=len(names), max_size=len(names)))
    account = {id_: Row(name, draw(notes)) for id_, name in zip(ids, names, strict=True)}
    owners = st.sampled_from([None, *account])
    entry = draw(st.dictionaries(st.integers(1, 9), st.builds(Row, owners, notes), min_size=3, max_size=6))
    return Content(account, entry, draw(st.lists(st.sampled_from("pqr"), max_size=4)))


Beside = set[tuple[int, str, int]]


def beside(instances: list[Content]) -> Beside:
    """Rows of the other instances, by their instance, table and key, that must not be taken."""
    chosen, others = instances[0], instances[1:]
    kept: Beside = set()

    def rows(table: str) -> Iterator[tuple[int, int, Row]]:
        for source, other in enumerate(others, start=1):
            for key, row in getattr(other, table).items():
                if getattr(chosen, table).get(key) != row:
                    yield source, key, row

    for table in ("account", "entry"):
        for source, key, row in rows(table):
            elsewhere = [found for other, k, found in rows(table) if k == key and other != source]
            if key in getattr(chosen, table) or any(found != row for found in elsewhere):
                kept.add((source, table, key))
    taken = [(source, key, row) for source, key, row in rows("account") if (source, "account", key) not in kept]
    names = {row.value for row in chosen.account.values()}
    for source, key, row in taken:
        if row.value in names or any(row.value == found.value and key != k for _, k, found in taken):
            kept.add((source, "account", key))
    size = -1
    while size != len(kept):
        size = len(kept)
        for source, key, row in rows("entry"):
            if (source, "account", row.value) in kept:
                kept |= {(other, "entry", key) for other, k, _ in rows("entry") if k == key}
    return kept


def literal(value: object) -> str:
    return "null" if value is None else f"'{value}'"


def inserts(content: Content) -> str:
    lines = ["truncate account, entry, mark"]
    for table in ("account", "entry"):
        for key, row in getattr(content, table).items():
            lines.append(f"insert into {table} values ({key}, {literal(row.value)}, {literal(row.note)})")  # noqa: S608
    lines += [f"insert into mark values ({literal(said)})" for said in content.mark]  # noqa: S608
    return "; ".join(lines)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    names = ADDRESSES | {"postgres-primary": 10} | FORMER_ADDRESSES
    with Lab(tmp_path_factory.mktemp("scattered"), names) as lab:
        yield lab


@pytest.fixture(scope="module")
def live(lab: Lab) -> Cluster:
    cluster = Cluster(lab, members=1)
    cluster.start(0)
    cluster.await_says(0, "primary: slots and passwords are as the settings say")
    return cluster


@pytest.fixture(scope="module")
def primaries(lab: Lab) -> list[Primary]:
    found = [Primary(lab, number) for number in range(len(NAMES))]
    for primary in found:
        primary.start()
        primary.sql(SCHEMA)
        primary.fence()
    return found


@settings(max_examples=4, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
@given(instances=st.lists(contents(), min_size=3, max_size=3))
def test_every_row_goes_where_the_rules_put_it(
    live: Cluster, primaries: list[Primary], instances: list[Content]
) -> None:
    jobs = AdoptionJobs(live.lab)
    assert live.client(0, "owner", "drop owned by current_user cascade", asker=0).returncode == 0
    for primary, name, content in zip(primaries, NAMES, instances, strict=True):
        primary.sql(inserts(content))
        assert jobs.dump(name).returncode == 0
    done = jobs.compare(replace(MOVE, take_rows=True, execute=True))
    assert done.returncode == 0, done.stderr

    kept = beside(instances)
    for table in ("account", "entry"):
        expected: dict[int, Row] = {}
        for source, content in reversed(list(enumerate(instances))):
            expected |= {k: row for k, row in getattr(content, table).items() if (source, table, k) not in kept}
        wanted = sorted(f"{key}|{'' if row.value is None else row.value}|{row.note}" for key, row in expected.items())
        assert sorted(live.admin(0, f"select * from {table}").splitlines()) == wanted  # noqa: S608
    ask = "select right(source, 1), split_part(table_name, '.', 2), trim(key, '()') from adopted.rows order by 1, 2, 3"
    lines = [f"{source}|{table}|{key}" for source, table, key in sorted(kept)]
    assert live.admin(0, ask).splitlines() == sorted(lines)
    marks = {said: max(content.mark.count(said) for content in instances) for said in "pqr"}
    said = sorted(mark for mark, count in marks.items() for _ in range(count))
    assert sorted(live.admin(0, "select said from mark").splitlines()) == said
