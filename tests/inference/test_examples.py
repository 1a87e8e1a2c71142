"""The examples do what a team would copy them for: train, measure, pack, register."""

from __future__ import annotations

import hashlib
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
import torch
from moto import mock_aws
from safetensors.torch import load_file

from examples import register_pretrained, train_summarizer, train_zero_shot
from examples.corpus import held_out_logs, logs, training_logs
from examples.registering import pack
from inference.errors import ModelBroken
from tests.inference.samples import sentences

BUCKET = "promotion-models"
FEW = training_logs(400)


@pytest.fixture
def aws() -> Iterator[Any]:
    with mock_aws():
        boto3.client("s3").create_bucket(Bucket=BUCKET)
        yield boto3.client("sagemaker")


@pytest.fixture(scope="module")
def summarizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train_summarizer.train(tmp_path_factory.mktemp("models") / "v1", steps=3, ordinary=FEW, quiet=True)


def stored(uri: str) -> bytes:
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    body: bytes = boto3.client("s3").get_object(Bucket=bucket, Key=key)["Body"].read()
    return body


def test_held_out_logs_are_not_trained_on() -> None:
    learned = {log.text for log in training_logs(5_000)}

    assert not learned & {log.text for log in held_out_logs()}
    assert list(logs(50, seed=1)) == list(logs(50, seed=1)) != list(logs(50, seed=2))


def test_steps_make_the_same_model_each_time(summarizer: Path, tmp_path: Path) -> None:
    again = train_summarizer.train(tmp_path / "again", steps=3, ordinary=FEW, quiet=True)

    assert (again / "model.safetensors").read_bytes() == (summarizer / "model.safetensors").read_bytes()


def test_a_model_can_be_trained_on(summarizer: Path, tmp_path: Path) -> None:
    longer = train_summarizer.train(tmp_path / "v2", steps=2, continue_from=summarizer, ordinary=FEW, quiet=True)

    before, after = load_file(summarizer / "model.safetensors"), load_file(longer / "model.safetensors")
    assert before.keys() == after.keys()
    assert any(not torch.equal(before[name], after[name]) for name in before)


def test_an_archive_is_the_same_for_the_same_files_and_holds_no_pickle(summarizer: Path, tmp_path: Path) -> None:
    (summarizer / "optimizer.pt").write_bytes(b"a pickle")

    first, second = pack(summarizer, tmp_path / "a.tar.gz"), pack(summarizer, tmp_path / "b.tar.gz")

    assert first.read_bytes() == second.read_bytes()
    with tarfile.open(first) as tar:
        names = tar.getnames()
    assert {"config.json", "model.safetensors", "tokenizer.json", "generation_config.json", "baseline.json"} <= set(
        names
    )
    assert "optimizer.pt" not in names


def test_a_summarizer_is_registered_with_its_evidence(aws: Any, summarizer: Path) -> None:
    metrics = train_summarizer.measure(summarizer)

    arn = train_summarizer.register(
        pack(summarizer), metrics, group="logs", bucket=BUCKET, requested_by="dee", task=train_summarizer.TASK,
        baseline=train_summarizer.baseline(), metadata={"licence": "apache-2.0"},
    )  # fmt: skip

    package = aws.describe_model_package(ModelPackageName=arn)
    assert package["ModelApprovalStatus"] == "PendingManualApproval"
    digest = hashlib.sha256(pack(summarizer).read_bytes()).hexdigest()
    assert package["CustomerMetadataProperties"] == {"requested_by": "dee", "licence": "apache-2.0", "sha256": digest}
    [container] = package["InferenceSpecification"]["Containers"]
    assert container["Environment"] == {"HF_TASK": "text2text-generation"}
    assert stored(container["ModelDataUrl"]) == pack(summarizer).read_bytes()
    told = json.loads(stored(package["ModelMetrics"]["ModelQuality"]["Statistics"]["S3Uri"]))
    assert told["metrics"]["rougeL"]["n"] == 120
    assert set(told["drift"]) == {"length_psi", "vocabulary_psi"}


def test_a_zero_shot_model_is_trained_and_measured(tmp_path: Path) -> None:
    folder = train_zero_shot.train(
        tmp_path / "themes", steps=2, examples=train_zero_shot.notes(300, seed=1), quiet=True
    )

    metrics = train_zero_shot.measure(folder)

    assert metrics["metrics"]["accuracy"]["n"] == 200
    assert set(metrics["confusion"]["labels"]) <= set(train_zero_shot.THEMES)


@pytest.fixture
def data(tmp_path: Path) -> list[str]:
    texts = sentences(12, longest=9)
    (tmp_path / "in.jsonl").write_text(
        "".join(json.dumps({"id": n, "text_inputs": t}) + "\n" for n, t in enumerate(texts))
    )
    (tmp_path / "ref.jsonl").write_text(
        "".join(json.dumps({"id": n, "highlights": t}) + "\n" for n, t in enumerate(texts))
    )
    return ["--input", str(tmp_path / "in.jsonl"), "--references", str(tmp_path / "ref.jsonl")]


def test_a_pretrained_folder_is_measured_and_registered(aws: Any, t5_folder: Path, data: list[str]) -> None:
    assert (
        register_pretrained.main(
            [str(t5_folder), "--group", "g", "--licence", "mit (text)", "--requested-by", "dee", *data]
        )
        == 0
    )

    [summary] = aws.list_model_packages(ModelPackageGroupName="g")["ModelPackageSummaryList"]
    package = aws.describe_model_package(ModelPackageName=summary["ModelPackageArn"])
    assert package["CustomerMetadataProperties"]["licence"] == "mit  text "
    told = json.loads(stored(package["ModelMetrics"]["ModelQuality"]["Statistics"]["S3Uri"]))
    assert told["metrics"]["rouge1"]["n"] == 12


def test_pickled_weights_are_converted_without_running_them(t5_folder: Path, tmp_path: Path) -> None:
    source = tmp_path / "pickled"
    source.mkdir()
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json", "generation_config.json"):
        (source / name).write_bytes((t5_folder / name).read_bytes())
    weights = load_file(t5_folder / "model.safetensors")
    torch.save(weights, source / "pytorch_model.bin")
    (source / "modeling.py").write_text("raise SystemExit('ran')")

    folder = register_pretrained.prepare(source, tmp_path / "clean")

    converted = load_file(folder / "model.safetensors")
    assert all(torch.equal(converted[name], weights[name]) for name in weights)
    assert {path.suffix for path in folder.iterdir()} == {".json", ".safetensors"}


class Trap:
    """A pickle that would do something."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (print, ("ran",))


def test_a_hostile_pickle_is_not_opened(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = tmp_path / "hostile"
    source.mkdir()
    torch.save({"weight": Trap()}, source / "pytorch_model.bin")

    with pytest.raises(ModelBroken, match="more than tensors"):
        register_pretrained.prepare(source, tmp_path / "clean")
    assert capsys.readouterr().out == ""


def test_a_jumpstart_model_is_pinned_to_a_version(aws: Any, t5_folder: Path, tmp_path: Path) -> None:
    s3, cache = boto3.client("s3"), "jumpstart-cache-prod-us-east-1"
    s3.create_bucket(Bucket=cache)
    versions = ["1.2.0", "1.10.3", "2.0.0"]
    manifest = [
        {"model_id": "huggingface-text2text-tiny", "version": v, "spec_key": f"specs/{v}.json"} for v in versions
    ]
    s3.put_object(Bucket=cache, Key="models_manifest.json", Body=json.dumps(manifest))
    for version in versions:
        s3.put_object(
            Bucket=cache, Key=f"specs/{version}.json", Body=json.dumps({"hosting_artifact_key": f"{version}.tar.gz"})
        )
        s3.upload_file(str(pack(t5_folder, tmp_path / "a.tar.gz")), cache, f"{version}.tar.gz")

    named = [
        register_pretrained.jumpstart(f"huggingface-text2text-tiny@{asked}", tmp_path / f"{place}")
        for place, asked in enumerate(["*", "1.2.0", "1.10.*"])
    ]

    assert [name.partition("@")[2] for name, _ in named] == ["2.0.0", "1.2.0", "1.10.3"]
    assert all((folder / "config.json").exists() for _, folder in named)
    for wrong in ("huggingface-text2text-tiny@9.9.9", "huggingface-text2text-other@*", "no version"):
        with pytest.raises(ModelBroken):
            register_pretrained.jumpstart(wrong, tmp_path / "wrong")


def test_a_jumpstart_model_that_is_stored_as_files_is_registered_under_its_exact_version(
    aws: Any, t5_folder: Path, data: list[str]
) -> None:
    s3, cache = boto3.client("s3"), "jumpstart-cache-prod-us-east-1"
    s3.create_bucket(Bucket=cache)
    entry = {
        "model_id": "huggingface-text2text-tiny",
        "version": "3.1.4",
        "min_version": "2.49.0",
        "spec_key": "spec.json",
    }
    s3.put_object(Bucket=cache, Key="models_manifest.json", Body=json.dumps([entry]))
    spec = {"model_id": entry["model_id"], "version": "3.1.4", "hosting_artifact_key": "files/3.1.4/"}
    s3.put_object(Bucket=cache, Key="spec.json", Body=json.dumps(spec))
    for path in t5_folder.iterdir():
        s3.upload_file(str(path), cache, f"files/3.1.4/{path.name}")
    named = ["huggingface-text2text-tiny@*", "--group", "g", "--licence", "apache-2.0", "--requested-by", "dee"]

    assert register_pretrained.main([*named, *data]) == 0

    [summary] = aws.list_model_packages(ModelPackageGroupName="g")["ModelPackageSummaryList"]
    package = aws.describe_model_package(ModelPackageName=summary["ModelPackageArn"])
    told = package["CustomerMetadataProperties"]
    assert (told["origin"], told["licence"], told["requested_by"]) == (
        "huggingface-text2text-tiny@3.1.4", "apache-2.0", "dee",
    )  # fmt: skip
    [container] = package["InferenceSpecification"]["Containers"]
    assert hashlib.sha256(stored(container["ModelDataUrl"])).hexdigest() == told["sha256"]
    baseline = json.loads(stored(package["DriftCheckBaselines"]["ModelDataQuality"]["Statistics"]["S3Uri"]))
    assert baseline["texts"] == 12


def test_a_gated_jumpstart_model_says_what_to_do(aws: Any, tmp_path: Path) -> None:
    s3, cache = boto3.client("s3"), "jumpstart-cache-prod-us-east-1"
    s3.create_bucket(Bucket=cache)
    entry = {"model_id": "meta-gated", "version": "1.0.0", "spec_key": "spec.json"}
    s3.put_object(Bucket=cache, Key="models_manifest.json", Body=json.dumps([entry]))
    spec = {"gated_bucket": True, "hosting_artifact_key": "a.tar.gz"}
    s3.put_object(Bucket=cache, Key="spec.json", Body=json.dumps(spec))

    with pytest.raises(ModelBroken, match="a licence to be accepted"):
        register_pretrained.jumpstart("meta-gated@*", tmp_path / "model")
