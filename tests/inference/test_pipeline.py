"""One line out for one line in, whatever was wrong with it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from inference.batch.opening import task_for
from inference.errors import HyperParametersInvalid, RecordInvalid
from inference.models.loading import load
from inference.records.counts import peak_memory_bytes
from inference.tasks.pipeline import Pipeline
from tests.inference.real_time import answer_record
from tests.inference.samples import sentences

BAD: list[tuple[bytes, str]] = [
    (b"", "empty"),
    (b"   ", "empty"),
    (b"not json", "not JSON"),
    (b'{"id": 1, "text_inputs": "a"', "not JSON"),
    (b'{"id": 1, "text_inputs": "\xff"}', "not UTF-8"),
    (b"[1, 2]", "must be an object"),
    (b'"text"', "must be an object"),
    (b"null", "must be an object"),
    (b"[" * 100_000, "nested too deeply"),
    (b'{"id": 1}', "text_inputs: is missing"),
    (b'{"id": 1, "text_inputs": null}', "text_inputs: is missing"),
    (b'{"id": 1, "text_inputs": ""}', "text_inputs: is empty"),
    (b'{"id": 1, "text_inputs": " \\n"}', "text_inputs: is empty"),
    (b'{"id": 1, "text_inputs": []}', "list of at least one"),
    (b'{"id": 1, "text_inputs": ["a", ""]}', "text_inputs: is empty"),
    (b'{"id": 1, "text_inputs": ["a", 5]}', "must hold texts"),
    (b'{"id": 1, "text_inputs": {"a": 1}}', "must be a text"),
    (b'{"id": true, "text_inputs": "a"}', "id: must be a text or a number"),
    (b'{"id": 1e999, "text_inputs": "a"}', "id: must be a text or a number"),
    (b'{"id": {"a": 1}, "text_inputs": "a"}', "id: must be a text or a number"),
    (b'{"id": 1, "text_inputs": "a", "temperature": NaN}', "record 1: temperature"),
    (b'{"id": 1, "text_inputs": "a", "wibble": 3}', "record 1: wibble"),
    (b'{"id": 1, "text_inputs": "a", "parameters": [1]}', "record 1: parameters"),
]


def lines_of(records: list[dict[str, Any]]) -> list[bytes]:
    return [json.dumps(record).encode() for record in records]


@pytest.mark.parametrize(("line", "reason"), BAD)
def test_a_bad_record_gets_its_error_and_an_empty_text(texts: Pipeline, line: bytes, reason: str) -> None:
    answered = texts.answer_lines([line])

    value = json.loads(answered.lines[0])
    assert reason in value["error"]
    assert value["generated_texts"] == [""]
    assert answered.run.counts.errors == 1


def test_bad_records_leave_their_neighbours_alone(texts: Pipeline) -> None:
    good = lines_of([{"id": number, "text_inputs": text} for number, text in enumerate(sentences(10))])
    mixed = [line for pair in zip(good, [bad for bad, _ in BAD[:10]], strict=True) for line in pair]

    alone, among = texts.answer_lines(good), texts.answer_lines(mixed)

    assert among.lines[::2] == alone.lines
    assert (among.run.counts.records, among.run.counts.errors) == (20, 10)


def test_answers_come_in_the_order_of_the_questions(texts: Pipeline) -> None:
    records = [{"id": f"r{number}", "text_inputs": text} for number, text in enumerate(sentences(40))]

    values = [json.loads(line) for line in texts.answer_lines(lines_of(records)).lines]

    assert [value["id"] for value in values] == [record["id"] for record in records]
    alone = [json.loads(texts.answer_lines([line]).lines[0]) for line in lines_of(records)]
    assert [value["generated_texts"] for value in values] == [value["generated_texts"] for value in alone]


def test_an_answer_without_an_id_has_none(texts: Pipeline) -> None:
    value = json.loads(texts.answer_lines(lines_of([{"text_inputs": "the fox"}])).lines[0])

    assert "id" not in value


def test_a_list_of_texts_gets_a_list_of_objects(texts: Pipeline) -> None:
    both, one, other = lines_of(
        [
            {"id": 1, "text_inputs": ["the fox", "a dog"]},
            {"id": 1, "text_inputs": "the fox"},
            {"id": 1, "text_inputs": "a dog"},
        ]
    )

    found = [json.loads(line) for line in texts.answer_lines([both, one, other]).lines]

    assert found[0] == [found[1], found[2]]


def test_every_line_is_stamped_with_the_approval(texts: Pipeline) -> None:
    answered = texts.answer_lines([*lines_of([{"id": 1, "text_inputs": "the fox"}]), b"bad"])

    assert [json.loads(line)["approval_id"] for line in answered.lines] == ["approval-1", "approval-1"]


def test_counts_come_with_the_first_line_if_requested(texts: Pipeline) -> None:
    asked = lines_of([{"id": 1, "text_inputs": ["the fox", "the fox"]}, {"id": 2, "text_inputs": "dog " * 200}])

    first, second = [json.loads(line) for line in texts.answer_lines(asked, stamp=True).lines]

    run = first[0]["run"]
    assert (run["records"], run["errors"], run["truncated"], run["repeated_inputs"]) == (2, 0, 1, 1)
    assert run["tokens_in"] > 96
    assert run["tokens_out"] > 0
    assert run["engine"]["device"] == "cpu"
    assert run["engine"]["peak_memory_bytes"] > 0
    assert "run" not in second


def test_a_text_of_a_megabyte_is_cut_and_counted(texts: Pipeline) -> None:
    answered = texts.answer_lines(
        lines_of([{"id": 1, "text_inputs": "fox " * 250_000}, {"id": 2, "text_inputs": "x" * 1_000_000}])
    )

    assert answered.run.counts.truncated == 2
    assert answered.run.counts.errors == 0


def test_half_a_character_is_read_as_unknown(texts: Pipeline) -> None:
    answered = texts.answer_lines([b'{"id": "\\ud800", "text_inputs": "\\udfff fox"}'])

    value = json.loads(answered.lines[0])
    assert value["id"] == "\ud800"
    assert "error" not in value


def test_a_job_that_no_record_could_be_answered_with_is_refused_at_once(t5_folder: Path) -> None:
    task = task_for(load(t5_folder))

    with pytest.raises(HyperParametersInvalid, match=r"HYPER_PARAMS.top_p: must be above 0"):
        Pipeline(task, job={"top_p": 0})


def test_ignored_parameters_are_counted(t5_folder: Path) -> None:
    pipeline = Pipeline(task_for(load(t5_folder)), job={"max_length": 4})
    asked = lines_of([{"text_inputs": "the fox", "max_length": 9, "seed": 1}, {"text_inputs": "a dog"}])

    answered = pipeline.answer_lines(asked)

    assert answered.run.counts.ignored_parameters == 2
    assert answered.lines[0] == pipeline.answer_lines(lines_of([{"text_inputs": "the fox"}])).lines[0]


def test_a_real_time_request_that_is_wrong_is_refused(texts: Pipeline) -> None:
    with pytest.raises(RecordInvalid, match="text_inputs: is empty"):
        answer_record(texts, {"text_inputs": ["a", ""]})


def test_a_real_time_answer_is_plain(texts: Pipeline) -> None:
    one, _ = answer_record(texts, {"text_inputs": "the fox"})
    many, _ = answer_record(texts, {"text_inputs": ["the fox", "the fox"]})

    assert list(one) == ["generated_texts"]
    assert many == [one, one]


def test_peak_memory_is_this_processs_own() -> None:
    program = "from inference.records.counts import peak_memory_bytes; print(peak_memory_bytes())"
    # This process has torch loaded; a child of it that loads next to nothing has not.
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert 0 < int(done.stdout) < peak_memory_bytes() / 2
