"""Printing of tables and of single lines."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence

from promotion.formatting import one_line, seen

LEAST_WIDTH = 8


def table(rows: Sequence[Sequence[str]], *, indent: str = "", width: int | None = None) -> None:
    """Print rows, each column as wide as its widest cell; on a terminal, the widest columns are cut to its `width`."""
    if width is None and sys.stdout.isatty():
        width = shutil.get_terminal_size().columns
    rows = [[one_line(cell) for cell in row] for row in rows]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    while width is not None and len(indent) + sum(widths) + 2 * (len(widths) - 1) > width and max(widths) > LEAST_WIDTH:
        widths[widths.index(max(widths))] -= 1
    for row in rows:
        row = [one_line(cell, most) for cell, most in zip(row, widths, strict=True)]
        print(indent + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def print_line(text: str) -> None:
    """Print untrusted text as one line, without control characters."""
    print(" ".join(str(seen(text)).splitlines()))
