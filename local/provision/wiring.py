"""Queues, event buses and rules, state machines, and the HTTP API."""

from __future__ import annotations

import json
from typing import Any

from local import ACCOUNT, REGION
from local.aws import access
from local.deployment import Route
from local.provision.builder import Builder, as_json, makes
from local.template import Made, Resource, TemplateError

_QUEUE_ATTRIBUTES = {
    "VisibilityTimeout",
    "MessageRetentionPeriod",
    "DelaySeconds",
    "ReceiveMessageWaitTimeSeconds",
    "FifoQueue",
    "ContentBasedDeduplication",
    "RedrivePolicy",
    "MaximumMessageSize",
    "DeduplicationScope",
    "FifoThroughputLimit",
}


@makes("AWS::SQS::Queue")
def queue(builder: Builder, resource: Resource, properties: dict[str, Any]) -> Made:
    suffix = ".fifo" if properties.get("FifoQueue") else ""
    name = properties.get("QueueName") or builder.name(resource, longest=70) + suffix
    attributes = {
        key: str(value).lower()
        if isinstance(value, bool)
        else as_json(value)
        if isinstance(value, dict)
        else str(value)
        for key, value in properties.items()
        if key in _QUEUE_ATTRIBUTES
    }
    url = builder.client("sqs").create_queue(QueueName=name, Attributes=attributes)["QueueUrl"]
    return Made(url, {"Arn": f"arn:aws:sqs:{REGION}:{ACCOUNT}:{name}", "QueueName": name, "QueueUrl": url})


@makes("AWS::SQS::QueuePolicy")
def queue_policy(builder: Builder, resource: Resource, properties: dict[str, Any]) -> Made:
    for url in properties["Queues"]:
        access.attach(f"arn:aws:sqs:{REGION}:{ACCOUNT}:{url.rsplit('/', 1)[-1]}", properties["PolicyDocument"])
    return Made(resource.logical_id)


@makes("AWS::SNS::Topic")
def topic(builder: Builder, resource: Resource, properties: dict[str, Any]) -> Made:
    name = properties.get("TopicName") or builder.name(resource, longest=200)
    arn = builder.client("sns").create_topic(Name=name)["TopicArn"]
    return Made(arn, {"TopicArn": arn, "TopicName": name})


@makes("AWS::Events::EventBus")
def bus(builder: Builder, resource: Resource, properties: dict[str, Any]) -> Made:
    arn = builder.client("events").create_event_bus(Name=properties["Name"])["EventBusArn"]
    return Made(properties["Name"], {"Arn": arn, "Name": properties["Name"]})


@makes("AWS::Events::EventBusPolicy")
def bus_policy(builder: Builder, resource: Resource, properties: dict[str, Any]) -> Made:
    name = properties.get("EventBusName", "default")
    access.attach(f"arn:aws:events:{REGION}:{ACCOUNT}:event-bus/{name}", {"Statement": [properties["Statement"]]})
    return Made(resource.logical_id)


@makes("AWS::Events::Rule")
def rule(builder: Builder, resource: Resource, properties: dict[str, Any]) -> Made:
    events = builder.client("events")
    name = properties.get("Name") or builder.name(resource, longest=60)
    bus_name = str(properties.get("EventBusName") or "default")
    bus_name = bus_name.rsplit("/", 1)[-1]
    what: dict[str, Any] = {}
    if "EventPattern" in properties:
        what["EventPattern"] = json.dumps(properties["EventPattern"])
    if "ScheduleExpression" in properties:
        what["ScheduleExpression"] = properties["ScheduleExpression"]
    arn = events.put_rule(Name=name, EventBusName=bus_name, State=properties.get("State", "ENABLED"), **what)["RuleArn"]
    targets = properties.get("Targets", [])
    if targets:
        events.put_targets(Rule=name, EventBusName=bus_name, Targets=targets)
    return Made(name, {"Arn": arn})


@makes("AWS::StepFunctions::StateMachine")
def machine(builder: Builder, resource: Resource, properties: dict[str, Any]) -> Made:
    name = properties.get("StateMachineName") or builder.name(resource, longest=80)
    if "DefinitionString" not in properties or "DefinitionSubstitutions" in properties:
        raise TemplateError(f"{resource.logical_id}: only a DefinitionString without substitutions runs here.")
    arn = builder.client("stepfunctions").create_state_machine(
        name=name,
        definition=properties["DefinitionString"],
        roleArn=properties["RoleArn"],
        type=properties.get("StateMachineType", "STANDARD"),
    )["stateMachineArn"]
    return Made(arn, {"Arn": arn, "Name": name})


@makes("AWS::ApiGatewayV2::Api")
def api(builder: Builder, resource: Resource, properties: dict[str, Any]) -> Made:
    api_id = "local0api0"
    builder.deployment.api_id = api_id
    # Replaced by the local address: the template builds the address from the API's id.
    builder.template.rewrite(f"https://{api_id}.execute-api.{REGION}.amazonaws.com", builder.http_url)
    return Made(api_id, {"ApiEndpoint": builder.http_url, "ApiId": api_id})


@makes("AWS::ApiGatewayV2::Integration")
def integration(builder: Builder, resource: Resource, properties: dict[str, Any]) -> Made:
    if properties["IntegrationType"] != "AWS_PROXY" or properties.get("PayloadFormatVersion") != "2.0":
        raise TemplateError(f"{resource.logical_id}: only AWS_PROXY integrations with payload format 2.0 run here.")
    return Made(properties["IntegrationUri"])


@makes("AWS::ApiGatewayV2::Route")
def route(builder: Builder, resource: Resource, properties: dict[str, Any]) -> Made:
    authorization = properties.get("AuthorizationType", "NONE")
    if authorization not in {"NONE", "AWS_IAM"}:
        raise TemplateError(f"{resource.logical_id}: the local service can't check {authorization}.")
    function_arn = properties["Target"].removeprefix("integrations/")
    method, _, path = properties["RouteKey"].partition(" ")
    if not path:
        raise TemplateError(f"{resource.logical_id}: the local service doesn't know the route {method}.")
    builder.deployment.routes.append(Route(method, path, function_arn, authorization))
    return Made(resource.logical_id)


@makes("AWS::ApiGatewayV2::Stage")
def stage(builder: Builder, resource: Resource, properties: dict[str, Any]) -> Made:
    builder.deployment.api_stage = properties["StageName"]
    return Made(properties["StageName"])
