"""Deployments of endpoints in process: each failure is the endpoint's FailureReason."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from queue import Queue
from threading import Event
from typing import Any

import boto3
import pytest
from moto import mock_aws
from moto.sagemaker.models import sagemaker_backends

from local import ACCOUNT, REGION, moto_patches
from local.children import Children
from local.containers import images
from local.jobs.endpoint_servers import EndpointHost
from local.moto_patches.sagemaker_endpoints import Endpoint
from tests.local.people import execution_role_by

IMAGE = "123456789012.dkr.ecr.us-east-1.amazonaws.com/team/own:7"
CONTAINER = {"Image": IMAGE}
WAITS = '"*" = ["python", "-c", "import threading; threading.Event().wait()"]'


class Watched(Endpoint):
    """An endpoint that reports a failed deployment."""

    def __init__(self, backend: Any, kept: Any) -> None:
        super().__init__(backend, kept)
        self.failed = Queue[tuple[str, str]]()

    def fail(self, reason: str, *, back: bool) -> None:
        super().fail(reason, back=back)
        self.failed.put((self.status, reason))


class Watching(Children):
    """Processes whose first start is reported."""

    def __init__(self) -> None:
        super().__init__()
        self.started = Event()

    def start(self, *args: Any, **given: Any) -> Any:
        process = super().start(*args, **given)
        self.started.set()
        return process


@pytest.fixture
def children() -> Iterator[Watching]:
    children = Watching()
    yield children
    children.stop_all()


@pytest.fixture
def role() -> Iterator[str]:
    moto_patches.apply()
    with mock_aws():
        boto3.client("s3").create_bucket(Bucket="models")
        yield execution_role_by(boto3.client("iam"), "serving")


@pytest.fixture
def host(role: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, children: Watching) -> Iterator[EndpointHost]:
    (tmp_path / "containers.toml").write_text(WAITS)
    monkeypatch.setenv(images.LOCAL_CONTAINERS, str(tmp_path / "containers.toml"))
    host = EndpointHost("https://s3.amazonaws.com", tmp_path / "endpoints", children)
    yield host
    host.stop()


@pytest.fixture
def deploy(host: EndpointHost, role: str) -> Callable[..., Watched]:
    """Return a function that deploys an endpoint of one model."""

    def deploy_model(*containers: dict[str, str], role: str = role, patience: int = 600) -> Watched:
        sagemaker, backend = boto3.client("sagemaker"), sagemaker_backends[ACCOUNT][REGION]
        model: Any = {"PrimaryContainer": containers[0]} if len(containers) == 1 else {"Containers": containers}
        sagemaker.create_model(ModelName="m", ExecutionRoleArn=role, **model)
        sagemaker.create_endpoint_config(
            EndpointConfigName="c",
            ProductionVariants=[
                {
                    "VariantName": "AllTraffic", "ModelName": "m", "InstanceType": "ml.m5.xlarge",
                    "InitialInstanceCount": 1, "InitialVariantWeight": 1.0,
                }
            ],
        )  # fmt: skip
        # SageMaker's shortest time is a minute.
        backend.endpoint_configs["c"].production_variants[0]["ContainerStartupHealthCheckTimeoutInSeconds"] = patience
        backend.create_endpoint("e", "c", tags=[])
        endpoint = Watched(backend, backend.endpoints["e"])
        host.deploy(endpoint, "c")
        return endpoint

    return deploy_model


def test_model_data_that_is_not_there_fails_the_endpoint(deploy: Callable[..., Watched]) -> None:
    endpoint = deploy({**CONTAINER, "ModelDataUrl": "s3://models/none.tar.gz"})
    reason = "ClientError: An error occurred (404) when calling the HeadObject operation: Not Found"
    assert endpoint.failed.get(timeout=60) == ("Failed", reason)


def test_a_permission_that_the_role_lacks_fails_the_endpoint_by_name(deploy: Callable[..., Watched]) -> None:
    lacking = execution_role_by(boto3.client("iam"), "lacking", without="ecr:BatchGetImage")
    _, reason = deploy(CONTAINER, role=lacking).failed.get(timeout=60)
    assert reason.startswith("ClientError: User: ")
    assert "is not authorized to perform: ecr:BatchGetImage" in reason


def test_a_pipeline_of_containers_fails_the_endpoint(deploy: Callable[..., Watched]) -> None:
    reason = "ClientError: an endpoint here serves one container; a pipeline runs in batch jobs."
    assert deploy(CONTAINER, CONTAINER).failed.get(timeout=60) == ("Failed", reason)


def test_an_error_of_the_service_itself_fails_the_endpoint_with_its_message(deploy: Callable[..., Watched]) -> None:
    _, reason = deploy(CONTAINER, role=f"arn:aws:iam::{ACCOUNT}:role/gone").failed.get(timeout=60)
    assert reason.startswith("InternalServerError: ")
    assert "gone" in reason


def test_a_container_that_is_not_healthy_in_time_fails_the_endpoint(
    deploy: Callable[..., Watched], children: Watching
) -> None:
    reason = "The primary container did not pass the ping health check within 0 s."
    assert deploy(CONTAINER, patience=0).failed.get(timeout=60) == ("Failed", reason)
    assert children.started.is_set()


def test_a_deployment_ends_when_the_local_service_is_stopped(
    deploy: Callable[..., Watched], children: Watching, host: EndpointHost
) -> None:
    endpoint = deploy(CONTAINER)
    assert children.started.wait(60)
    host.stop()
    assert endpoint.failed.get_nowait() == ("Failed", "The local service was stopped.")
