"""The queries of the dashboards' panels, as a Prometheus is asked them."""

import json
from collections.abc import Iterable, Iterator

from components.observability import dashboards
from settings.model import Settings
from tests.promql import metric_names

# In place of what Grafana chooses by the width of the panel.
WINDOW = "1m"


def queries(settings: Settings) -> Iterator[tuple[str, str]]:
    """Title of the panel and expression of every query of a stack's dashboards."""
    assert settings.observability is not None
    return of_dashboards(dashboards.files(settings, settings.observability).values())


def of_dashboards(texts: Iterable[str], window: str = WINDOW) -> Iterator[tuple[str, str]]:
    """The same of dashboards as JSON."""
    for text in texts:
        for panel in json.loads(text)["panels"]:
            for target in panel.get("targets", []):
                yield panel["title"], target["expr"].replace("$__rate_interval", window)


def of(settings: Settings, metrics: frozenset[str]) -> dict[str, str]:
    """The expressions that read nothing but these metrics, with their panels' titles."""
    return {expression: title for title, expression in queries(settings) if metric_names(expression) <= metrics}
