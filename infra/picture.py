"""Draws the template: who wakes whom, and who writes where. `python -m infra.picture TEMPLATE` prints docs/architecture.md."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from infra.acknowledged import plain

# What a grant means on the picture; reading is left out, or nothing would be seen for arrows.
_WRITES: Mapping[str, str] = {
    "dynamodb:PutItem": "appends",
    "sqs:SendMessage": "sends",
    "lambda:InvokeFunction": "invokes",
    "ssm:PutParameter": "writes",
    "ses:SendEmail": "mails",
    "events:PutEvents": "announces",
    "s3:PutObject": "writes",
    "sts:AssumeRole": "becomes",
    "sagemaker:UpdateModelPackage": "writes",
    "sagemaker:CreateTransformJob": "runs",
}
_PLACES: Mapping[str, str] = {
    "ssm": "Parameter Store",
    "ses": "Mail (SES)",
    "model-package": "Model Registry",
    "transform-job": "Batch Transform",
}
_SHAPES: Mapping[str, str] = {
    "AWS::Lambda::Function": '["{}"]',
    "AWS::DynamoDB::Table": '[("{}")]',
    "AWS::S3::Bucket": '[("{}")]',
    "AWS::SQS::Queue": '[/"{}"/]',
    "AWS::Events::EventBus": '(["{}"])',
    "AWS::StepFunctions::StateMachine": '{{{{"{}"}}}}',
    "AWS::IAM::Role": '["{}"]',
}


class Picture:
    """Nodes and arrows of one template."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._resources: Mapping[str, Any] = document["Resources"]
        self._arrows: set[tuple[str, str, str]] = set()

    def lines(self) -> list[str]:
        """The picture as Mermaid."""
        self._triggers()
        self._grants()
        shown = {node for start, _, end in self._arrows for node in (start, end)}
        nodes = sorted(f"  {_id(node)}{self._shape(node)}" for node in shown)
        arrows = sorted(f"  {_id(start)} -->|{label}| {_id(end)}" for start, label, end in self._arrows)
        return ["flowchart LR", *nodes, *arrows]

    def _triggers(self) -> None:
        for resource in self._resources.values():
            properties = resource.get("Properties", {})
            match resource["Type"]:
                case "AWS::Events::Rule":
                    pattern = properties.get("EventPattern", {})
                    source = pattern.get("source", [properties.get("ScheduleExpression", "")])[0]
                    start = "Model Registry" if source == "aws.sagemaker" else source
                    if "EventBusName" in properties:
                        start = plain(properties["EventBusName"]).strip("<>")
                    kinds = pattern.get("detail-type", [properties.get("ScheduleExpression", "")])
                    for target in properties["Targets"]:
                        self._arrow(start, kinds[0], _referred(plain(target["Arn"])))
                case "AWS::Lambda::EventSourceMapping":
                    source = _referred(plain(properties["EventSourceArn"]))
                    self._arrow(source, "wakes", _referred(plain(properties["FunctionName"])))
                case "AWS::ApiGatewayV2::Integration":
                    self._arrow("People", "HTTP API", _referred(plain(properties["IntegrationUri"])))

    def _grants(self) -> None:
        owners = {
            _referred(plain(one["Properties"]["Role" if "Role" in one["Properties"] else "RoleArn"])): name
            for name, one in self._resources.items()
            if one["Type"] in ("AWS::Lambda::Function", "AWS::StepFunctions::StateMachine")
        }
        for resource in self._resources.values():
            if resource["Type"] != "AWS::IAM::Policy":
                continue
            role = _referred(plain(resource["Properties"]["Roles"][0]))
            for statement in resource["Properties"]["PolicyDocument"]["Statement"]:
                given = statement["Action"] if isinstance(statement["Action"], list) else [statement["Action"]]
                for action in set(given) & set(_WRITES):
                    where = (
                        statement["Resource"] if isinstance(statement["Resource"], list) else [statement["Resource"]]
                    )
                    for one in where:
                        self._arrow(owners.get(role, role), _WRITES[action], _place(plain(one)))

    def _arrow(self, start: str, label: str, end: str) -> None:
        # A rule's own right to start its machine says what the rule's arrow says already, and everybody may give up.
        if start != end and end and "EventsRole" not in start and not end.startswith("WiringUndelivered"):
            self._arrows.add((start, label, end))

    def _shape(self, node: str) -> str:
        kind = self._resources.get(node, {}).get("Type", "")
        name = re.sub(r"[0-9A-F]{8}$", "", node) if kind else node
        name = re.sub(r"^(Functions|Store|Wiring)", "", name)
        return _SHAPES.get(kind, '(("{}"))').format(name)


def _id(node: str) -> str:
    return re.sub(r"\W", "", node)


def _referred(text: str) -> str:
    found = re.search(r"<(?!AWS::)(\w+)", text)
    return found[1] if found else ""


def _place(resource: str) -> str:
    for key, name in _PLACES.items():
        if f":{key}:" in resource or f":{key}/" in resource:
            return name
    return _referred(resource)


def page(document: Mapping[str, Any]) -> str:
    """docs/architecture.md."""
    drawn = "\n".join(Picture(document).lines())
    return (
        "# What is deployed\n\n"
        "Drawn from the template by `python -m infra.picture`; a test redraws it. An arrow into a function is what wakes it, "
        "one out of it a right to write.\nRights to read are left out.\n\n"
        f"```mermaid\n{drawn}\n```\n"
    )


if __name__ == "__main__":
    sys.stdout.write(page(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))))
