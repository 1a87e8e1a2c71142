"""With one worker a thread computes, while another reads what comes next: order, failures and interrupts."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest

from inference.batch.transform import Settings, Transform, payloads
from inference.tasks.pipeline import Pipeline
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


def test_the_next_payload_is_read_while_one_is_computed(
    make: Make, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = transformed(make, source, tmp_path / "expected.out")
    read_on = threading.Event()

    def reading(given: IO[bytes], settings: Settings) -> Iterator[tuple[int, list[bytes | None]]]:
        for number, payload in enumerate(payloads(given, settings)):
            if number:
                read_on.set()
            yield payload

    def waiting() -> Pipeline:
        pipeline = make()
        answer = pipeline.answer_lines
        monkeypatch.setattr(pipeline, "answer_lines", lambda lines: answer(lines) if read_on.wait(60) else None)
        return pipeline

    monkeypatch.setattr("inference.batch.transform.payloads", reading)

    found = transformed(waiting, source, tmp_path / "found.out")

    assert found == expected


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
        def answer(lines: object) -> None:
            begun.set()
            while not never.wait(0.01):
                pass

        pipeline = make()
        monkeypatch.setattr(pipeline, "answer_lines", answer)
        return pipeline

    def interrupted(given: IO[bytes], settings: Settings) -> Iterator[tuple[int, list[bytes | None]]]:
        yield next(payloads(given, settings))
        begun.wait(60)
        raise KeyboardInterrupt

    monkeypatch.setattr("inference.batch.transform.payloads", interrupted)

    with pytest.raises(KeyboardInterrupt):
        transformed(endless, source, tmp_path / "input.jsonl.out")

    assert "model" not in {thread.name for thread in threading.enumerate()}
