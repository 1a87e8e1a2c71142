"""The registry is read once more when a request is opened or decided: what is gone or denied there, and what has changed."""

from __future__ import annotations

import hashlib
import io
import json
from typing import Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from lambdas.shared import registry_look
from promotion.domain.package_changes import RegistryView
from promotion.domain.request_ids import request_id
from promotion.workflows import decisions
from tests.fakes import GROUP, FakeService, a_package, a_registration

ASKED = request_id(GROUP, 1, "dev", 1)
PLACE = "s3://promotion-models/metrics.json"


class Registry:
    """SageMaker and S3, with one package and its metrics, or the errors in their place."""

    def __init__(self) -> None:
        self.metrics: bytes | ClientError = json.dumps({"rougeL": 0.7}).encode()
        self.package: dict[str, Any] | Exception = {
            "ModelPackageArn": a_package(1).arn,
            "ModelPackageGroupName": GROUP,
            "ModelPackageVersion": 1,
        }

    def describe_model_package(self, **_: str) -> dict[str, Any]:
        if isinstance(self.package, Exception):
            raise self.package
        return self.package

    def get_object(self, **_: str) -> dict[str, Any]:
        if isinstance(self.metrics, Exception):
            raise self.metrics
        return {"ContentLength": len(self.metrics), "Body": io.BytesIO(self.metrics)}


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> Registry:
    """The registry of a service with one open request."""
    made, fake = Registry(), FakeService()
    assert isinstance(made.metrics, bytes)
    registered = a_registration(metrics_uri=PLACE, metrics_sha256=hashlib.sha256(made.metrics).hexdigest())
    decisions.register(a_package(1), registered, context=fake.context)
    monkeypatch.setattr(registry_look, "client", lambda service: made)
    monkeypatch.setattr(registry_look, "config", lambda: fake.config)
    monkeypatch.setattr(registry_look, "ledger", lambda: fake.ledger)
    return made


def refused(code: str, message: str = "") -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": message}}, "Read")


def metrics() -> dict[str, tuple[str, str]]:
    """What has changed of the registered metrics, at a look that finds the package."""
    seen = registry_look.look(ASKED)
    assert seen is not None
    assert seen.package is not None
    return dict(seen.metrics)


def test_metrics_as_they_were_registered_have_not_changed(registry: Registry) -> None:
    assert metrics() == {}


def test_metrics_with_another_value_are_named_with_both(registry: Registry) -> None:
    registry.metrics = json.dumps({"rougeL": 0.9}).encode()
    assert metrics() == {"metric rougeL": ("0.7", "0.9")}


@pytest.mark.parametrize("now", [b"[", refused("NoSuchKey")])
def test_metrics_that_cant_be_read_any_more_are_a_change(registry: Registry, now: bytes | ClientError) -> None:
    registry.metrics = now
    assert metrics() == {"metrics document": (PLACE, "it can't be read any more")}


def test_metrics_that_are_denied_to_this_function_are_no_change(registry: Registry) -> None:
    registry.metrics = refused("AccessDenied")
    assert metrics() == {}


def test_a_request_of_a_version_that_the_ledger_does_not_know_is_not_looked_for(registry: Registry) -> None:
    assert registry_look.look(request_id(GROUP, 2, "dev", 1)) is None


@pytest.mark.parametrize("package", [refused("ValidationException", "ModelPackage does not exist."), {}])
def test_a_package_that_is_no_version_any_more_is_gone(
    registry: Registry, package: dict[str, Any] | ClientError
) -> None:
    registry.package = package
    assert registry_look.look(ASKED) == RegistryView(package=None)


@pytest.mark.parametrize("error", [refused("ThrottlingException"), EndpointConnectionError(endpoint_url="https://s")])
def test_a_registry_that_does_not_answer_shuts_no_page_and_lets_no_decision_through(
    registry: Registry, error: Exception
) -> None:
    registry.package = error
    assert registry_look.glance(ASKED) is None
    with pytest.raises(type(error)):
        registry_look.look(ASKED)
