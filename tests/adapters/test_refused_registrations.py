"""What on a registration's way can't be read or recorded is refused with its reason, and a retry is left only what it mends."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError, ParamValidationError

from lambdas.handlers import on_approval_changed, on_model_registered
from promotion import names
from promotion.config.loading import parse
from promotion.errors import Invalid, PromotionError
from tests.fakes import CONFIG, CONFIG_TEXT, GROUP, a_package, as_client, raises

ARN = a_package(1).arn
APPROVED = {
    "ModelPackageArn": ARN, "ModelPackageGroupName": GROUP, "ModelPackageVersion": 1, "ModelApprovalStatus": names.APPROVED,
}  # fmt: skip


class Registry:
    """SageMaker, with one description of every package."""

    def __init__(self, **described: Any) -> None:
        self._described = described

    def describe_model_package(self, **_: str) -> dict[str, Any]:
        return self._described


def test_a_package_that_is_no_version_of_a_group_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(on_model_registered, "client", lambda service: as_client(Registry(ModelPackageArn=ARN)))
    monkeypatch.setattr(on_model_registered, "config", lambda: CONFIG)
    refused = on_model_registered.register(ARN)
    assert refused == {"refused": f"ModelPackageGroupName: {ARN} is not a version in a model package group."}


def hashed(monkeypatch: pytest.MonkeyPatch, error: Exception) -> str:
    """Return the problem of a package whose artifact S3 answers with an error."""
    monkeypatch.setattr(on_model_registered, "config", lambda: CONFIG)
    monkeypatch.setattr(on_model_registered, "client", lambda service: None)
    monkeypatch.setattr(on_model_registered, "size_of", raises(error))
    found = on_model_registered.with_digests(
        a_package(1), by_job=False, budget=lambda: None, keep=lambda manifest: None
    )
    return found.problem


@pytest.mark.parametrize("error", [ParamValidationError(report="Bucket"), UnicodeError("no text")])
def test_an_artifact_that_can_never_be_read_is_a_problem_of_the_version(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    expected = f"ModelDataUrl: the artifact can't be read ({type(error).__name__})."
    assert hashed(monkeypatch, error) == expected


def test_an_artifact_that_s3_is_too_busy_to_send_is_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    busy = ClientError({"Error": {"Code": "SlowDown"}, "ResponseMetadata": {"HTTPStatusCode": 400}}, "GetObject")  # type: ignore[typeddict-item]
    with pytest.raises(ClientError, match="SlowDown"):
        hashed(monkeypatch, busy)


def approved_outside(monkeypatch: pytest.MonkeyPatch, text: str = CONFIG_TEXT, error: Exception | None = None) -> Any:
    """Deliver the event of a package that was approved in Studio."""
    monkeypatch.setattr(on_approval_changed, "client", lambda service: as_client(Registry(**APPROVED)))
    monkeypatch.setattr(on_approval_changed, "config", lambda: parse(text))
    monkeypatch.setattr(on_approval_changed, "record_bypass", raises(error or AssertionError("recorded")))
    return on_approval_changed.handler({"detail": {"ModelPackageArn": ARN}}, None)


def test_an_approval_in_a_group_that_is_not_governed_is_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    others = CONFIG_TEXT.replace('groups = ["*"]', 'groups = ["churn"]')
    assert approved_outside(monkeypatch, others) == {"ignored": "group not governed"}


@pytest.mark.parametrize("error", [Invalid("status", "it is no status."), PromotionError("the ledger says no.")])
def test_an_approval_outside_that_is_not_recorded_says_why(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    assert approved_outside(monkeypatch, error=error) == {"refused": str(error)}
