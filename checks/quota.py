"""Fit, first part: the namespace's quota holds the steady state, every overlap of jobs and a step of every roll-out."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from checks.findings import Finding, Severity
from checks.schedule import overlapping
from checks.workloads import Kind, Workload, millicores, whole_bytes, workloads
from settings.model import Quota, Settings
from settings.problems import shown


@dataclass(frozen=True, kw_only=True)
class Dimension:
    """One number of the ResourceQuota: where it stands, and how much of it a pod takes."""

    path: str
    quantity: str
    hard: int
    of_a_pod: Callable[[Workload], int]
    written: Callable[[int], str]


def dimensions(quota: Quota) -> tuple[Dimension, ...]:
    """What the quota limits and pods use."""

    def sized(kind: str, field: str) -> Dimension:
        quantity: str = getattr(getattr(quota, kind), field)
        return Dimension(
            path=f"quota.{kind}.{field}",
            quantity=quantity,
            hard=millicores(quantity) if field == "cpu" else whole_bytes(quantity),
            of_a_pod=lambda workload: int(getattr(getattr(workload, kind), field)),
            written=cores if field == "cpu" else mebibytes,
        )

    pods = Dimension(path="quota.pods", quantity=str(quota.pods), hard=quota.pods, of_a_pod=lambda _: 1, written=str)
    return (*(sized(kind, field) for kind in ("requests", "limits") for field in ("cpu", "memory")), pods)


@dataclass(frozen=True, kw_only=True)
class Headroom:
    """One row of the report's quota table, in the dimension's own unit.

    ``peak`` is the steady state and the largest set of jobs that can run at once, named in ``jobs``; ``surge`` is the
    largest pod that a roll-out adds.
    """

    dimension: Dimension
    steady: int
    peak: int
    jobs: frozenset[str]
    surge: int

    @property
    def free(self) -> int:
        """What is left at the peak."""
        return self.dimension.hard - self.peak


def headroom(quota: Quota, every: Sequence[Workload]) -> tuple[Headroom, ...]:
    """The quota table of a stack."""
    lasting = [each for each in every if each.lasting]
    jobs = {each.name: each for each in every if not each.lasting}
    sets = tuple(overlapping(jobs.values())) or (frozenset[str](),)
    rows = []
    for dimension in dimensions(quota):
        steady = sum(dimension.of_a_pod(each) * each.replicas for each in lasting)
        extra, together = max(
            ((sum(dimension.of_a_pod(jobs[name]) * jobs[name].replicas for name in names), names) for names in sets),
            key=lambda pair: (pair[0], sorted(pair[1])),
        )
        surge = max((dimension.of_a_pod(each) * each.max_surge for each in lasting), default=0)
        rows.append(Headroom(dimension=dimension, steady=steady, peak=steady + extra, jobs=together, surge=surge))
    return tuple(rows)


def find(settings: Settings) -> Iterator[Finding]:
    """What the quota does not hold."""
    every = workloads(settings)
    for row in headroom(settings.quota, every):
        if row.free < 0:
            yield _too_small(row, every)
        else:
            yield from _roll_out(row, every)
    yield from _volumes(settings.quota, every)


def _too_small(row: Headroom, every: Sequence[Workload]) -> Finding:
    dimension = row.dimension
    jobs = f" and the jobs {', '.join(sorted(row.jobs))}" if row.jobs else ""
    return Finding(
        name="fit-quota",
        severity=Severity.REFUSE,
        acceptable=False,
        path=dimension.path,
        problem=f"too small: the pods{jobs} need {dimension.written(row.peak)}",
        got=shown(dimension.quantity),
        fix=_least_change(dimension, row.peak, every),
    )


def _roll_out(row: Headroom, every: Sequence[Workload]) -> Iterator[Finding]:
    """A workload that may miss no pod cannot take its step without room for one more: it would wait for ever (X-07).

    With max_unavailable 1 an old pod goes first, and what it leaves is enough for the new one once the others are done.
    """
    dimension = row.dimension
    stuck = [
        each
        for each in every
        if each.kind is Kind.DEPLOYMENT
        and each.max_unavailable == 0
        and row.steady + dimension.of_a_pod(each) > dimension.hard
    ]
    if stuck:
        largest = max(stuck, key=dimension.of_a_pod)
        needed = row.steady + dimension.of_a_pod(largest)
        yield Finding(
            name="roll-out-stuck",
            severity=Severity.REFUSE,
            acceptable=False,
            path=dimension.path,
            problem=f"no roll-out of {_names(stuck)} could begin: a surge pod more needs {dimension.written(needed)}",
            got=shown(dimension.quantity),
            fix=_least_change(dimension, needed, every),
        )
    elif row.steady + row.surge > dimension.hard:
        yield Finding(
            name="roll-out-without-surge",
            severity=Severity.REPORT,
            resilience=True,
            path=dimension.path,
            problem=f"no room for a surge pod: roll-outs run with a pod less; with one they need "
            f"{dimension.written(row.steady + row.surge)}",
            got=shown(dimension.quantity),
            fix=_least_change(dimension, row.steady + row.surge, every),
        )


def _least_change(dimension: Dimension, needed: int, every: Sequence[Workload]) -> str:
    """Raise the quota to what is needed; or the smallest cut in the replicas of one workload that is enough."""
    excess = needed - dimension.hard
    cuts = []
    for each in every:
        size = dimension.of_a_pod(each)
        fewer = -(-excess // size)
        if each.kind is Kind.DEPLOYMENT and fewer < each.replicas:
            # What is left should still survive the loss of a pod.
            cuts.append(
                (fewer, each.replicas - fewer < 2, size, f"{each.path}.{each.replicas_key} to {each.replicas - fewer}")
            )
    cut = f", or lower {min(cuts)[-1]}" if cuts else ", or lower replicas or sizes"
    return f"raise it to {dimension.written(needed)}{cut}"


@dataclass(frozen=True, kw_only=True)
class Volumes:
    """The volume claims of a stack, their storage in bytes, and the settings that ask for them."""

    claims: int
    storage: int
    paths: tuple[str, ...]


def volumes(every: Sequence[Workload]) -> Volumes:
    """Every instance of a database has its own claims; what else claims has them once (QT-08, X-09)."""
    claims = [
        claim
        for each in every
        for claim in each.claims
        for _ in range(each.replicas if each.kind is Kind.STATEFUL_SET else 1)
    ]
    return Volumes(
        claims=len(claims),
        storage=sum(whole_bytes(claim.storage) for claim in claims),
        paths=tuple(sorted({claim.path for claim in claims})),
    )


def _volumes(quota: Quota, every: Sequence[Workload]) -> Iterator[Finding]:
    found = volumes(every)
    for path, hard, needed, written, fix in (
        ("persistentVolumeClaims", quota.persistent_volume_claims, found.claims, str(found.claims), "at least {0}"),
        (
            "requestsStorage",
            whole_bytes(quota.requests_storage),
            found.storage,
            mebibytes(found.storage),
            f"raise it to {{0}}, or lower {' or '.join(found.paths)}",
        ),
    ):
        if needed > hard:
            got = quota.persistent_volume_claims if path == "persistentVolumeClaims" else quota.requests_storage
            yield Finding(
                name="fit-volumes",
                severity=Severity.REFUSE,
                acceptable=False,
                path=f"quota.{path}",
                problem=f"too small for the {found.claims} volumes of the stack, which need {written}",
                got=shown(got),
                fix=fix.format(written),
            )


def _names(found: Sequence[Workload]) -> str:
    return ", ".join(each.name for each in found)


def cores(value: int) -> str:
    """CPU as a quantity in millicores."""
    return f"{value}m"


def mebibytes(value: int) -> str:
    """Memory or storage as a quantity in Mi, rounded up, or in Gi where that is exact."""
    whole = -(-value // 2**20)
    return f"{whole // 1024}Gi" if whole % 1024 == 0 else f"{whole}Mi"
