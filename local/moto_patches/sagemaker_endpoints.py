"""SageMaker's endpoints, which take time, are updated, roll back, and fail; moto's are in service immediately."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import cache
from typing import Any, Protocol

import botocore.session
from moto.cloudwatch.models import CloudWatchBackend
from moto.core.responses import ActionResult, EmptyResult
from moto.core.utils import utcnow
from moto.sagemaker.exceptions import ValidationError
from moto.sagemaker.models import FakeEndpointConfig, SageMakerModelBackend
from moto.sagemaker.responses import SageMakerResponse

_IN_PROGRESS = frozenset({"Creating", "Updating", "RollingBack", "SystemUpdating", "Deleting"})


class Runner(Protocol):
    """Starts and ends the containers of endpoints."""

    def deploy(self, endpoint: Endpoint, config_name: str) -> None: ...

    def withdraw(self, endpoint: Endpoint) -> None: ...


# Set by the local service. Without a runner, endpoints are created and deleted immediately.
runners: list[Runner] = []


class Endpoint:
    """An endpoint in moto's store, with the fields that change during a deployment."""

    def __init__(self, backend: Any, kept: Any) -> None:
        self._backend = backend
        self._kept = kept

    @property
    def name(self) -> str:
        return str(self._kept.endpoint_name)

    @property
    def arn(self) -> str:
        return str(self._kept.arn)

    @property
    def status(self) -> str:
        return str(self._kept.endpoint_status)

    @property
    def alarms(self) -> list[str]:
        """Return the names of the alarms for the rollback of the deployment in progress."""
        config = getattr(self._kept, "last_deployment_config", None) or {}
        return [alarm["AlarmName"] for alarm in (config.get("AutoRollbackConfiguration") or {}).get("Alarms", ())]

    def begin(self, status: str) -> None:
        self._set(status, None)

    def in_service(self, config_name: str) -> None:
        """Set the configuration that is in service."""
        self._kept.endpoint_config_name = config_name
        variants = self._backend.endpoint_configs[config_name].production_variants
        self._kept.production_variants = self._kept._process_production_variants(variants)
        self._set("InService", None)

    def fail(self, reason: str, *, back: bool) -> None:
        """Fail the deployment; with `back` the previous configuration stays in service, else none."""
        self._set("InService" if back else "Failed", reason[:1024])

    def gone(self) -> None:
        self._set("Deleted", None)
        self._backend.endpoints.pop(self.name, None)

    def detail(self) -> dict[str, Any]:
        """Return the detail of `SageMaker Endpoint State Change`."""
        kept = self._kept
        found = {
            "EndpointName": kept.endpoint_name,
            "EndpointArn": kept.arn,
            "EndpointConfigName": kept.endpoint_config_name,
            "EndpointStatus": re.sub(r"(?<!^)(?=[A-Z])", "_", kept.endpoint_status).upper(),
            "FailureReason": kept.failure_reason,
            "CreationTime": int(kept.creation_time.timestamp() * 1000),
            "LastModifiedTime": int(kept.last_modified_time.timestamp() * 1000),
            "Tags": {tag["Key"]: tag["Value"] for tag in kept.tags},
        }
        return {key: value for key, value in found.items() if value is not None}

    def _set(self, status: str, reason: str | None) -> None:
        self._kept.endpoint_status = status
        self._kept.failure_reason = reason
        self._kept.last_modified_time = utcnow()


def mend() -> None:
    """Replace moto's operations with the patched ones."""
    response: Any = SageMakerResponse
    response.create_model = _once(response.create_model, "ModelName", "_models", "model")
    response.create_endpoint_config = _once(
        response.create_endpoint_config, "EndpointConfigName", "endpoint_configs", "endpoint configuration"
    )
    response.create_endpoint = _create(_once(response.create_endpoint, "EndpointName", "endpoints", "endpoint"))
    response.update_endpoint = _update
    response.delete_endpoint = _delete
    response.list_models = _list_models
    SageMakerModelBackend.add_tags = _add_tags
    CloudWatchBackend.put_metric_alarm = _keeping_state(CloudWatchBackend.put_metric_alarm)
    FakeEndpointConfig.validate_instance_type = _validate_instance_type


def _once(create: Callable[[Any], ActionResult], field: str, kept: str, kind: str) -> Callable[[Any], ActionResult]:
    """Refuse a name that exists; moto overwrites the first resource."""

    def create_once(self: Any) -> ActionResult:
        name = json.loads(self.body)[field]
        found = getattr(self.sagemaker_backend, kept).get(name)
        if found is not None:
            arn = getattr(found, "endpoint_config_arn", None) or found.arn
            raise ValidationError(message=f'Cannot create already existing {kind} "{arn}".')
        return create(self)

    return create_once


def _create(create: Callable[[Any], ActionResult]) -> Callable[[Any], ActionResult]:
    def create_endpoint(self: Any) -> ActionResult:
        given = json.loads(self.body)
        answer = create(self)
        endpoint = Endpoint(self.sagemaker_backend, self.sagemaker_backend.endpoints[given["EndpointName"]])
        endpoint._kept.last_deployment_config = given.get("DeploymentConfig")
        if runners:
            endpoint.begin("Creating")
            runners[0].deploy(endpoint, given["EndpointConfigName"])
        return answer

    return create_endpoint


def _update(self: Any) -> ActionResult:
    """Deploy another configuration; the old one stays in service until the new one is healthy."""
    given = json.loads(self.body)
    backend = self.sagemaker_backend
    endpoint = _existing(backend, given["EndpointName"])
    config_name = given["EndpointConfigName"]
    backend.describe_endpoint_config(config_name)
    if endpoint.status in _IN_PROGRESS:
        raise ValidationError(message=f'Cannot update in-progress endpoint "{endpoint.arn}".')
    if endpoint.status != "InService":
        raise ValidationError(message=f'Cannot update endpoint "{endpoint.arn}" with status {endpoint.status}.')
    endpoint._kept.last_deployment_config = given.get("DeploymentConfig")
    if runners:
        endpoint.begin("Updating")
        runners[0].deploy(endpoint, config_name)
    else:
        endpoint.in_service(config_name)
    return ActionResult({"EndpointArn": endpoint.arn})


def _delete(self: Any) -> ActionResult:
    endpoint = _existing(self.sagemaker_backend, json.loads(self.body)["EndpointName"])
    if endpoint.status in _IN_PROGRESS:
        raise ValidationError(message=f'Cannot delete in-progress endpoint "{endpoint.arn}".')
    if runners:
        endpoint.begin("Deleting")
        runners[0].withdraw(endpoint)
    else:
        endpoint.gone()
    return EmptyResult()


def _list_models(self: Any) -> ActionResult:
    """Filter by a part of the name, which moto ignores."""
    wanted = json.loads(self.body or "{}").get("NameContains", "")
    models = self.sagemaker_backend.list_models()
    return ActionResult({"Models": [model.response_object for model in models if wanted in model.model_name]})


def _add_tags(self: Any, arn: str, tags: list[dict[str, str]]) -> list[dict[str, str]]:
    """Overwrite the value of an existing key; moto keeps both."""
    resource = self._get_resource_from_arn(arn)
    merged = {tag["Key"]: tag["Value"] for tag in [*resource.tags, *tags]}
    resource.tags = [{"Key": key, "Value": value} for key, value in merged.items()]
    return list(resource.tags)


def _keeping_state(put: Callable[..., Any]) -> Callable[..., Any]:
    """Keep the state of an alarm that is put again; moto resets it.

    https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_PutMetricAlarm.html
    """

    def put_metric_alarm(self: Any, **given: Any) -> Any:
        before = self.alarms.get(given["name"])
        alarm = put(self, **given)
        if before is not None:
            alarm.state_value, alarm.state_reason = before.state_value, before.state_reason
        return alarm

    return put_metric_alarm


def _validate_instance_type(self: Any, instance_type: str) -> None:
    """Validate by AWS's own model of the call, because moto's list is years old."""
    if instance_type not in _instance_types():
        raise ValidationError(message=f"Value '{instance_type}' at 'instanceType' is no instance type of SageMaker's.")


@cache
def _instance_types() -> frozenset[str]:
    model = botocore.session.get_session().get_service_model("sagemaker")
    shape: Any = model.shape_for("ProductionVariantInstanceType")
    return frozenset(shape.enum)


def _existing(backend: Any, name: str) -> Endpoint:
    backend.describe_endpoint(name)
    return Endpoint(backend, backend.endpoints[name])
