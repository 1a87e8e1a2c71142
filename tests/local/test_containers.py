"""Images that this machine runs, their commands, and the parts of a record that a job sends."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from local.containers import images, packages
from local.containers.images import command_of
from local.jobs.container import JobFailed, command_for
from local.jobs.data_processing import Processing
from promotion.errors import Invalid

REGISTRY = "683313688378.dkr.ecr.us-east-1.amazonaws.com"


@pytest.mark.parametrize(
    "image",
    [
        f"{REGISTRY}/inference:1",
        f"{REGISTRY}/promotion@sha256:ab",
        f"{REGISTRY}/promotion-inference:1",
        f"{REGISTRY}/huggingface-pytorch-inference:2.6",
        "localhost:5000/inference",
    ],
)
def test_texts_are_answered_by_the_inference_server(image: str) -> None:
    assert command_of(image) == ["python", "-m", "inference", "serve"]


@pytest.mark.parametrize(
    ("image", "kind"),
    [
        (f"{REGISTRY}/sagemaker-xgboost:1.7-1", "xgboost"),
        (f"{REGISTRY}/sagemaker-scikit-learn:1.2-1-cpu-py3", "scikit-learn"),
    ],
)
def test_tables_are_answered_by_the_real_libraries(image: str, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "python", lambda: "/tabular/python")
    assert command_of(image) == ["/tabular/python", str(Path(images.__file__).with_name("tabular.py")), kind]


@pytest.mark.parametrize("image", [f"{REGISTRY}/team/own:7", f"{REGISTRY}/pytorch-inference:2.6", "busybox"])
def test_an_image_that_is_not_run_here_is_reported_by_name(image: str) -> None:
    with pytest.raises(JobFailed, match="is not run on this machine") as said:
        command_for({"Image": image})
    assert image in str(said.value)
    assert "LOCAL_CONTAINERS" in str(said.value)


def test_a_file_of_ones_own_has_the_first_word(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "containers.toml"
    file.write_text('"*/team/own:*" = ["python", "serve.py"]\n"*/inference:*" = ["other"]\n')
    monkeypatch.setenv(images.LOCAL_CONTAINERS, str(file))
    assert command_of(f"{REGISTRY}/team/own:7") == ["python", "serve.py"]
    assert command_of(f"{REGISTRY}/inference:1") == ["other"]
    with pytest.raises(Invalid):
        command_of(f"{REGISTRY}/team/another:7")


@pytest.mark.parametrize("text", ['"a" = "serve"', '"a" = []', "broken"])
def test_a_file_that_is_wrong_is_named(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "containers.toml"
    file.write_text(text)
    monkeypatch.setenv(images.LOCAL_CONTAINERS, str(file))
    with pytest.raises(Invalid, match=r"containers\.toml"):
        command_of("a")


def test_a_filter_takes_columns_of_csv_and_fields_of_json() -> None:
    table = Processing({"InputFilter": "$[1:]"}, "text/csv")
    assert table.asked(b'id-1,2,"a, b"\nid-2,,c\n') == b'2,"a, b"\n,c\n'
    assert Processing({"InputFilter": "$[0]"}, "text/csv; charset=utf-8").asked(b"7,8\n9,8\n") == b"7\n9\n"
    lines = Processing({"InputFilter": "$.features"}, "application/jsonlines")
    assert json.loads(lines.asked(b'{"id": 1, "features": [1, 2]}\n')) == [1, 2]


def test_a_join_needs_an_answer_to_each_record() -> None:
    joined = Processing({"JoinSource": "Input"}, "application/jsonlines")
    with pytest.raises(JobFailed, match=r"^ClientError: 1 answers to 2 records can't be joined\.$"):
        joined.answered(b'{"id": 1}\n{"id": 2}\n', b"1\n")


def test_a_filter_that_finds_nothing_fails_the_job() -> None:
    filtered = Processing({"InputFilter": "$.features"}, "application/jsonlines")
    with pytest.raises(JobFailed, match=r"^ClientError: \$\.features finds nothing in this record\.$"):
        filtered.asked(b'{"id": 1}\n')


@pytest.mark.parametrize("wanted", [{"JoinSource": "Input"}, {"OutputFilter": "$.label"}])
def test_an_answer_that_is_no_json_can_be_neither_joined_nor_filtered(wanted: dict[str, str]) -> None:
    with pytest.raises(JobFailed, match=r"^ClientError: Unable to parse data as JSON: "):
        Processing(wanted, "application/jsonlines").answered(b'{"id": 1}\n', b"one\n")
