"""Of a long text only what the model can reach, or what `truncate` keeps, is tokenized."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from inference.batch.opening import task_for
from inference.decoders.request_reader import RequestReader
from inference.decoders.settings import Decoding, Limits
from inference.models.loading import Loaded, load
from inference.models.tokenizing import Encoder
from inference.tasks.pipeline import Pipeline
from tests.inference.samples import sentences


class Counting:
    """A tokenizer that counts the characters that it reads."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self.characters = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tokenizer, name)

    def __call__(self, text: str | Sequence[str], *more: Any, **options: Any) -> Any:
        self.characters += len(text) if isinstance(text, str) else sum(map(len, text))
        return self._tokenizer(text, *more, **options)


@pytest.fixture
def counted(llama_folder: Path) -> tuple[Pipeline, Counting]:
    loaded = load(llama_folder)
    tokenizer = Counting(loaded.tokenizer)
    return Pipeline(task_for(Loaded(loaded.task, loaded.model, tokenizer, loaded.folder))), tokenizer


def prepared(pipeline: Pipeline, text: str, truncate: int) -> tuple[int, ...]:
    request = pipeline.parse_record({"inputs": text, "parameters": {"truncate": truncate, "max_new_tokens": 2}})
    assert isinstance(request.settings, Decoding)
    return tuple(request.prepared[0].tokens)


@pytest.mark.parametrize("truncate", [1, 7, 100])
@pytest.mark.parametrize("joint", [" ", "\n", "x"])
def test_the_kept_end_is_the_whole_texts_end(
    counted: tuple[Pipeline, Counting], llama_folder: Path, truncate: int, joint: str
) -> None:
    text = joint.join(sentences(400))
    whole = load(llama_folder).tokenizer(text)["input_ids"]

    assert prepared(counted[0], text, truncate) == tuple(whole[-truncate:])


def test_a_text_shorter_than_what_is_kept_stays_whole(counted: tuple[Pipeline, Counting]) -> None:
    assert prepared(counted[0], "the quick fox", 100) == tuple(counted[1]("the quick fox")["input_ids"])


@pytest.mark.parametrize("megabytes", [20, 50])
def test_of_a_huge_prompt_a_few_thousand_characters_are_tokenized(
    counted: tuple[Pipeline, Counting], megabytes: int
) -> None:
    pipeline, tokenizer = counted
    text = "the quick brown fox " * (megabytes << 20 >> 4)
    tokenizer.characters = 0

    assert len(text) > megabytes << 20
    assert len(prepared(pipeline, text, 100)) == 100
    assert tokenizer.characters < 10_000


def test_a_word_without_an_end_is_cut_within(counted: tuple[Pipeline, Counting]) -> None:
    pipeline, tokenizer = counted
    tokenizer.characters = 0

    assert len(prepared(pipeline, "ab" * 1_000_000, 50)) == 50
    assert tokenizer.characters < 10_000


class LongWords:
    """A tokenizer whose tokens are long words, which are numbers."""

    bos_token = eos_token_id = None

    def __init__(self) -> None:
        self.read: list[int] = []

    def __call__(self, text: str, *, add_special_tokens: bool) -> dict[str, list[int]]:
        self.read.append(len(text))
        return {"input_ids": [int(word) for word in text.split()]}


def test_the_end_of_a_prompt_of_long_tokens_is_read_further() -> None:
    words = LongWords()
    reader = RequestReader(words, Limits(100, 200, 200), Decoding())
    text = " ".join(f"{number:0100d}" for number in range(1_000))

    asked = reader.request({"inputs": text, "parameters": {"truncate": 50}}, None)

    assert asked.prepared[0].tokens == tuple(range(950, 1_000))
    assert len(words.read) > 1
    assert max(words.read) < len(text) / 4


def test_of_a_huge_source_text_only_the_beginning_is_tokenized(t5_folder: Path) -> None:
    loaded = load(t5_folder)
    tokenizer = Counting(loaded.tokenizer)
    text = " ".join(sentences(100)) * 2_000
    [short] = Encoder(loaded.tokenizer, loaded.model).encode([text[:4_000]])

    [found] = Encoder(tokenizer, loaded.model).encode([text])

    assert (found.tokens, found.truncated) == (short.tokens, True)
    assert tokenizer.characters < 10_000


def test_a_source_text_of_long_tokens_is_read_further(t5_folder: Path) -> None:
    loaded = load(t5_folder)
    # Spaces melt into one token.
    text = " " * 5_000 + " ".join(sentences(40))

    [found] = Encoder(loaded.tokenizer, loaded.model).encode([text])

    expected = loaded.tokenizer(text, truncation=True, max_length=96)["input_ids"]
    assert list(found.tokens) == expected


def test_a_truncated_prompt_is_answered(counted: tuple[Pipeline, Counting]) -> None:
    record = {"inputs": "the quick brown fox " * 50_000, "parameters": {"truncate": 20, "max_new_tokens": 2}}

    [line] = counted[0].answer_lines([json.dumps(record).encode()]).lines

    assert "error" not in json.loads(line)
