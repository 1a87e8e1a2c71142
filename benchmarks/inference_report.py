"""The figures of benchmarks.inference as JSON, a table and a chart."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from matplotlib import pyplot

NOTES = """## How to read it

One round or two on a busy machine: variants within a tenth of each other are not told apart. Hugging Face and the engine are
timed by their thread's clock, CTranslate2 by its process's. Its beams stop by rules of its own, so its texts differ there.

## Where the time goes

Sixteen articles took 2.24 s: the encoder 1.41, the decoder 0.80. This processor (Zen 4, no AMX) computes products of these shapes at
95 to 105 GFLOP/s alone, and attention with T5's bias at 68 to 77. The encoder's 66 GFLOP of products and 49 of attention come to
1.31 s at these rates, so 93 % of its time is the processor's own. Hugging Face needs the same, half as much again for padding,
and 4 s for the decoder: 6.1 s. So at most 4.7 times are within reach in float32 here, with a decoder that costs nothing. Of ours,
0.33 s is reading keys and values (105 MB a step for 16 rows, at 14 GB/s), 0.14 s computing them, the rest small products.

Tried and left out: one encoder output for all layers on a CPU (2.42 s; it has fewer bytes to read and four times the work), more
rows a step (2.60), larger encoder batches (2.23), smaller ones (2.33), attention in blocks of 128 queries (67 GFLOP/s against 68),
T5's norm by other kernels (within 3 us a call). In bfloat16 torch's fused attention for CPUs takes 1.6 times as long as three plain
steps, and is not used.

Beams compute four rows a text, and the encoder once: the same limit is lower by what the decoder costs, as Hugging Face too encodes
once. Zero-shot is products alone, for both: what is gained is repeats, padding, fused steps and the last layer's other tokens.
In bfloat16 it is 3.7 times, with scores within 3e-4; random weights' scores lie closer than that, so their order changes.
"""
ROOT = Path(__file__).resolve().parent.parent


def headline(figures: dict[str, Any]) -> dict[str, Any]:
    """The ratios that the project's goals are about, over the articles' lengths."""

    def of(variant: str, field: str = "ratio") -> float | None:
        found = figures["variants"].get(f"articles: {variant}")
        return None if found is None else round(found[field], 3)

    machine, loads = figures["machine"], (figures["machine"]["load_average_before"], figures["load_average_after"])
    # Wall time says nothing where others want the same cores: two threads that wait for each other stand still then.
    alone = max(loads) <= machine["cores"] + 1
    ratios = {
        "cpu_fp32_greedy": of("engine"),
        # The goal is one of AMX; without it the figure is in the table, with the processor's flags.
        "cpu_bf16_greedy": of("engine, bf16") if "amx_bf16" in machine["flags"] else None,
        "two_cores": round(figures["two_cores"]["fp32"], 3) if alone else None,
        "beam4": of("engine, beam 4"),
        "zero_shot": figures["zero_shot"]["ratio"],
        "ctranslate2_fp32": of("CTranslate2, float32"),
        "ctranslate2_int8": of("CTranslate2, int8"),
    }
    identical = {"fp32_greedy": of("engine", "identical"), "beam4": of("engine, beam 4", "identical")}
    return {"ratios": ratios, "identical": identical}


def write(figures: dict[str, Any]) -> None:
    target = ROOT / "build" / "bench" / "inference.json"
    target.write_text(json.dumps(figures, indent=2))
    page = ROOT / "docs" / "benchmarks" / "inference.md"
    page.parent.mkdir(exist_ok=True)
    rows = [
        f"| {name} | {one['cpu_s']:.2f} | {one['records_per_s']:.1f} | {one['tokens_per_s']:.0f} | {one['ratio']:.2f} "
        f"({one['ratio_low']:.2f}-{one['ratio_high']:.2f}) | {one['identical']:.2f} | {one['rougeL']:.1f} |"
        for name, one in figures["variants"].items()
    ]
    heads = [f"| {name} | {'' if value is None else value} |" for name, value in figures["ratios"].items()]
    facts = json.dumps(figures["machine"] | figures["model"] | {"load_average_after": figures["load_average_after"]})
    lines = [
        "# Inference: the engine against Hugging Face and CTranslate2", "",
        "Written by `python -m benchmarks inference`. CPU time at one thread; ratios to Hugging Face in arrival order by 4.",
        "Inputs have the lengths of news articles (or a quarter of them), outputs 40 to 64 tokens.", "",
        f"`{facts}`", "", "![Ratios](inference.svg)", "", "| figure | ratio |", "|---|---|", *heads, "",
        "| variant | CPU s | records/s | tokens/s | ratio (rounds) | identical | ROUGE-L |", "|---|---|---|---|---|---|---|",
        *rows, "", "Two cores, wall time (no figure where the load average, above, says that others were at work): "
        f"`{json.dumps(figures['two_cores'])}`", "",
        f"Zero-shot: `{json.dumps(figures['zero_shot'])}`", "",
        f"Decoders, against one text after the other: `{json.dumps(figures['decoders'])}`", "",
        NOTES, "",
        f"GPU: `{json.dumps(figures['gpu'])}`" if figures["gpu"] else "GPU: not measured.", "",
    ]  # fmt: skip
    page.write_text("\n".join(lines), encoding="utf-8")
    shown = {name.split(": ", 1)[1]: one for name, one in figures["variants"].items() if name.startswith("articles")}
    figure, axes = pyplot.subplots(figsize=(8, 5))
    axes.barh(list(shown), [one["ratio"] for one in shown.values()])
    axes.invert_yaxis()
    axes.set_xlabel("times Hugging Face in arrival order by 4")
    figure.tight_layout()
    figure.savefig(page.with_suffix(".svg"), metadata={"Date": None})
    pyplot.close(figure)
