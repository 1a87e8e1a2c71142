"""The counts of families, layouts and clients in docs/benchmarks/serving.md, as the suites write them."""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks.compatibility import HEADING, PAGE, record, rows, with_section

FAMILIES = {
    "families": 80, "families_equal": 77, "families_equal_or_refused": 80, "layouts": 60, "layouts_loaded": 30,
    "layouts_loaded_or_refused_at_registration": 60,
}  # fmt: skip
CLIENTS = {"clients": 9, "clients_ok": 8, "clients_named": "boto3, curl"}


def test_each_suite_writes_its_rows_and_leaves_the_others(tmp_path: Path) -> None:
    page, file = tmp_path / "serving.md", tmp_path / "bench" / "serving.json"
    page.write_text("# Serving\n\nA table.\n")
    for figures in (CLIENTS, FAMILIES, {**CLIENTS, "clients_ok": 9}):
        record(figures, file=file, page=page)
    text = page.read_text()
    assert text.startswith(f"# Serving\n\nA table.\n\n{HEADING}\n")
    assert list(rows(text)) == [*(name for name in FAMILIES if name not in ("families_equal", "layouts_loaded")),
                                "clients", "clients_ok"]  # fmt: skip
    assert "77 equal" in text
    assert rows(text)["clients_ok"] == "| … that get what they ask for | 9 | all |  |"
    assert json.loads(file.read_text()) == {**FAMILIES, **CLIENTS, "clients_ok": 9}


def test_measuring_the_rest_of_the_page_keeps_the_rows(tmp_path: Path) -> None:
    page = tmp_path / "serving.md"
    page.write_text("# Serving\n")
    record(FAMILIES, file=tmp_path / "serving.json", page=page)
    again = with_section("# Serving\n\nMeasured anew.\n", rows(page.read_text()))
    assert rows(again) == rows(page.read_text())


def test_the_committed_page_has_every_row() -> None:
    found = rows(PAGE.read_text())
    assert {"families_equal_or_refused", "layouts_loaded_or_refused_at_registration", "clients_ok"} <= found.keys()
