"""The pages under docs/benchmarks/: one table each, and on what machine it was filled."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent.parent / "docs" / "benchmarks"
# Measurement, figure, goal, and notes.
Row = tuple[str, str, str, str]
HEADS: Row = ("what", "measured", "goal", "besides")


def table(rows: Sequence[Sequence[str]], heads: Sequence[str] = HEADS) -> str:
    """Rows as Markdown, without a line's end after the last."""
    lines = [f"| {' | '.join(row)} |" for row in (heads, *rows)]
    return "\n".join([lines[0], "|---" * len(heads) + "|", *lines[1:]])


def machine(figures: dict[str, Any]) -> str:
    """On what machine `figures` were taken, and whether others were at work there."""
    said = f"{figures['cores']} cores, Python {figures['python']}."
    if figures["load"] <= figures["cores"]:
        return said
    return f"{said} The load average was {figures['load']}: beyond the cores' number, times are upper bounds."


def write(name: str, title: str, about: str, rows: Sequence[Row], *, load: float) -> None:
    """Write docs/benchmarks/`name`.md; `load` is the machine's load average before it began."""
    cores = os.cpu_count() or 1
    busy = " Beyond the cores' number, times are upper bounds." if load > cores else ""
    (FOLDER / f"{name}.md").write_text(
        f"# {title}\n\nWritten by `python -m benchmarks {name}`. {about}".rstrip() + f"\n\n{table(rows)}\n\n"
        f"{cores} cores, Python {sys.version.split()[0]}; the load average when it began was {load:.1f}.{busy}\n",
        encoding="utf-8",
    )
