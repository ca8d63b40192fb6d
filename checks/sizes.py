"""Sizes of single containers: what admission would refuse one by one (QT-05, X-06, X-08)."""

from collections.abc import Iterator

from checks.findings import Finding, Severity
from checks.workloads import Container, workloads
from settings.model import Settings
from settings.problems import shown
from settings.types import amount

FIELDS = ("cpu", "memory")


def find(settings: Settings) -> Iterator[Finding]:
    """Containers above their own limit, or outside the LimitRange. Every container states both (X-06)."""
    seen: set[tuple[str, str]] = set()
    for workload in workloads(settings):
        for container in workload.containers:
            # Two containers may share one size in the stack file; it is told once.
            key = (container.path, container.requests_key)
            if key not in seen:
                seen.add(key)
                yield from _of(container, settings)


def _of(container: Container, settings: Settings) -> Iterator[Finding]:
    allowed = settings.container_limits
    for field in FIELDS:
        request, limit = getattr(container.requests, field), getattr(container.limits, field)
        smallest, largest = getattr(allowed.min, field), getattr(allowed.max, field)
        requests_path = f"{container.path}.{container.requests_key}.{field}"
        limits_path = f"{container.path}.{container.limits_key}.{field}"
        if amount(request) > amount(limit):
            fix = f"lower it, or raise {container.limits_key}.{field}"
            yield _refused(requests_path, f"above its limit of {limit}", request, fix)
        if amount(request) < amount(smallest):
            problem = f"below containerLimits.min.{field}, {smallest}"
            yield _refused(requests_path, problem, request, f"at least {smallest}")
        if amount(limit) > amount(largest):
            problem = f"above containerLimits.max.{field}, {largest}"
            yield _refused(limits_path, problem, limit, f"at most {largest}")


def _refused(path: str, problem: str, got: str, fix: str) -> Finding:
    return Finding(
        name="size",
        severity=Severity.REFUSE,
        acceptable=False,
        path=path,
        problem=problem,
        got=shown(got),
        fix=fix,
    )
