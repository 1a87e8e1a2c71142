"""Starts the image's build when CloudFormation makes or changes the image; the build itself answers CloudFormation, and
where it can't (before its own commands run, or out of time) the event of its end does, which comes here as well.

Runs inside the template (at most 4,096 characters), with what Lambda's Python has.
"""

import json
import urllib.request
from typing import Any

import boto3


def handler(event: dict[str, Any], context: object) -> None:
    if "detail" in event:
        ended(event["detail"])
        return
    try:
        if event["RequestType"] == "Delete":
            answer(event, "SUCCESS", "nothing to undo: images stay until their repository goes")
            return
        told = {
            "RESPONSE_URL": event["ResponseURL"],
            "STACK_ID": event["StackId"],
            "REQUEST_ID": event["RequestId"],
            "LOGICAL_ID": event["LogicalResourceId"],
        }
        boto3.client("codebuild").start_build(
            projectName=event["ResourceProperties"]["Project"],
            environmentVariablesOverride=[{"name": name, "value": value} for name, value in told.items()],
        )
    except Exception as error:  # noqa: BLE001 - without an answer CloudFormation waits for an hour
        answer(event, "FAILED", f"the build did not start: {error}")


def ended(detail: dict[str, Any]) -> None:
    """A build that failed, timed out or was stopped before it could answer by itself; CloudFormation takes one answer only."""
    given = detail["additional-information"]["environment"]["environment-variables"]
    told = {each["name"]: each["value"] for each in given}
    if "RESPONSE_URL" in told:
        event = {
            "ResponseURL": told["RESPONSE_URL"],
            "StackId": told["STACK_ID"],
            "RequestId": told["REQUEST_ID"],
            "LogicalResourceId": told["LOGICAL_ID"],
        }
        answer(event, "FAILED", f"build {detail['build-id']} ended as {detail['build-status']}")


def answer(event: dict[str, Any], status: str, reason: str) -> None:
    """https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/crpg-ref-responses.html"""
    body = {
        "Status": status,
        "Reason": reason,
        "PhysicalResourceId": event.get("PhysicalResourceId", "image"),
        "StackId": event["StackId"],
        "RequestId": event["RequestId"],
        "LogicalResourceId": event["LogicalResourceId"],
    }
    # The address is CloudFormation's own, signed.
    content = json.dumps(body).encode()
    request = urllib.request.Request(event["ResponseURL"], content, {"Content-Type": ""}, method="PUT")  # noqa: S310
    urllib.request.urlopen(request, timeout=30)  # noqa: S310
