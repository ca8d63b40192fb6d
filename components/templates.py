"""Rendering of the configuration files that lie beside their component."""

import functools
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined


def render(template: Path, **values: object) -> str:
    """A configuration file with its values filled in. A value that the template names and nobody gives is an error."""
    return _environment(template.parent).get_template(template.name).render(**values)


@functools.cache
def _environment(directory: Path) -> Environment:
    """One for each directory: it keeps what it compiled, which costs more than to fill it in."""
    return Environment(
        loader=FileSystemLoader(directory),
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=False,  # noqa: S701 - these files are not HTML, and escaping would change them
    )
