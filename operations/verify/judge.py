"""The checklist: one row for each of its 22 items, in its order."""

from collections.abc import Callable, Iterator
from itertools import chain

from operations.preflight.rows import Row
from operations.verify import answers, objects
from operations.verify.observed import Observed
from settings.model import Settings

Check = Callable[[Settings, Observed], Iterator[Row]]
"""A pure function that answers with exactly one row."""

CHECKS: tuple[Check, ...] = (
    objects.capacity,
    objects.labels,
    objects.namespace,
    objects.secrets,
    objects.config_maps,
    objects.postgres,
    objects.volumes,
    objects.redis,
    objects.running,
    answers.database,
    answers.migrations,
    answers.seed,
    answers.schema,
    objects.workers,
    objects.services,
    objects.gateway,
    objects.ingress,
    objects.healthy,
    answers.metrics,
    answers.logs,
    answers.endpoints,
    answers.fabric,
)


def judge(settings: Settings, observed: Observed) -> tuple[Row, ...]:
    """Every row, in the order of the items CHK-01 to CHK-22."""
    return tuple(chain.from_iterable(check(settings, observed) for check in CHECKS))
