"""The figures of benchmarks.inference as JSON and as a page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from benchmarks.inference_peers import CONTAINER, ONNX

ROOT = Path(__file__).resolve().parent.parent
TARGET, PAGE = ROOT / "build" / "bench" / "inference.json", ROOT / "docs" / "benchmarks" / "inference.md"
# The project's goals: times Hugging Face, by the best engine.
GOALS = {"flan-t5-base, articles": 2.7, "flan-t5-small, short texts": 4.5}
BASE, PEER = "Hugging Face, arrival, 4", "CTranslate2, float32"
# By what a way's name begins with: software that others publish. CTranslate2 is one of our engines too.
PEERS = (BASE, CONTAINER, ONNX, "CTranslate2")
NOTES = """## How to read it

On a busy machine ways within a tenth of each other are not told apart: caches and the memory's bandwidth are shared. Ratios are
medians of rounds; the last rounds of a shape with a goal are of the base and the best way alone. int8 says the same as float32
here because random weights repeat themselves. Probabilities of bart-large-mnli are the same where they are within 0.001.

The default container is the handler of SageMaker's Hugging Face inference toolkit with transformers 4, a request a text, greedy:
its own default of four beams would take longer. ONNX Runtime runs what optimum exports, on texts sorted by length, at most 2,048
padded tokens in a batch. Both have a process each, and the environment of `benchmarks/peers/requirements.txt`.
BART has no row of CTranslate2: its converter (4.8.5) does not know what transformers 5 writes. A precision of CTranslate2
that is missing (bfloat16, float16) is one that it has no instructions for on this processor.

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
    """By shape: the best way of ours, whether the goal is met, and how far it is ahead of others.

    `ahead_of_ctranslate2` is the engine over CTranslate2 in the same precision; `ahead_of_every_peer` the best way of ours over
    the fastest peer, where CTranslate2 stands on both sides, and so is 1.0 where it is the fastest.
    """
    found: dict[str, Any] = {}
    for name, shape in figures["shapes"].items():
        ratios, goal = shape["ratios"], GOALS.get(name)
        peer = ratios.get(PEER)
        best = max(ratio for way, ratio in ratios.items() if way not in (CONTAINER, ONNX))
        theirs = max(ratio for way, ratio in ratios.items() if way.startswith(PEERS))
        container = ratios.get(CONTAINER)
        found[name] = {
            "best": best,
            "ahead_of_ctranslate2": None if peer is None else round(ratios["engine"] / peer, 3),
            "ahead_of_container": None if container is None else round(best / container, 3),
            "ahead_of_every_peer": round(best / theirs, 3),
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
            f"| {name} | {one['best']:.2f} | {one['goal'] or ''} | {met} | {one['ahead_of_ctranslate2'] or ''} | "
            f"{one['ahead_of_container'] or ''} | {one['ahead_of_every_peer']} |"
        )
    around = [
        f"{name}: ready after {shape['ready_s']} s ({shape['ready_cpu_s']} s of CPU). A batch of {shape['lines']} short lines, "
        f"{shape['lines_per_s']:.0f} a second by {shape['processes']} processes of a core each: {shape['engine_share']:.1%} of "
        f"the cores' time by the clock was in the engine, {shape['engine_share_of_cpu']:.1%} of the CPU time (load average "
        f"{shape['load_average']})."
        for name, shape in figures["shapes"].items()
        if "engine_share_of_cpu" in shape
    ]
    return "\n".join([
        "# Inference: the engine against Hugging Face and CTranslate2", "",
        "Written by `python -m benchmarks inference`: random weights in the shapes of published models, fixed lengths, CPU time",
        "at one thread, all ways interleaved. Ratios are to transformers' `generate` by 4 in order of arrival.", "",
        f"`{json.dumps(figures['machine'])}`", "",
        "| shape | best ratio | goal | met | engine over CTranslate2, float32 | best over the container | best over every peer |",
        "|---|---|---|---|---|---|---|", *heads, "",
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
