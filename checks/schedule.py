"""Which scheduled jobs can run at the same time."""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta

from cronsim import CronSim

from checks.workloads import Workload

# Any day will do: what repeats daily is known after two days, weekly after two weeks, and everything else after a leap
# cycle's worst year.
_START = datetime(2027, 12, 31, tzinfo=UTC)


def overlapping(jobs: Iterable[Workload]) -> Iterator[frozenset[str]]:
    """Every largest set of jobs of which all may run at one moment, by name.

    A run lasts from its time to the deadline after its latest start. A job without a schedule or a deadline may run at
    any time, so it is in every set. No job overlaps itself: the next run waits (``concurrencyPolicy: Forbid``).
    """
    every = tuple(jobs)
    always = frozenset(job.name for job in every if job.schedule is None or job.deadline is None)
    timed = [job for job in every if job.name not in always]
    edges: list[tuple[datetime, int, str]] = []
    for job in timed:
        for start, end in _runs(job, _days(timed)):
            # At one instant, what ends makes room before the next begins.
            edges += [(start, 1, job.name), (end, 0, job.name)]
    running: dict[str, int] = {}
    found: set[frozenset[str]] = set()
    for _, begins, name in sorted(edges):
        if begins:
            running[name] = running.get(name, 0) + 1
            found.add(frozenset(running))
        elif running[name] == 1:
            del running[name]
        else:
            running[name] -= 1
    largest = {each for each in found if not any(each < other for other in found)}
    yield from sorted((each | always for each in largest), key=sorted)
    if not largest and always:
        yield always


def _runs(job: Workload, days: int) -> Iterator[tuple[datetime, datetime]]:
    if job.schedule is None or job.deadline is None:
        return
    longest = timedelta(seconds=job.start_within + job.deadline)
    for start in CronSim(job.schedule, _START):
        if start > _START + timedelta(days=days) + longest:
            return
        yield start, start + longest


def _days(jobs: Iterable[Workload]) -> int:
    tails = {tuple((job.schedule or "").split()[2:]) for job in jobs}
    if all(tail == ("*", "*", "*") for tail in tails):
        return 2
    return 14 if all(tail[:2] == ("*", "*") for tail in tails) else 366
