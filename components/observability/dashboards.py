"""Grafana's dashboards of one stack, from the files in ``dashboards/``. Pure: no Pulumi.

A file says what is asked and how it is called; where a panel stands and how it looks is decided here, alike for all.
``@name`` and ``when`` are those of the rules (``rules.values_of``, ``rules.facts_of``). The JSON keeps to Grafana's
published schema.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from components import documents
from components.observability.rules import Text, facts_of, values_of
from settings.model import Observability, Settings

# What a stack must have for a dashboard.
NAMES = {"overview": "always", "cqrs": "always", "database": "always", "edge": "edge"}
_DIRECTORY = Path(__file__).parent / "dashboards"
# Grafana's grid has 24 columns; heights are in its units of 30 pixels.
_COLUMNS, _WIDTH, _HEIGHT = 24, 8, 8
_SOURCE = {"type": "prometheus", "uid": "${datasource}"}
_SCHEMA_VERSION = 39


def files(settings: Settings, observability: Observability) -> dict[str, str]:
    """Every dashboard of a stack as JSON, by its name; one without anything to show is left out."""
    found = {name: dashboard(settings, observability, name) for name in NAMES}
    return {name: json.dumps(content, separators=(",", ":")) for name, content in found.items() if content is not None}


def dashboard(settings: Settings, observability: Observability, name: str) -> dict[str, Any] | None:
    """One dashboard; None when the stack has nothing that it would show."""
    has, environment = facts_of(settings, observability), settings.environment.name
    if not has[NAMES[name]]:
        return None
    text = (_DIRECTORY / f"{name}.yaml").read_text(encoding="utf-8")
    source = documents.read(Text(text).substitute(values_of(settings), environment=environment))
    rows = [
        (row["title"], [panel for panel in row["panels"] if has[panel.get("when", "always")]])
        for row in source["rows"]
        if has[row.get("when", "always")]
    ]
    return {
        "uid": f"{settings.environment.namespace}-{name}",
        "title": f"{source['title']} ({environment})",
        "description": f"Of {settings.environment.namespace}. Changed in its repository: an edit here is lost.",
        "tags": ["backend", environment],
        "timezone": "utc",
        "editable": False,
        "graphTooltip": 1,
        "refresh": "30s",
        "schemaVersion": _SCHEMA_VERSION,
        "time": {"from": "now-6h", "to": "now"},
        "templating": {"list": [{"name": "datasource", "type": "datasource", "query": "prometheus", "hide": 0}]},
        "annotations": {"list": []},
        "links": [
            {
                "title": "Backend",
                "type": "dashboards",
                "icon": "external link",
                "tooltip": "",
                "tags": ["backend", environment],
                "asDropdown": True,
                "targetBlank": False,
                "includeVars": True,
                "keepTime": True,
            }
        ],
        "panels": list(_placed(rows)),
    }


def _placed(rows: list[tuple[str, list[Mapping[str, Any]]]]) -> Iterator[dict[str, Any]]:
    """Rows one below the other, their panels from the left, in a new line where one no longer fits."""
    number, top = 0, 0
    for title, panels in rows:
        number += 1
        at = {"x": 0, "y": top, "w": _COLUMNS, "h": 1}
        yield {"id": number, "type": "row", "title": title, "collapsed": False, "gridPos": at, "panels": []}
        top, left = top + 1, 0
        for panel in panels:
            width = panel.get("width", _WIDTH)
            if left + width > _COLUMNS:
                top, left = top + _HEIGHT, 0
            number += 1
            yield _panel(panel, number, {"x": left, "y": top, "w": width, "h": _HEIGHT})
            left += width
        top += _HEIGHT


def _panel(panel: Mapping[str, Any], number: int, at: Mapping[str, int]) -> dict[str, Any]:
    kind = panel.get("type", "timeseries")
    made = {
        "id": number,
        "type": kind,
        "title": panel["title"],
        "datasource": _SOURCE,
        "gridPos": at,
        "targets": [
            {
                "refId": chr(ord("A") + position),
                "datasource": _SOURCE,
                "expr": query["expr"],
                "legendFormat": query.get("legend", ""),
                "editorMode": "code",
                "range": kind == "timeseries",
                "instant": kind == "stat",
            }
            for position, query in enumerate(panel["queries"])
        ],
        "fieldConfig": {"defaults": _field(panel, kind), "overrides": []},
        "options": _OPTIONS[kind],
    }
    return made | ({"description": panel["description"]} if "description" in panel else {})


def _field(panel: Mapping[str, Any], kind: str) -> dict[str, Any]:
    field: dict[str, Any] = {"unit": panel.get("unit", "short")}
    if "max" in panel:
        field |= {"min": 0, "max": panel["max"]}
    if kind == "timeseries":
        field["custom"] = {"lineWidth": 1, "fillOpacity": 5, "showPoints": "never", "spanNulls": False}
    if "thresholds" in panel:
        # The first step is for everything below the others.
        steps: list[dict[str, Any]] = [{"value": None, "color": "green"}]
        steps += [{"value": value, "color": color} for value, color in panel["thresholds"].items()]
        field["thresholds"] = {"mode": "absolute", "steps": steps}
        if kind == "timeseries":
            field["custom"]["thresholdsStyle"] = {"mode": "line"}
    return field


_OPTIONS: Mapping[str, Mapping[str, Any]] = {
    "timeseries": {
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []},
        "tooltip": {"mode": "multi", "sort": "desc"},
    },
    "stat": {
        "graphMode": "none",
        "colorMode": "value",
        "justifyMode": "auto",
        "textMode": "auto",
        "wideLayout": True,
        "showPercentChange": False,
        "percentChangeColorMode": "standard",
        "orientation": "auto",
        "reduceOptions": {"values": False, "calcs": ["lastNotNull"], "fields": ""},
    },
}
