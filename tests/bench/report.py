"""Figures as they are kept between measurements, and the document made of them."""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from settings.stackfile import ROOT
from tests.bench.timing import Figure, load, machine

DOCUMENT = ROOT / "docs" / "performance.md"
_TEMPLATE = "performance.md.j2"


def keep(
    directory: Path, measure: str, figures: Sequence[Figure], before: float, facts: Mapping[str, object] | None = None
) -> None:
    """Keep what one measure found, with the machine's load before and after it."""
    rows = [
        {
            "title": figure.title,
            "figure": figure.figure,
            "wanted": figure.wanted,
            "verdict": figure.verdict,
            "samples": figure.samples,
        }
        for figure in figures
    ]
    for row in rows:
        print(f"{row['title']}: {row['figure']} {row['wanted']} {row['verdict']} [{row['samples']}]", flush=True)
    found = {
        "rows": rows,
        "facts": dict(facts or {}),
        "load": f"{before:.1f} to {load():.1f}",
        "date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
    }
    directory.mkdir(exist_ok=True)
    (directory / f"{measure}.json").write_text(json.dumps(found), encoding="utf-8")


def write(directory: Path, measures: Sequence[str]) -> None:
    """Write the document from what is kept; a measure that was never made is said to be missing."""
    found: dict[str, Any] = {}
    for measure in measures:
        path = directory / f"{measure}.json"
        found[measure] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else None
    # Markdown, not HTML.
    environment = Environment(  # noqa: S701
        loader=FileSystemLoader(Path(__file__).parent),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    DOCUMENT.parent.mkdir(exist_ok=True)
    text = environment.get_template(_TEMPLATE).render(machine=asdict(machine()), **found)
    DOCUMENT.write_text(text, encoding="utf-8")
