"""Requests held against AWS's own models: those of the journeys, and those that a variant's machines and endpoints make.

botocore checks names, types and the least values. The models say more: enumerations, patterns, the longest and the largest.
"""

from __future__ import annotations

import datetime as dt
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any
from unittest import mock

import botocore.client
import botocore.session
from botocore.validate import ParamValidator

from lambdas.handlers import prepare_inference
from promotion.client.live_record import LiveContainer, LiveModel
from promotion.config.loading import Config, parse
from promotion.domain import endpoint_plan
from promotion.domain.transform_format import transform_format
from tests.faults.journeys import JOURNEYS
from tests.faults.simulation import simulation

# A call: service, operation, request.
Call = tuple[str, str, Mapping[str, Any]]
GROUP = "chat-Summaries"
IMAGE = "123456789012.dkr.ecr.us-east-1.amazonaws.com/promotion@sha256:" + "a" * 64
SETTINGS = {
    "execution_role_arn": "arn:aws:iam::123456789012:role/promotion-dev-execution",
    "evidence_bucket": "promotion-evidence",
}


def findings(call: Call) -> list[str]:
    """Return the violations of AWS's model of the operation in a request."""
    service, operation, request = call
    shape = _service(service).operation_model(operation).input_shape
    if shape is None:
        return []
    report = ParamValidator().validate(dict(request), shape).generate_report()
    return [*filter(None, report.splitlines()), *_beyond(request, shape, operation)]


def _beyond(value: Any, shape: Any, at: str) -> Iterator[str]:
    """Check the constraints that botocore leaves to AWS."""
    said = shape.metadata
    match shape.type_name:
        case "structure":
            for name, member in shape.members.items():
                if isinstance(value, Mapping) and name in value:
                    yield from _beyond(value[name], member, f"{at}.{name}")
        case "list":
            yield from _sized(len(value), said, at)
            for index, each in enumerate(value):
                yield from _beyond(each, shape.member, f"{at}[{index}]")
        case "map":
            yield from _sized(len(value), said, at)
            for key, each in value.items():
                yield from _beyond(key, shape.key, f"{at} key {key}")
                yield from _beyond(each, shape.value, f"{at}.{key}")
        case "string" if isinstance(value, str):
            yield from _sized(len(value), said, at)
            if said.get("enum") and value not in said["enum"]:
                yield f"{at}: {value!r} is none of {', '.join(said['enum'][:8])} …"
            pattern = _pattern(said.get("pattern"))
            if pattern is not None and not pattern.fullmatch(value):
                yield f"{at}: {value!r} doesn't match {pattern.pattern}"
        case "integer" | "long" | "float" | "double":
            yield from _sized(value, said, at)


def _sized(size: float, said: Mapping[str, Any], at: str) -> Iterator[str]:
    if "max" in said and size > said["max"]:
        yield f"{at}: {size} is more than {said['max']}"
    if "min" in said and size < said["min"]:
        yield f"{at}: {size} is less than {said['min']}"


@cache
def _pattern(text: str | None) -> re.Pattern[str] | None:
    """A model's pattern, which is Java's: what Python can't read is not tried."""
    try:
        return re.compile(text, re.DOTALL) if text else None
    except re.error:
        return None


@cache
def _service(name: str) -> Any:
    return botocore.session.get_session().get_service_model(name)


def of_journeys(names: Sequence[str] = ()) -> list[tuple[str, Call]]:
    """Each distinct request that the functions make on the journeys of tests/faults, with its journey."""
    made: dict[str, tuple[str, Call]] = {}
    for journey in JOURNEYS:
        if names and journey.name not in names:
            continue
        with (
            tempfile.TemporaryDirectory() as folder,
            simulation(Path(folder), hash_up_to_gb=journey.hash_up_to_gb) as service,
            # In front of the plant, which answers some requests itself.
            _listening(lambda call, name=journey.name: made.setdefault(repr(call), (name, call))),  # type: ignore[misc]
        ):
            journey.before(service)
            journey.act(service)
    return list(made.values())


@contextmanager
def _listening(hear: Callable[[Call], object]) -> Iterator[None]:
    """Every request of every client, before anybody answers it."""
    base: Any = botocore.client.BaseClient
    original = base._make_api_call

    def call(client: Any, operation: str, given: dict[str, Any]) -> Any:
        hear((client.meta.service_model.service_name, operation, given))
        return original(client, operation, given)

    with mock.patch.object(base, "_make_api_call", call):
        yield


def of_variant(text: str) -> list[tuple[str, Call]]:
    """Return the requests of each environment's machine in a configuration, and those of its endpoints."""
    config = parse(text)
    found: list[tuple[str, Call]] = []
    for environment in config.environments:
        model = live(environment.name)
        found += [(environment.name, call) for call in _run(config, model)]
        if environment.endpoint is not None:
            found += [(environment.name, call) for call in _endpoint(config, model)]
    return found


def live(environment: str) -> LiveModel:
    """A model with the most variables, and the longest names, that are allowed."""
    container = LiveContainer(
        image="123456789012.dkr.ecr.us-east-1.amazonaws.com/promotion:1",
        image_digest="sha256:" + "b" * 64,
        model_data_url="s3://promotion-models/v12/model.tar.gz",
        model_data_version_id="x",
        sha256="c" * 64,
        manifest_sha256="d" * 64,
        environment={f"VARIABLE_{number}": "value" for number in range(98)},
    )
    return LiveModel(
        model_package_group=GROUP,
        model_package_version=12,
        model_package_arn=f"arn:aws:sagemaker:us-east-1:123456789012:model-package/{GROUP}/12",
        environment=environment,
        containers=(container,),
        content_types=("application/jsonlines",),
        approved_by=("ann",),
        approved_at="2026-11-20T12:00:00+00:00",
        approval_id="01234567-89ab-cdef-0123-456789abcdef",
        sequence=1234,
        key_id="arn:aws:kms:us-east-1:123456789012:key/11111111-2222-3333-4444-555555555555",
        record={},
    )


def _run(config: Config, model: LiveModel) -> Iterator[Call]:
    inference = config.at(model.environment).inference
    network = {"subnets": list(inference.subnets), "security_groups": list(inference.security_groups)}
    with mock.patch.object(prepare_inference, "config", return_value=config):
        run = prepare_inference.run_id(model, dt.datetime(2026, 11, 20, 12, 0, tzinfo=dt.UTC))
        made = prepare_inference.requests(
            model,
            run=run,
            inputs="s3://promotion-models/input.jsonl",
            references="s3://promotion-models/references.jsonl",
            output=f"s3://promotion-evidence/{GROUP}/{model.environment}/{run}",
            settings={**SETTINGS, **network},
            image=IMAGE,
            context=f"s3://promotion-evidence/{GROUP}/{model.environment}/{run}/context/",
            form=transform_format("s3://promotion-models/input.jsonl", model.content_types, ()),
        )
    yield "sagemaker", "CreateModel", made["create_model"]
    yield "sagemaker", "CreateTransformJob", made["transform"]
    yield "sagemaker", "CreateProcessingJob", made["score"]


def _endpoint(config: Config, model: LiveModel) -> Iterator[Call]:
    settings = config.base_environment(model.environment).endpoint
    assert settings is not None
    inference = config.at(model.environment).inference
    role = str(SETTINGS["execution_role_arn"])
    wanted = endpoint_plan.wanted(model, settings, inference, prefix="/promotion", role=role)
    watching = endpoint_plan.alarms(wanted.endpoint, wanted.name, settings)
    yield "sagemaker", "CreateModel", wanted.model
    yield "sagemaker", "CreateEndpointConfig", wanted.config
    for request in watching:
        yield "cloudwatch", "PutMetricAlarm", request
    update = endpoint_plan.deployment(settings, [request["AlarmName"] for request in watching])
    given = {"EndpointName": wanted.endpoint, "EndpointConfigName": wanted.name, "DeploymentConfig": update}
    yield "sagemaker", "UpdateEndpoint", given
