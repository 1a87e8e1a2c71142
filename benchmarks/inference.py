"""The engine against Hugging Face and CTranslate2, on the same weights and articles, all interleaved in one run.

Writes build/bench/inference.json, docs/benchmarks/inference.md and its chart. Ratios are of CPU time at one thread to Hugging
Face in arrival order by 4 (what a default endpoint does), `two_cores` of wall time. What was not measured is null there and
blank in the table. The first run trains the model (minutes) and puts CTranslate2 into an environment of its own.
"""

from __future__ import annotations

import copy
import json
import os
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from rouge_score.rouge_scorer import RougeScorer
from transformers import AutoTokenizer, T5Config, T5ForConditionalGeneration
from transformers.utils.logging import disable_progress_bar, set_verbosity_error

from benchmarks import inference_decoders, inference_gpu, inference_profile, inference_zero_shot
from benchmarks.inference_machine import machine
from benchmarks.inference_report import headline, write
from examples.corpus import logs, training_logs
from examples.training import END, PAD, UNKNOWN, batches, fit, padded, tokenizer_of
from inference.engines import Prompt
from inference.engines.encoder_decoder import EncoderDecoderEngine, EngineConfig, text_engine
from inference.engines.generate import GenerateEngine
from inference.engines.weight_reading import read_weights
from inference.records.parameters import Generation

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "build" / "bench" / "inference"
# Words in each of 60 news articles.
ARTICLES = (
    198, 392, 808, 531, 580, 334, 742, 621, 609, 888, 1360, 647, 1082, 416, 791, 481, 663, 1447, 403, 346, 496, 1398, 594,
    805, 666, 584, 563, 1537, 192, 443, 751, 879, 884, 1677, 445, 313, 980, 345, 1144, 333, 602, 423, 580, 814, 368, 576,
    638, 672, 889, 1447, 418, 615, 677, 715, 330, 632, 899, 709, 967, 381,
)  # fmt: skip
LONGEST, LEAST_NEW, MOST_NEW, BEAMS = 1_024, 40, 64, 4
ROUGE = ("rouge1", "rouge2", "rougeL")
Texts = list[tuple[int, ...]]
# What was said, and the seconds of CPU and of the clock on the wall that it took.
Run = Callable[[], tuple[Texts, float, float]]


def main(long: bool = False) -> dict[str, Any]:
    """Measure, write JSON, table and chart, and return the figures."""
    set_verbosity_error()
    disable_progress_bar()
    torch.set_num_threads(1)
    count = int(os.environ.get("BENCH_ARTICLES", "60" if long else "32"))
    rounds = int(os.environ.get("BENCH_ROUNDS", "5" if long else "2"))
    model, tokenizer = trained()
    figures: dict[str, Any] = {"machine": machine(), "model": size(model), "variants": {}}
    for name, scale in (("articles", 1.0), ("short texts", 0.25)):
        articles, references = inputs(tokenizer, count, scale)
        figures["variants"] |= compare(name, model, tokenizer, articles, references, rounds)
    articles, _ = inputs(tokenizer, count, 1.0)
    figures["profile"] = profile(model, articles)
    # Two threads that wait for each other, and for others' processes, take minutes to say nothing.
    alone = os.getloadavg()[0] <= (os.cpu_count() or 1) + 1
    figures["two_cores"] = two_cores(articles, rounds) if alone else None
    figures["zero_shot"] = inference_zero_shot.measure(rounds)
    figures["decoders"] = inference_decoders.measure(rounds)
    figures["gpu"] = inference_gpu.measure() if torch.cuda.is_available() else None
    figures["load_average_after"] = os.getloadavg()[0]
    figures |= headline(figures)
    write(figures)
    return {"ratios": figures["ratios"], "identical": figures["identical"]}


def compare(
    name: str, model: Any, tokenizer: Any, articles: Sequence[tuple[int, ...]], references: list[str], rounds: int
) -> dict[str, Any]:
    """Every variant once a round, greedy ones first; by "name: variant"."""
    base = EngineConfig.of(model.device)
    half = torch.bfloat16
    greedy: dict[str, Run] = {
        "Hugging Face, arrival, 4": hugging_face(model, articles, arrival(articles, 4)),
        "Hugging Face, arrival, 32": hugging_face(model, articles, arrival(articles, 32)),
        "Hugging Face, sorted, 4": hugging_face(model, articles, by_length(articles, 4)),
        "plain path, token budget": own(GenerateEngine(model), articles),
        "engine": own(engine(model, base), articles),
        "engine, bf16": own(engine(model, replace(base, dtype=half)), articles),
    }
    beams: dict[str, Run] = {
        "Hugging Face, beam 4": hugging_face(model, articles, arrival(articles, 4), BEAMS),
        "engine, beam 4": own(engine(model, base), articles, BEAMS),
        "engine, beam 4, bf16": own(engine(model, replace(base, dtype=half)), articles, BEAMS),
    }
    peer = CTranslate2.start()
    if peer:
        for kind in ("float32", "int8"):
            greedy[f"CTranslate2, {kind}"] = peer.run(kind, articles, 1)
            beams[f"CTranslate2, beam 4, {kind}"] = peer.run(kind, articles, BEAMS)
    seconds: dict[str, list[float]] = {}
    wall: dict[str, list[float]] = {}
    said: dict[str, Texts] = {}
    for _ in range(rounds):
        for variant, run in (greedy | beams).items():
            said[variant], spent, passed = run()
            seconds.setdefault(variant, []).append(spent)
            wall.setdefault(variant, []).append(passed)
            print(f"  {name}: {variant} {spent:.2f} s", flush=True)
    if peer:
        peer.stop()
    found = {}
    for variant, times in seconds.items():
        reference = next(iter(beams if variant in beams else greedy))
        pairs = [one / other for one, other in zip(seconds[reference], times, strict=True)]
        tokens = sum(map(len, said[variant]))
        found[f"{name}: {variant}"] = {
            "cpu_s": min(times),
            "wall_s": min(wall[variant]),
            "records_per_s": len(articles) / min(times),
            "tokens_per_s": tokens / min(times),
            "ratio": min(seconds[reference]) / min(times),
            "ratio_low": min(pairs),
            "ratio_high": max(pairs),
            "identical": statistics.mean(a == b for a, b in zip(said[variant], said[reference], strict=True)),
            **rouge(tokenizer, said[variant], references),
        }
    return found


def hugging_face(model: Any, articles: Sequence[tuple[int, ...]], groups: list[list[int]], beams: int = 1) -> Run:
    """`generate` over these groups of articles."""

    @torch.inference_mode()
    def run() -> tuple[Texts, float, float]:
        passed, begun, said = time.perf_counter(), time.thread_time(), [()] * len(articles)
        for group in groups:
            tokens = padded([articles[index] for index in group], 0)
            output = model.generate(
                input_ids=tokens, attention_mask=(tokens != 0).long(), max_new_tokens=MOST_NEW, num_beams=beams
            )
            for index, row in zip(group, output.tolist(), strict=True):
                said[index] = trimmed(row[1:])
        return said, time.thread_time() - begun, time.perf_counter() - passed

    return run


def own(engine: Any, articles: Sequence[tuple[int, ...]], beams: int = 1) -> Run:
    settings = Generation(max_new_tokens=MOST_NEW, num_beams=beams)
    prompts = [Prompt(tokens, settings, key) for key, tokens in enumerate(articles)]

    def run() -> tuple[Texts, float, float]:
        passed, begun = time.perf_counter(), time.thread_time()
        found = dict(engine.generate(prompts))
        spent, passed = time.thread_time() - begun, time.perf_counter() - passed
        return [found[index].sequences[0] for index in range(len(prompts))], spent, passed

    return run


def engine(model: Any, config: EngineConfig) -> EncoderDecoderEngine:
    chosen = text_engine(model)
    assert isinstance(chosen, EncoderDecoderEngine)
    return EncoderDecoderEngine(model, chosen.rules, config=config)


class CTranslate2:
    """The peer, in a process and an environment of its own."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    @classmethod
    def start(cls) -> CTranslate2 | None:
        """None where it can't be installed; its rows stay blank then."""
        home = FOLDER / "ctranslate2"
        python = home / "bin" / "python"
        try:
            if not python.exists():
                subprocess.run([sys.executable, "-m", "venv", str(home)], check=True)
            wanted = str(ROOT / "benchmarks" / "requirements.txt")
            subprocess.run([str(python), "-m", "pip", "install", "--quiet", "-r", wanted], check=True)
            # Converting takes transformers and torch, which this environment has.
            paths = os.pathsep.join([str(ROOT), *(path for path in sys.path if path.endswith("site-packages"))])
            process = subprocess.Popen(
                [str(python), str(ROOT / "benchmarks" / "ctranslate2_peer.py"), str(FOLDER)],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": paths},
            )  # fmt: skip
            assert process.stdout is not None
            ready = process.stdout.readline().strip()
        except (OSError, subprocess.CalledProcessError) as error:
            print(f"  CTranslate2 is left out: {error}", file=sys.stderr)
            return None
        return cls(process) if ready == "ready" else None

    def run(self, kind: str, articles: Sequence[tuple[int, ...]], beams: int) -> Run:
        request = json.dumps([kind, beams, LEAST_NEW, MOST_NEW, articles])

        def answer() -> tuple[Texts, float, float]:
            assert self._process.stdin is not None
            assert self._process.stdout is not None
            self._process.stdin.write(request + "\n")
            self._process.stdin.flush()
            rows, spent, passed = json.loads(self._process.stdout.readline())
            return [tuple(row) for row in rows], spent, passed

        return answer

    def stop(self) -> None:
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._process.wait(timeout=60)


def two_cores(articles: Sequence[tuple[int, ...]], rounds: int) -> dict[str, Any]:
    """Wall time: two processes of one thread against Hugging Face in one process of two."""
    order = sorted(range(len(articles)), key=lambda index: -len(articles[index]))
    halves = [[articles[index] for index in order[start::2]] for start in (0, 1)]
    found: dict[str, list[float]] = {"hugging_face_s": [], "engine_s": [], "engine_bf16_s": []}
    context = get_context("spawn")
    with (
        ProcessPoolExecutor(2, mp_context=context, initializer=threads, initargs=(1,)) as pair,
        ProcessPoolExecutor(1, mp_context=context, initializer=threads, initargs=(2,)) as one,
    ):
        list(pair.map(_work, [("engine", halves[0][:2]), ("engine", halves[1][:2])]))
        for _ in range(rounds):
            for kind, pool, shares in (
                ("hugging_face", one, [list(articles)]),
                ("engine", pair, halves),
                ("engine_bf16", pair, halves),
            ):
                begun = time.perf_counter()
                list(pool.map(_work, [(kind, share) for share in shares]))
                found[f"{kind}_s"].append(time.perf_counter() - begun)
    ratios = {name: min(found["hugging_face_s"]) / min(times) for name, times in found.items()}
    return {**found, "fp32": ratios["engine_s"], "bf16": ratios["engine_bf16_s"]}


def threads(count: int) -> None:
    torch.set_num_threads(count)
    set_verbosity_error()
    disable_progress_bar()


_LOADED: dict[str, Any] = {}


def _work(job: tuple[str, list[tuple[int, ...]]]) -> int:
    kind, articles = job
    if not _LOADED:
        _LOADED["model"] = trained()[0]
        config = EngineConfig.of(torch.device("cpu"))
        _LOADED["engine"] = engine(_LOADED["model"], config)
        _LOADED["engine_bf16"] = engine(_LOADED["model"], replace(config, dtype=torch.bfloat16))
    if kind == "hugging_face":
        return len(hugging_face(_LOADED["model"], articles, arrival(articles, 4))()[0])
    return len(own(_LOADED[kind], articles)()[0])


def trained() -> tuple[Any, Any]:
    """A T5 of 6.6 million parameters that summarises the first of several logs; trained where there is none yet."""
    folder = FOLDER / "model"
    if not (folder / "model.safetensors").exists():
        train(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    model = T5ForConditionalGeneration.from_pretrained(folder, local_files_only=True).eval()
    # News summaries are about this long; without it the model would stop after a dozen tokens.
    model.generation_config.min_new_tokens = LEAST_NEW
    return model, tokenizer


def train(folder: Path) -> None:
    torch.manual_seed(0)
    examples, chance = training_logs(12_000), random.Random(5)
    texts = [text for log in examples[:4_000] for text in (log.text, log.summary)]
    tokenizer = tokenizer_of(texts, size=1_200, specials=(PAD, END, UNKNOWN), single=f"$A {END}")
    joined = [
        " ".join([log.text, *(chance.choice(examples).text for _ in range(chance.choice((0, 0, 0, 0, 1, 1, 2, 4))))])
        for log in examples
    ]
    sources = tokenizer(joined)["input_ids"]
    targets = tokenizer([log.summary for log in examples])["input_ids"]
    config = T5Config(
        vocab_size=(len(tokenizer) + 7) // 8 * 8, d_model=256, d_kv=64, d_ff=512, num_layers=4, num_heads=4,
        dropout_rate=0.0, feed_forward_proj="gated-gelu", decoder_start_token_id=0, pad_token_id=0, eos_token_id=1,
    )  # fmt: skip
    model = T5ForConditionalGeneration._from_config(config, attn_implementation="eager")

    def losses() -> Iterator[Callable[[], torch.Tensor]]:
        for batch in batches([len(row) for row in sources], 24, 0):

            def loss(batch: list[int] = batch) -> torch.Tensor:
                tokens = padded([sources[index] for index in batch], 0)
                labels = padded([targets[index] for index in batch], -100)
                return model(input_ids=tokens, attention_mask=(tokens != 0).long(), labels=labels).loss

            yield loss

    fit(model, losses(), seconds=None, steps=700, rate=2e-3, name="training")
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def inputs(tokenizer: Any, count: int, scale: float) -> tuple[list[tuple[int, ...]], list[str]]:
    """Logs joined to the articles' lengths, as tokens, and the summaries of the first of each."""
    source, texts, references = logs(10_000, 7), [], []
    for words in ARTICLES[:count]:
        first = next(source)
        text = first.text
        while len(text.split()) < words * scale:
            text += " " + next(source).text
        texts.append(text)
        references.append(first.summary)
    return [tuple(row) for row in tokenizer(texts, truncation=True, max_length=LONGEST)["input_ids"]], references


def arrival(articles: Sequence[Any], size: int) -> list[list[int]]:
    return [list(range(start, min(start + size, len(articles)))) for start in range(0, len(articles), size)]


def by_length(articles: Sequence[Any], size: int) -> list[list[int]]:
    order = sorted(range(len(articles)), key=lambda index: -len(articles[index]))
    return [order[start : start + size] for start in range(0, len(order), size)]


def trimmed(row: Sequence[int]) -> tuple[int, ...]:
    return tuple(row[: row.index(1)]) if 1 in row else tuple(row)


def rouge(tokenizer: Any, said: Texts, references: list[str]) -> dict[str, float]:
    scorer = RougeScorer(list(ROUGE), use_stemmer=True)
    texts = tokenizer.batch_decode([list(row) for row in said], skip_special_tokens=True)
    scores = [scorer.score(a, b) for a, b in zip(references, texts, strict=True)]
    return {kind: 100 * statistics.mean(score[kind].fmeasure for score in scores) for kind in ROUGE}


def profile(model: Any, articles: Sequence[tuple[int, ...]]) -> dict[str, Any]:
    """Where the time goes, greedy and by beams, beside the least that the encoder can take on this processor."""
    own_engine = engine(model, EngineConfig.of(model.device))
    plain, greedy = read_weights(model, fused=False), own(own_engine, articles)
    said = [len(text) + 1 for text in greedy()[0]]  # with its end
    least = inference_profile.least_encoder_seconds(plain, articles)
    rate = least["product_gflop_per_s"]
    return {
        "greedy": inference_profile.where(greedy),
        "beams": inference_profile.where(own(own_engine, articles, BEAMS)),
        "least_encoder": least,
        "least_decoder": inference_profile.least_decoder_seconds(plain, articles, said, rate),
        "tokens_in": sum(map(len, articles)),
    }


def size(model: Any) -> dict[str, Any]:
    parameters = sum(parameter.numel() for parameter in copy.copy(model).parameters())
    return {"kind": "T5, gated-gelu, tied, 4 + 4 layers, width 256", "parameters": parameters}


if __name__ == "__main__":
    print(json.dumps(main(long="--long" in sys.argv), indent=2))
