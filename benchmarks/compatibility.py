"""Families, layouts and clients in docs/benchmarks/serving.md, as the suites of `make test-outside-all` count them.

A suite that ran in full calls `record`: its figures go into build/bench/serving.json and, as a section of their own, into the
page. `python -m benchmarks serving` measures the rest of the page, and leaves both as they are.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks import tables

FIGURES = Path(__file__).resolve().parent.parent / "build" / "bench" / "serving.json"
PAGE = tables.FOLDER / "serving.md"
HEADING = "## Families, layouts and clients"
# The page's rows: figure, name, goal, and a remark with other figures in braces.
_ROWS = (
    ("families", "Families of transformers' models and their tasks, in small", "at least 70", ""),
    ("families_equal_or_refused", "… equal to transformers' own answers, or refused at start by name", "all",
     "{families_equal} equal: greedy tokens identical in float32, scores within 1e-5 (a T5 head 5e-5)"),
    ("layouts", "Ways to pack a model", "at least 50", ""),
    ("layouts_loaded_or_refused_at_registration", "… loaded, or refused at registration by name", "all",
     "{layouts_loaded} loaded"),
    ("clients", "Published clients, unchanged, against a server", "at least 8", "{clients_named}"),
    ("clients_ok", "… that get what they ask for", "all", ""),
)  # fmt: skip


def record(figures: Mapping[str, Any], *, file: Path = FIGURES, page: Path = PAGE) -> None:
    """Put figures of a suite into build/bench/serving.json and into the page's section."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({**read(file), **figures}, indent=1) + "\n", encoding="utf-8")
    text = page.read_text(encoding="utf-8")
    # A row whose suite did not run stays as it was counted before.
    page.write_text(with_section(text.partition(HEADING)[0], rows(text) | counted(figures)), encoding="utf-8")


def read(file: Path = FIGURES) -> dict[str, Any]:
    """Return the figures of build/bench/serving.json, empty where no suite ran."""
    return dict(json.loads(file.read_text(encoding="utf-8"))) if file.exists() else {}


def counted(figures: Mapping[str, Any]) -> dict[str, str]:
    """Return lines of the table, by figure."""
    return {
        name: f"| {what} | {figures[name]} | {goal} | {besides.format_map(figures)} |"
        for name, what, goal, besides in _ROWS
        if name in figures
    }


def rows(page: str) -> dict[str, str]:
    """Return the lines of a page's section, by figure."""
    lines = page.partition(HEADING)[2].splitlines()
    return {name: line for name, what, _, _ in _ROWS for line in lines if line.startswith(f"| {what} |")}


def with_section(page: str, lines: Mapping[str, str]) -> str:
    """Put the section behind a page, with its rows in their order."""
    head = f"| {' | '.join(tables.HEADS)} |\n{'|---' * len(tables.HEADS)}|"
    ordered = "\n".join(lines[name] for name, *_ in _ROWS if name in lines)
    about = (
        'Counted by `make test-outside-all SUITES="families clients"`; the rows lie in `outside/families` and '
        "`outside/clients`."
    )
    return f"{page.rstrip()}\n\n{HEADING}\n\n{about}\n\n{head}\n{ordered}\n"
