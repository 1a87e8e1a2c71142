"""Train a small BERT to classify the theme of notes, measure it on held-out notes, and register it.

    python -m examples.train_zero_shot --seconds 60 --output build/themes --register note-themes --requested-by dee

It is a model of natural language inference: it reads a note and "This example is {label}." together and says whether the
one entails the other. Labels are the request's business, and may change from one to the next.
"""

from __future__ import annotations

import json
import random
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import BertConfig, BertForSequenceClassification
from transformers.utils.logging import disable_progress_bar

from examples.measuring import length_options, measured, publish, training_options, write_records
from examples.training import END, PAD, UNKNOWN, fit, padded, tokenizer_of
from inference.models.configuration import ZERO_SHOT
from inference.scoring.drift import profile

TASK = ZERO_SHOT
START = "<s>"
THEMES = {
    "cooking": "oven recipe flour saucepan simmer onion butter whisk supper pepper dough ladle",
    "gardening": "tulip compost spade hedge seedling greenhouse mulch pruning weeds watering trellis bulbs",
    "sailing": "mast harbour anchor sail keel rudder tide mooring skipper jib buoy regatta",
    "chess": "bishop pawn checkmate rook opening gambit endgame castling knight queen board stalemate",
    "astronomy": "comet telescope orbit galaxy eclipse nebula planet crater meteor lunar star dome",
    "railways": "platform signal carriage timetable locomotive junction guard track tunnel whistle siding freight",
    "weaving": "loom shuttle yarn warp linen thread spindle wool pattern bobbin cloth fringe",
    "banking": "deposit ledger interest cashier loan vault savings cheque branch transfer mortgage teller",
}
# Hypotheses that no note says anything about: neither entailed nor contradicted.
_BESIDE = ("overdue", "handwritten", "private", "repeated", "cheerful", "unsigned")
_FILLERS = (
    "the a of and in on with after before was were has had we they about new old several while many early late week"
)
_COMMON = f"{_FILLERS} again month note asked wrote found kept gave took".split()
_CLASSES = ("contradiction", "neutral", "entailment")
_WIDTH = 64


@dataclass(frozen=True, slots=True)
class Note:
    """A few words, some of them of its theme and perhaps one of another."""

    text: str
    theme: str


def notes(count: int, seed: int) -> list[Note]:
    """`count` notes; the same ones for the same seed."""
    chance = random.Random(f"notes {seed}")  # noqa: S311  # made-up texts, no secrets
    return [_note(chance) for _ in range(count)]


def train(
    folder: Path,
    *,
    seconds: float | None = None,
    steps: int | None = None,
    seed: int = 0,
    examples: Sequence[Note] | None = None,
    quiet: bool = False,
) -> Path:
    """Train for `seconds` or `steps` and save into `folder`, in Hugging Face's layout; returns `folder`."""
    if (seconds is None) == (steps is None):
        raise ValueError("Give either seconds or steps.")
    torch.manual_seed(seed)
    torch.set_num_threads(1)
    disable_progress_bar()
    examples = notes(8_000, seed=1) if examples is None else examples
    hypotheses = [f"This example is {word}." for word in (*THEMES, *_BESIDE)]
    tokenizer = tokenizer_of(
        [*(note.text for note in examples[:3_000]), *hypotheses * 20],
        size=600,
        specials=(PAD, START, END, UNKNOWN),
        single=f"{START} $A {END}",
        pair=f"{START} $A {END} $B {END}",
    )
    config = BertConfig(
        vocab_size=(len(tokenizer) + 7) // 8 * 8,
        hidden_size=_WIDTH,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=128,
        max_position_embeddings=512,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        pad_token_id=tokenizer.pad_token_id,
        id2label=dict(enumerate(_CLASSES)),
        label2id={name: place for place, name in enumerate(_CLASSES)},
    )
    model = BertForSequenceClassification(config)
    _start_from_company(model, tokenizer, examples)
    fit(
        model,
        _losses(model, tokenizer, examples, seed),
        seconds=seconds,
        steps=steps,
        rate=1e-3,
        name="training",
        quiet=quiet,
    )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / "baseline.json").write_text(json.dumps(baseline()))
    return folder


def measure(folder: Path, output: Path | None = None) -> dict[str, Any]:
    """Metrics of the model in `folder` on held-out notes, by the service's own scoring."""
    held_out = (
        ({"sequences": note.text, "candidate_labels": list(THEMES)}, {"category": note.theme})
        for note in notes(200, seed=2)
    )
    with tempfile.TemporaryDirectory() as scratch:
        inputs, references = write_records(Path(scratch), held_out)
        return measured(folder, inputs, references, output, task=TASK, baseline=baseline())


def baseline() -> dict[str, Any]:
    """Return the profile of the training inputs, against which drift is measured."""
    return profile(note.text for note in notes(2_000, seed=1))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = training_options("train_zero_shot", __doc__)
    length_options(parser)
    options = parser.parse_args(arguments)
    seconds = 60.0 if options.seconds is None and options.steps is None else options.seconds
    train(options.output, seconds=seconds, steps=options.steps, seed=options.seed)
    metrics = measure(options.output, options.output.with_name(f"{options.output.name}-score"))
    publish(options.output, metrics, options, task=TASK, baseline=baseline(), metadata={"licence": "apache-2.0"})
    return 0


def _note(chance: random.Random) -> Note:
    theme = chance.choice(list(THEMES))
    length = chance.randrange(8, 40)
    telling = max(3, length // 6)
    words = chance.choices(_COMMON, k=length - telling) + chance.choices(THEMES[theme].split(), k=telling)
    if chance.random() < 0.4:
        words.append(chance.choice(THEMES[chance.choice(list(THEMES))].split()))
    chance.shuffle(words)
    return Note(" ".join(words) + ".", theme)


def _start_from_company(model: Any, tokenizer: Any, examples: Sequence[Note]) -> None:
    """Initialize embeddings by co-occurrence of words.

    From noise, a minute is too short to find that "bishop" and "chess" have to do with each other; how often tokens occur
    together says so at once (positive pointwise mutual information, and its largest singular vectors).
    """
    size = model.config.vocab_size
    together = torch.zeros(size, size)
    for note in examples[:5_000]:
        tokens = torch.tensor(sorted(set(tokenizer(f"{note.text} This example is {note.theme}.")["input_ids"])))
        together[tokens.unsqueeze(1), tokens.unsqueeze(0)] += 1
    together.fill_diagonal_(0)
    seen = together.sum(1) + 1e-3
    information = (
        (together * together.sum() / (seen.unsqueeze(1) * seen.unsqueeze(0))).clamp_min(1e-6).log().clamp_min(0)
    )
    left, strength, _ = torch.linalg.svd(information)
    company = left[:, :_WIDTH] * strength[:_WIDTH].sqrt()  # (vocabulary, width)
    company = company - company.mean(0)
    company = company / company.norm(dim=1, keepdim=True).clamp_min(1e-3)
    # Turned at random, so that no direction stands for more than another.
    turn, _ = torch.linalg.qr(torch.randn(_WIDTH, _WIDTH))
    with torch.no_grad():
        model.get_input_embeddings().weight.copy_(company @ turn * 0.04 * _WIDTH**0.5)


def _losses(model: Any, tokenizer: Any, examples: Sequence[Note], seed: int) -> Iterator[Callable[[], Tensor]]:
    """Two losses at once: each pair's class, and which of a note's themes is entailed the most.

    The second is the one that learns: pair by pair, "no" is right seven times of eight, and training stays there.
    """
    chance = random.Random(seed)  # noqa: S311  # an order of training, no secret
    themes = list(THEMES)
    notes_a_batch = 6
    while True:
        some = chance.sample(examples, notes_a_batch)

        def loss(some: Sequence[Note] = some, beside: str = chance.choice(_BESIDE)) -> Tensor:
            premises = [note.text for note in some for _ in themes] + [note.text for note in some]
            hypotheses = [f"This example is {theme}." for _ in some for theme in themes] + [
                f"This example is {beside}."
            ] * len(some)
            classes = [2 if note.theme == theme else 0 for note in some for theme in themes] + [1] * len(some)
            tokens = padded(tokenizer(premises, hypotheses)["input_ids"], tokenizer.pad_token_id)
            logits = model(input_ids=tokens, attention_mask=(tokens != tokenizer.pad_token_id).long()).logits.float()
            pairs = logits[: len(some) * len(themes)].view(len(some), len(themes), 3)
            theme = torch.tensor([themes.index(note.theme) for note in some])
            return cross_entropy(logits, torch.tensor(classes)) + cross_entropy(pairs[..., 2] - pairs[..., 0], theme)

        yield loss


if __name__ == "__main__":
    sys.exit(main())
