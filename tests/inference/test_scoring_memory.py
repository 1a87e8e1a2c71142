"""Large tables are scored in little memory: 50,000 lines here, a million in docs/benchmarks/inference.md."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from inference.scoring.score import score

LINES = 50_000
# A million lines are to take at most 600 MB, of which importing takes 250.
MOST_BYTES_A_LINE = 220


def written(folder: Path, lines: int, *, ids: bool) -> None:
    """Answers and references of a binary model line by line, or of a regression joined by id."""
    chance = np.random.default_rng(1)
    answers, noise = chance.uniform(0, 1, lines).round(6), chance.normal(0, 3, lines).round(4)
    folder.mkdir()
    rows = zip(answers, noise, strict=True)
    if ids:
        pairs = [(f"key-{k},{a}", f"key-{k},{a + n}") for k, (a, n) in enumerate(rows)]
        names = ("id,prediction\n", "id,label\n")
    else:
        pairs = [(f"{a}", f"{int(n > 0)},{'nesw'[k % 4]}") for k, (a, n) in enumerate(rows)]
        names = ("", "label,region\n")
    for place, name in enumerate(("outputs.csv", "references.csv")):
        (folder / name).write_text(names[place] + "".join(f"{pair[place]}\n" for pair in pairs))


def scored(folder: Path, task: str) -> int:
    document = score(folder / "outputs.csv", folder / "references.csv", folder / "score", task=task)
    return int(document["counts"]["records"])


@pytest.mark.parametrize(("task", "ids"), [("binary-classification", False), ("regression", True)])
def test_a_line_takes_little_memory(tmp_path: Path, task: str, ids: bool) -> None:
    written(tmp_path / "few", 100, ids=ids)
    written(tmp_path / "many", LINES, ids=ids)
    # What is imported when it is first needed is not the table's.
    assert scored(tmp_path / "few", task) == 100
    tracemalloc.start()
    try:
        assert scored(tmp_path / "many", task) == LINES
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < LINES * MOST_BYTES_A_LINE
