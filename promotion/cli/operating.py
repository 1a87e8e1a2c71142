"""`promotion rollback`, `revoke`, `ask`, `adopt`, `report`: calls of the function `operate`, signed by the caller."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from pathlib import Path

import boto3
import msgspec
import requests
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest

from promotion.aws.caller_identity import PROOF_HEADER, prove
from promotion.cli.missing import NO_CREDENTIALS
from promotion.cli.service import client, config, installation
from promotion.cli.tables import print_line
from promotion.errors import Invalid, PromotionError, Refused

TIMEOUT_S = 30


def operate(operation: str, given: dict[str, str], *, as_json: bool) -> int:
    """Send an operation to the function `operate`, and print the events that it appended.

    Raises:
        Refused: the rules don't allow it, or the caller is no operator.
        PromotionError: the request is invalid, or the operation failed.
    """
    answer = _post({"operation": operation, **given})
    if as_json:
        print(json.dumps(answer, indent=2, ensure_ascii=False))
        return 0
    from promotion.ledger.events import Event
    from promotion.rendering.sentences import sentence

    for event in msgspec.convert(answer["events"], tuple[Event, ...]):
        print_line(f"{event.sequence:>5}  {sentence(event)}")
    if answer.get("note"):
        print_line(f"{given.get('group', operation)}: {answer['note']}")
    return 0


def ask(group: str, version: int, reason: str, *, as_json: bool) -> int:
    """Request approval of a version for the first environment."""
    given = {"group": group, "version": str(version), "arn": _arn(group, version), "reason": reason}
    return operate("ask", given, as_json=as_json)


def adopt(group: str, environment: str, version: int, reason: str, *, as_json: bool) -> int:
    """Describe and hash the version on this machine, and adopt it by the function `operate`."""
    from promotion.aws.s3.artifacts import hash_container
    from promotion.aws.sagemaker.images import with_image_digests
    from promotion.aws.sagemaker.registry import describe
    from promotion.client.folder_artifact import is_folder

    sagemaker, s3 = client("sagemaker"), client("s3")
    package, _ = describe(sagemaker, _arn(group, version), config().identity.requesters)
    if any(is_folder(each.model_data_url) for each in package.containers):
        raise Invalid("VERSION", "an uncompressed model can't be adopted; register it, and have it approved.")
    package = with_image_digests(client("ecr"), package)
    package = msgspec.structs.replace(package, containers=tuple(hash_container(s3, c) for c in package.containers))
    given = {"environment": environment, "reason": reason, "package": msgspec.json.encode(package).decode()}
    return operate("adopt", given, as_json=as_json)


def _arn(group: str, version: int) -> str:
    """Return the ARN of a version in the registry.

    Raises:
        Invalid: the registry has no such version.
    """
    pages = client("sagemaker").get_paginator("list_model_packages").paginate(ModelPackageGroupName=group)
    for page in pages:
        for summary in page["ModelPackageSummaryList"]:
            if summary["ModelPackageVersion"] == version:
                return str(summary["ModelPackageArn"])
    raise Invalid("VERSION", f"{group} has no version {version} in the registry.")


def report(group: str, environment: str, version: int, metrics: str, pictures: Sequence[str], *, as_json: bool) -> int:
    """Send a metrics file, and pictures by their file names.

    Raises:
        Invalid: a file can't be read, or is no text.
    """
    try:
        drawn = {Path(file).name: base64.b64encode(Path(file).read_bytes()).decode() for file in pictures}
        document = Path(metrics).read_text(encoding="utf-8-sig")
    except OSError as error:
        raise Invalid("FILE", f"{error.filename} can't be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise Invalid("--metrics", f"{metrics} is no text in UTF-8.") from None
    given = {"group": group, "environment": environment, "version": str(version), "metrics": document}
    return operate("report", {**given, "pictures": json.dumps(drawn)}, as_json=as_json)


def _post(document: dict[str, str]) -> dict[str, object]:
    session = boto3.Session()
    credentials = session.get_credentials()
    if credentials is None:
        raise Invalid("credentials", NO_CREDENTIALS)
    url = f"{installation()['api_url']}/operations"
    body = json.dumps(document)
    region = session.region_name or installation()["region"]
    frozen = credentials.get_frozen_credentials()
    headers = {
        "Content-Type": "application/json",
        "Accept": "application/json",
        PROOF_HEADER: prove(frozen, region, body.encode(), installation()["api_url"]),
    }
    signed = AWSRequest("POST", url, data=body, headers=headers)
    SigV4Auth(frozen, "execute-api", region).add_auth(signed)
    answer = requests.post(url, data=body, headers=dict(signed.headers), timeout=TIMEOUT_S)
    try:
        found = answer.json()
    except ValueError:
        raise PromotionError(f"{url} answered with {answer.status_code}, not JSON.") from None
    if answer.status_code == 200:
        return dict(found)
    message = found.get("message", answer.reason)
    if answer.status_code in (401, 403, 404, 409, 410):
        raise Refused(message, code=str(found.get("error", "refused")), who_may=str(found.get("who_may", "")))
    raise PromotionError(message)
