"""Faults of the Redis master under writers: what is lost stays within the stated window (decision 31)."""

import itertools
import os
import random
from collections.abc import Iterator

import pytest

from tests.services.pods import Lab
from tests.services.redis_rig import (
    BALLAST,
    BEFORE_SECONDS,
    FAULTS,
    HEAD,
    NAMES,
    WINDOW_SECONDS,
    Fault,
    Outcome,
    Rig,
    Writer,
    now,
    small_disks,
)

COUNT = int(os.environ.get("GX_REDIS_FAULTS", "2"))
"""Faults to strike masters with: of each kind in turn. Set `GX_REDIS_FAULTS` for a long run."""
KINDS = list(itertools.islice(itertools.cycle(FAULTS), COUNT))
SEED = 20261126


@pytest.fixture(scope="module")
def outcomes() -> Iterator[list[Outcome]]:
    """What each fault did; printed as a table at the end."""
    found: list[Outcome] = []
    yield found
    print("\n".join([HEAD, *(each.row() for each in found)]))


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    scratch = tmp_path_factory.mktemp("faults")
    with small_disks(scratch, range(3)), Lab(scratch, NAMES) as lab:
        rig = Rig(lab)
        rig.start()
        yield rig


class Struck:
    """A fault of the master under its writers, from the calm before it to the calm after it."""

    def __init__(self, rig: Rig, fault: Fault) -> None:
        self.rig, self.fault = rig, fault
        rig.await_calm()
        self.old = rig.cluster.the_master()
        self.run = rig.run_of(self.old)
        # Another master is elected after the first moment, and before the second.
        self.unelected = 0.0
        self.elected: float | None = None
        self.through, self.by_sentinels = rig.writer("through"), rig.writer("sentinels")
        self.beside = rig.writer(f"redis-{self.old}") if fault.lives else None
        for writer in self.writers:
            rig.await_writes(writer, 0)

    @property
    def writers(self) -> list[Writer]:
        """Every writer of the fault."""
        return [writer for writer in (self.through, self.by_sentinels, self.beside) if writer is not None]

    def strike(self) -> None:
        """Strike, and wait until clients can write again or are told why not."""
        self.begun = now()
        self.fault.strike(self.rig, self.old)
        self.struck = now()
        if self.fault.passes:
            for writer in (self.through, self.by_sentinels):
                self.rig.await_writes(writer, self.struck, but=self.run, meanwhile=self._look)
        if self.fault.refusal:
            told = self.beside
            assert told is not None
            self.rig.lab.wait(
                f"{told.name} is told {self.fault.refusal}",
                lambda: told.refused(self.struck, self.fault.refusal),
                timeout=60,
            )

    def heal(self) -> None:
        """Heal, and wait until there is one master that clients write to, and every other instance follows it."""
        self.healing = now()
        self.fault.heal(self.rig, self.old)
        self.healed = now()
        self.rig.cluster.await_replicated()
        calm = now()
        master = self.rig.run_of(self.rig.cluster.the_master())
        for writer in (self.through, self.by_sentinels):
            assert self.rig.await_writes(writer, calm).run == master
        for writer in self.writers:
            writer.stop()

    def outcome(self) -> Outcome:
        """What came of it, as the writers and the instances have it now."""
        since = self.struck if self.fault.passes else self.healed
        but = self.run if self.fault.passes else ""
        first = [
            next(write.at for write in writer.acknowledged() if write.at > since and write.run != but) - self.begun
            for writer in (self.through, self.by_sentinels)
        ]
        of_old = [write.at for writer in self.writers for write in writer.acknowledged() if write.run == self.run]
        return Outcome(
            fault=self.fault.name,
            elected=None if self.elected is None else self.elected - self.begun,
            first=first[0],
            by_sentinels=first[1],
            last=max(at for at in of_old if at < self.healing) - self.begun,
            acknowledged=sum(len(writer.acknowledged()) for writer in self.writers),
            lost=tuple(sorted(at - self.begun for at, _ in self.lost())),
        )

    def lost(self) -> list[tuple[float, str]]:
        """When each acknowledged write that the master does not have was acknowledged, and by which run."""
        master = self.rig.cluster.the_master()
        lost = []
        for writer in self.writers:
            held = self.rig.held(master, writer.name)
            lost += [(write.at, write.run) for write in writer.acknowledged() if write.number not in held]
        return lost

    def within(self, at: float) -> bool:
        """Whether a moment lies in the stated window: from shortly before the fault to the last write it may allow.

        A server that hung is cut off once more as it wakes up.
        """
        edges = [self.cut_off()]
        if self.fault.name == "hang":
            edges.append((self.healing, self.healed))
        return any(begun - BEFORE_SECONDS <= at <= struck + WINDOW_SECONDS for begun, struck in edges)

    def cut_off(self) -> tuple[float, float]:
        """The moments between which the old master lost its replicas."""
        if self.fault.replicated and self.elected is not None:
            return self.unelected, self.elected
        return self.begun, self.struck

    def late(self) -> list[float]:
        """What the old master still acknowledged after the window while it was cut off, in seconds after the fault."""
        writes = [write for writer in self.writers for write in writer.acknowledged()]
        last = self.cut_off()[1] + WINDOW_SECONDS
        return [write.at - self.struck for write in writes if write.run == self.run and last < write.at < self.healing]

    def _look(self) -> None:
        if self.elected is not None:
            return
        asked = now()
        others = [ordinal for ordinal in self.rig.cluster.members if ordinal != self.old]
        if any(self.rig.cluster.role(ordinal)[0] == "master" for ordinal in others):
            self.elected = now()
        else:
            self.unelected = asked


@pytest.mark.parametrize(
    "number", [pytest.param(number, id=f"{number}-{fault.name}") for number, fault in enumerate(KINDS)]
)
def test_a_fault_of_the_master_costs_no_more_than_the_stated_window(
    rig: Rig, outcomes: list[Outcome], number: int
) -> None:
    fault = KINDS[number]
    chance = random.Random(SEED + number)  # noqa: S311 - a repeatable choice
    struck = Struck(rig, fault)
    rig.await_writes(struck.through, now(), count=chance.randrange(1, 200))
    struck.strike()
    struck.heal()
    outcome = struck.outcome()
    outcomes.append(outcome)
    print(outcome.row())

    lost = struck.lost()
    assert {run for _, run in lost} <= {struck.run}, "what another run acknowledged is lost"
    assert [at - struck.begun for at, _ in lost if not struck.within(at)] == []
    assert struck.late() == []
    master = rig.cluster.the_master()
    assert rig.ballast(master) == BALLAST
    wanted = {writer.name: rig.held(master, writer.name) for writer in struck.writers}

    def alike(ordinal: int) -> bool:
        try:
            return rig.ballast(ordinal) == BALLAST and all(rig.held(ordinal, name) == wanted[name] for name in wanted)
        except ValueError:  # it loads what the master has
            return False

    rig.lab.wait("every instance has what the master has", lambda: all(map(alike, rig.cluster.members)))


def test_the_rig_notices_a_master_that_goes_on_writing_without_replicas(rig: Rig) -> None:
    """Without `min-replicas-to-write`: the rig that finds no late write above has to find these."""
    partition = FAULTS[0]
    struck = Struck(rig, partition)
    rig.cluster.guard(0)
    try:
        struck.begun = now()
        partition.strike(rig, struck.old)
        struck.struck = now()
        assert struck.beside is not None
        rig.await_writes(struck.through, struck.struck, but=struck.run)
        rig.await_writes(struck.beside, struck.struck + WINDOW_SECONDS + 1)
        struck.heal()
    finally:
        rig.lab.pods[f"redis-{struck.old}"].rejoin()
        rig.cluster.guard(1)
    assert struck.late()
    assert [at for at, _ in struck.lost() if not struck.within(at)]
