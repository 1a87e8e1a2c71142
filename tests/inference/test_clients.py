"""Clients as their users write them: notebooks, loops over boto3, data frames. Each is copied from habit, not from us."""

from __future__ import annotations

import ast
import io
import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from rouge_score import rouge_scorer

from inference.__main__ import main
from inference.tasks.pipeline import Pipeline
from tests.inference.real_time import answer_record
from tests.inference.samples import sentences

ARTICLES = [{"id": place, "article": text} for place, text in enumerate(sentences(20, longest=20))]
HIGHLIGHTS = [{"id": place, "highlights": text} for place, text in enumerate(sentences(20, seed=9, longest=8))]


@pytest.fixture(scope="module")
def output(t5_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`articles.jsonl.out` as a notebook finds it: its parameters by str(dict), its Accept text/csv."""
    folder = tmp_path_factory.mktemp("notebook")
    with (folder / "articles.jsonl").open("w") as outfile:
        for data in ARTICLES:
            json.dump({"id": data["id"], "text_inputs": f"Briefly summarize this text: {data['article']}"}, outfile)
            outfile.write("\n")
    hyper_params_dict = {
        "HYPER_PARAMS": str({"batch_size": 4, "max_length": 50, "top_k": 50, "top_p": 0.95, "do_sample": True})
    }
    options = ["--model-dir", str(t5_folder), "--unverified", "--quiet", "--accept", "text/csv"]
    places = ["--input", str(folder / "articles.jsonl"), "--output", str(folder)]
    assert main(["batch", *options, *places], hyper_params_dict) == 0
    return folder / "articles.jsonl.out"


def test_a_notebook_reads_lines_as_python_literals_and_joins_them_on_id(output: Path) -> None:
    predictions: dict[str, list[Any]] = {"id": [], "generated_text": []}
    with output.open() as predictions_file:
        for line in predictions_file:
            row = ast.literal_eval(line)
            predictions["id"].append(row["id"])
            predictions["generated_text"].append(row["generated_texts"][0])

    merged = pd.DataFrame(predictions).merge(pd.DataFrame(HIGHLIGHTS), on="id")

    assert len(merged) == 20
    scorer = rouge_scorer.RougeScorer(["rouge1", "rougeL"])
    scores = [scorer.score(row.highlights, row.generated_text)["rougeL"].fmeasure for row in merged.itertuples()]
    assert all(0 <= score <= 1 for score in scores)


def test_a_data_frame_reads_the_output_whole(output: Path) -> None:
    frame = pd.read_json(io.StringIO(output.read_text()), lines=True)

    assert frame["id"].tolist() == list(range(20))
    assert frame["generated_texts"].map(len).tolist() == [1] * 20


def test_a_loop_over_json_loads_reads_every_line(output: Path) -> None:
    assert [json.loads(line)["id"] for line in output.read_text().splitlines()] == list(range(20))


def test_a_real_time_client_reads_generated_texts(texts: Pipeline) -> None:
    payload = {
        "text_inputs": "the fox", "max_length": 50, "num_return_sequences": 3, "top_k": 50, "top_p": 0.95, "do_sample": True,
        "batch_size": 4,
    }  # fmt: skip

    def parse_response_multiple_texts(query_response: bytes) -> list[str]:
        model_predictions = json.loads(query_response)
        generated: list[str] = model_predictions["generated_texts"]
        return generated

    answer, _ = answer_record(texts, json.loads(json.dumps(payload).encode("utf-8")))

    assert len(parse_response_multiple_texts(json.dumps(answer).encode())) == 3


def test_all_ten_parameters_of_the_fields_generator_are_taken(texts: Pipeline) -> None:
    kwargs = {
        "max_length": 12, "num_return_sequences": 2, "num_beams": 2, "no_repeat_ngram_size": 2, "temperature": 0.9,
        "early_stopping": True, "do_sample": True, "top_k": 20, "top_p": 0.9, "seed": 7,
    }  # fmt: skip

    answer, _ = answer_record(texts, {"text_inputs": ["the fox", "a dog"], **kwargs})

    assert [len(one["generated_texts"]) for one in answer] == [2, 2]


def test_a_zero_shot_client_takes_the_first_label(labels: Pipeline) -> None:
    sequence, candidate_labels = "one day I will see the world", ["travel", "cooking", "dancing"]

    answer, _ = answer_record(labels, {"sequences": sequence, "candidate_labels": candidate_labels})
    nested, _ = answer_record(
        labels, {"inputs": sequence, "parameters": {"candidate_labels": candidate_labels, "multi_label": False}}
    )

    predicted_label = answer["labels"][answer["scores"].index(max(answer["scores"]))]
    assert predicted_label == answer["labels"][0]
    assert set(answer) == {"sequence", "labels", "scores"}
    assert answer == nested
