"""`make bench` runs every benchmark that there is, and nothing else."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from benchmarks import tables
from benchmarks.__main__ import found

ROOT = Path(__file__).resolve().parents[2]

PARTS = ["approver", "control", "cost", "deploy", "evidence", "growth", "inference", "loop", "realtime", "serving"]


def test_every_benchmark_is_found() -> None:
    assert found() == PARTS


def test_each_writes_the_file_of_its_name_and_has_its_page() -> None:
    index = (ROOT / "docs" / "benchmarks" / "README.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `(\w+)` \|.*\]\(([\w./]+)\) \|$", index, re.MULTILINE))
    assert sorted(rows) == PARTS
    for name, page in rows.items():
        assert f"{name}.json" in (ROOT / "benchmarks" / f"{name}.py").read_text(encoding="utf-8"), name
        assert f"python -m benchmarks{'.' if name == 'cost' else ' '}{name}" in (
            ROOT / "docs" / "benchmarks" / page
        ).read_text(encoding="utf-8"), name


@pytest.mark.parametrize(("load", "told"), [(2.0, False), (2.1, True)])
def test_a_page_says_when_others_were_at_work(load: float, told: bool) -> None:
    said = tables.machine({"cores": 2, "python": "3.11.7", "load": load})
    assert said.startswith("2 cores, Python 3.11.7.")
    assert ("The load average was 2.1" in said) is told


def test_a_table_has_as_many_columns_as_heads() -> None:
    assert tables.table([("a", "1", "")], ("what", "measured", "goal")).splitlines() == [
        "| what | measured | goal |", "|---|---|---|", "| a | 1 |  |",
    ]  # fmt: skip
