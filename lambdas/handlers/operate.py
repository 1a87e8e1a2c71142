"""Operations by command: roll back, revoke, ask, adopt, remove and restore an endpoint; report an evaluation.

API Gateway accepts only signed requests, and STS identifies the signer. Neither the event's shape nor its authorizer is
trusted: any principal with lambda:InvokeFunction can set both.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

import msgspec
from aws_lambda_powertools.event_handler import APIGatewayHttpResolver, Response

from lambdas.shared.appending import about, signing
from lambdas.shared.dependencies import client, config, ledger, logger, region
from lambdas.shared.http_request import JSON, Answered, HttpRequest, not_found, respond, serve
from lambdas.shared.registrations import read_anew
from lambdas.shared.reports import LARGEST_REPORT_BYTES, Report, keep
from lambdas.shared.variables import variables
from lambdas.shared.version_numbers import version_number
from promotion import names
from promotion.aws import caller_identity
from promotion.domain import policy
from promotion.domain.model import Package
from promotion.domain.people import Actor
from promotion.errors import Invalid, PromotionError, Refused
from promotion.ledger.append import Receipt, known
from promotion.workflows import endpoints, operations, runs

app = APIGatewayHttpResolver()
not_found(app)
_ASSUMED_ROLE = re.compile(r"arn:(aws[\w-]*):sts::(\d{12}):assumed-role/(?:[^/]+/)*([^/]+)/[^/]+")


def handler(event: dict[str, object], context: object) -> dict[str, Any]:
    return serve(app, event, context, "operate")


@app.post("/operations")
def operate() -> Response[str]:
    """Execute an operation by command: JSON in and out, with the caller identified by STS."""
    # The limit is larger because a report has a file and pictures; API Gateway accepts only signed requests.
    request = HttpRequest(app.current_event.raw_event, largest_body=LARGEST_REPORT_BYTES)
    request.wants_json = True
    try:
        request.check_host()
        form = request.form()
        arn = caller_identity.confirm(
            request.headers.get(caller_identity.PROOF_HEADER.lower(), ""),
            region(),
            request.body(),
            variables().public_url,
        )
        receipt = _report(form, arn) if form.get("operation") == "report" else _operation(form, _operator(arn))
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
            return operations.roll_back(group, name, operator, reason, context=signing(), to_version=to_version)
        case "revoke":
            return operations.revoke(
                group, version_number(form.get("version", "")), operator, reason, context=signing()
            )
        case "ask":
            return _ask(group, version_number(form.get("version", "")), form.get("arn", ""), operator, reason)
        case "adopt":
            package = _attested(form.get("package", ""))
            return operations.adopt(package, form.get("environment", ""), operator, reason, context=signing())
        case "endpoint_remove":
            return endpoints.remove_endpoint(group, form.get("environment", ""), operator, reason, context=signing())
        case "endpoint_restore":
            return endpoints.restore_endpoint(group, form.get("environment", ""), operator, reason, context=signing())
        case "refold":
            return Receipt(group=group, note=f"{ledger().refold(group)} states folded again")
        case other:
            those = "rollback, revoke, ask, adopt, endpoint_remove, endpoint_restore, refold or report"
            raise Invalid("operation", f"{other!r} is not {those}.")


def _ask(group: str, version: int, arn: str, operator: Actor, reason: str) -> Receipt:
    """Request a version; a version that is older than this service is registered after its event.

    If the queue fails after the append, repeating the command queues the version with the same event.

    Raises:
        Invalid: its group is not governed, or the ARN is another version's.
    """
    _check_package(group, version, arn)
    receipt = operations.ask_for(group, version, arn, operator, reason, context=signing())
    asked = [event.sequence for event in receipt.events if event.kind == names.REGISTRATION_ASKED]
    if asked:
        event = {
            "id": "asked",
            "detail": {"ModelPackageArn": arn, "ModelPackageGroupName": group},
            "asked": asked[0],
        }
        read_anew(event)
    return receipt


def _report(form: dict[str, str], arn: str) -> Receipt:
    """Store a reporter's measurements beside the runs, and record them as the evidence of a run.

    Raises:
        Refused: the caller is no reporter, or the version is not approved in the environment.
        Invalid: the file is no metrics document, or its subject is another version.
    """
    if not _is_named(arn, config().inference.reporters):
        who = "Principals under [advanced.inference] reporters in promotion.toml."
        raise Refused(f"{arn} may not report evaluations.", code="not_reporter", who_may=who)
    context = signing()
    report = Report.of(form)
    if not config().governs(report.group):
        raise Invalid("group", f"{report.group[:64]!r} is not governed by this service.")
    config().environment(report.environment, report.group)
    # Checked before anything is written; the append checks it again.
    policy.may_be_reported(known(ledger().view(report.group), report.version), report.environment).require()
    evidence = keep(report, arn, client("s3"), variables().evidence_bucket, context.now)
    actor = Actor(kind="operator", subject=arn)
    return runs.record_inference(report.group, report.version, evidence, context=context, actor=actor)


def _attested(text: str) -> Package:
    """Return the package that an operator adopts, as their command described and hashed it.

    Raises:
        Invalid: it is not a package, its ARN is another version's, or its group is not governed.
    """
    try:
        package = msgspec.json.decode(text, type=Package)
    except msgspec.DecodeError as error:
        raise Invalid("package", f"this is no package: {error}") from None
    _check_package(package.group, package.version, package.arn, "package.")
    if not package.containers or not all(container.sha256 for container in package.containers):
        raise Invalid("package.containers", "what is attested has to be hashed.")
    return package


def _check_package(group: str, version: int, arn: str, place: str = "") -> None:
    """Check that a group is governed, and that an ARN is that of one of its versions.

    Raises:
        Invalid: the group is not governed, or the ARN is another version's.
    """
    if not config().governs(group) or not names.GROUP_PATTERN.fullmatch(group):
        raise Invalid(f"{place}group", f"{group[:64]} is not governed by this service.")
    # SageMaker writes group names in lower case into ARNs.
    if not arn.lower().endswith(f":model-package/{group}/{version}".lower()):
        raise Invalid(f"{place}arn", f"this is not the ARN of {group} version {version}.")


def _operator(arn: str) -> Actor:
    """Return the IAM principal as an operator.

    Raises:
        Refused: the configuration doesn't name the principal.
    """
    if not _is_named(arn, config().operators.principals):
        raise Refused(f"{arn} is no operator.", code="not_operator", who_may=caller_identity.WHO_MAY)
    return Actor(kind="operator", subject=arn)


def _is_named(arn: str, patterns: Sequence[str]) -> bool:
    """Return True if one of the patterns names an IAM principal. A session counts as its role."""
    role = _ASSUMED_ROLE.fullmatch(arn)
    known_as = {arn, f"arn:{role[1]}:iam::{role[2]}:role/{role[3]}"} if role else {arn}
    return any(fnmatch.fnmatchcase(name, pattern) for name in known_as - {""} for pattern in patterns)
