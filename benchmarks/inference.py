"""Inference on the shapes that people run: random weights made on the spot, fixed lengths, all ways interleaved.

Each shape is measured in a process of its own, and its figures go into build/bench/inference.json and onto
docs/benchmarks/inference.md beside those that are there. Ratios are of CPU time at one thread to transformers' `generate`
by 4 in order of arrival. `python -m benchmarks.inference SHAPE …` measures some. The first run makes the peers' environment
and trains a small model (minutes), whose texts have real ends and a score.
"""

from __future__ import annotations

import copy
import json
import math
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
from transformers import BartForConditionalGeneration, BartForSequenceClassification
from transformers.utils.logging import disable_progress_bar, set_verbosity_error

from benchmarks import inference_gpu, inference_peers, inference_service, inference_trained
from benchmarks.inference_machine import machine
from benchmarks.inference_models import CLASSES, bart, qwen, t5, tokenizer_of
from benchmarks.inference_peers import CONTAINER, Peer
from benchmarks.inference_report import write
from inference.decoders import GenerationRequest, RequestHandle, TokenEvent
from inference.decoders.packing import pack
from inference.decoders.settings import Decoding, Limits
from inference.decoders.steps import StepEngine
from inference.engines import Pair, Prompt, TextEngine
from inference.engines.encoder_decoder import text_engine
from inference.engines.generate import GenerateEngine, padded
from inference.engines.nli import NliEngine
from inference.models.loading import load
from inference.records.parameters import Generation
from inference.tasks.ctranslate2 import COMPUTE_TYPES, ctranslate2_engine
from promotion.errors import PromotionError

ROOT = Path(__file__).resolve().parent.parent
FIGURES = ROOT / "build" / "bench" / "inference.json"
# Tokens of eight news articles, and of 32 short texts.
ARTICLES = (260, 510, 1_024, 690, 750, 430, 960, 800)
SHORT = (40, 88, 122, 65, 30, 101, 77, 54) * 4
NEW_TOKENS = 40
LABEL = 4  # tokens of a label
NAME = "Hugging Face, arrival, 4"
SUMMARIES = "trained small T5, summaries"
# Lines of a batch whose time is taken apart.
LINES = int(os.environ.get("BENCH_LINES", "4000"))
LINE_TOKENS = 2
# The comparable part of an engine's answers.
Answers = list[tuple[int, ...]]
Run = Callable[[], Answers]


@dataclass(frozen=True, slots=True)
class Shape:
    """A model's shape, and its input."""

    make: Callable[[], Any]
    ways: Callable[[Any, Shape], dict[str, Run]]
    lengths: tuple[int, ...] = ()
    rounds: int = 2
    headline_rounds: int = 0  # after those, of the base and the way that is best by then
    serves: bool = False  # whether its start and its share of a batch are measured too


def rows_of(lengths: Sequence[int], vocabulary: int, end: int | None) -> Answers:
    """Random texts of these lengths, the same in each run."""
    chance = torch.Generator().manual_seed(1)
    rows = [torch.randint(3, vocabulary, (length,), generator=chance).tolist() for length in lengths]
    return [tuple(row if end is None else [*row[:-1], end]) for row in rows]


def texts(model: Any, shape: Shape) -> dict[str, Run]:
    """Every way for a model that writes texts of a fixed length."""
    rows = rows_of(shape.lengths, model.config.vocab_size, model.config.eos_token_id)
    model.generation_config.min_new_tokens = NEW_TOKENS
    return writing(model, tokenizer_of(model), rows, NEW_TOKENS)


def summaries(model: Any, shape: Shape) -> dict[str, Run]:
    """Every way for the trained model."""
    words = inference_trained.trained()[1]
    return writing(model, words, inference_trained.inputs(words, 32, 1.0)[0], 64)


def writing(model: Any, words: Any, rows: Answers, most: int) -> dict[str, Run]:
    """`generate`, the plain path, the engine, CTranslate2 in each precision that the processor knows, and the peers."""
    ways: dict[str, Run] = {
        NAME: by_four(model, rows, most),
        "plain path": own(GenerateEngine(model), rows, most),
        "engine": own(text_engine(model), rows, most),
    }
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        words.save_pretrained(folder)
        for kind in COMPUTE_TYPES:
            try:
                ways[f"CTranslate2, {kind}"] = own(ctranslate2_engine(load(Path(folder)), kind), rows, most)
            except PromotionError as error:
                print(f"  {error}", file=sys.stderr)
        # The container's own default is four beams.
        settings = {"max_new_tokens": most, "num_beams": 1}
        requests = [{"inputs": words.decode(row, skip_special_tokens=True), "parameters": settings} for row in rows]
        ways |= inference_peers.peers(Path(folder), "texts", rows, requests, most, ids(words))
    return ways


def ids(words: Any) -> Callable[[str], tuple[int, ...]]:
    """From a text to its tokens, without special ones."""
    return lambda text: tuple(words(text, add_special_tokens=False)["input_ids"])


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
    """Zero-shot classification: four pairs in a call, padded, against all pairs in one; answers are probabilities."""
    end, words = model.config.eos_token_id, tokenizer_of(model)
    rows = rows_of(shape.lengths, model.config.vocab_size, end)
    rows = [(*row[: -LABEL - 2], end, *row[-LABEL - 1 :]) for row in rows]  # a premise and a label, each with its end
    asked = [Pair(row, None) for row in rows]

    @torch.inference_mode()
    def by_text() -> Answers:
        found: Answers = []
        for start in range(0, len(rows), 4):
            tokens, mask = padded(rows[start : start + 4], 1)
            logits = model(input_ids=tokens, attention_mask=mask, use_cache=False).logits
            found += [_probability(row) for row in logits.tolist()]
        return found

    def score(engine: NliEngine) -> Run:
        def run() -> Answers:
            found = dict(engine.score(asked))
            return [_probability((found[index].contradiction, found[index].entailment)) for index in range(len(asked))]

        return run

    ways = {NAME: by_text, "plain path": score(NliEngine(model, packed=False)), "engine": score(NliEngine(model))}
    requests = [
        {
            "inputs": words.decode(row[: -LABEL - 2]),
            "parameters": {"candidate_labels": [words.decode(row[-LABEL - 1 : -1])], "hypothesis_template": "{}"},
        }
        for row in rows
    ]
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        words.save_pretrained(folder)
        return ways | inference_peers.peers(
            Path(folder), "pairs", rows, requests, 0, lambda score: (round(score * 10_000),), _probability
        )


def _probability(logits: Sequence[float]) -> tuple[int, ...]:
    """Of the entailment, the last of the logits, against the contradiction, the first: in ten-thousandths."""
    return (round(10_000 / (1 + math.exp(logits[0] - logits[-1]))),)


def continuations(model: Any, shape: Shape) -> dict[str, Run]:
    """A decoder: one text after the other, all of them in steps, and the peers."""
    rows, new = rows_of(shape.lengths, model.config.vocab_size, None), 24
    model.generation_config.min_new_tokens = new
    words = tokenizer_of(model, ends=False)
    ours = copy.deepcopy(model)
    pack(ours)

    @torch.inference_mode()
    def one_by_one() -> Answers:
        found = []
        for row in rows:
            tokens = torch.tensor([row])
            output = model.generate(tokens, attention_mask=torch.ones_like(tokens), max_new_tokens=new, do_sample=False)
            found.append(tuple(output[0, len(row) :].tolist()))
        return found

    def steps() -> Answers:
        engine = StepEngine(ours, words, Limits.of({}, reach=2_048, on_cuda=False))
        events: list[list[TokenEvent]] = [[] for _ in rows]
        for key, row in enumerate(rows):
            engine.submit(
                RequestHandle(GenerationRequest("", row, Decoding(max_new_tokens=new), key), events[key].append)
            )
        while engine.step():
            pass
        return [tuple(event.id for event in one) for one in events]

    settings = {"max_new_tokens": new, "do_sample": False, "return_full_text": False}
    requests = [{"inputs": words.decode(row), "parameters": settings} for row in rows]
    ways: dict[str, Run] = {NAME: one_by_one, "engine": steps}
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        words.save_pretrained(folder)
        return ways | inference_peers.peers(Path(folder), "continuations", rows, requests, new, ids(words))


SMALL, BASE = t5(512, 6, 1_024, 8), t5(768, 12, 2_048, 12)
SHAPES = {
    "flan-t5-small, articles": Shape(SMALL, texts, ARTICLES, rounds=3),
    "flan-t5-small, short texts": Shape(SMALL, texts, SHORT, rounds=3, headline_rounds=2, serves=True),
    "flan-t5-base, articles": Shape(BASE, texts, ARTICLES, rounds=1, headline_rounds=4),
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
    for number in range(shape.rounds + shape.headline_rounds):
        asked = list(ways)
        if number >= shape.rounds:
            asked = [NAME, min(ways, key=lambda way: min(seconds[way]))]
        for way in asked:
            run = ways[way]
            begun = time.process_time()
            said[way] = run()
            spent = run.seconds if isinstance(run, Peer) else time.process_time() - begun
            seconds[way].append(spent)
            print(f"  {name}: {way} {spent:.2f} s", file=sys.stderr, flush=True)
    others = {way: run for way, run in ways.items() if isinstance(run, Peer)}
    for peer in others.values():
        peer.close()
    best = {way: min(times) for way, times in seconds.items()}
    # A way that took part in some rounds only is compared with the base in those.
    rounds = {
        way: [one / other for one, other in zip(seconds[NAME], times, strict=False)] for way, times in seconds.items()
    }
    return {
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "cpu_s": {way: round(one, 2) for way, one in best.items()},
        "ratios": {way: round(statistics.median(some), 3) for way, some in rounds.items()},
        "ratios_of_rounds": {way: [round(one, 2) for one in some] for way, some in rounds.items()},
        "identical": {
            way: round(statistics.mean(same(way, *both) for both in zip(some, said[NAME], strict=True)), 3)
            for way, some in said.items()
        },
        "memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1_024,
        "memory_mb_of_peers": {way: peer.memory_mb for way, peer in others.items()},
        **({"rouge": scores(said)} if name == SUMMARIES else {}),
        **(around(model) if shape.serves else {}),
    }


def same(way: str, one: tuple[int, ...], other: tuple[int, ...]) -> bool:
    """Return True if two answers are the same: all tokens, or, of one number, a probability to a thousandth."""
    if len(one) == len(other) == 1:
        return abs(one[0] - other[0]) <= 10
    # The container's texts have lost the special tokens that random weights write.
    return (
        [token for token in one if token > 2] == [token for token in other if token > 2]
        if way == CONTAINER
        else one == other
    )


def scores(said: dict[str, Answers]) -> dict[str, dict[str, float]]:
    """ROUGE of each way's summaries."""
    words = inference_trained.trained()[1]
    references = inference_trained.inputs(words, 32, 1.0)[1]
    return {way: inference_trained.rouge(words, some, references) for way, some in said.items()}


def around(model: Any) -> dict[str, Any]:
    """Time to ready, and the engine's share of a batch of short lines."""
    lines = [
        {"id": place, "text_inputs": " ".join(f"t{token}" for token in row[:-1]), "max_new_tokens": LINE_TOKENS}
        for place, row in enumerate(rows_of([5 + place % 17 for place in range(LINES)], model.config.vocab_size, 1))
    ]
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        tokenizer_of(model).save_pretrained(folder)
        return {
            **inference_service.ready(Path(folder)),
            **inference_service.engine_share(Path(folder), lines, os.cpu_count() or 1),
        }


def written() -> dict[str, Any]:
    """Read the figures of earlier runs."""
    figures = json.loads(FIGURES.read_text()) if FIGURES.exists() else {}
    return {"machine": machine(), "gpu": None, "shapes": {}} | figures


def main(long: bool = False, names: Sequence[str] = ()) -> dict[str, Any]:
    """Measure the shapes, each in a process of its own, and a GPU where there is one."""
    for name in names or SHAPES:
        command = [sys.executable, "-m", "benchmarks.inference", "--one", name]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        # Read anew each time: another process may have measured other shapes meanwhile.
        figures = written()
        figures["shapes"][name] = json.loads(done.stdout.splitlines()[-1])
        write(figures | {"machine": machine()})
    figures = written()
    if torch.cuda.is_available():
        figures["gpu"] = inference_gpu.measure()
        write(figures)
    return {name: shape["ratios"] for name, shape in figures["shapes"].items()}


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        print(json.dumps(measure(sys.argv[2])))
    else:
        print(json.dumps(main(names=sys.argv[1:]), indent=2))
