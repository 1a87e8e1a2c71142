"""Decisions. The one function whose role may write the ledger.

People come by HTTP, with a session; operators by HTTP, signed as an IAM principal; the service's own functions by invoking it,
and those can only say what happened, never decide.
"""

from __future__ import annotations

import fnmatch
import random
import re
import time
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

import msgspec
from aws_lambda_powertools.event_handler import APIGatewayHttpResolver, Response

from lambdas.shared import http_app
from lambdas.shared.dependencies import config, keyring, ledger, links, logger, signer, world
from lambdas.shared.http_app import Visit
from promotion import names
from promotion.domain.model import (
    Actor,
    Package,
    parse_request_id,
)
from promotion.errors import Invalid, LinkInvalid, PromotionError
from promotion.ledger.append import Context, Receipt, checked_reason
from promotion.ledger.fold import request_of
from promotion.links.tokens import Session
from promotion.rendering.documents.approval_request import request_document
from promotion.workflows import commands, decisions, endpoints, operations

app = APIGatewayHttpResolver()
http_app.not_found(app)
_ASSUMED_ROLE = re.compile(r"arn:(aws[\w-]*):sts::(\d{12}):assumed-role/(?:[^/]+/)*([^/]+)/[^/]+")


def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    if "requestContext" in event:
        return http_app.serve(app, event, context)
    return from_service(event)


@http_app.route(app, "/approvals/<token>", "POST")
def decide(visit: Visit, token: str) -> Response[Any]:
    """A verdict by a signed-in person."""
    session = visit.reader()
    try:
        asked = _asked(token)
    except PromotionError as error:
        return visit.refusal(error, session.person)
    form = visit.form()
    page = (f"/approvals/{token}", "Back to the request")
    try:
        # A malformed verdict is refused before anything is asked about the form's origin: see lambdas/shared/http_app.py.
        decisions.checked_verdict(form.get("verdict", ""))
        checked_reason(form.get("reason", ""))
        visit.check_origin(session, form)
        receipt = decisions.record_decision(
            asked,
            session.person,
            form.get("verdict", ""),
            form.get("reason", ""),
            world=signing(),
            breaking_glass=form.get("break_glass") == "yes",
        )
    except PromotionError as error:
        _log("decision refused", session, asked=asked, reason=str(error), **_asked_of(asked))
        return _shown_again(visit, asked, session, form, error) or visit.refusal(error, session.person, page)
    sequence = receipt.sequence
    _log("decision recorded", session, asked=asked, verdict=form["verdict"], sequence=sequence, **_asked_of(asked))
    return http_app.redirect(f"/approvals/{token}")


@http_app.route(app, "/approvals/<token>/again", "POST")
def ask_again(visit: Visit, token: str) -> Response[Any]:
    """A rejected or expired request is asked again, saying what has changed."""
    session = visit.reader()
    try:
        asked = _asked(token)
    except PromotionError as error:
        return visit.refusal(error, session.person)
    form = visit.form()
    try:
        checked_reason(form.get("reason", ""))
        visit.check_origin(session, form)
        receipt = decisions.ask_again(asked, session.person, form.get("reason", ""), world=signing())
    except PromotionError as error:
        back = (f"/approvals/{token}", "Back to the request")
        return _shown_again(visit, asked, session, form, error) or visit.refusal(error, session.person, back)
    _log("asked again", session, asked=asked, sequence=receipt.sequence, **_asked_of(asked))
    return http_app.redirect(links().approval(_request_of(receipt)))


@http_app.route(app, "/models/<group>/<environment>/rollback", "POST")
def roll_back(visit: Visit, group: str, environment: str) -> Response[Any]:
    """Back to a version that was live there."""

    def act(session: Session, form: dict[str, str]) -> Receipt:
        config().environment(environment, group)
        to_version = _version(form["to_version"], "to_version") if form.get("to_version") else None
        return operations.roll_back(
            group, environment, session.person, form.get("reason", ""), world=signing(), to_version=to_version
        )

    return _operate(visit, group, act)


@http_app.route(app, "/models/<group>/versions/<version>/revoke", "POST")
def revoke(visit: Visit, group: str, version: str) -> Response[Any]:
    """Out of every environment at once."""

    def act(session: Session, form: dict[str, str]) -> Receipt:
        return operations.revoke(group, _version(version), session.person, form.get("reason", ""), world=signing())

    return _operate(visit, group, act)


@app.post("/operations")
def operate() -> Response[Any]:
    """Rollback, revocation and adoption by command: JSON in and out, the caller named by API Gateway's IAM authorizer."""
    visit = Visit(app.current_event.raw_event)
    visit.wants_json = True
    try:
        visit.check_host()
        context = app.current_event.raw_event["requestContext"]
        arn = str(((context.get("authorizer") or {}).get("iam") or {}).get("userArn") or "")
        operator = _operator(arn)
        if operator is None:
            return visit.message(
                HTTPStatus.FORBIDDEN, "Not allowed", f"{arn or 'An unsigned caller'} is no operator.", code="not_operator",
                more={"who_may": "Principals under [operators] in promotion.toml."},
            )  # fmt: skip
        form = visit.form()
        receipt = _operation(form, operator)
    except http_app.Answered as answered:
        return answered.response
    except PromotionError as error:
        return visit.refusal(error, None)
    logger.info("operation recorded", extra={"operator": arn, "sequence": receipt.sequence, **_about(receipt)})
    return http_app.respond(HTTPStatus.OK, http_app.JSON, msgspec.json.encode(receipt).decode())


def _operation(form: dict[str, str], operator: Actor) -> Receipt:
    group, reason = form.get("group", ""), form.get("reason", "")
    match form.get("operation"):
        case "rollback":
            to_version = _version(form["to_version"], "to_version") if form.get("to_version") else None
            name = form.get("environment", "")
            return operations.roll_back(group, name, operator, reason, world=signing(), to_version=to_version)
        case "revoke":
            return operations.revoke(group, _version(form.get("version", "")), operator, reason, world=signing())
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


def from_service(event: dict[str, Any]) -> dict[str, Any]:
    """What another function of this service saw happen. None of these decides anything."""
    operation = str(event.get("operation"))
    try:
        receipt = commands.dispatch(commands.read(event), signing())
    except PromotionError as error:
        logger.warning("not recorded", extra={"operation": operation, "reason": str(error)})
        return {"error": getattr(error, "reason", str(error)), "field": getattr(error, "field", "")}
    logger.info(
        "recorded",
        extra={"operation": operation, "sequence": receipt.sequence, "note": receipt.note, **_about(receipt)},
    )
    return {"receipt": msgspec.to_builtins(receipt)}


def signing() -> Context:
    """The world as it is appended to: each new head signed, and a moment's pause after a lost race."""
    return msgspec.structs.replace(world(), sign=signer().sign, pause=_pause)


def _pause(attempt: int) -> None:
    """A moment of random length: those who lost a race don't all start the next one together."""
    time.sleep(random.uniform(0, min(0.02 * 2**attempt, 1.0)))  # noqa: S311 - spreads load, guards nothing


def _operate(visit: Visit, group: str, act: Callable[[Session, dict[str, str]], Receipt]) -> Response[Any]:
    session = visit.reader()
    form = visit.form()
    try:
        checked_reason(form.get("reason", ""))
        visit.check_origin(session, form)
        receipt = act(session, form)
    except PromotionError as error:
        _log("operation refused", session, model_package_group=group, reason=str(error))
        return visit.refusal(error, session.person, (f"/models/{group}", "Back to the model"))
    _log("operation recorded", session, sequence=receipt.sequence, **_about(receipt))
    return http_app.redirect(f"/models/{group}")


def _shown_again(
    visit: Visit, asked: str, session: Session, form: dict[str, str], error: PromotionError
) -> Response[Any] | None:
    """The request's page with what was typed, and why it was refused; None for scripts, for forms that aren't ours, and where
    there is no form to type it into any more.

    Samples and slices, which this function's role may not read, are missing from it: its address has them.
    """
    if visit.wants_json:
        return None
    try:
        visit.check_origin(session, form)
    except http_app.Answered:
        return None
    group, _, name, _ = parse_request_id(asked)
    view = world().ledger.view(group)
    situation = decisions.situation(view, asked, world=world())
    live = view.environment(name).live
    document = request_document(
        situation,
        session.person,
        csrf=visit.csrf,
        links=links(),
        live=view.find_version(live) if live is not None else None,
        applied=None,
        samples=None,
    )
    if not (document["may_decide"] or document["may_reject"] or document["may_ask_again"]):
        return None
    said = f"Your {error.field} can’t be kept: {error.reason}" if isinstance(error, Invalid) else str(error)
    document |= {"problem": f"Nothing was recorded. {said}", "reason": form.get("reason", "")}
    return visit.page("request", document, session.person, visit.refusal(error, session.person).status_code)


def _asked(token: str) -> str:
    """The id of the request that a token stands for: 404 for any other, before the body is looked at.

    Raises:
        LinkInvalid: it is not one of ours.
        Refused: it names no request.
    """
    asked = keyring().request_of(token)
    try:
        group, version, name, attempt = parse_request_id(asked)
    except Invalid:
        raise LinkInvalid from None
    decisions.find_request(world().ledger.view(group), version, name, attempt)
    return asked


def _request_of(receipt: Receipt) -> str:
    return request_of(receipt.events[-1]).id


def _version(text: str, field: str = "version") -> int:
    if not (text.isascii() and text.isdecimal()) or len(text) > 9:
        raise Invalid(field, f"{text[:40]!r} is not a version number.")
    return int(text)


def _asked_of(asked: str) -> dict[str, Any]:
    """What a request is about, by the names that every line of every function has."""
    group, version, name, _ = parse_request_id(asked)
    return {"model_package_group": group, "model_package_version": version, "environment": name}


def _about(receipt: Receipt) -> dict[str, Any]:
    """The same of what was appended."""
    version = next((event.version for event in reversed(receipt.events) if event.version is not None), None)
    return {"model_package_group": receipt.group, "model_package_version": version}


def _log(what: str, session: Session, **extra: Any) -> None:
    logger.info(what, extra={"subject": session.person.subject, **extra})
