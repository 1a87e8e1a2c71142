"""Compare families of models and ways to pack them with transformers' own answers; print a line each, and the minutes."""

from __future__ import annotations

import argparse
import json
import logging
import os
import re
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")
ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

import torch
from checkpoints import ROWS, Row
from compare import compared
from layouts import LAYOUTS, Layout, outcome
from transformers.utils import logging as transformers_logging

T = TypeVar("T")
FIGURES = ROOT / "build" / "bench" / "serving.json"
# Of a sample: each so manyth row.
_STEP, _LAYOUT_STEP = 19, 12


def main() -> int:
    """Run the selected families; return 1 if one is neither equal nor refused."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--all", action="store_true", help="every family and layout (default: a sample)")
    parser.add_argument("--only", default="", help="rows in whose task and name this regular expression is found")
    options = parser.parse_args()
    torch.set_num_threads(1)
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    started = time.monotonic()
    step, layout_step = (1, 1) if options.all or options.only else (_STEP, _LAYOUT_STEP)
    rows = [row for row in ROWS if re.search(options.only, f"{row.task} {row.name}")][::step]
    layouts = [layout for layout in LAYOUTS if re.search(options.only, f"layout {layout.name}")][::layout_step]
    families = _each(rows, lambda row: f"{row.task} {row.name}", _family)
    packed = _each(layouts, lambda layout: f"layout {layout.name}", _layout)
    good = families["equal"] + families["refused"]
    figures = {
        "families": sum(families.values()),
        "families_equal_or_refused": good,
        "layouts": sum(packed.values()),
        "layouts_loaded_or_refused_at_registration": packed["as expected"],
    }
    if options.all:
        _merge(figures)
    minutes = (time.monotonic() - started) / 60
    print(f"{json.dumps(figures)}\n{minutes:.1f} minutes")
    failed = figures["families"] - good + figures["layouts"] - packed["as expected"]
    print(f"{good + packed['as expected']} passed, {failed} failed")
    return 1 if failed else 0


def _each(rows: Sequence[T], name: Callable[[T], str], judge: Callable[[T, Path], tuple[str, str]]) -> Counter[str]:
    found: Counter[str] = Counter()
    for row in rows:
        with tempfile.TemporaryDirectory() as place:
            try:
                verdict, seen = judge(row, Path(place) / "model")
            except Exception as error:  # noqa: BLE001 - whatever it raises is what the row found
                verdict, seen = "FAILED", f"{type(error).__name__}: {error}"
        found[verdict] += 1
        print(f"{name(row):60} {verdict:12} {' '.join(seen.split())[:200]}", flush=True)
    return found


def _family(row: Row, folder: Path) -> tuple[str, str]:
    row.save(folder)
    return compared(row, folder)


def _layout(layout: Layout, folder: Path) -> tuple[str, str]:
    return outcome(layout, folder)


def _merge(figures: dict[str, int]) -> None:
    found = json.loads(FIGURES.read_text()) if FIGURES.exists() else {}
    FIGURES.parent.mkdir(parents=True, exist_ok=True)
    FIGURES.write_text(json.dumps({**found, **figures}, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
