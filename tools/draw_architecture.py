"""Draw the template: triggers and writes between its resources.

`python -m tools.draw_architecture TEMPLATE SERVICE ENVIRONMENT` prints docs/architecture.md: the template of one account, and
those of the service and of one environment where each has its own.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from infra.cdk_nag import plain

Arrow = tuple[str, str, str]

# The label of a grant; reading is left out, as there would be too many arrows.
_WRITES: Mapping[str, str] = {
    "dynamodb:PutItem": "appends",
    "sqs:SendMessage": "sends",
    "sns:Publish": "tells",
    "lambda:InvokeFunction": "invokes",
    "ssm:PutParameter": "writes",
    "ses:SendEmail": "mails",
    "events:PutEvents": "announces",
    "s3:PutObject": "writes",
    "sts:AssumeRole": "becomes",
    "sagemaker:UpdateModelPackage": "writes",
    "sagemaker:CreateTransformJob": "runs",
    "sagemaker:CreateProcessingJob": "runs",
    "sagemaker:CreateEndpoint": "keeps",
}
# Meanings of arrows that have no label.
_UNSAID = {"appends", "writes", "sends", "wakes", "invokes"}
_JOBS = "InferenceExecutionRole"
_PLACES: Mapping[str, str] = {
    "ssm": "Parameter Store",
    "ses": "Mail (SES)",
    "model-package": "Model Registry",
    "transform-job": _JOBS,
    "processing-job/promotion-hash-*": "HashingRole",
    "processing-job": _JOBS,
    "endpoint/": "Endpoints",
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
# Where the template's own name says too little.
_CALLED: Mapping[str, str] = {
    "InferenceMachine": "Inference machine of an environment",
    "HashingRole": "Hashing job",
    _JOBS: "Its jobs: Batch Transform, scoring",
    "WiringBus": "The service's bus",
    "WiringDeadLetters": "DeadLetters (queue)",
    "WiringLater": "Later (queue)",
    "WiringRegistrations": "Registrations (queue)",
    "WiringVerifications": "Verifications (queue)",
    "WiringWake": "Wake (queue)",
    "Alarms": "Alarms (topic)",
}


class Picture:
    """Nodes and arrows of one template. The resources of each environment are drawn once."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        resources: Mapping[str, Any] = document["Resources"]
        self._environments = [
            found[1]
            for name, resource in resources.items()
            if resource["Type"] == "AWS::StepFunctions::StateMachine"
            and (found := re.fullmatch(r"Inference(\w+)Machine[0-9A-F]{8}", name))
        ]
        self._resources = resources
        self._kinds = {self.name(name): resource["Type"] for name, resource in resources.items()}

    def waking(self) -> set[Arrow]:
        """Triggers of the functions and machines."""
        found: set[Arrow] = set()
        for resource in self._resources.values():
            properties = resource.get("Properties", {})
            match resource["Type"]:
                case "AWS::Events::Rule":
                    found |= set(self._rule(properties))
                case "AWS::Lambda::EventSourceMapping":
                    source = self._referred(plain(properties["EventSourceArn"]))
                    found.add((source, "wakes", self._referred(plain(properties["FunctionName"]))))
                case "AWS::ApiGatewayV2::Integration":
                    found.add(("People", "HTTP API", self._referred(plain(properties["IntegrationUri"]))))
        return {arrow for arrow in found if arrow[2]}

    def _rule(self, properties: Mapping[str, Any]) -> Iterator[Arrow]:
        pattern = properties.get("EventPattern", {})
        if "EventBusName" in properties:
            start = self._referred(plain(properties["EventBusName"]))
        else:
            start = "SageMaker" if pattern else "A schedule"
        kinds = pattern.get("detail-type") or [properties.get("ScheduleExpression", "")]
        for target in properties["Targets"]:
            for kind in kinds:
                said = kind.removeprefix("SageMaker ") if start == "SageMaker" else kind
                yield start, said, self._referred(plain(target["Arn"]))

    def writing(self) -> set[Arrow]:
        """Write permissions."""
        found: set[Arrow] = set()
        for role, action, where in self.grants():
            # A rule's own right to start its machine is drawn as what wakes, and everybody may give up.
            if "EventsRole" not in role and role != where and not where.startswith("WiringUndelivered"):
                found.add((role, _WRITES[action], where))
        return {arrow for arrow in found if arrow[2]}

    def grants(self) -> Iterator[Arrow]:
        """Write permissions as (function or machine, action, resource)."""
        owners = {
            self._referred(plain(one["Properties"]["Role" if "Role" in one["Properties"] else "RoleArn"])): self.name(
                name
            )
            for name, one in self._resources.items()
            if one["Type"] in ("AWS::Lambda::Function", "AWS::StepFunctions::StateMachine")
        }
        for resource in self._resources.values():
            if resource["Type"] != "AWS::IAM::Policy":
                continue
            role = self._referred(plain(resource["Properties"]["Roles"][0]))
            for statement in resource["Properties"]["PolicyDocument"]["Statement"]:
                for action in set(_listed(statement["Action"])) & set(_WRITES):
                    for one in _listed(statement["Resource"]):
                        yield owners.get(role, role), action, self._place(plain(one))

    def name(self, logical_id: str) -> str:
        """A resource's name without its hash, and without its environment."""
        name: str = re.sub(r"[0-9A-F]{8}$", "", logical_id)
        for environment in self._environments:
            name = re.sub(f"^Inference{environment}(?=[A-Z])", "Inference", name)
        return name

    def kind(self, name: str) -> str:
        return str(self._kinds.get(name, ""))

    def _referred(self, text: str) -> str:
        found = re.search(r"<(?!AWS::)(\w+)", text)
        return self.name(found[1]) if found else ""

    def _place(self, resource: str) -> str:
        for key, name in _PLACES.items():
            if f":{key}:" in resource or f":{key}" in resource:
                return name
        return self._referred(resource)


def _listed(given: Any) -> list[Any]:
    return given if isinstance(given, list) else [given]


def mermaid(arrows: Iterable[Arrow], kinds: Mapping[str, str]) -> str:
    """Arrows as a flowchart."""
    found = set(arrows)
    names = sorted({node for start, _, end in found for node in (start, end)})
    nodes = [f"  {_id(name)}{_shape(name, kinds.get(name, ''))}" for name in names]
    return "\n".join(["```mermaid", "flowchart LR", *nodes, *_drawn(found), "```", ""])


def _drawn(arrows: Iterable[Arrow]) -> list[str]:
    """Arrows as lines, those of one pair as one. Texts are in quotes: a bare parenthesis is syntax, and GitHub would show an
    error in the picture's place.
    """
    labels: dict[tuple[str, str], set[str]] = {}
    for start, label, end in arrows:
        labels.setdefault((_id(start), _id(end)), set()).add(label)
    return [
        f'  {start} -->|"{"<br>".join(sorted(said))}"| {end}' if (said := told - _UNSAID) else f"  {start} --> {end}"
        for (start, end), told in sorted(labels.items())
    ]


def _shape(name: str, kind: str) -> str:
    said = _CALLED.get(name) or re.sub(r"^(Functions|Store)(?=[A-Z])", "", name)
    if kind == "AWS::Lambda::Function":
        said = re.sub(r"(?<!^)(?=[A-Z])", "_", said).lower()
    return _SHAPES.get(kind, '(("{}"))').format(said)


def _id(node: str) -> str:
    return re.sub(r"\W", "", node)


def page(document: Mapping[str, Any], service: Mapping[str, Any], environment: Mapping[str, Any]) -> str:
    """docs/architecture.md."""
    one = Picture(document)
    kinds = {name: one.kind(name) for arrow in one.waking() | one.writing() for name in (arrow[0], arrow[2])}
    return (
        "# Deployed resources\n\n"
        "Drawn from the template by `python -m tools.draw_architecture`; a test redraws it. Rectangles are functions and "
        "roles, cylinders tables and buckets.\n"
        "The resources of each environment are drawn once; endpoints only if they are configured.\n"
        "An arrow without a label wakes, invokes or writes.\n\n"
        f"## Triggers\n\n{mermaid(one.waking(), kinds)}\n"
        f"## Permissions to write\n\nPermissions to read are left out. `decide`, `operate` and `record` append to the ledger.\n\n"
        f"{mermaid(one.writing(), kinds)}\n"
        "## An environment in an account of its own\n\n"
        "The connections of the two accounts; within each, all is as above. A function assumes a role there, which only it may "
        f"assume.\n\n{between(service, environment)}"
    )


def between(service: Mapping[str, Any], environment: Mapping[str, Any]) -> str:
    """Traffic between the accounts."""
    here, there = Picture(service), Picture(environment)
    arrows: set[Arrow] = set()
    inside: dict[str, dict[str, str]] = {"here": {}, "there": {}}

    def node(side: str, name: str, picture: Picture) -> str:
        inside[side][name] = _shape(name, picture.kind(name))
        return f"{side}{_id(name)}"

    roles = {
        f"role/{one['Properties']['RoleName']}": here.name(name)
        for name, one in service["Resources"].items()
        if one["Type"] == "AWS::IAM::Role" and isinstance(one["Properties"].get("RoleName"), str)
    }
    functions = {role: name.removesuffix("Role") for role, name in roles.items() if name.startswith("Functions")}
    for name, one in environment["Resources"].items():
        if one["Type"] == "AWS::IAM::Role":
            trust = json.dumps(one["Properties"]["AssumeRolePolicyDocument"])
            door = there.name(name)
            for role, function in functions.items():
                if f':{role}"' in trust:
                    arrows.add((node("here", function, here), "becomes", node("there", door, there)))
        elif one["Type"] == "AWS::Events::Rule" and ":event-bus/" in json.dumps(one["Properties"]["Targets"]):
            own = "Bus" if "EventBusName" in one["Properties"] else "SageMaker"
            said = "how runs went" if own == "Bus" else "how endpoints fare"
            arrows.add((node("there", own, there), said, node("here", "WiringBus", here)))
    targets = {json.dumps(t["Arn"]) for t in _targets(service) if ":event-bus/" in json.dumps(t["Arn"])}
    if targets:
        arrows.add((node("here", "WiringBus", here), "what happened", node("there", "Bus", there)))
    for start, label, end in there.writing() | {arrow for arrow in there.waking() if arrow[0] == "Bus"}:
        arrows.add((node("there", start, there), label, node("there", end, there)))
    if there.kind("Operator"):
        arrows.add((node("here", "Operators", here), "become, to look", node("there", "Operator", there)))
    arrows.add((node("there", "InferenceMachine", there), "invokes", node("here", "FunctionsPrepareInference", here)))
    arrows.add((node("there", _JOBS, there), "writes", node("here", "StoreEvidence", here)))
    drawn = ["```mermaid", "flowchart LR"]
    for side, title in (("here", "The registry's account"), ("there", "The environment's account")):
        drawn += [
            f'  subgraph {side}["{title}"]',
            *(f"    {side}{_id(n)}{s}" for n, s in sorted(inside[side].items())),
            "  end",
        ]
    return "\n".join([*drawn, *_drawn(arrows), "```", ""])


def _targets(document: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for one in document["Resources"].values():
        if one["Type"] == "AWS::Events::Rule":
            yield from one["Properties"]["Targets"]


if __name__ == "__main__":
    sys.stdout.write(page(*(json.loads(Path(name).read_text(encoding="utf-8")) for name in sys.argv[1:4])))
