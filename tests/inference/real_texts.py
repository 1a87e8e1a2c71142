"""Texts as people wrote them, where they are at hand: news articles and New Year's resolutions in ../shared/data.

They are not this project's to ship. A checkout without them gets made-up texts of the same lengths, so that what is asserted
is asserted everywhere; the test's id says which texts it saw.
"""

from __future__ import annotations

import json
from pathlib import Path

from examples.corpus import logs
from examples.train_zero_shot import notes

_SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
ARTICLES, RESOLUTIONS = _SHARED / "cnn_dailymail_articles.jsonl", _SHARED / "new_years_resolutions.jsonl"
_WORDS = (198, 392, 808, 531, 580, 334, 742, 621, 609, 888, 1360, 647, 1082, 416, 791, 481, 663, 1447, 403, 346)

# Of all lengths, as people's are: a model with random weights hardly tells words apart, and how many there are it does.
_CATEGORIES = (
    "Sport", "Money and work", "Friends, family and neighbours", "Reading, writing and other quiet pastimes",
    "Being outdoors in all weathers, by bicycle or on foot",
)  # fmt: skip


def source(path: Path) -> str:
    """Return the name of the texts in the names of tests that read `path`."""
    return "shared texts" if path.exists() else "made-up texts"


def articles(count: int) -> list[str]:
    """News articles, in the order of the file."""
    if ARTICLES.exists():
        return [str(record["article"]) for record in _records(ARTICLES)][:count]
    found, made = [], logs(10_000, 7)
    for place in range(count):
        text = next(made).text
        while len(text.split()) < _WORDS[place % len(_WORDS)]:
            text += " " + next(made).text
        found.append(text)
    return found


def resolutions(count: int) -> tuple[list[str], list[str]]:
    """Posts, and the categories that they are told apart by."""
    if RESOLUTIONS.exists():
        records = _records(RESOLUTIONS)
        return [str(one["text"]) for one in records][:count], sorted({str(one["category"]) for one in records})
    return [note.text for note in notes(count, seed=2)], sorted(_CATEGORIES)


def _records(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
