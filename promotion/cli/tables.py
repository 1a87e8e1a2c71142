"""Rows of text in columns."""

from __future__ import annotations

from collections.abc import Sequence

from promotion.formatting import one_line


def table(rows: Sequence[Sequence[str]], *, indent: str = "") -> None:
    """Print rows, each column as wide as its widest cell."""
    rows = [[one_line(cell) for cell in row] for row in rows]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        print(indent + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
