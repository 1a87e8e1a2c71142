"""A service with real-time endpoints: the ledger and Parameter Store in memory, SageMaker and CloudWatch in moto."""

from __future__ import annotations

from typing import Any

import pytest

from lambdas.handlers import on_live_changed
from lambdas.shared.variables import variables
from promotion import names
from promotion.aws.sagemaker.sagemaker_endpoints import Endpoints
from promotion.config.loading import parse
from promotion.domain.model import EndpointState
from promotion.errors import PromotionError
from promotion.ledger.append import Receipt
from promotion.workflows.commands import RecordEndpoint, dispatch
from tests.adapters.conftest import Aws, SageMakerDriver
from tests.fakes import CONFIG_TEXT, GROUP, PREFIX, FakeService, a_package

NAME = f"promotion-dev-{GROUP}"
SECTION = "[advanced.environments.dev.endpoint]\nlargest_latency_ms = 500.0\n"
TEXT = CONFIG_TEXT + SECTION
ROLE = "arn:aws:iam::123456789012:role/execution"


class HasEveryCopy:
    """S3 in which each approved artifact has been copied."""

    def head_object(self, **_: str) -> dict[str, Any]:
        return {}


class Installation:
    """The ledger and Parameter Store in memory, SageMaker and CloudWatch in moto, and the function between them."""

    def __init__(self, aws: Aws, hand: SageMakerDriver, monkeypatch: pytest.MonkeyPatch) -> None:
        self.fake = FakeService(config=parse(TEXT))
        self.hand = hand
        self.sagemaker, self.cloudwatch = aws.client("sagemaker"), aws.client("cloudwatch")
        self.refusal = ""
        self.s3 = HasEveryCopy()
        monkeypatch.setenv(names.EXECUTION_ROLES, f'{{"dev": "{ROLE}"}}')
        monkeypatch.setenv(names.EVIDENCE_BUCKET, "evidence")
        monkeypatch.setenv(names.INFERENCE_IMAGE, a_package(1).containers[0].image)
        variables.cache_clear()
        for name, value in (
            ("client", lambda service: getattr(self, service)),
            ("config", lambda: self.fake.config),
            ("ledger", lambda: self.fake.ledger),
            ("parameter_store", lambda purpose: self.fake.ssm),
            ("recorder", lambda: self),
            ("prefix", lambda: PREFIX),
            ("public_key", lambda: self.fake.signer.public_key),
        ):
            monkeypatch.setattr(on_live_changed, name, value)

    @property
    def endpoints(self) -> Endpoints:
        """The endpoints of dev, as the function sees them."""
        return Endpoints(self.sagemaker, self.cloudwatch, PREFIX, "dev")

    def record(self, command: RecordEndpoint) -> Receipt:
        if self.refusal:
            raise PromotionError(self.refusal)
        return dispatch(command, self.fake.context)

    def promote(self, version: int) -> None:
        self.fake.promote(version, to="dev")
        self.fake.project()

    def wake(self, **event: Any) -> dict[str, str]:
        """The sweep, unless an event is given."""
        return dict(on_live_changed.handler(event, None)["steps"])

    def step(self) -> str:
        return self.wake()[f"{GROUP}/dev"]

    def ends_well(self) -> None:
        endpoint, config = self.hand.deploying.pop()
        endpoint.in_service(config)

    def ends_badly(self, reason: str, *, back: bool) -> None:
        self.hand.deploying.pop()[0].fail(reason, back=back)

    def is_gone(self) -> None:
        self.hand.leaving.pop().gone()

    def serve(self, version: int) -> None:
        self.promote(version)
        self.step()
        self.ends_well()
        assert self.step() == "settled"

    @property
    def described(self) -> dict[str, Any]:
        found: dict[str, Any] = self.sagemaker.describe_endpoint(EndpointName=NAME)
        return found

    @property
    def known(self) -> EndpointState:
        return self.fake.view().environment("dev").endpoint

    @property
    def exists(self) -> bool:
        return bool(self.sagemaker.list_endpoints()["Endpoints"])

    def configs(self) -> list[str]:
        return [each["EndpointConfigName"] for each in self.sagemaker.list_endpoint_configs()["EndpointConfigs"]]

    def models(self) -> list[str]:
        return [each["ModelName"] for each in self.sagemaker.list_models()["Models"]]

    def alarms(self) -> set[str]:
        return {alarm["AlarmName"] for alarm in self.cloudwatch.describe_alarms()["MetricAlarms"]}
