"""The input of the judges: a variant's templates, and their policies and machines with references filled in."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Of each type: what its ARN looks like, and what GetAtt of another attribute gives. `{name}` is the logical id.
_ARNS: Mapping[str, str] = {
    "AWS::DynamoDB::Table": "dynamodb:{region}:{account}:table/{name}",
    "AWS::Lambda::Function": "lambda:{region}:{account}:function:{name}",
    "AWS::SQS::Queue": "sqs:{region}:{account}:{name}",
    "AWS::SNS::Topic": "sns:{region}:{account}:{name}",
    "AWS::KMS::Key": "kms:{region}:{account}:key/11111111-2222-3333-4444-555555555555",
    "AWS::IAM::Role": "iam::{account}:role/{name}",
    "AWS::S3::Bucket": "s3:::{lower}",
    "AWS::StepFunctions::StateMachine": "states:{region}:{account}:stateMachine:{name}",
    "AWS::Events::EventBus": "events:{region}:{account}:event-bus/{name}",
    "AWS::SecretsManager::Secret": "secretsmanager:{region}:{account}:secret:{name}-AbCdEf",
    "AWS::Logs::LogGroup": "logs:{region}:{account}:log-group:{name}:*",
    "AWS::CodeBuild::Project": "codebuild:{region}:{account}:project/{name}",
    "AWS::ECR::Repository": "ecr:{region}:{account}:repository/{lower}",
}
# Where a reference alone is an ARN.
_REFERENCE_IS_ARN = frozenset({"AWS::SecretsManager::Secret", "AWS::SNS::Topic", "AWS::StepFunctions::StateMachine"})
_REGION = {"aws-cn": "cn-north-1"}
_SUFFIX = {"aws-cn": "amazonaws.com.cn"}


@dataclass(frozen=True)
class Judged:
    """One template of a variant."""

    variant: str
    path: Path
    document: dict[str, Any]

    @property
    def resources(self) -> dict[str, dict[str, Any]]:
        found: dict[str, dict[str, Any]] = self.document["Resources"]
        return found

    @property
    def partition(self) -> str:
        return "aws-cn" if "arn:aws-cn:" in json.dumps(self.document) or self.variant == "china" else "aws"

    def policies(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Identity policies by logical id, their references filled in."""
        for name, resource in self.resources.items():
            if resource["Type"] == "AWS::IAM::Policy":
                yield name, self.filled(resource["Properties"]["PolicyDocument"])

    def machines(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """State machines by logical id, as definitions."""
        for name, resource in self.resources.items():
            if resource["Type"] == "AWS::StepFunctions::StateMachine":
                yield name, json.loads(self.filled(resource["Properties"]["DefinitionString"]))

    def filled(self, value: Any) -> Any:
        """`value` with what CloudFormation would put in the place of its functions."""
        if isinstance(value, list):
            return [self.filled(each) for each in value]
        if not isinstance(value, dict):
            return value
        if len(value) == 1:
            ((function, given),) = value.items()
            if function in ("Ref", "Fn::GetAtt", "Fn::Join", "Fn::Sub", "Fn::Select", "Fn::Split", "Fn::ImportValue"):
                return self._evaluated(function, given)
        return {key: self.filled(each) for key, each in value.items()}

    def _evaluated(self, function: str, given: Any) -> Any:
        match function:
            case "Ref":
                return self._reference(given)
            case "Fn::GetAtt":
                return self._attribute(*given)
            case "Fn::Join":
                return str(given[0]).join(self.filled(given[1]))
            case "Fn::Split":
                return str(self.filled(given[1])).split(given[0])
            case "Fn::Select":
                return self.filled(given[1])[int(given[0])]
            case "Fn::Sub" if isinstance(given, str):
                return re.sub(r"\$\{([^}]+)\}", lambda found: str(self._reference(found[1])), given)
        return "imported"

    def _reference(self, name: str) -> str:
        pseudo = {
            "AWS::Partition": self.partition,
            "AWS::Region": _REGION.get(self.partition, "us-east-1"),
            "AWS::AccountId": "123456789012",
            "AWS::URLSuffix": _SUFFIX.get(self.partition, "amazonaws.com"),
        }
        if name in pseudo:
            return pseudo[name]
        kind = self.resources.get(name, {}).get("Type", "")
        if kind in _REFERENCE_IS_ARN:
            return self._attribute(name, "Arn")
        return name.lower() if kind in ("AWS::S3::Bucket", "AWS::ECR::Repository") else name

    def _attribute(self, name: str, attribute: str) -> str:
        kind = self.resources[name]["Type"]
        if attribute not in ("Arn", "StreamArn", "Id"):
            return f"{name}-{attribute}"
        pattern = _ARNS.get(kind, "iam::{account}:role/{name}")
        said = pattern.format(
            region=_REGION.get(self.partition, "us-east-1"), account="123456789012", name=name, lower=name.lower()
        )
        stream = "/stream/2026-11-20" if attribute == "StreamArn" else ""
        return f"arn:{self.partition}:{said}{stream}"


def read(variant: str, folder: Path) -> list[Judged]:
    """The templates of an assembly."""
    return [
        Judged(variant, path, json.loads(path.read_text(encoding="utf-8")))
        for path in sorted(folder.glob("*.template.json"))
    ]
