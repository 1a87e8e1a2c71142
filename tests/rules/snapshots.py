"""Committed snapshots: a change shows in the commit. `UPDATE_SNAPSHOTS=1 pytest` writes them anew."""

from __future__ import annotations

import os
import re
from difflib import unified_diff
from pathlib import Path

SNAPSHOTS = Path(__file__).parents[1] / "snapshots"
# Digests change with every field that anything ever gets, and the style sheet's with every colour.
_CHANGING = (
    (r"style\.css\?v=\w+", "style.css?v=0"),
    (r"(hash of the event, which covers the one before\">)\w+", r"\g<1>0"),
    (r"(cid:picture\d)\.\w+@", r"\1.0@"),
)


def check(name: str, text: str) -> None:
    """Raises AssertionError where `text` is not what tests/snapshots/`name` holds."""
    path = SNAPSHOTS / name
    for changing, instead in _CHANGING:
        text = re.sub(changing, instead, text)
    if os.environ.get("UPDATE_SNAPSHOTS"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    assert path.exists(), f"{name} is new: run with UPDATE_SNAPSHOTS=1, look at it, and commit it."
    assert text == path.read_text(encoding="utf-8"), (
        f"{name} has changed: run with UPDATE_SNAPSHOTS=1, and look at the difference."
    )


def difference(before: str, after: str) -> str:
    """The lines in which a page differs from another that is a snapshot."""
    lines = list(unified_diff(before.splitlines(), after.splitlines(), lineterm="", n=0))[2:]
    return "".join(f"{'@@' if line.startswith('@@') else line}\n" for line in lines)
