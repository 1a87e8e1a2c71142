"""Functions, their permissions, and their event sources."""

from __future__ import annotations

import io
import json
import zipfile
from typing import Any

from local import ACCOUNT, REGION
from local.deployment import EventSource, Permission
from local.provision.builder import Builder, makes
from local.runtime.function import Function, Settings
from local.template import Made, Resource, TemplateError


@makes("AWS::Lambda::Function")
def function(builder: Builder, resource: Resource, properties: dict[str, Any]) -> Made:
    name = properties.get("FunctionName") or builder.name(resource, longest=60)
    arn = f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{name}"
    settings = Settings(
        name=name,
        arn=arn,
        handler=properties["Handler"],
        role_arn=properties["Role"],
        timeout_seconds=float(properties.get("Timeout", 3)),
        memory_mb=int(properties.get("MemorySize", 128)),
        environment={key: str(value) for key, value in properties.get("Environment", {}).get("Variables", {}).items()},
        dead_letter=properties.get("DeadLetterConfig", {}).get("TargetArn") or _on_failure(builder, resource),
        retries=_retries(builder, resource),
    )
    builder.deployment.functions[arn] = Function(settings, builder.place, builder.children)
    # Only for `aws lambda list-functions` and similar calls; functions run from source.
    builder.client("lambda").create_function(
        FunctionName=name,
        Runtime=properties.get("Runtime", "python3.13"),
        Role=settings.role_arn,
        Handler=settings.handler,
        Timeout=int(settings.timeout_seconds),
        MemorySize=settings.memory_mb,
        Environment={"Variables": dict(settings.environment)},
        Architectures=properties.get("Architectures", ["x86_64"]),
        Code={"ZipFile": _placeholder()},
    )
    return Made(name, {"Arn": arn})


def _invoke_config(builder: Builder, resource: Resource) -> dict[str, Any]:
    """The properties of the EventInvokeConfig that refers to this function, unresolved; empty without one."""
    for config in builder.template.of_type("AWS::Lambda::EventInvokeConfig"):
        if config.properties.get("FunctionName") == {"Ref": resource.logical_id}:
            return config.properties
    return {}


def _on_failure(builder: Builder, resource: Resource) -> str | None:
    destination = _invoke_config(builder, resource).get("DestinationConfig", {}).get("OnFailure", {}).get("Destination")
    resolved: str | None = builder.template.resolve(destination, of=resource.logical_id) if destination else None
    return resolved


def _retries(builder: Builder, resource: Resource) -> int:
    return int(_invoke_config(builder, resource).get("MaximumRetryAttempts", 2))


@makes("AWS::Lambda::Permission")
def permission(builder: Builder, resource: Resource, properties: dict[str, Any]) -> Made:
    found = _function(builder, resource, properties)
    if properties["Action"] in {"lambda:InvokeFunction", "lambda:*"}:
        builder.deployment.permissions.append(
            Permission(found.settings.arn, properties["Principal"], properties.get("SourceArn"))
        )
    return Made(resource.logical_id)


@makes("AWS::Lambda::EventSourceMapping")
def event_source(builder: Builder, resource: Resource, properties: dict[str, Any]) -> Made:
    found = _function(builder, resource, properties)
    if properties.get("Enabled", True) in (False, "false"):
        return Made(resource.logical_id, {"Id": resource.logical_id})
    filters = properties.get("FilterCriteria", {}).get("Filters", ())
    destination = properties.get("DestinationConfig", {}).get("OnFailure", {}).get("Destination")
    builder.deployment.event_sources.append(
        EventSource(
            function_arn=found.settings.arn,
            source_arn=properties["EventSourceArn"],
            batch_size=int(properties.get("BatchSize", 10)),
            filters=tuple(json.loads(each["Pattern"]) for each in filters),
            reports_item_failures="ReportBatchItemFailures" in properties.get("FunctionResponseTypes", ()),
            maximum_concurrency=properties.get("ScalingConfig", {}).get("MaximumConcurrency"),
            retries=properties.get("MaximumRetryAttempts"),
            failure_destination=destination,
        )
    )
    return Made(resource.logical_id, {"Id": resource.logical_id})


def _function(builder: Builder, resource: Resource, properties: dict[str, Any]) -> Function:
    found = builder.deployment.function(properties["FunctionName"])
    if found is None:
        raise TemplateError(f"{resource.logical_id}: there is no function {properties['FunctionName']}.")
    return found


def _placeholder() -> bytes:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as zipped:
        zipped.writestr("README", "The local service runs functions from source.")
    return archive.getvalue()
