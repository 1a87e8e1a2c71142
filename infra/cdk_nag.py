"""Findings of cdk-nag that are accepted, each with its reason. Any other finding fails the synth."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from aws_cdk import Acknowledgment, Stack, Validations
from aws_cdk import aws_iam as iam
from constructs import IConstruct

# Resources of policies with a `*`: a pattern of the resource, and why it can't be narrower.
WILDCARDS: Mapping[str, str] = {
    r"\*": "AWS knows no resource for these actions: listing packages, an ECR login, metrics (bound to a namespace by "
    "a condition), delivering logs and traces, describing a network, a function's network interfaces, reading quotas.",
    r".*:model-package(-group)?/.*": "Packages are registered after the deployment; the groups are those of promotion.toml.",
    r".*:parameter/.*\*.*": "A parameter per group, environment and version, below the service's own prefix.",
    r".*:identity/\*": "Bound to the sender by ses:FromAddress; SES's sandbox asks for recipients' identities too.",
    r".*:(model|transform-job|processing-job)/promotion-(hash-)?\*": "Names carry the id of the run.",
    r".*:(model|endpoint-config)/.*-live-\*": "Names carry the group, and the event by which it went live.",
    r".*:(endpoint/|alarm:).*\*": "An endpoint per group; the names are those of promotion.toml.",
    r".*:processing-job/\*": "Which of the account's jobs are Model Monitor's, only the jobs say.",
    r".*:log-group:/aws/sagemaker/\*": "SageMaker names its own log groups and streams.",
    r".*:ecr:.*:repository/\*": "An approved package names its image, which may be AWS's own in an account of AWS's.",
    r".*:s3:::[^/]*/.*": "Objects of the artifact and inference buckets that promotion.toml names.",
    r"<Store(Evidence|Anchors)\w*\.Arn>/.*": "Objects are named by group, environment and run.",
    r"(<StoreLedger\w*\.Arn>|.*:table/[\w.-]+)/stream/\*": "A stream is named by the time at which it was switched on.",
    r".*:network-interface/\*": "SageMaker makes the interfaces of its instances.",
    r".*:ec2:.*:\*:(subnet|security-group)/.*": "Shared by RAM, it has its owner's account in its ARN; the id names it.",
    r"<\w+\.Arn>:\*": "The versions and aliases of one function, or the streams of one log group.",
}


def acknowledge(construct: IConstruct, findings: Mapping[str, str]) -> None:
    """Accept `findings` (rule → reason) on `construct` and everything below it."""
    Validations.of(construct).acknowledge(
        *(Acknowledgment(id=rule, reason=reason) for rule, reason in findings.items())
    )


def explain_wildcards(stack: Stack) -> None:
    """Accept every `*` in a policy's resources that WILDCARDS explains; others stay findings."""
    for construct in stack.node.find_all():
        if isinstance(construct, iam.CfnPolicy):
            findings = {}
            for resource in _resources(stack.resolve(construct.policy_document)):
                for pattern, reason in WILDCARDS.items():
                    if "*" in resource and re.fullmatch(pattern, resource):
                        findings[f"AwsSolutions-IAM5[Resource::{resource}]"] = reason
            if findings:
                acknowledge(construct, findings)


def _resources(document: Any) -> Iterator[str]:
    for statement in document["Statement"]:
        given = statement["Resource"]
        for resource in given if isinstance(given, list) else [given]:
            yield plain(resource)


def plain(value: Any) -> str:
    """Return a value as text: `{"Fn::GetAtt": ["A", "Arn"]}` is `<A.Arn>`, `{"Ref": "A"}` and `${A}` are `<A>`."""
    if isinstance(value, str):
        return value
    if "Ref" in value:
        return f"<{value['Ref']}>"
    if "Fn::GetAtt" in value:
        return f"<{'.'.join(value['Fn::GetAtt'])}>"
    if "Fn::Join" in value:
        separator, parts = value["Fn::Join"]
        return str(separator).join(plain(part) for part in parts)
    if isinstance(value.get("Fn::Sub"), str):
        return re.sub(r"\$\{([^}]+)\}", r"<\1>", value["Fn::Sub"])
    if "Fn::Select" in value:
        index, parts = value["Fn::Select"]
        return f"<{index} of {plain(parts['Fn::Split'][1])}>"
    raise ValueError(f"no plain text for {value!r}")
