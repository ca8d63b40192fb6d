"""The queries of the dashboards' panels, as a Prometheus is asked them."""

import json
from collections.abc import Iterator

from components.observability import dashboards
from settings.model import Settings
from tests.promql import metric_names

# In place of what Grafana chooses by the width of the panel.
WINDOW = "1m"


def queries(settings: Settings) -> Iterator[tuple[str, str]]:
    """Title of the panel and expression of every query of a stack's dashboards."""
    assert settings.observability is not None
    for text in dashboards.files(settings, settings.observability).values():
        for panel in json.loads(text)["panels"]:
            for target in panel.get("targets", []):
                yield panel["title"], target["expr"].replace("$__rate_interval", WINDOW)


def of(settings: Settings, metrics: frozenset[str]) -> dict[str, str]:
    """The expressions that read nothing but these metrics, with their panels' titles."""
    return {expression: title for title, expression in queries(settings) if metric_names(expression) <= metrics}
