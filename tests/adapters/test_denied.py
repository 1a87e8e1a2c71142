"""A missing right is a fault that somebody hears of, and never "there is nothing"."""

from __future__ import annotations

import json
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from botocore.stub import Stubber

from lambdas.handlers import on_inference_completed, prepare_inference
from promotion import names
from promotion.aws.s3.artifacts import Denied, read_details, read_json
from promotion.aws.s3.picture_store import read_picture
from promotion.domain.canonical_json import canonical
from promotion.domain.metrics import evidence_of
from promotion.domain.model import Evidence
from promotion.errors import Invalid
from promotion.workflows import runs
from tests.adapters.conftest import MODELS, Aws
from tests.adapters.prepared import EVIDENCE, live_in_dev, run
from tests.fakes import ANN, CHO, GROUP, FakeService, as_client, raises
from tests.faults.fault import made_to_fail


@pytest.mark.parametrize(("code", "said"), [("AccessDenied", "may not list"), ("NoSuchBucket", "no bucket lake")])
def test_an_input_that_may_not_be_listed_fails_the_run(
    aws: Aws, monkeypatch: pytest.MonkeyPatch, code: str, said: str
) -> None:
    live_in_dev(aws, monkeypatch)

    def refuse(**_: Any) -> None:
        raise ClientError({"Error": {"Code": code}}, "ListObjectsV2")

    aws.s3.meta.events.register("before-call.s3.ListObjectsV2", refuse)
    monkeypatch.setattr(prepare_inference, "client", lambda service: aws.s3)
    with pytest.raises(Invalid, match=said):
        run(input="s3://lake/g/dev/input.jsonl")


def test_an_input_that_s3_fails_to_list_is_no_missing_input(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
    live_in_dev(aws, monkeypatch)

    fails = raises(made_to_fail("InternalError", "ListObjectsV2"))
    aws.s3.meta.events.register("before-call.s3.ListObjectsV2", fails)
    monkeypatch.setattr(prepare_inference, "client", lambda service: aws.s3)
    with pytest.raises(ClientError, match="InternalError"):
        run()


@pytest.mark.parametrize(("code", "raised"), [("AccessDenied", True), ("NoSuchKey", False)])
def test_a_baseline_that_may_not_be_read_fails_the_run_and_a_missing_one_is_noted(
    aws: Aws, monkeypatch: pytest.MonkeyPatch, code: str, raised: bool
) -> None:
    live_in_dev(aws, monkeypatch, baseline_uri=f"s3://{MODELS}/baseline.json")

    def refuse(params: dict[str, Any], **_: Any) -> None:
        if params["url_path"].endswith("/baseline.json"):
            raise ClientError({"Error": {"Code": code, "Message": "no kms:Decrypt"}}, "GetObject")

    aws.s3.create_bucket(Bucket=EVIDENCE)
    aws.s3.meta.events.register("before-call.s3.GetObject", refuse)
    monkeypatch.setattr(prepare_inference, "client", lambda service: aws.s3)
    if raised:
        with pytest.raises(Denied, match="no kms:Decrypt"):
            run()
        return
    run()
    kept = [each["Key"] for each in aws.s3.list_objects_v2(Bucket=EVIDENCE)["Contents"]]
    [key] = [each for each in kept if each.endswith("/context/baseline.json")]
    aws.s3.meta.events.unregister("before-call.s3.GetObject", refuse)
    written = json.loads(aws.s3.get_object(Bucket=EVIDENCE, Key=key)["Body"].read())
    assert "can't be read" in written[names.BASELINE_PROBLEM]


def test_metrics_that_may_not_be_read_are_denied_and_not_missing() -> None:
    with Stubber(boto3.client("s3", region_name="us-east-1")) as stub:
        stub.add_client_error("get_object", "AccessDenied", "no kms:Decrypt")
        with pytest.raises(Denied, match="no kms:Decrypt"):
            read_json(as_client(stub.client), "s3://evidence/g/dev/r/score/metrics.json", "metrics_uri")


def test_a_completed_run_whose_metrics_are_denied_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tried again, and then in the dead-letter queue with an alarm."""

    def denied(report: Any, reporter: str) -> None:
        raise Denied("metrics_uri", "can't be read")

    monkeypatch.setattr(on_inference_completed, "read_evidence", denied)
    detail = {"environment": "dev", "run_id": "r1", "status": "Completed", "model_package_group": "g"}
    with pytest.raises(Denied):
        on_inference_completed.handler({"detail": detail}, None)


# What the writer of an object chooses: its storage class, its encryption, its name.
UNREADABLE = ("InvalidObjectState", "InvalidRequest", "KeyTooLongError", "AccessDenied", "NoSuchKey")


@pytest.mark.parametrize("code", UNREADABLE)
def test_a_picture_that_cannot_be_read_is_none(code: str) -> None:
    """An error would keep the page from everybody, and each later mail of the group back."""
    with Stubber(boto3.client("s3", region_name="us-east-1")) as stub:
        stub.add_client_error("get_object", code, http_status_code=400)
        assert read_picture(as_client(stub.client), "s3://evidence/g/dev/r/score/a.png") is None


@pytest.mark.parametrize("code", UNREADABLE)
def test_details_that_cannot_be_read_are_none(code: str) -> None:
    evidence = Evidence(source="inference", metrics_uri="s3://evidence/g/dev/r/score/metrics.json")
    with Stubber(boto3.client("s3", region_name="us-east-1")) as stub:
        stub.add_client_error("get_object", code, http_status_code=400)
        assert read_details(as_client(stub.client), evidence) == {}


@pytest.mark.parametrize(("code", "status"), [("SlowDown", 503), ("InternalError", 500)])
def test_what_s3_may_answer_later_is_asked_again(code: str, status: int) -> None:
    with Stubber(boto3.client("s3", region_name="us-east-1")) as stub:
        for _ in range(2):
            stub.add_client_error("get_object", code, http_status_code=status)
        with pytest.raises(ClientError):
            read_picture(as_client(stub.client), "s3://evidence/a.png")
        with pytest.raises(ClientError):
            read_json(as_client(stub.client), "s3://evidence/metrics.json", "metrics_uri")


def test_a_document_that_lists_very_many_pictures_names_a_few() -> None:
    named = on_inference_completed.picture_names(["a.png", "x/y.png", 7, "n" * 2_000, *["b.png"] * 1_000_000])
    assert named[:2] == ["a.png", "b.png"]
    assert len(named) < on_inference_completed.MOST_PICTURES
    assert on_inference_completed.picture_names("a.png") == []


def test_a_version_with_the_largest_evidence_everywhere_fits_into_an_item_of_the_ledger() -> None:
    """DynamoDB takes 400 KB, also with a fourth environment and a large package; beyond that every append is refused."""
    wide = ["\U0001f600" * 110 + f"{number:010d}" for number in range(200)]
    document = {
        "metrics": {"rougeL": 0.7, **dict.fromkeys(wide, 0.1)},
        **dict.fromkeys(("counts", "latency_ms", "throughput"), dict.fromkeys(wide, 1)),
        "drift": {f"column {number}": 0.1 for number in range(1_000)},
        "engine": dict.fromkeys(wide, "\x01" * 200),
        "pictures": ["\x01" * 195 + f"{number}.png" for number in range(20)],
    }
    base = f"s3://{'b' * 63}/{'k' * 900}"
    fake = FakeService()
    fake.register(1)
    for environment in fake.config.environment_names:
        for person in (ANN, CHO)[: fake.config.environment(environment, GROUP).quorum]:
            fake.decide(1, environment, person, reason="x" * 2000)
        evidence = evidence_of(
            document, source="inference", environment=environment, run_id="r" * 199 + environment[0],
            metrics_uri=f"{base}/metrics.json", metrics_sha256="a" * 64,
            pictures=on_inference_completed.picture_addresses(base, document["pictures"]),
        )  # fmt: skip
        runs.record_inference(GROUP, 1, evidence, context=fake.context)
    assert len(canonical(fake.view().version(1))) < 230_000


def test_the_pictures_of_an_ordinary_run_are_all_kept() -> None:
    base = f"s3://{'b' * 63}/{'g' * 63}/{'e' * 32}/{'r' * 60}/score"
    names = ["metrics.png", "latency.png", "curves.png", "slices.png"]
    assert on_inference_completed.picture_addresses(base, names) == tuple(f"{base}/{name}" for name in names)


def test_a_run_with_an_endless_name_is_refused() -> None:
    detail = {"environment": "dev", "run_id": "r" * 200_000, "status": "Completed", "model_package_group": "g"}
    assert "run_id" in str(on_inference_completed.handler({"detail": detail}, None)["refused"])
