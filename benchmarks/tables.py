"""The pages under docs/benchmarks/: one table each, and on what machine it was filled."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

FOLDER = Path(__file__).resolve().parent.parent / "docs" / "benchmarks"
# What was measured, the figure, the goal, and what else is to be known.
Row = tuple[str, str, str, str]


def write(name: str, title: str, about: str, rows: Sequence[Row], *, load: float) -> None:
    """Write docs/benchmarks/`name`.md; `load` is the machine's load average before it began."""
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    cores = os.cpu_count() or 1
    busy = " Beyond the cores' number, times are upper bounds." if load > cores else ""
    (FOLDER / f"{name}.md").write_text(
        f"# {title}\n\nWritten by `python -m benchmarks {name}`. {about}".rstrip()
        + f"\n\n| what | measured | goal | besides |\n|---|---|---|---|\n{table}\n\n"
        f"{cores} cores, Python {sys.version.split()[0]}; the load average when it began was {load:.1f}.{busy}\n",
        encoding="utf-8",
    )
