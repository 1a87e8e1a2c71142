"""Lines that another thread has tokenized get the same answers, of every task that can do it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from inference.batch.opening import task_for
from inference.models.loading import load
from inference.records.requests import InferenceRequest
from inference.tasks.pipeline import Pipeline
from tests.inference.samples import sentences
from tests.inference.tokenizers_made import folder_of

TEXTS = [*sentences(6), "the fox " * 2_000]
RECORDS: dict[str, list[dict[str, Any]]] = {
    # Equal texts, several in a record, one that is cut, and one that is refused.
    "texts": [
        *({"id": number, "text_inputs": text} for number, text in enumerate(TEXTS)),
        {"id": 8, "text_inputs": TEXTS[:3]},
        {"id": 9, "text_inputs": ""},
    ],
    "labels": [
        *({"id": number, "sequences": text, "candidate_labels": "sport, sea"} for number, text in enumerate(TEXTS)),
        {"id": 8, "sequences": TEXTS[0], "candidate_labels": ["sea", "land"], "multi_label": True},
        {"id": 9, "sequences": TEXTS[0], "candidate_labels": []},
    ],
    "translating": [
        {"id": 1, "text_inputs": TEXTS[0], "src_lang": "eng_Latn", "tgt_lang": "fra_Latn"},
        {"id": 2, "text_inputs": TEXTS[0], "src_lang": "deu_Latn", "tgt_lang": "fra_Latn"},
        {"id": 3, "text_inputs": TEXTS[0]},
    ],
}


@pytest.fixture(scope="module")
def translating(tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    return Pipeline(task_for(load(folder_of("nllb", tmp_path_factory.mktemp("nllb") / "model"), task="translation")))


@pytest.mark.parametrize("name", RECORDS)
def test_lines_tokenized_ahead_get_the_same_answers(name: str, request: pytest.FixtureRequest) -> None:
    pipeline: Pipeline = request.getfixturevalue(name)
    lines = [json.dumps(record).encode() for record in RECORDS[name]]
    at_once = pipeline.answer_lines(lines)

    parsed = pipeline.tokenize_lines(lines)

    good = [one for one in parsed if isinstance(one, InferenceRequest)]
    assert good
    assert all(one.prepared for one in good)
    answered = pipeline.answer_parsed(parsed)
    assert answered.lines == at_once.lines
    assert (answered.run.counts.records, answered.run.counts.errors, answered.run.counts.truncated) == (
        at_once.run.counts.records,
        at_once.run.counts.errors,
        at_once.run.counts.truncated,
    )


def test_the_answering_thread_tokenizes_nothing_again(texts: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [json.dumps(record).encode() for record in RECORDS["texts"]]
    expected, parsed = texts.answer_lines(lines).lines, texts.tokenize_lines(lines)

    def refused(*_: object) -> None:
        raise AssertionError("tokenized again")

    monkeypatch.setattr("inference.models.tokenizing.Encoder.encode", refused)

    assert texts.answer_parsed(parsed).lines == expected
