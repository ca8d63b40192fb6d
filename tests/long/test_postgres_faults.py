"""Primaries of the deployed stack that die in every way, replaced by one line and `pulumi up` while clients write.

What is counted: commits that the quorum acknowledged and no instance has (none), two primaries that acknowledge such
commits at once (never), and, apart, what commits without the quorum lose.
"""

import itertools
import os
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import pytest

from tests.engine.databases import Databases
from tests.engine.stack import Stack, awaited, kubectl
from tests.long.faults import FAULTS, LOCAL, QUORUM, Acknowledged, Writers, now

COUNT = int(os.environ.get("GX_POSTGRES_FAULTS", str(len(FAULTS))))
"""Faults to go through; every kind in turn, in an order and on targets of a seed."""
SEED = int(os.environ.get("GX_POSTGRES_FAULTS_SEED", "1"))
FIRST_WRITE_GOAL, SWITCHOVER_GOAL, REDUNDANCY_GOAL = 10, 20, 60
TOO_LATE = 3
"""Times a goal in seconds that fail the test: machines are shared."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What a ledger says about acknowledgements: rows that are gone, by durability, and instances that took turns."""

    lost: dict[str, set[str]]
    turns: list[str]

    @property
    def two_at_once(self) -> bool:
        """Whether an instance acknowledged again after another one had."""
        return len(self.turns) != len(set(self.turns))


def judge(acknowledged: Sequence[Acknowledged], kept: set[str]) -> Verdict:
    """Compare what was acknowledged, in order of time, with the rows that are there."""
    lost = {
        durability: {each.row for each in acknowledged if each.durability == durability and each.row not in kept}
        for durability in (QUORUM, LOCAL)
    }
    turns = [by for by, _ in itertools.groupby(each.by for each in acknowledged if each.durability == QUORUM)]
    return Verdict(lost=lost, turns=turns)


def has_all_of_the_quorum(databases: Databases, ordinal: int, acknowledged: Sequence[Acknowledged]) -> bool:
    """Whether an instance has every row that the quorum acknowledged."""
    return not judge(acknowledged, databases.rows(ordinal)).lost[QUORUM]


@pytest.fixture
def databases(mainnet: Stack) -> Iterator[Databases]:
    """Mainnet's databases with an empty ledger, and their committed primary at the end."""
    found = Databases(mainnet)
    awaited("there is redundancy", lambda: found.redundant(0))
    awaited("every instance has read which one is the primary", lambda: found.told(0))
    found.ask(0, "drop schema if exists faults cascade", "gx_protocol")
    found.ask(
        0,
        "create schema faults authorization gx_owner; set role gx_owner;"
        "create table faults.ledger (writer text, number int, primary key (writer, number))",
        "gx_protocol",
    )
    yield found
    mainnet.up().ok()
    awaited("the redundancy is back", lambda: found.redundant(0))
    found.ask(0, "drop schema faults cascade", "gx_protocol")


@pytest.fixture
def writers(databases: Databases) -> Iterator[Writers]:
    """Clients that write all the while."""
    found = Writers(databases)
    found.start()
    found.await_rows(5, by=0, since=0)
    yield found
    found.stop()


def job_started(stack: Stack, target: int) -> float:
    """When the Job of the switch to an instance began, in Unix time."""
    started = kubectl(
        "get", "job", "-n", stack.namespace, f"postgres-promote-{target}", "-o", "jsonpath={.status.startTime}"
    )
    return time.mktime(time.strptime(started.strip(), "%Y-%m-%dT%H:%M:%SZ")) - time.timezone


def test_no_commit_that_the_quorum_acknowledged_is_lost_and_never_do_two_primaries_acknowledge(
    mainnet: Stack, databases: Databases, writers: Writers
) -> None:
    luck = random.Random(SEED)  # noqa: S311 - a repeatable choice
    kinds = [kind for _ in range(-(-COUNT // len(FAULTS))) for kind in luck.sample(sorted(FAULTS), len(FAULTS))][:COUNT]
    primary, seen, lost_locally = 0, 0, 0
    for number, kind in enumerate(kinds, 1):
        target = luck.choice([each for each in range(3) if each != primary])
        awaited("there is redundancy", partial(databases.redundant, primary))
        struck = now()
        with FAULTS[kind](databases, primary):
            begun = time.monotonic()
            mainnet.edited("primaryOrdinal: 0", f"primaryOrdinal: {target}").up().ok()
            whole = time.monotonic() - begun
            started = job_started(mainnet, target)
            first = writers.await_rows(10, by=target, since=struck)
        healed = time.monotonic()
        awaited("the redundancy is back", partial(databases.redundant, target))
        redundant = time.monotonic() - healed
        acknowledged = writers.acknowledged()
        for ordinal in range(3):
            awaited(
                f"postgres-{ordinal} has every row that the quorum acknowledged",
                partial(has_all_of_the_quorum, databases, ordinal, acknowledged),
                timeout=30,
            )
        verdict = judge([each for each in acknowledged if each.at > struck], databases.rows(target))
        assert not verdict.two_at_once, verdict.turns
        lost_locally += len(verdict.lost[LOCAL])
        print(
            f"{number:2} {kind:16} postgres-{primary} -> postgres-{target}: first write {first.at - started:4.1f} s"
            f" after the Job's start (goal {FIRST_WRITE_GOAL}), `up` {whole:4.1f} s, redundancy {redundant:4.1f} s"
            f" after healing (goal {REDUNDANCY_GOAL}); acknowledged {len(acknowledged) - seen}, lost of the quorum's 0,"
            f" of local ones {len(verdict.lost[LOCAL])}"
        )
        assert first.at - started < TOO_LATE * FIRST_WRITE_GOAL
        assert redundant < TOO_LATE * REDUNDANCY_GOAL
        primary, seen = target, len(acknowledged)
    print(f"{len(kinds)} faults, {seen} commits acknowledged; lost of the quorum's: 0, of local ones: {lost_locally}")


def test_a_switchover_under_writers_is_soon_over(mainnet: Stack, databases: Databases, writers: Writers) -> None:
    struck = now()
    mainnet.edited("primaryOrdinal: 0", "primaryOrdinal: 2").up().ok()
    first = writers.await_rows(5, by=2, since=struck)
    acknowledged = writers.acknowledged()
    pause = first.at - max(each.at for each in acknowledged if each.by == "postgres-0")
    took = first.at - job_started(mainnet, 2)
    awaited("the redundancy is back", lambda: databases.redundant(2))
    verdict = judge(acknowledged, databases.rows(2))
    assert not verdict.lost[QUORUM]
    assert not verdict.two_at_once, verdict.turns
    print(
        f"switchover: first write {took:.1f} s after the Job's start (goal {SWITCHOVER_GOAL}),"
        f" no writes for {pause:.1f} s"
    )
    assert took < TOO_LATE * SWITCHOVER_GOAL


def test_the_rig_finds_what_three_independent_primaries_lose(databases: Databases, writers: Writers) -> None:
    """The source document's design: every instance accepts writes, and the Service shows one of them."""
    for ordinal in range(3):
        databases.ask(ordinal, "alter system set synchronous_standby_names = ''")
        databases.ask(ordinal, "select pg_reload_conf()")
    try:
        since = now()
        for ordinal in (1, 2):
            databases.ask(ordinal, "select pg_promote()")
        awaited(
            "all three acknowledge", lambda: len({each.by for each in writers.acknowledged() if each.at > since}) == 3
        )
        awaited("they take turns", lambda: judge(writers.acknowledged(), set()).two_at_once)
        assert judge(writers.acknowledged(), databases.rows(0)).lost[QUORUM]
    finally:
        databases.ask(0, "alter system reset synchronous_standby_names")
        databases.ask(0, "select pg_reload_conf()")
        # Their own histories are nobody's any more: both are cloned anew.
        databases.lose_volumes(1, 2)
        awaited("the redundancy is back", lambda: databases.redundant(0))
