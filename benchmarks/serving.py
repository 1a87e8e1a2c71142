"""Measure batching against plain Hugging Face, the growth of memory, and the cost of resolving.

Writes build/bench/serving.json: `memory_ratio` (peak memory of 200,000 lines over 10,000; with --long a million), `batch_ratio`
(against `generate` in arrival order by 4, float32, token-identical), `zero_shot_ratio` (against one pipeline call a premise),
`resolve_ratio` (against a bare get_parameter) and `resolve_cached_us`; and the table docs/benchmarks/serving.md. Ratios are of
CPU time at one thread, the best of three interleaved rounds; on a GPU, of wall time. What benchmarks/compatibility.py has put
into both stays.
"""

from __future__ import annotations

import base64
import json
import logging
import os
import platform
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import BartConfig, BartForSequenceClassification, T5Config, T5ForConditionalGeneration
from transformers import pipeline as transformers_pipeline
from transformers.utils.logging import disable_progress_bar, set_verbosity_error

from benchmarks import compatibility, tables
from examples.training import END, PAD, UNKNOWN, tokenizer_of
from inference.engines import Prompt
from inference.engines.generate import GenerateEngine, padded
from inference.models.configuration import TEXT_TO_TEXT, ZERO_SHOT
from inference.models.loading import Loaded
from inference.records.json_lines import dump_line
from inference.records.parameters import Generation
from inference.tasks.pipeline import Pipeline
from inference.tasks.zero_shot import ZeroShot

ROOT = Path(__file__).resolve().parent.parent
ROUNDS = 3
TEXTS, NEW_TOKENS, VOCABULARY = 96, 49, 2_048
PREMISES, LABELS = 64, 10
# Lengths as (mean, deviation) of their logarithm: texts of all kinds, and news articles of which most meet the limit.
MIXED, ARTICLES = (5.6, 0.7), (6.7, 0.5)
SHORT, LONG, LONGEST = 10_000, 200_000, 1_000_000
CLASSES = {0: "contradiction", 1: "neutral", 2: "entailment"}

Variants = dict[str, Callable[[], Any]]


def main(long: bool = False) -> dict[str, Any]:
    """Measure, write the JSON and the table, and return the figures."""
    logging.disable(logging.INFO)
    set_verbosity_error()
    disable_progress_bar()
    torch.set_num_threads(1)
    figures: dict[str, Any] = {"machine": machine()}
    figures |= generation(MIXED)
    figures["articles"] = generation(ARTICLES)
    figures |= zero_shot()
    figures |= resolving()
    figures |= memory(LONGEST if long else LONG)
    target = ROOT / "build" / "bench" / "serving.json"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(compatibility.read() | figures, indent=1) + "\n")
    table = compatibility.PAGE
    rows = compatibility.rows(table.read_text(encoding="utf-8"))
    table.write_text(compatibility.with_section(page(figures), rows), encoding="utf-8")
    return figures


def device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def clock() -> float:
    """CPU time, which others on the machine don't lengthen; on a GPU, wall time once all is done."""
    if device().type == "cuda":
        torch.cuda.synchronize()
        return time.perf_counter()
    return float(time.process_time())


def interleaved(variants: Variants) -> tuple[dict[str, float], dict[str, Any]]:
    """Return the best seconds of each variant over the rounds, and its answers."""
    seconds: dict[str, float] = {}
    answers: dict[str, Any] = {}
    for _ in range(ROUNDS):
        for name, run in variants.items():
            begun = clock()
            answers[name] = run()
            seconds[name] = min(seconds.get(name, float("inf")), clock() - begun)
    return seconds, answers


def generation(spread: tuple[float, float]) -> dict[str, Any]:
    """Text to text, on lengths of a given spread, and outputs that end when they will."""
    torch.manual_seed(0)
    model: Any = T5ForConditionalGeneration(
        T5Config(
            vocab_size=VOCABULARY, d_model=256, d_kv=64, d_ff=1024, num_layers=3, num_decoder_layers=3, num_heads=4,
            feed_forward_proj="gated-gelu", decoder_start_token_id=0, pad_token_id=0, eos_token_id=1, dropout_rate=0.0,
            tie_word_embeddings=False, initializer_factor=2.0,
        )
    ).eval()  # fmt: skip
    with torch.no_grad():
        # Random weights seldom end a text: made likelier, texts end at different steps, as those of trained ones do.
        model.lm_head.weight[1] *= 2
        model.lm_head.weight[0] = 0
    model = model.to(device())
    chance = random.Random(1)
    lengths = [max(8, min(512, int(chance.lognormvariate(*spread)))) for _ in range(TEXTS)]
    rows = [tuple([chance.randrange(3, VOCABULARY) for _ in range(length - 1)] + [1]) for length in lengths]

    @torch.inference_mode()
    def arrival(size: int) -> list[tuple[int, ...]]:
        found: list[tuple[int, ...]] = []
        for start in range(0, TEXTS, size):
            tokens, mask = padded(rows[start : start + size], 0)
            output = model.generate(
                input_ids=tokens.to(device()),
                attention_mask=mask.to(device()),
                max_new_tokens=NEW_TOKENS,
                do_sample=False,
            )
            found += [_until_end(row[1:]) for row in output.tolist()]
        return found

    def ours(target: Any) -> list[tuple[int, ...]]:
        prompts = [Prompt(row, Generation(max_new_tokens=NEW_TOKENS), 0) for row in rows]
        found = dict(GenerateEngine(target).generate(prompts))
        return [found[place].sequences[0] for place in range(TEXTS)]

    half = T5ForConditionalGeneration(model.config).to(device=device(), dtype=torch.bfloat16).eval()
    half.load_state_dict(model.state_dict())
    seconds, answers = interleaved(
        {
            "hf4": lambda: arrival(4),
            "hf32": lambda: arrival(32),
            "ours": lambda: ours(model),
            "bf16": lambda: ours(half),
        }
    )
    reference = answers["hf4"]

    def identical(name: str) -> float:
        same = [a == b for a, b in zip(answers[name], reference, strict=True)]
        return float(sum(same)) / TEXTS

    return {
        "batch_ratio": round(seconds["hf4"] / seconds["ours"], 3),
        "batch_identical": identical("ours"),
        "batch_ratio_hf32": round(seconds["hf4"] / seconds["hf32"], 3),
        "batch_ratio_bf16": round(seconds["hf4"] / seconds["bf16"], 3),
        "batch_identical_bf16": round(identical("bf16"), 3),
        "batch_records_per_cpu_s": round(TEXTS / seconds["ours"], 2),
        "batch_tokens_in_mean": round(statistics.mean(lengths), 1),
        "batch_tokens_out_mean": round(statistics.mean(map(len, reference)), 1),
        "batch_parameters_m": round(sum(weight.numel() for weight in model.parameters()) / 1e6, 2),
    }


def zero_shot() -> dict[str, Any]:
    """Classification of premises as long as a resolution for the new year (14 words), some of them repeated."""
    chance = random.Random(3)
    words = [f"{a}{b}" for a in ("ka", "lo", "mi", "tu", "re") for b in ("ban", "dor", "fel", "gis", "nup", "sat")]
    labels = words[:LABELS]
    some = [
        " ".join(chance.choices(words, k=max(2, min(300, int(chance.lognormvariate(2.5, 0.5))))))
        for _ in range(PREMISES)
    ]
    for _ in range(PREMISES // 20):
        some[chance.randrange(PREMISES)] = some[chance.randrange(PREMISES)]
    tokenizer = tokenizer_of(
        [" ".join(words)] * 3,
        size=400,
        specials=("<s>", PAD, END, UNKNOWN),
        single=f"<s> $A {END}",
        pair=f"<s> $A {END} {END} $B {END}",
    )
    torch.manual_seed(0)
    model: Any = BartForSequenceClassification(
        BartConfig(
            vocab_size=len(tokenizer), d_model=256, encoder_layers=3, decoder_layers=3, encoder_attention_heads=4,
            decoder_attention_heads=4, encoder_ffn_dim=1024, decoder_ffn_dim=1024, max_position_embeddings=512, dropout=0.0,
            num_labels=3, bos_token_id=0, pad_token_id=1, eos_token_id=2, decoder_start_token_id=2, init_std=0.1,
            id2label=CLASSES, label2id={name: place for place, name in CLASSES.items()},
        )
    ).eval().to(device())  # fmt: skip
    half = BartForSequenceClassification(model.config).to(device=device(), dtype=torch.bfloat16).eval()
    half.load_state_dict(model.state_dict())
    peer = transformers_pipeline("zero-shot-classification", model=model, tokenizer=tokenizer, device=device())
    lines = [dump_line({"sequences": text, "candidate_labels": labels}) for text in some]

    def ours(target: Any) -> list[dict[str, float]]:
        pipeline = Pipeline(ZeroShot(Loaded(ZERO_SHOT, target, tokenizer, ROOT)))
        return [_scores(json.loads(line)) for line in pipeline.answer_lines(lines).lines]

    seconds, answers = interleaved(
        {
            "one": lambda: [_scores(peer(text, candidate_labels=labels)) for text in some],
            "ours": lambda: ours(model),
            "bf16": lambda: ours(half),
        }
    )
    difference = max(
        abs(a[label] - b[label]) for a, b in zip(answers["one"], answers["ours"], strict=True) for label in labels
    )
    return {
        "zero_shot_ratio": round(seconds["one"] / seconds["ours"], 3),
        "zero_shot_difference": difference,
        "zero_shot_ratio_bf16": round(seconds["one"] / seconds["bf16"], 3),
        "zero_shot_pairs_per_cpu_s": round(PREMISES * LABELS / seconds["ours"], 1),
        "zero_shot_repeated": PREMISES - len(set(some)),
    }


def resolving() -> dict[str, Any]:
    """`resolve` against the bare get_parameter that it replaces, over a real socket; and from its cache."""
    import boto3
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from moto.server import ThreadedMotoServer

    from promotion import resolve
    from promotion.client.live_record import signed_bytes

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    session = boto3.Session("test", "test", region_name="us-east-1")
    ssm = session.client("ssm", endpoint_url=f"http://{host}:{port}")
    key = ec.generate_private_key(ec.SECP256R1())
    public = (
        key.public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        .decode()
    )
    container = {
        "image": "image:1", "image_digest": "sha256:0", "model_data_url": "s3://bucket/key/model.tar.gz",
        "model_data_version_id": "v", "sha256": "0" * 64, "manifest_sha256": "0" * 64, "environment": {"HF_TASK": TEXT_TO_TEXT},
    }  # fmt: skip
    record = {
        "schema": 1, "model_package_group": "group", "model_package_version": 3, "environment": "prod",
        "model_package_arn": "arn:aws:sagemaker:us-east-1:123456789012:model-package/group/3", "containers": [container],
        "content_types": ["application/jsonlines"], "approved_by": ["ann"], "approved_at": "2026-11-20T10:00:00Z",
        "approval_id": "approval", "sequence": 12, "key_id": "key",
    }  # fmt: skip
    signature = base64.b64encode(key.sign(signed_bytes(record), ec.ECDSA(hashes.SHA256()))).decode()
    name = "/promotion/group/prod/live"
    ssm.put_parameter(Name=name, Value=json.dumps({**record, "signature": signature}), Type="String")
    options: dict[str, Any] = {"public_key": public, "ssm": ssm}

    def seconds(call: Callable[[], Any], times: int) -> float:
        found = []
        for _ in range(times):
            begun = time.perf_counter()
            call()
            found.append(time.perf_counter() - begun)
        return statistics.median(found)

    try:
        # In turns, so that a busy moment of the machine meets both.
        bare, resolved = [], []
        for _ in range(10):
            bare.append(seconds(lambda: ssm.get_parameter(Name=name), 20))
            resolved.append(seconds(lambda: resolve("group", "prod", **options), 20))
        cached = seconds(lambda: resolve("group", "prod", cache_seconds=60, **options), 2_000)
    finally:
        server.stop()
    return {
        "resolve_ratio": round(min(resolved) / min(bare), 3),
        "resolve_ms": round(min(resolved) * 1_000, 3),
        "resolve_cached_us": round(cached * 1e6, 2),
    }


def memory(lines: int) -> dict[str, Any]:
    """Peak memory of `python -m inference batch` on few lines and on many, with the smallest model."""
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch)
        folder = smallest(place / "model")
        peaks, seconds = {}, {}
        for count in (SHORT, lines):
            source = place / f"{count}.jsonl"
            with source.open("wb") as sink:
                for number in range(count):
                    sink.write(dump_line({"id": number, "text_inputs": f"{number % 9973} of {number}"}) + b"\n")
            begun = time.monotonic()
            peaks[count] = _peak_of_batch(folder, source, place / "out")
            seconds[count] = time.monotonic() - begun
    return {
        "memory_ratio": round(peaks[lines] / peaks[SHORT], 4),
        "memory_lines": lines,
        "memory_peak_mib": round(peaks[lines] / 2**20, 1),
        "memory_lines_per_s": round(lines / seconds[lines], 1),
    }


def smallest(folder: Path) -> Path:
    """A model that computes next to nothing, so that reading and writing are measured."""
    tokenizer = tokenizer_of(["0123456789 of"] * 3, size=40, specials=(PAD, END, UNKNOWN), single=f"$A {END}")
    torch.manual_seed(0)
    config = T5Config(
        vocab_size=len(tokenizer), d_model=16, d_kv=8, d_ff=16, num_layers=1, num_decoder_layers=1, num_heads=2,
        decoder_start_token_id=0, pad_token_id=0, eos_token_id=1, tie_word_embeddings=False,
    )  # fmt: skip
    model = T5ForConditionalGeneration(config)
    model.generation_config.max_new_tokens = 2
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def _peak_of_batch(folder: Path, source: Path, output: Path) -> int:
    options = ["--model-dir", str(folder), "--unverified", "--input", str(source), "--output", str(output)]
    subprocess.run(
        [sys.executable, "-m", "inference", "batch", *options], check=True, cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", "LOG_LEVEL": "ERROR"},
    )  # fmt: skip
    run = json.loads((output / f"{source.name}.out.run.json").read_text())
    return int(run["engine"]["peak_memory_bytes"])


def machine() -> dict[str, Any]:
    """Describe the machine of the figures."""
    flags = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    return {
        "device": torch.cuda.get_device_name()
        if device().type == "cuda"
        else platform.processor() or platform.machine(),
        "cpu_flags": [flag for flag in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if f" {flag}" in flags],
        "cores": os.cpu_count(),
        "load_average": os.getloadavg()[0],
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "python": platform.python_version(),
    }


def page(figures: dict[str, Any]) -> str:
    """The table, as it is committed."""
    found = figures["machine"]
    rows = [
        ("Text to text, float32, against Hugging Face as it comes, by 4", f"{figures['batch_ratio']:.2f} ×", "at least 1.8",
         f"{figures['batch_identical']:.0%} of the rows are identical to the token"),
        ("The same on articles, most of them 512 tokens long", f"{figures['articles']['batch_ratio']:.2f} ×", "",
         f"{figures['articles']['batch_identical']:.0%} identical; the encoder's work is the same whoever batches"),
        ("Hugging Face in arrival order by 32", f"{figures['batch_ratio_hf32']:.2f} ×", "", "for comparison"),
        ("Text to text, bfloat16", f"{figures['batch_ratio_bf16']:.2f} ×", "more",
         f"{figures['batch_identical_bf16']:.0%} of the rows are identical"),
        ("Zero-shot, float32, against one pipeline call a premise", f"{figures['zero_shot_ratio']:.2f} ×", "at least 1.8",
         f"scores differ by at most {figures['zero_shot_difference']:.1e}"),
        ("Zero-shot, bfloat16", f"{figures['zero_shot_ratio_bf16']:.2f} ×", "more", ""),
        (f"Peak memory of {figures['memory_lines']:,} lines over {SHORT:,}", f"{figures['memory_ratio']:.3f}", "at most 1.1",
         f"{figures['memory_peak_mib']:.0f} MiB, of which torch is most"),
        ("`resolve` over a bare get_parameter", f"{figures['resolve_ratio']:.2f} ×", "at most 1.2",
         f"{figures['resolve_ms']:.2f} ms"),
        ("`resolve` from its cache", f"{figures['resolve_cached_us']:.1f} µs", "under 50 µs", ""),
    ]  # fmt: skip
    lines = [
        "# Serving", "",
        "Written by `python -m benchmarks serving`. Text to text is by the plain path; the engine's figures are in inference.md.",
        "",
        tables.table(rows), "",
        f"Text to text: {TEXTS} texts of {figures['batch_tokens_in_mean']} tokens on average (log-normal, at most 512), "
        f"{figures['batch_tokens_out_mean']} tokens out, a T5 of {figures['batch_parameters_m']} M random weights. "
        f"Zero-shot: {PREMISES} premises of 14 words on average, {figures['zero_shot_repeated']} of them repeated, "
        f"{LABELS} labels, a BART of random weights.",
        "", "Ratios are of CPU time at one thread (of wall time on a GPU), the best of three interleaved rounds. "
        f"The load average was {found['load_average']:.1f}: beyond the cores' number, times are upper bounds.", "",
        "Memory is the transforming process's own peak (`VmHWM`). Nothing is kept of a line once it is answered: "
        "only the score compares ids. What grows over the first 100,000 lines is the allocator's, and oneDNN's 64 kernels.", "",
        f"Device {found['device']}, {found['cores']} cores, {', '.join(found['cpu_flags']) or 'no vector flags'}; "
        f"torch {found['torch']}, transformers {found['transformers']}, Python {found['python']}.", "",
    ]  # fmt: skip
    return "\n".join(lines)


def _until_end(row: Sequence[int]) -> tuple[int, ...]:
    ends = [place for place, token in enumerate(row) if token == 1]
    return tuple(row[: ends[0]] if ends else row)


def _scores(answer: dict[str, Any]) -> dict[str, float]:
    return dict(zip(answer["labels"], answer["scores"], strict=True))


if __name__ == "__main__":
    print(json.dumps(main("--long" in sys.argv[1:]), indent=1))
