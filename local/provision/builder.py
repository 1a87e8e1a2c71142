"""Creation of a template's resources in order, each by the function for its type."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Protocol

from botocore.config import Config

from local import ADMINISTRATOR_KEY, ADMINISTRATOR_SECRET, REGION
from local.children import Children
from local.clients import any_client
from local.deployment import Deployment
from local.runtime.function import Place
from local.template import Made, Resource, Template, TemplateError

# Resource types that have no effect on one machine, and why.
IGNORED: Mapping[str, str] = {
    "AWS::Logs::LogGroup": "functions log into files",
    "AWS::Logs::MetricFilter": "nobody watches metrics here",
    "AWS::Logs::QueryDefinition": "a saved query of the console",
    "AWS::CloudWatch::Alarm": "nobody watches metrics here",
    "AWS::CloudWatch::CompositeAlarm": "nobody watches metrics here",
    "AWS::CloudWatch::Dashboard": "a page of the console",
    "AWS::CDK::Metadata": "tells AWS the CDK's version",
    "AWS::SNS::TopicPolicy": "nobody else publishes here",
    "AWS::SNS::Subscription": "nobody is told of alarms here",
    "AWS::ApiGatewayV2::DomainName": "the local address is 127.0.0.1",
    "AWS::ApiGatewayV2::ApiMapping": "the local address is 127.0.0.1",
    "AWS::Route53::RecordSet": "the local address is 127.0.0.1",
    "AWS::SES::ConfigurationSet": "nobody follows deliveries here",
    "AWS::SES::ConfigurationSetEventDestination": "nobody follows deliveries here",
    "AWS::S3::AccessPoint": "buckets are used directly",
    "AWS::XRay::SamplingRule": "nothing is traced here",
    "AWS::Budgets::Budget": "nothing costs anything here",
    "AWS::SageMaker::ModelPackageGroup": "groups are made by who registers models",
    "AWS::Lambda::EventInvokeConfig": "read with its function",
}


@dataclass
class Builder:
    """Dependencies of the builders: AWS's API, the template so far, and the functions' surroundings."""

    template: Template
    deployment: Deployment
    place: Place
    children: Children
    http_url: str
    verified_senders: list[str] = field(default_factory=list)

    def client(self, service: str) -> Any:
        return _client(service, self.place.aws_url)

    def name(self, resource: Resource, *, longest: int, lower: bool = False) -> str:
        """Return a physical name for a resource without a name in the template; the same at every start."""
        digest = hashlib.sha256(resource.logical_id.encode()).hexdigest()[:8]
        name = f"promotion-{resource.logical_id[: longest - 20]}-{digest}"
        return name.lower() if lower else name


class Maker(Protocol):
    def __call__(self, builder: Builder, resource: Resource, properties: dict[str, Any]) -> Made: ...


MAKERS: dict[str, Maker] = {}


def makes(type_: str) -> Callable[[Maker], Maker]:
    """Register the function that makes resources of a type."""

    def register(maker: Maker) -> Maker:
        MAKERS[type_] = maker
        return maker

    return register


def build(builder: Builder) -> None:
    """Make every resource of the template.

    Raises:
        TemplateError: a resource's type is neither known nor ignored, or it refers to a missing resource.
    """
    template = builder.template
    for resource in template.resources.values():
        if resource.type not in MAKERS and resource.type not in IGNORED:
            raise TemplateError(
                f"{resource.logical_id}: the local service can't make {resource.type}. Teach local/provision/ to make it, "
                "or put it on the list of ignored types in local/provision/builder.py with the reason."
            )
    for resource in template.resources.values():
        if resource.type in IGNORED:
            # Others refer to the ARN of a log group or an alarm.
            arn = f"arn:aws:local:{REGION}:ignored:{resource.logical_id}"
            template.made[resource.logical_id] = Made(resource.logical_id, {"Arn": arn})
    for resource in template.in_order(lambda each: each.type in MAKERS):
        properties = template.resolve(resource.properties, of=resource.logical_id)
        template.made[resource.logical_id] = MAKERS[resource.type](builder, resource, properties)


@cache
def _client(service: str, url: str) -> Any:
    return any_client(
        service,
        endpoint_url=url,
        region_name=REGION,
        aws_access_key_id=ADMINISTRATOR_KEY,
        aws_secret_access_key=ADMINISTRATOR_SECRET,
        config=Config(retries={"total_max_attempts": 1}),
    )


def as_json(document: Any) -> str:
    return document if isinstance(document, str) else json.dumps(document)
