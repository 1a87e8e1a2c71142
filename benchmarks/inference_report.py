"""The figures of benchmarks.inference as JSON and as a page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
TARGET, PAGE = ROOT / "build" / "bench" / "inference.json", ROOT / "docs" / "benchmarks" / "inference.md"
# The project's goals: times Hugging Face, by the best engine.
GOALS = {"flan-t5-base, articles": 2.7, "flan-t5-small, short texts": 4.5}
PEER = "CTranslate2, float32"
NOTES = """## How to read it

On a busy machine ways within a tenth of each other are not told apart: caches and the memory's bandwidth are shared. int8 says
the same as float32 here because random weights repeat themselves. The small trained T5 is blank until it was trained.
BART has no row of CTranslate2: its converter (4.8.5) does not know what transformers 5 writes.

## What was tried and left out

On flan-t5-small, as shares of the engine's time, two rounds ([why they went](../decisions/023-what-stays-of-our-engine.md)):

| instead | articles | short texts |
|---|---|---|
| one encoder output for all layers, on a CPU | 1.12 | 1.30 |
| values with their tokens along the rows | 1.01 | 0.97 |
| waiting for the whole table before the next texts | 0.98 | 1.08 |
| texts in order of arrival | 1.02 | 1.06 |
| tables in pages of 2 MiB | 0.94 | 0.95 |
| weights that are not packed by oneDNN | 1.47 | 1.79 |

Before, on a small T5: drafts copied from the input (two queries a slot read the table
1.7 times as long), 20 to 32 rows a step for articles (0.98 to 1.02), other kernels for attention (1.0 to 1.9), the feed-forward
part in blocks (1.0 to 1.17), a compiled step (half a minute to compile, and slower).
"""


def headline(figures: dict[str, Any]) -> dict[str, Any]:
    """By shape: the best way of all, the engine over CTranslate2 in the same precision, and whether the goal is met."""
    found: dict[str, Any] = {}
    for name, shape in figures["shapes"].items():
        ratios, goal = shape["ratios"], GOALS.get(name)
        peer = ratios.get(PEER)
        best = max(ratios.values())
        found[name] = {
            "best": best,
            "ahead_of_ctranslate2": None if peer is None else round(ratios["engine"] / peer, 3),
            "goal": goal,
            "met": None if goal is None else best >= goal,
        }
    return found


def page(figures: dict[str, Any]) -> str:
    """The page's text."""
    rows, heads = [], []
    for name, shape in figures["shapes"].items():
        for way, ratio in shape["ratios"].items():
            spread = shape["ratios_of_rounds"][way]
            rouge = shape.get("rouge", {}).get(way)
            said = "" if rouge is None else " / ".join(f"{rouge[kind]:.1f}" for kind in ("rouge1", "rouge2", "rougeL"))
            rows.append(
                f"| {name}: {way} | {shape['cpu_s'][way]:.2f} | {ratio:.2f} ({min(spread):.2f}-{max(spread):.2f}) | "
                f"{shape['identical'][way]:.2f} | {said} |"
            )
    for name, one in headline(figures).items():
        met = "" if one["met"] is None else "yes" if one["met"] else "no"
        heads.append(
            f"| {name} | {one['best']:.2f} | {one['goal'] or ''} | {met} | {one['ahead_of_ctranslate2'] or ''} |"
        )
    around = [
        f"{name}: ready after {shape['ready_s']} s ({shape['ready_cpu_s']} s of CPU); of a batch of {shape['lines']} short "
        f"lines {shape['engine_share']:.0%} of the CPU time was in the engine, {shape['engine_share_of_wall']:.0%} of the "
        f"time by the clock, at a load average of {shape['load_average']}."
        for name, shape in figures["shapes"].items()
        if "ready_s" in shape
    ]
    return "\n".join([
        "# Inference: the engine against Hugging Face and CTranslate2", "",
        "Written by `python -m benchmarks inference`: random weights in the shapes of published models, fixed lengths, CPU time",
        "at one thread, all ways interleaved. Ratios are to transformers' `generate` by 4 in order of arrival.", "",
        f"`{json.dumps(figures['machine'])}`", "",
        "| shape | best ratio | goal | met | engine over CTranslate2, float32 |", "|---|---|---|---|---|", *heads, "",
        "| shape and way | CPU s | ratio (rounds) | identical | ROUGE-1 / 2 / L |", "|---|---|---|---|---|", *rows, "",
        "## Around the engine", "", *(around or ["Not measured."]), "", NOTES,
        f"GPU: `{json.dumps(figures['gpu'])}`" if figures.get("gpu") else "GPU: not measured.", "",
    ])  # fmt: skip


def write(figures: dict[str, Any]) -> None:
    """Write JSON and page; by shape, the JSON has the headline's figures too."""
    shapes = {name: shape | headline(figures)[name] for name, shape in figures["shapes"].items()}
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    TARGET.write_text(json.dumps(figures | {"shapes": shapes}, indent=2))
    PAGE.write_text(page(figures), encoding="utf-8")
