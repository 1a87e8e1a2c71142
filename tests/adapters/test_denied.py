"""A missing right is a fault that somebody hears of, and never "there is nothing"."""

from __future__ import annotations

from typing import Any

import boto3
import pytest
from botocore.stub import Stubber

from lambdas.handlers import on_inference_completed, prepare_inference
from promotion.aws.s3.artifacts import Denied, read_json
from promotion.errors import Invalid
from tests.fakes import as_client


@pytest.mark.parametrize(("code", "said"), [("AccessDenied", "may not list"), ("NoSuchBucket", "no bucket lake")])
def test_an_input_that_may_not_be_listed_fails_the_run(monkeypatch: pytest.MonkeyPatch, code: str, said: str) -> None:
    with Stubber(boto3.client("s3", region_name="us-east-1")) as stub:
        stub.add_client_error("list_objects_v2", code)
        monkeypatch.setattr(prepare_inference, "client", lambda service: stub.client)
        with pytest.raises(Invalid, match=said):
            prepare_inference._exists("s3://lake/g/dev/input.jsonl")


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
