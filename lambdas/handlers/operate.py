"""Operations by command: roll back, revoke, adopt, remove and restore an endpoint.

API Gateway accepts only signed requests, and STS names the signer. Neither the event's shape nor its authorizer is
trusted: everybody with lambda:InvokeFunction can write both.
"""

from __future__ import annotations

import fnmatch
import re
from http import HTTPStatus
from typing import Any

import msgspec
from aws_lambda_powertools.event_handler import APIGatewayHttpResolver, Response

from lambdas.shared.appending import about, signing, version_number
from lambdas.shared.dependencies import config, ledger, logger, region, setting
from lambdas.shared.http_request import JSON, Answered, Request, not_found, respond, serve
from promotion import names
from promotion.aws import caller_identity
from promotion.domain.model import Actor, Package
from promotion.errors import Invalid, PromotionError, Refused
from promotion.ledger.append import Receipt
from promotion.workflows import endpoints, operations

app = APIGatewayHttpResolver()
not_found(app)
_ASSUMED_ROLE = re.compile(r"arn:(aws[\w-]*):sts::(\d{12}):assumed-role/(?:[^/]+/)*([^/]+)/[^/]+")


def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    return serve(app, event, context, "operate")


@app.post("/operations")
def operate() -> Response[Any]:
    """An operation by command: JSON in and out, the caller confirmed by STS."""
    request = Request(app.current_event.raw_event)
    request.wants_json = True
    try:
        request.check_host()
        form = request.form()
        arn = caller_identity.confirm(
            request.headers.get(caller_identity.PROOF_HEADER.lower(), ""),
            region(),
            request.body(),
            setting(names.PUBLIC_URL),
        )
        operator = _operator(arn)
        if operator is None:
            raise Refused(f"{arn} is no operator.", code="not_operator", who_may=caller_identity.WHO_MAY)
        receipt = _operation(form, operator)
    except Answered as answered:
        return answered.response
    except PromotionError as error:
        logger.info("operation refused", extra={"reason": str(error)})
        return request.refusal(error, None)
    logger.info("operation recorded", extra={"operator": arn, "sequence": receipt.sequence, **about(receipt)})
    return respond(HTTPStatus.OK, JSON, msgspec.json.encode(receipt).decode())


def _operation(form: dict[str, str], operator: Actor) -> Receipt:
    group, reason = form.get("group", ""), form.get("reason", "")
    match form.get("operation"):
        case "rollback":
            to_version = version_number(form["to_version"], "to_version") if form.get("to_version") else None
            name = form.get("environment", "")
            return operations.roll_back(group, name, operator, reason, world=signing(), to_version=to_version)
        case "revoke":
            return operations.revoke(group, version_number(form.get("version", "")), operator, reason, world=signing())
        case "adopt":
            package = _attested(form.get("package", ""))
            return operations.adopt(package, form.get("environment", ""), operator, reason, world=signing())
        case "endpoint_remove":
            return endpoints.remove_endpoint(group, form.get("environment", ""), operator, reason, world=signing())
        case "endpoint_restore":
            return endpoints.restore_endpoint(group, form.get("environment", ""), operator, reason, world=signing())
        case "refold":
            return Receipt(group=group, note=f"{ledger().refold(group)} states folded again")
        case other:
            known = "rollback, revoke, adopt, endpoint_remove, endpoint_restore or refold"
            raise Invalid("operation", f"{other!r} is not {known}.")


def _attested(text: str) -> Package:
    """The package that an operator vouches for, as their command described and hashed it.

    Raises:
        Invalid: it is none, or its ARN is another version's, or nobody governs its group.
    """
    try:
        package = msgspec.json.decode(text, type=Package)
    except msgspec.DecodeError as error:
        raise Invalid("package", f"this is no package: {error}") from None
    if not config().governs(package.group) or not names.GROUP_PATTERN.fullmatch(package.group):
        raise Invalid("package.group", f"{package.group[:64]} is not governed by this service.")
    # SageMaker writes group names in lower case into ARNs.
    if not package.arn.lower().endswith(f":model-package/{package.group}/{package.version}".lower()):
        raise Invalid("package.arn", f"this is not the ARN of {package.group} version {package.version}.")
    if not package.containers or not all(container.sha256 for container in package.containers):
        raise Invalid("package.containers", "what is attested has to be hashed.")
    return package


def _operator(arn: str) -> Actor | None:
    """The IAM principal as an operator, or None where the configuration doesn't name it. A session counts as its role."""
    role = _ASSUMED_ROLE.fullmatch(arn)
    known_as = {arn, f"arn:{role[1]}:iam::{role[2]}:role/{role[3]}"} if role else {arn}
    if any(fnmatch.fnmatchcase(name, pattern) for name in known_as - {""} for pattern in config().operators.principals):
        return Actor(kind="operator", subject=arn)
    return None
