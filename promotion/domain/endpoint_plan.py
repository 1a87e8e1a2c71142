"""Plan for a real-time endpoint: wanted state, observed state, and the next step between them.

The wanted state is the live record. The step is computed each time from SageMaker's present state, so that duplicate, late,
reordered or lost events lead to the same result. Nothing here waits: the caller continues on SageMaker's event about the end of
a step, or with the sweep.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, Literal

from msgspec import Struct

from promotion import names
from promotion.client.live_record import LiveModel
from promotion.config.settings import Endpoint, Inference
from promotion.domain import instance_types
from promotion.domain.canonical_json import canonical
from promotion.domain.model import EndpointState
from promotion.domain.sagemaker_model import model_request
from promotion.errors import require

VARIANT = "AllTraffic"
# Tags of endpoints, their configurations and models. Resources without them are not this service's, and are not changed.
TAG_GROUP, TAG_ENVIRONMENT = "promotion:model_package_group", "promotion:environment"
TAG_VERSION, TAG_SEQUENCE, TAG_APPROVAL = "promotion:version", "promotion:sequence", "promotion:approval_id"
# The endpoint's tag with the configuration of its last update. If it serves another one, SageMaker rolled back.
TAG_ATTEMPT = "promotion:attempt"

IN_PROGRESS = frozenset({"Creating", "Updating", "SystemUpdating", "RollingBack", "Deleting"})
BROKEN = frozenset({"Failed", "OutOfService", "UpdateRollbackFailed"})
# https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_BlueGreenUpdatePolicy.html
SHORTEST_UPDATE_S, LONGEST_UPDATE_S = 600, 28_800
_PROVISIONING_S = 1800

Step = Literal["settled", "wait", "create", "update", "delete", "failed", "foreign"]


class Wanted(Struct, frozen=True, kw_only=True):
    """Wanted state of an endpoint; `name`, of its model and configuration, is deterministic."""

    endpoint: str
    name: str
    version: int
    model: dict[str, Any]
    config: dict[str, Any]
    tags: dict[str, str]


class Observed(Struct, frozen=True, kw_only=True):
    """An endpoint as SageMaker describes it; `version` is the served version, if its tags have it."""

    status: str
    config_name: str
    problem: str = ""
    ours: bool = True
    attempted: str = ""
    version: int | None = None


def wanted(
    model: LiveModel,
    settings: Endpoint,
    inference: Inference,
    *,
    prefix: str,
    role: str,
    asked: int = 0,
) -> Wanted:
    """Return the wanted endpoint of a live model; `asked` is the event by which an operator restored it.

    Raises:
        Invalid: the container can't be run in its approved form.
    """
    group, environment = model.model_package_group, model.environment
    hosted = model_request(
        model,
        name="",
        role=role,
        subnets=inference.subnets,
        security_groups=inference.security_groups,
        isolated=inference.network_isolation,
    )
    variant: dict[str, Any] = {
        "VariantName": VARIANT,
        "InstanceType": settings.instance_type,
        "InitialInstanceCount": settings.instance_count,
        "InitialVariantWeight": 1.0,
        "ModelDataDownloadTimeoutInSeconds": settings.download_timeout_seconds,
        "ContainerStartupHealthCheckTimeoutInSeconds": settings.health_timeout_seconds,
    }
    if settings.volume_size_gb is not None:
        variant["VolumeSizeInGB"] = settings.volume_size_gb
    if ami := instance_types.inference_ami(settings.instance_type, settings.inference_ami_version):
        variant["InferenceAmiVersion"] = ami
    local_storage = instance_types.has_local_storage(settings.instance_type)
    key = {"KmsKeyId": inference.volume_key} if inference.volume_key and not local_storage else {}
    # Everything that changes the model or the machine is in the name, so that a name never means two things.
    fingerprint = hashlib.sha256(canonical([hosted, variant, key, model.approval_id, asked])).hexdigest()
    name = names.hosted_name(prefix, environment, group, model.sequence, fingerprint)
    return Wanted(
        endpoint=names.endpoint_name(settings.name, prefix, environment, group),
        name=name,
        version=model.model_package_version,
        model={**hosted, "ModelName": name},
        config={"EndpointConfigName": name, "ProductionVariants": [{**variant, "ModelName": name}], **key},
        tags={
            TAG_GROUP: group,
            TAG_ENVIRONMENT: environment,
            TAG_VERSION: str(model.model_package_version),
            TAG_SEQUENCE: str(model.sequence),
            TAG_APPROVAL: model.approval_id,
        },
    )


def next_step(wanted: Wanted | None, found: Observed | None, *, revoked: bool = False) -> Step:
    """Return the next step; `revoked`: the served version was revoked, so there is no rollback to it.

    "failed" is final for a wanted state: SageMaker tried it and gave up. Another version, another configuration or a restore by
    an operator makes a new wanted state.
    """
    if found is None:
        return "settled" if wanted is None else "create"
    if not found.ours:
        return "foreign"
    if found.status == "Deleting":
        return "wait"
    if wanted is None:
        return "delete"
    if found.status in IN_PROGRESS:
        return "wait"
    tried = wanted.name in (found.config_name, found.attempted)
    if found.status in BROKEN:
        # The failed endpoint is kept until another version is wanted: its state in SageMaker is useful, and it costs nothing.
        return "failed" if tried and not revoked else "delete"
    if found.config_name == wanted.name:
        return "settled"
    if not tried:
        return "update"
    return "delete" if revoked else "failed"


def deployment(settings: Endpoint, alarms: Sequence[str], *, revoked: bool = False) -> dict[str, Any]:
    """Blue/green deployment: shift all traffic to the healthy new fleet, watch it, roll back on an alarm.

    If the serving version was revoked, there is no rollback to it: no alarms, and no wait before its fleet is terminated.
    """
    bake = 0 if revoked else settings.bake_seconds
    longest = settings.download_timeout_seconds + settings.health_timeout_seconds + 2 * bake + _PROVISIONING_S
    routing = {"Type": "ALL_AT_ONCE", "WaitIntervalInSeconds": bake}
    policy: dict[str, Any] = {
        "BlueGreenUpdatePolicy": {
            "TrafficRoutingConfiguration": routing,
            # Without a shift in steps, only the old fleet's termination wait leaves time for the alarms.
            "TerminationWaitInSeconds": bake,
            "MaximumExecutionTimeoutInSeconds": min(max(longest, SHORTEST_UPDATE_S), LONGEST_UPDATE_S),
        }
    }
    if not revoked:
        policy["AutoRollbackConfiguration"] = {"Alarms": [{"AlarmName": name} for name in alarms]}
    return policy


def alarms(endpoint: str, config: str, settings: Endpoint) -> list[dict[str, Any]]:
    """Return PutMetricAlarm's requests: for the share of requests that failed in the container, and for its latency.

    Both measure only the fleet of one endpoint configuration: otherwise an alarm on the old fleet would end the deployment that
    replaces it. Without requests neither alarm is raised.
    https://docs.aws.amazon.com/sagemaker/latest/dg/deployment-guardrails-configuration.html

    Args:
        endpoint: the endpoint's name.
        config: the name of the endpoint configuration that is deployed.
        settings: the bounds.
    """
    common: dict[str, Any] = {
        "Namespace": "AWS/SageMaker",
        "Dimensions": [
            {"Name": "EndpointName", "Value": endpoint},
            {"Name": "VariantName", "Value": VARIANT},
            {"Name": "EndpointConfigName", "Value": config},
        ],
        "Period": 60,
        "EvaluationPeriods": 1,
        "ComparisonOperator": "GreaterThanThreshold",
        "TreatMissingData": "notBreaching",
        "AlarmDescription": "Rolls a deployment back: docs/endpoints.md.",
    }
    found = [
        {
            **common,
            "AlarmName": f"{endpoint}-errors",
            # 1 for a request that the container answered with 5xx, 0 for any other: the average is their share.
            "MetricName": "Invocation5XXErrors",
            "Statistic": "Average",
            "Threshold": settings.largest_error_rate,
        }
    ]
    if settings.largest_latency_ms is not None:
        # In microseconds.
        latency = {
            "MetricName": "ModelLatency",
            "ExtendedStatistic": "p99",
            "Threshold": settings.largest_latency_ms * 1000,
        }
        found.append({**common, "AlarmName": f"{endpoint}-latency", **latency})
    return found


def every_alarm(endpoint: str) -> list[str]:
    """Return the names of all alarms that an endpoint may have, under any configuration."""
    return [f"{endpoint}-errors", f"{endpoint}-latency"]


def seen(step: Step, wanted: Wanted | None, found: Observed | None, before: EndpointState) -> EndpointState | None:
    """Return the endpoint state to append, or None if it is unchanged or still in transition."""
    if step in ("foreign", "failed"):
        found = require(found, f"the step {step}", "endpoint")
        if step == "failed":
            wanted = require(wanted, "the step failed", "model")
        problem = (
            found.problem
            or "SageMaker went back to what served before: an alarm went off, or the new one never got healthy."
        )
        if step == "foreign":
            problem = (
                "There is an endpoint of this name that this service didn't make. Delete it, or choose another name."
            )
        serving = found.version if step == "failed" and found.status == "InService" else None
        after = EndpointState(
            name=wanted.endpoint if wanted else before.name,
            status=names.ENDPOINT_FAILED,
            version=serving,
            config=wanted.name if wanted else before.config,
            problem=problem,
        )
    elif step == "settled" and wanted is not None:
        after = EndpointState(
            name=wanted.endpoint, status=names.ENDPOINT_IN_SERVICE, version=wanted.version, config=wanted.name
        )
    elif step == "settled" and before.status not in ("", names.ENDPOINT_WITHDRAWN):
        after = EndpointState(name=before.name, status=names.ENDPOINT_WITHDRAWN)
    else:
        return None
    return None if same(after, before) else after


def same(one: EndpointState, other: EndpointState) -> bool:
    """Compare two states of an endpoint, apart from the time of observation."""

    def told(state: EndpointState) -> tuple[object, ...]:
        return (state.name, state.status, state.version, state.config, state.problem)

    return told(one) == told(other)
