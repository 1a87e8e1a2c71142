"""Inference on the shapes that people run: random weights made on the spot, fixed lengths, all ways interleaved.

Each shape is measured in a process of its own, and its figures go into build/bench/inference.json and onto
docs/benchmarks/inference.md beside those that are there. Ratios are of CPU time at one thread to transformers' `generate`
by 4 in order of arrival. `python -m benchmarks.inference SHAPE …` measures some. The first run trains a small model
(minutes), whose texts have real ends and a score.
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from tokenizers.processors import TemplateProcessing
from transformers import (
    BartConfig,
    BartForConditionalGeneration,
    BartForSequenceClassification,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
    T5Config,
    T5ForConditionalGeneration,
)
from transformers.utils.logging import disable_progress_bar, set_verbosity_error

from benchmarks import inference_gpu, inference_service, inference_trained
from benchmarks.inference_machine import machine
from benchmarks.inference_report import write
from inference.decoders import GenerationRequest, RequestHandle, TokenEvent
from inference.decoders.settings import Decoding, Limits
from inference.decoders.steps import StepEngine
from inference.engines import Pair, Prompt, TextEngine
from inference.engines.encoder_decoder import text_engine
from inference.engines.generate import GenerateEngine, padded
from inference.engines.nli import NliEngine
from inference.models.loading import load
from inference.records.parameters import Generation
from inference.tasks.ctranslate2 import ctranslate2_engine
from promotion.errors import PromotionError

ROOT = Path(__file__).resolve().parent.parent
FIGURES = ROOT / "build" / "bench" / "inference.json"
# Tokens of eight news articles, and of 32 short texts.
ARTICLES = (260, 510, 1_024, 690, 750, 430, 960, 800)
SHORT = (40, 88, 122, 65, 30, 101, 77, 54) * 4
NEW_TOKENS = 40
NAME = "Hugging Face, arrival, 4"
SUMMARIES = "trained small T5, summaries"
# Lines of a batch whose time is taken apart.
LINES = int(os.environ.get("BENCH_LINES", "1000"))
# The comparable part of an engine's answers.
Answers = list[tuple[int, ...]]
Run = Callable[[], Answers]


@dataclass(frozen=True, slots=True)
class Shape:
    """A model's shape, and its input."""

    make: Callable[[], Any]
    ways: Callable[[Any, Shape], dict[str, Run]]
    lengths: tuple[int, ...] = ()
    rounds: int = 3
    serves: bool = False  # whether its start and its share of a batch are measured too


def t5(width: int, heads: int, hidden: int, layers: int) -> Callable[[], Any]:
    """FLAN-T5's layout: gated, with a head of its own."""
    config = T5Config(
        vocab_size=32_128, d_model=width, d_kv=64, num_heads=heads, d_ff=hidden, num_layers=layers,
        num_decoder_layers=layers, feed_forward_proj="gated-gelu", tie_word_embeddings=False, dropout_rate=0.0,
        decoder_start_token_id=0, pad_token_id=0, eos_token_id=1,
    )  # fmt: skip
    return lambda: T5ForConditionalGeneration(config)


def bart(width: int, heads: int, hidden: int, layers: int, **classes: Any) -> BartConfig:
    return BartConfig(
        vocab_size=50_265, d_model=width, encoder_layers=layers, decoder_layers=layers, encoder_attention_heads=heads,
        decoder_attention_heads=heads, encoder_ffn_dim=hidden, decoder_ffn_dim=hidden, max_position_embeddings=1_024,
        dropout=0.0, **classes,
    )  # fmt: skip


def qwen() -> Any:
    """A decoder of 0.5 billion parameters, as Qwen2.5's smallest."""
    return Qwen2ForCausalLM(
        Qwen2Config(
            vocab_size=151_936, hidden_size=896, intermediate_size=4_864, num_hidden_layers=24, num_attention_heads=14,
            num_key_value_heads=2, max_position_embeddings=2_048, tie_word_embeddings=True, pad_token_id=0, bos_token_id=1,
            eos_token_id=2,
        )
    )  # fmt: skip


def rows_of(lengths: Sequence[int], vocabulary: int, end: int | None) -> Answers:
    """Random texts of these lengths, the same in each run."""
    chance = torch.Generator().manual_seed(1)
    rows = [torch.randint(3, vocabulary, (length,), generator=chance).tolist() for length in lengths]
    return [tuple(row if end is None else [*row[:-1], end]) for row in rows]


def texts(model: Any, shape: Shape) -> dict[str, Run]:
    """Every way for a model that writes texts of a fixed length."""
    rows = rows_of(shape.lengths, model.config.vocab_size, model.config.eos_token_id)
    model.generation_config.min_new_tokens = NEW_TOKENS
    return writing(model, tokenizer(model.config.vocab_size), rows, NEW_TOKENS)


def summaries(model: Any, shape: Shape) -> dict[str, Run]:
    """Every way for the trained model."""
    words = inference_trained.trained()[1]
    return writing(model, words, inference_trained.inputs(words, 32, 1.0)[0], 64)


def writing(model: Any, words: Any, rows: Answers, most: int) -> dict[str, Run]:
    """`generate`, the plain path, the engine, and CTranslate2 in float32 and int8."""
    ways: dict[str, Run] = {
        NAME: by_four(model, rows, most),
        "plain path": own(GenerateEngine(model), rows, most),
        "engine": own(text_engine(model), rows, most),
    }
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        words.save_pretrained(folder)
        for kind in ("float32", "int8"):
            try:
                ways[f"CTranslate2, {kind}"] = own(ctranslate2_engine(load(Path(folder)), kind), rows, most)
            except PromotionError as error:
                print(f"  {error}", file=sys.stderr)
    return ways


def by_four(model: Any, rows: Answers, most: int) -> Run:
    end, pad = model.config.eos_token_id, model.config.pad_token_id

    @torch.inference_mode()
    def run() -> Answers:
        said: Answers = []
        for start in range(0, len(rows), 4):
            tokens, mask = padded(rows[start : start + 4], pad)
            output = model.generate(
                input_ids=tokens, attention_mask=mask, max_new_tokens=most, do_sample=False, num_beams=1
            )
            for row in output[:, 1:].tolist():
                said.append(tuple(row[: row.index(end)] if end in row else row))
        return said

    return run


def own(engine: TextEngine, rows: Answers, most: int) -> Run:
    settings = Generation(max_new_tokens=most)
    prompts = [Prompt(row, settings, key) for key, row in enumerate(rows)]

    def run() -> Answers:
        found = dict(engine.generate(prompts))
        return [found[index].sequences[0] for index in range(len(prompts))]

    return run


def pairs(model: Any, shape: Shape) -> dict[str, Run]:
    """Zero-shot classification: each text's pairs in a call, padded, against all pairs in one."""
    rows = rows_of(shape.lengths, model.config.vocab_size, model.config.eos_token_id)
    asked = [Pair(row, None) for row in rows]

    @torch.inference_mode()
    def by_text() -> Answers:
        found: Answers = []
        for start in range(0, len(rows), 4):
            tokens, mask = padded(rows[start : start + 4], 1)
            logits = model(input_ids=tokens, attention_mask=mask, use_cache=False).logits
            found += [_rounded(row[0], row[2]) for row in logits.tolist()]
        return found

    def score(engine: NliEngine) -> Run:
        def run() -> Answers:
            found = dict(engine.score(asked))
            return [_rounded(found[index].contradiction, found[index].entailment) for index in range(len(asked))]

        return run

    return {NAME: by_text, "plain path": score(NliEngine(model, packed=False)), "engine": score(NliEngine(model))}


def _rounded(*logits: float) -> tuple[int, ...]:
    """Logits, to a thousandth."""
    return tuple(round(logit * 1_000) for logit in logits)


def continuations(model: Any, shape: Shape) -> dict[str, Run]:
    """A decoder: one text after the other, and all of them in steps."""
    rows, new = rows_of(shape.lengths, model.config.vocab_size, None), 24
    model.generation_config.min_new_tokens = new
    words = tokenizer(100)

    @torch.inference_mode()
    def one_by_one() -> Answers:
        found = []
        for row in rows:
            tokens = torch.tensor([row])
            output = model.generate(tokens, attention_mask=torch.ones_like(tokens), max_new_tokens=new, do_sample=False)
            found.append(tuple(output[0, len(row) :].tolist()))
        return found

    def steps() -> Answers:
        engine = StepEngine(model, words, Limits.of({}, reach=2_048, on_cuda=False))
        events: list[list[TokenEvent]] = [[] for _ in rows]
        for key, row in enumerate(rows):
            engine.submit(
                RequestHandle(GenerationRequest("", row, Decoding(max_new_tokens=new), key), events[key].append)
            )
        while engine.step():
            pass
        return [tuple(event.id for event in one) for one in events]

    return {NAME: one_by_one, "engine": steps}


def tokenizer(size: int) -> PreTrainedTokenizerFast:
    """Make a tokenizer of a number of made-up words, for a folder that needs one."""
    words = ["<pad>", "</s>", "<unk>", *(f"t{number}" for number in range(3, size))]
    made = Tokenizer(WordLevel({word: place for place, word in enumerate(words)}, unk_token="<unk>"))
    made.pre_tokenizer = WhitespaceSplit()
    made.post_processor = TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return PreTrainedTokenizerFast(tokenizer_object=made, pad_token="<pad>", eos_token="</s>", unk_token="<unk>")


CLASSES = {"id2label": {0: "contradiction", 1: "neutral", 2: "entailment"}, "num_labels": 3,
           "label2id": {"contradiction": 0, "neutral": 1, "entailment": 2}}  # fmt: skip
SMALL, BASE = t5(512, 6, 1_024, 8), t5(768, 12, 2_048, 12)
SHAPES = {
    "flan-t5-small, articles": Shape(SMALL, texts, ARTICLES),
    "flan-t5-small, short texts": Shape(SMALL, texts, SHORT, serves=True),
    "flan-t5-base, articles": Shape(BASE, texts, ARTICLES, rounds=1),
    "flan-t5-base, short texts": Shape(BASE, texts, SHORT, rounds=1),
    "bart-base, articles": Shape(
        lambda: BartForConditionalGeneration(bart(768, 12, 3_072, 6)), texts, ARTICLES, rounds=1
    ),
    "bart-large-mnli": Shape(
        lambda: BartForSequenceClassification(bart(1_024, 16, 4_096, 12, **CLASSES)),
        pairs,
        (34, 22, 41, 28) * 8,
        rounds=2,
    ),
    "decoder of 0.5 billion": Shape(qwen, continuations, (64, 96, 40, 72, 120, 33, 50, 81), rounds=1),
    SUMMARIES: Shape(lambda: inference_trained.trained()[0], summaries, rounds=2),
}


def measure(name: str) -> dict[str, Any]:
    """Figures of one shape: every way once a round, CPU seconds of the whole process."""
    set_verbosity_error()
    disable_progress_bar()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    shape = SHAPES[name]
    model = shape.make().eval()
    ways = shape.ways(model, shape)
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    said: dict[str, Answers] = {}
    for _ in range(shape.rounds):
        for way, run in ways.items():
            begun = time.process_time()
            said[way] = run()
            seconds[way].append(time.process_time() - begun)
            print(f"  {name}: {way} {seconds[way][-1]:.2f} s", file=sys.stderr, flush=True)
    best = {way: min(times) for way, times in seconds.items()}
    rounds = {
        way: [one / other for one, other in zip(seconds[NAME], times, strict=True)] for way, times in seconds.items()
    }
    return {
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "cpu_s": {way: round(one, 2) for way, one in best.items()},
        "ratios": {way: round(best[NAME] / one, 3) for way, one in best.items()},
        "ratios_of_rounds": {way: [round(one, 2) for one in some] for way, some in rounds.items()},
        "identical": {
            way: round(statistics.mean(one == other for one, other in zip(some, said[NAME], strict=True)), 3)
            for way, some in said.items()
        },
        "memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1_024,
        **({"rouge": scores(said)} if name == SUMMARIES else {}),
        **(around(model) if shape.serves else {}),
    }


def scores(said: dict[str, Answers]) -> dict[str, dict[str, float]]:
    """ROUGE of each way's summaries."""
    words = inference_trained.trained()[1]
    references = inference_trained.inputs(words, 32, 1.0)[1]
    return {way: inference_trained.rouge(words, some, references) for way, some in said.items()}


def around(model: Any) -> dict[str, Any]:
    """Time to ready, and the engine's share of a batch of short lines."""
    lines = [
        {"id": place, "text_inputs": " ".join(f"t{token}" for token in row[:-1]), "max_new_tokens": 8}
        for place, row in enumerate(rows_of([5 + place % 17 for place in range(LINES)], model.config.vocab_size, 1))
    ]
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        tokenizer(model.config.vocab_size).save_pretrained(folder)
        return {**inference_service.ready(Path(folder)), **inference_service.engine_share(Path(folder), lines)}


def main(long: bool = False, names: Sequence[str] = ()) -> dict[str, Any]:
    """Measure the shapes, each in a process of its own, and a GPU where there is one."""
    figures = json.loads(FIGURES.read_text()) if FIGURES.exists() else {}
    figures = {"machine": machine(), "gpu": None, "shapes": {}} | figures
    for name in names or SHAPES:
        command = [sys.executable, "-m", "benchmarks.inference", "--one", name]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        figures["shapes"][name] = json.loads(done.stdout.splitlines()[-1])
        figures["machine"] = machine()
        write(figures)
    if torch.cuda.is_available():
        figures["gpu"] = inference_gpu.measure()
        write(figures)
    return {name: shape["ratios"] for name, shape in figures["shapes"].items()}


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        print(json.dumps(measure(sys.argv[2])))
    else:
        print(json.dumps(main(names=sys.argv[1:]), indent=2))
