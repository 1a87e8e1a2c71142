"""The figures of benchmarks.inference as JSON, a table and a chart."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from matplotlib import pyplot

GOALS: dict[str, float | str] = {
    "cpu_fp32_greedy": 4.5, "cpu_bf16_greedy": 8.0, "two_cores": 12.0, "beam4": 8.0, "zero_shot": 7.0,
    "ctranslate2_fp32": "less than cpu_fp32_greedy", "ctranslate2_int8": "at most cpu_bf16_greedy / 1.2",
}  # fmt: skip
NOTES = """## How to read it

On a busy machine variants within a tenth of each other are not told apart: caches and the memory's bandwidth are shared.
Hugging Face and the engine are timed by their thread's clock, CTranslate2 by its process's. Its beams stop by rules of its
own, so its texts differ there. A goal without a figure was not measured.

## What was tried and left out

Times are shares of what is done instead. For articles, a step of the decoder reads each layer's keys and values of the
input from memory: 131 MB for 16 rows of 1,000 tokens. It does so at 28 to 31 GB/s on one core, from pages of 2 MiB, with the
values' tokens along their rows and the table on the left of both products (15 to 17 GB/s before). Only fewer bytes would help.

- One encoder output for all layers on a CPU: a quarter of the bytes, four times the work. 0.9 to 1.16 when keys and
  values were read at half the rate; slot by slot, so that the second product finds it in the cache, 1.0 to 1.9 even then.
- Drafts copied from the input (prompt lookup): of this model's tokens 0.62 steps are left with drafts of two, 0.71 with one,
  but two queries a slot read the table 1.7 times as long and three 2.4 times.
- 20 to 32 rows a step for articles: 0.98 to 1.02, for up to twice the memory. Inputs of at most 512 tokens have 32. Of 64 or
  128 rows only the shortest gain: others wait beside longer ones, whose length the table has.
- The encoder's attention by oneDNN's products, the bias fused into the first, over blocks of 64 to 1,024 queries: 1.0 to 1.7.
- T5's bias as a square: 1.07 to 1.10 beyond 600 tokens, 0.95 to 0.98 below 400; the line that is read instead takes no time to
  make.
- The feed-forward part in blocks of 64 to 512 rows, so that what is between stays in the cache: 1.0 to 1.17.
- torch's fused attention for one query a row: 1.05 to 1.2. For a text's own past it is what is used: plain steps take 0.7 to
  2.0 times as long, and within a step both wait for memory.
- Larger encoder batches and smaller ones: the same within what a run tells.
- T5's norm by other kernels: within 3 us a call, of which a step has 13.
- Row counts rounded up, so that oneDNN compiles fewer kernels (0.8 ms for each new count): 0.96 to 1.02.
- In bfloat16, torch's fused attention for CPUs: 1.6 times as long as three plain steps; values turned: 1.7 to 3.5 times.
- A compiled step (torch.compile): half a minute to compile, and slower.

Beams compute four rows a text, and the encoder once: the limit is lower by what the decoder costs, as Hugging Face too
encodes once. Zero-shot is products alone, for both, and ran at 89 GFLOP/s over all, nearly what a product alone
reaches: what is gained is repeats, padding, fused steps and the last layer's other tokens. In bfloat16 random weights'
scores lie closer than its errors, so their order changes; a GPU computes scores in float16 (tests/inference/test_real_texts.py
holds it to a thousandth of float32's on posts that people wrote).
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
        "two_cores": round(figures["two_cores"]["fp32"], 3) if alone and figures["two_cores"] else None,
        "beam4": of("engine, beam 4"),
        "zero_shot": figures["zero_shot"]["ratio"],
        "ctranslate2_fp32": of("CTranslate2, float32"),
        "ctranslate2_int8": of("CTranslate2, int8"),
    }
    identical = {"fp32_greedy": of("engine", "identical"), "beam4": of("engine, beam 4", "identical")}
    return {"ratios": ratios, "identical": identical}


def met(name: str, ratios: dict[str, float | None]) -> str:
    """What the table says of a goal; nothing where one of its figures is missing."""
    value, goal = ratios[name], GOALS[name]
    if isinstance(goal, str):
        ours, most = ("cpu_fp32_greedy", 1.0) if name == "ctranslate2_fp32" else ("cpu_bf16_greedy", 1 / 1.2)
        own = ratios[ours]
        if value is None or own is None:
            return ""
        return "yes" if value < own * most else "no"
    return "" if value is None else "yes" if value >= goal else "no"


def limit(figures: dict[str, Any]) -> list[str]:
    """Where the time goes, and how much faster than Hugging Face this processor could be at most."""
    profile = figures["profile"]
    least, decoder = profile["least_encoder"], profile["least_decoder"]
    whole = least["seconds"] + decoder["seconds"]
    hugging_face = figures["variants"]["articles: Hugging Face, arrival, 4"]["cpu_s"]
    parts = list(dict.fromkeys((*profile["greedy"], *profile["beams"])))
    columns = [{part: f"{spent:.3f}" for part, spent in profile[kind].items()} for kind in ("greedy", "beams")]
    rows = [f"| {part} | {' | '.join(column.get(part, '') for column in columns)} |" for part in parts]
    return [
        "## Where the time goes", "", "| part of the engine, CPU s | greedy | beam 4 |", "|---|---|---|", *rows, "",
        f"The encoder has {least['product_gflop']:.1f} GFLOP of products and {least['attention_gflop']:.1f} of attention to "
        f"do. One kernel alone reaches {least['product_gflop_per_s']:.1f} and {least['attention_gflop_per_s']:.1f} GFLOP/s "
        f"here ({least['attention_without_bias_gflop_per_s']:.1f} without T5's bias): {least['seconds']:.2f} s, whoever "
        f"computes it in float32. A greedy decoder has {decoder['product_gflop']:.1f} GFLOP of products, and reads "
        f"{decoder['read_gb']:.1f} GB of keys and values, here at {decoder['read_gb_per_s']:.1f} GB/s: "
        f"{decoder['seconds']:.2f} s more. Hugging Face in arrival order takes {hugging_face:.2f} s in all. So a decoder that "
        f"cost nothing would be at {hugging_face / least['seconds']:.1f} times, and one without a pause between its kernels "
        f"at {hugging_face / whole:.1f}.", "",
    ]  # fmt: skip


def zero_shot(figures: dict[str, Any]) -> list[str]:
    """A table of pairs scored: by the pipeline in one call a premise, and by the engine."""
    rows = [
        f"| {texts}: {variant} | {one['cpu_s']:.2f} | {one['ratio']:.2f} | {one['most_difference']:.1e} | "
        f"{one['same_order']:.2f} |"
        for texts, variants in figures["texts"].items()
        for variant, one in variants.items()
    ]
    return [
        "## Zero-shot classification", "",
        f"BART with {figures['parameters']:,} parameters, 48 texts and 8 labels, against the pipeline in one call a text: logs "
        "of 50 words, and posts of 14.", "",
        "| variant | CPU s | ratio | most difference of a score | texts with labels in the same order |",
        "|---|---|---|---|---|", *rows, "",
    ]  # fmt: skip


def decoders(figures: dict[str, Any]) -> list[str]:
    """A table of decoders against one text after the other."""
    rows = [
        f"| {name} | {one['seconds']:.2f} | {one['ratio']:.2f} | {one['identical']:.2f} |"
        for name, one in figures.items()
        if name != "parameters"
    ]
    return [
        "## Decoders", "", f"{figures['parameters']:,} parameters.", "", "| variant | s | ratio | identical |",
        "|---|---|---|---|", *rows, "",
    ]  # fmt: skip


def write(figures: dict[str, Any]) -> None:
    target = ROOT / "build" / "bench" / "inference.json"
    target.write_text(json.dumps(figures, indent=2))
    page = ROOT / "docs" / "benchmarks" / "inference.md"
    page.parent.mkdir(exist_ok=True)
    rows = [
        f"| {name} | {one['cpu_s']:.2f} | {one['wall_s']:.2f} | {one['records_per_s']:.1f} | {one['tokens_per_s']:.0f} | "
        f"{one['ratio']:.2f} ({one['ratio_low']:.2f}-{one['ratio_high']:.2f}) | {one['identical']:.2f} | "
        f"{one['rouge1']:.1f} / {one['rouge2']:.1f} / {one['rougeL']:.1f} |"
        for name, one in figures["variants"].items()
    ]
    ratios = figures["ratios"]
    heads = [
        f"| {name} | {'' if value is None else value} | {GOALS[name]} | {met(name, ratios)} |"
        for name, value in ratios.items()
    ]
    facts = json.dumps(figures["machine"] | figures["model"] | {"load_average_after": figures["load_average_after"]})
    lines = [
        "# Inference: the engine against Hugging Face and CTranslate2", "",
        "Written by `python -m benchmarks inference`. CPU time at one thread; ratios to Hugging Face in arrival order by 4.",
        "Inputs have the lengths of news articles (or a quarter of them), outputs 40 to 64 tokens.", "",
        f"`{facts}`", "", "![Ratios](inference.svg)", "", "| figure | ratio | goal | met |", "|---|---|---|---|", *heads, "",
        "| variant | CPU s | wall s | records/s | tokens/s | ratio (rounds) | identical | ROUGE-1 / 2 / L |",
        "|---|---|---|---|---|---|---|---|", *rows, "",
        "Two cores, wall time (not measured where the load average says that others are at work): "
        f"`{json.dumps(figures['two_cores'])}`", "",
        *zero_shot(figures["zero_shot"]), *decoders(figures["decoders"]),
        *limit(figures), NOTES, "",
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
