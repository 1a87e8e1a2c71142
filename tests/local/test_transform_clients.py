"""Batch transform as notebooks call it, by boto3 against the local service, on a model trained on the spot.

Each client is written as its users write it, from habit: a loop that builds the lines, `ast.literal_eval`, a join with pandas.
"""

from __future__ import annotations

import ast
import io
import json
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from rouge_score import rouge_scorer

from examples import train_summarizer, train_zero_shot
from examples.corpus import held_out_logs, training_logs
from examples.registering import pack
from local.service import LocalService
from promotion.client.artifact import hash_artifact
from tests.local.people import IMAGE, execution_role

BUCKET = "promotion-models"
LOGS = held_out_logs(12)


@dataclass
class Notebook:
    """A SageMaker client, and a bucket to work in."""

    service: LocalService
    role: str

    def model(self, folder: Path, task: str) -> str:
        """Makes a model of a trained folder, as the inference machine does, and returns its name."""
        archive, name = pack(folder), f"m-{uuid.uuid4().hex[:8]}"
        self.service.session().client("s3").upload_file(str(archive), BUCKET, f"clients/{name}/model.tar.gz")
        with archive.open("rb") as stream:
            approved = hash_artifact(stream).manifest.sha256
        self.service.session().client("sagemaker").create_model(
            ModelName=name,
            ExecutionRoleArn=self.role,
            PrimaryContainer={
                "Image": IMAGE,
                "ModelDataUrl": f"s3://{BUCKET}/clients/{name}/model.tar.gz",
                "Environment": {
                    "HF_TASK": task, "PROMOTION_MANIFEST_SHA256": approved, "PROMOTION_APPROVAL_ID": "approval-1",
                },
            },
        )  # fmt: skip
        return name

    def transform(self, model: str, body: bytes, **settings: Any) -> list[str]:
        """Runs a transform job on `body` and returns the lines of its output."""
        session, name = self.service.session(), f"t-{uuid.uuid4().hex[:8]}"
        s3, sagemaker = session.client("s3"), session.client("sagemaker")
        s3.put_object(Bucket=BUCKET, Key=f"clients/{name}/in/articles.jsonl", Body=body)
        source = {"S3DataType": "S3Prefix", "S3Uri": f"s3://{BUCKET}/clients/{name}/in/articles.jsonl"}
        sagemaker.create_transform_job(
            TransformJobName=name,
            ModelName=model,
            TransformInput={
                "DataSource": {"S3DataSource": source}, "ContentType": "application/jsonlines", "SplitType": "Line",
            },
            TransformOutput={
                "S3OutputPath": f"s3://{BUCKET}/clients/{name}/out", "AssembleWith": "Line", "Accept": "text/csv",
            },
            TransformResources={"InstanceType": "ml.m5.large", "InstanceCount": 1},
            **settings,
        )  # fmt: skip

        def over() -> dict[str, Any] | None:
            found: dict[str, Any] = sagemaker.describe_transform_job(TransformJobName=name)
            return found if found["TransformJobStatus"] in {"Completed", "Failed", "Stopped"} else None

        outcome = self.service.wait_for(over, seconds=900)
        assert outcome is not None
        assert outcome["TransformJobStatus"] == "Completed", outcome.get("FailureReason")
        answer = s3.get_object(Bucket=BUCKET, Key=f"clients/{name}/out/articles.jsonl.out")["Body"].read()
        return str(answer, "utf-8").splitlines()


@pytest.fixture(scope="module")
def notebook(service: LocalService) -> Notebook:
    return Notebook(service, execution_role(service, "notebook"))


@pytest.fixture(scope="module")
def summarizer(notebook: Notebook, tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("models") / "summarizer"
    # With three steps a text shares a word with its reference one time in four, and with another CPU maybe none of them does.
    train_summarizer.train(folder, steps=15, ordinary=training_logs(300), quiet=True)
    return notebook.model(folder, train_summarizer.TASK)


def test_a_notebook_summarises_and_joins_what_it_reads_as_python_literals(
    notebook: Notebook, summarizer: str, tmp_path: Path
) -> None:
    with (tmp_path / "articles.jsonl").open("w") as outfile:
        for test_id, log in enumerate(LOGS):
            data = {"id": test_id, "text_inputs": f"Briefly summarize this text: {log.text}"}
            json.dump(data, outfile)
            outfile.write("\n")
    hyper_params = {"batch_size": 4, "max_length": 50, "top_k": 50, "top_p": 0.95, "do_sample": True}

    lines = notebook.transform(
        summarizer, (tmp_path / "articles.jsonl").read_bytes(), Environment={"HYPER_PARAMS": str(hyper_params)},
        MaxPayloadInMB=1,
    )  # fmt: skip

    predict_dict_list = [ast.literal_eval(line) for line in lines]
    df_predict = pd.DataFrame(predict_dict_list)
    df_truth = pd.DataFrame([{"id": test_id, "highlights": log.summary} for test_id, log in enumerate(LOGS)])
    df_merge = df_truth.merge(df_predict, on="id", how="left")
    assert df_merge["generated_texts"].map(len).tolist() == [1] * len(LOGS)
    scorer = rouge_scorer.RougeScorer(["rouge1", "rouge2", "rougeL", "rougeLsum"])
    found = [scorer.score(row.highlights, row.generated_texts[0]) for row in df_merge.itertuples()]
    assert all(0 <= score["rougeL"].fmeasure <= 1 for score in found)
    # Half trained, it says something, and never more than it was asked for.
    assert any(score["rouge1"].fmeasure > 0 for score in found)
    assert json.loads(lines[0])["run"]["tokens_out"] <= 49 * len(LOGS)


def test_every_line_gets_one_line_whatever_is_on_it_and_however_it_is_sent(notebook: Notebook, summarizer: str) -> None:
    good = [json.dumps({"id": number, "text_inputs": log.text}).encode() for number, log in enumerate(LOGS[:4])]
    body = b"\n".join(
        [b"", good[0], b"not json", good[1], b'{"id": 9, "text_inputs": "\xff"}', b"", *good[2:], b"", b""]
    )

    many = notebook.transform(summarizer, body, BatchStrategy="MultiRecord")
    single = notebook.transform(summarizer, body, BatchStrategy="SingleRecord", MaxConcurrentTransforms=3)

    for lines in (many, single):
        values = [json.loads(line) for line in lines]
        assert [value.get("id") for value in values] == [None, 0, None, 1, None, None, 2, 3, None]
        assert ["error" in value for value in values] == [True, False, True, False, True, True, False, False, True]
        assert {value["approval_id"] for value in values} == {"approval-1"}
        assert values == [ast.literal_eval(line) for line in lines]
    texts = [[json.loads(line)["generated_texts"] for line in lines] for lines in (many, single)]
    assert texts[0] == texts[1]


def test_data_processing_filters_and_joins(notebook: Notebook, summarizer: str) -> None:
    asked = [{"key": f"k{n}", "day": log.day, "ask": {"text_inputs": log.text}} for n, log in enumerate(LOGS[:5])]
    body = "".join(json.dumps(record) + "\n" for record in asked).encode()
    wanted = {"InputFilter": "$.ask", "JoinSource": "Input", "OutputFilter": "$['key','day','SageMakerOutput']"}

    lines = notebook.transform(summarizer, body, DataProcessing=wanted)

    frame = pd.read_json(io.StringIO("\n".join(lines)), lines=True)
    assert frame["key"].tolist() == ["k0", "k1", "k2", "k3", "k4"]
    assert frame["day"].tolist() == [log.day for log in LOGS[:5]]
    assert all(set(answer) >= {"generated_texts", "approval_id"} for answer in frame["SageMakerOutput"])
    assert "ask" not in frame


def test_a_notebook_classifies_posts_and_counts_what_was_right(
    notebook: Notebook, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("models") / "themes"
    train_zero_shot.train(folder, steps=2, examples=train_zero_shot.notes(300, seed=1), quiet=True)
    posts, labels = train_zero_shot.notes(10, seed=2), list(train_zero_shot.THEMES)
    payloads = [{"id": n, "sequences": post.text, "candidate_labels": labels} for n, post in enumerate(posts)]
    body = "".join(json.dumps(payload) + "\n" for payload in payloads).encode()

    lines = notebook.transform(notebook.model(folder, train_zero_shot.TASK), body)

    df = pd.DataFrame([json.loads(line) for line in lines])
    df["predicted"] = df["labels"].str[0]
    truth = pd.DataFrame([{"id": n, "category": post.theme} for n, post in enumerate(posts)])
    accuracy = (df.merge(truth, on="id").eval("predicted == category")).mean()
    assert 0 <= accuracy <= 1
    assert df["sequence"].tolist() == [post.text for post in posts]
    assert all(sorted(row) == sorted(labels) for row in df["labels"])
    assert all(sum(row) == pytest.approx(1) for row in df["scores"])
