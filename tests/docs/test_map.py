"""The map is whole: every folder of tests has its row in CONTRIBUTING."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_every_folder_of_tests_is_in_contributing() -> None:
    page = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    folders = {place.parent.name for place in (ROOT / "tests").glob("*/test_*.py")}
    assert set(re.findall(r"^\| `tests/(\w+)` \|", page, re.MULTILINE)) == folders
