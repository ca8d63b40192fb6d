"""Tables that read well in a terminal and in Markdown."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table of text. A cell may hold ``|``; it may not hold a line break."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def markdown(self) -> str:
        """As GitHub renders it; each line ends with a line break."""
        return "".join(f"{_line(row)}\n" for row in (self.header, ["---"] * len(self.header), *self.rows))

    def text(self) -> str:
        """With columns that are aligned; each line ends with a line break."""
        widths = [max(len(cell) for cell in column) for column in zip(self.header, *self.rows, strict=True)]
        lines = (
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in (self.header, *self.rows)
        )
        return "".join(f"  {line}\n" for line in lines)


def _line(row: Sequence[str]) -> str:
    cells = (cell.replace("|", "\\|") for cell in row)
    return f"| {' | '.join(cells)} |"
