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
from layouts import LAYOUTS, Layout, outcome, registration_problem
from transformers.utils import logging as transformers_logging

from benchmarks.compatibility import record

T = TypeVar("T")
# Steps between the rows of a sample.
_STEP, _LAYOUT_STEP = 5, 3


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
    expected = packed["loaded"] + packed["refused at registration"]
    figures = {
        "families": families.total(),
        "families_equal": families["equal"],
        "families_equal_or_refused": good,
        "layouts": packed.total(),
        "layouts_loaded": packed["loaded"],
        "layouts_loaded_or_refused_at_registration": expected,
    }
    if options.all:
        record(figures)
    minutes = (time.monotonic() - started) / 60
    print(f"{json.dumps(figures)}\n{minutes:.1f} minutes")
    failed = families.total() + packed.total() - good - expected
    print(f"{good + expected} passed, {failed} failed")
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
        print(f"{name(row):60} {verdict:22} {' '.join(seen.split())[:200]}", flush=True)
    return found


def _family(row: Row, folder: Path) -> tuple[str, str]:
    row.save(folder)
    registered = registration_problem(folder, row.named_task or row.task)
    verdict, seen = compared(row, folder)
    return ("REFUSED AT REGISTRATION", registered) if registered and verdict == "equal" else (verdict, seen)


def _layout(layout: Layout, folder: Path) -> tuple[str, str]:
    return outcome(layout, folder)


if __name__ == "__main__":
    sys.exit(main())
