"""With one worker a thread computes, while another reads and tokenizes what comes next: order, failures, interrupts."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

import pytest

from inference.batch.transform import Settings, Transform, Worker, payloads
from inference.errors import RecordInvalid
from inference.models.tokenizing import Encoder
from inference.records.requests import InferenceRequest
from inference.tasks.pipeline import Answered, Pipeline
from inference.tasks.tasks import TextToText
from tests.inference.conftest import Make
from tests.inference.samples import sentences


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "input.jsonl"
    path.write_text(
        "".join(
            json.dumps({"id": place, "text_inputs": text}) + "\n" for place, text in enumerate(sentences(8, longest=12))
        )
    )
    return path


def transformed(make: Make, source: Path, target: Path) -> list[bytes]:
    """The lines of `source`, of which each is a payload."""
    with Transform(make, Settings(batch_strategy="SingleRecord"), identity={}) as transform:
        transform.file(source, target, quiet=True)
    return target.read_bytes().splitlines()


def test_the_next_payload_is_tokenized_while_one_is_computed(make: Make, source: Path, tmp_path: Path) -> None:
    expected = transformed(make, source, tmp_path / "expected.out")
    tokenized = threading.Semaphore(0)
    threads: list[str] = []

    def watched() -> Pipeline:
        pipeline = make()
        tokenize, answer = pipeline.tokenize_lines, pipeline.answer_parsed
        remaining = 8

        def tokenizing(lines: Sequence[bytes | RecordInvalid]) -> list[InferenceRequest | RecordInvalid]:
            found = tokenize(lines)
            assert all(isinstance(one, InferenceRequest) and one.prepared for one in found)
            tokenized.release()
            return found

        def answering(parsed: Sequence[InferenceRequest | RecordInvalid]) -> Answered:
            nonlocal remaining
            threads.append(threading.current_thread().name)
            # Its own, and the one after it unless it is the last.
            remaining -= 1
            assert all(tokenized.acquire(timeout=60) for _ in range(2 if remaining == 7 else min(1, remaining)))
            return answer(parsed)

        pipeline.tokenize_lines, pipeline.answer_parsed = tokenizing, answering  # type: ignore[method-assign]
        return pipeline

    found = transformed(watched, source, tmp_path / "found.out")

    assert found == expected
    assert threads == ["model"] * 8


def test_what_is_not_tokenized_ahead_needs_no_second_tokenizer(
    make: Make, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A copy of a large vocabulary takes memory and time to start, in each of several worker processes."""
    expected = transformed(make, source, tmp_path / "expected.out")
    copied: list[Encoder] = []

    def copying(encoder: Encoder) -> Encoder:
        copied.append(encoder)
        return encoder

    monkeypatch.setattr(Encoder, "beside", copying)

    answered = Worker(make(), Settings()).answer(list(source.read_bytes().splitlines()))

    assert answered.lines == expected
    assert copied == []


def test_a_text_that_cannot_be_tokenized_is_the_error_of_its_record(make: Make, source: Path, tmp_path: Path) -> None:
    expected = transformed(make, source, tmp_path / "expected.out")

    def failing() -> Pipeline:
        pipeline = make()
        assert isinstance(pipeline.task, TextToText)
        tokenized = pipeline.task.tokenized

        def tokenizing(requests: Sequence[InferenceRequest]) -> list[InferenceRequest]:
            if any(request.id == 3 for request in requests):
                raise RuntimeError("Already borrowed")
            return tokenized(requests)

        pipeline.task.tokenized = tokenizing  # type: ignore[method-assign]
        return pipeline

    # The thread of the model tries it again, where a record that is really at fault fails alone.
    assert transformed(failing, source, tmp_path / "found.out") == expected


def test_an_error_of_the_model_ends_the_command(make: Make, source: Path, tmp_path: Path) -> None:
    def failing() -> Pipeline:
        pipeline = make()
        del pipeline.task
        return pipeline

    with pytest.raises(AttributeError, match="task"):
        transformed(failing, source, tmp_path / "input.jsonl.out")


def test_an_interrupt_ends_the_payload_under_way_before_the_process(
    make: Make, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, never = threading.Event(), threading.Event()

    def endless() -> Pipeline:
        def answer(parsed: object) -> None:
            begun.set()
            while not never.wait(0.01):
                pass

        pipeline = make()
        monkeypatch.setattr(pipeline, "answer_parsed", answer)
        return pipeline

    def interrupted(given: IO[bytes], settings: Settings) -> Iterator[tuple[int, list[bytes | None]]]:
        yield next(payloads(given, settings))
        begun.wait(60)
        raise KeyboardInterrupt

    monkeypatch.setattr("inference.batch.transform.payloads", interrupted)

    with pytest.raises(KeyboardInterrupt):
        transformed(endless, source, tmp_path / "input.jsonl.out")

    assert "model" not in {thread.name for thread in threading.enumerate()}
