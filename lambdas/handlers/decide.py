"""Decisions of signed-in people: approve, reject, ask again, roll back, revoke.

A caller with lambda:InvokeFunction can send any event, so this function trusts only the signed session in it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from aws_lambda_powertools.event_handler import APIGatewayHttpResolver, Response

from lambdas.shared import http_app, registry_look, sign_in_renewal
from lambdas.shared.appending import about, signing
from lambdas.shared.dependencies import config, keyring, links, logger, own_image, reading_context
from lambdas.shared.page_visits import PageVisit, route
from lambdas.shared.version_numbers import version_number
from promotion import names
from promotion.domain.request_ids import parse_request_id
from promotion.errors import Invalid, LinkInvalid, PromotionError
from promotion.ledger.append import Receipt, checked_reason
from promotion.ledger.request_state import request_of
from promotion.links.session import Session
from promotion.rendering.documents.approval_request import request_document
from promotion.workflows import decisions, operations, withdrawing

app = APIGatewayHttpResolver()
http_app.not_found(app)


def handler(event: dict[str, object], context: object) -> dict[str, Any]:
    return http_app.serve(app, event, context, "decide")


@route(app, "/approvals/<token>", "POST")
def decide(visit: PageVisit, token: str) -> Response[str]:
    """Record a verdict by a signed-in person."""
    session = visit.reader()
    try:
        asked = _asked(token)
    except PromotionError as error:
        return visit.refusal(error, session.person)
    form = visit.form()
    page = (f"/approvals/{token}", "Back to the request")
    try:
        # A malformed verdict is refused before the form's origin is checked: see lambdas/shared/page_visits.py.
        decisions.checked_verdict(form.get("verdict", ""))
        checked_reason(form.get("reason", ""))
        visit.check_origin(session, form)
        if again := sign_in_renewal.late(visit, session, form):
            return again
        receipt = decisions.record_decision(
            asked,
            session.person,
            form.get("verdict", ""),
            form.get("reason", ""),
            context=signing(),
            breaking_glass=form.get("break_glass") == "yes",
            confirmed=form.get("confirm") == "yes",
            # A rejection is valid whatever package the registry has now.
            seen=registry_look.look(asked) if form.get("verdict") == names.APPROVED else None,
        )
    except PromotionError as error:
        _log("decision refused", session, asked=asked, reason=str(error), **_asked_of(asked))
        return _shown_again(visit, asked, session, form, error) or visit.refusal(error, session.person, page)
    sequence = receipt.sequence
    _log("decision recorded", session, asked=asked, verdict=form["verdict"], sequence=sequence, **_asked_of(asked))
    return http_app.redirect(f"/approvals/{token}", cookies=sign_in_renewal.form_done(visit))


@route(app, "/approvals/<token>/again", "POST")
def ask_again(visit: PageVisit, token: str) -> Response[str]:
    """Request approval again for a closed request, with a note of what has changed."""
    session, asked = _requester_or_reader(visit, token)
    form = visit.form()
    try:
        checked_reason(form.get("reason", ""))
        visit.check_origin(session, form)
        if again := sign_in_renewal.late(visit, session, form):
            return again
        receipt = decisions.ask_again(asked, session.person, form.get("reason", ""), context=signing())
    except PromotionError as error:
        back = (f"/approvals/{token}", "Back to the request")
        return _shown_again(visit, asked, session, form, error) or visit.refusal(error, session.person, back)
    _log("asked again", session, asked=asked, sequence=receipt.sequence, **_asked_of(asked))
    return http_app.redirect(
        links().approval(request_of(receipt.events[-1]).id), cookies=sign_in_renewal.form_done(visit)
    )


@route(app, "/approvals/<token>/withdraw", "POST")
def withdraw(visit: PageVisit, token: str) -> Response[str]:
    """Withdraw a pending request, for its requester."""
    session, asked = _requester_or_reader(visit, token)
    form = visit.form()
    try:
        visit.check_origin(session, form)
        receipt = withdrawing.withdraw(asked, session.person, form.get("reason", ""), context=signing())
    except PromotionError as error:
        return visit.refusal(error, session.person, (f"/approvals/{token}", "Back to the request"))
    _log("withdrawn", session, asked=asked, sequence=receipt.sequence, **_asked_of(asked))
    return http_app.redirect(f"/approvals/{token}")


@route(app, "/models/<group>/<environment>/rollback", "POST")
def roll_back(visit: PageVisit, group: str, environment: str) -> Response[str]:
    """Roll an environment back to a version that was live there."""

    def act(session: Session, form: dict[str, str]) -> Receipt:
        config().environment(environment, group)
        to_version = version_number(form["to_version"], "to_version") if form.get("to_version") else None
        return operations.roll_back(
            group, environment, session.person, form.get("reason", ""), context=signing(), to_version=to_version
        )

    return _operation(visit, group, act)


@route(app, "/models/<group>/versions/<version>/revoke", "POST")
def revoke(visit: PageVisit, group: str, version: str) -> Response[str]:
    """Revoke a version in every environment at once."""

    def act(session: Session, form: dict[str, str]) -> Receipt:
        return operations.revoke(
            group, version_number(version), session.person, form.get("reason", ""), context=signing()
        )

    return _operation(visit, group, act)


def _operation(visit: PageVisit, group: str, act: Callable[[Session, dict[str, str]], Receipt]) -> Response[str]:
    session = visit.reader()
    form = visit.form()
    try:
        checked_reason(form.get("reason", ""))
        visit.check_origin(session, form)
        if again := sign_in_renewal.late(visit, session, form):
            return again
        receipt = act(session, form)
    except PromotionError as error:
        _log("operation refused", session, model_package_group=group, reason=str(error))
        return visit.refusal(error, session.person, (f"/models/{group}", "Back to the model"))
    _log("operation recorded", session, sequence=receipt.sequence, **about(receipt))
    return http_app.redirect(f"/models/{group}", cookies=sign_in_renewal.form_done(visit))


def _shown_again(
    visit: PageVisit, asked: str, session: Session, form: dict[str, str], error: PromotionError
) -> Response[str] | None:
    """Return the request's page with the typed reason and the refusal; None for scripts, for forms of other sites, and
    if the page no longer has such a form.

    The page is without samples and slices, which this function's role may not read; the request's address shows them.
    """
    if visit.wants_json:
        return None
    try:
        visit.check_origin(session, form)
    except http_app.Answered:
        return None
    group, _, name, _ = parse_request_id(asked)
    view = reading_context().ledger.view(group)
    situation = decisions.situation(view, asked, context=reading_context(), seen=registry_look.glance(asked))
    live = view.environment(name).live
    document = request_document(
        situation,
        session.person,
        csrf=visit.csrf,
        links=links(),
        live=view.find_version(live) if live is not None else None,
        applied=None,
        samples=None,
        own_image=own_image(),
    )
    if not (document["may_decide"] or document["may_reject"] or document["may_ask_again"]):
        return None
    said = f"Your {error.field} can’t be kept: {error.reason}" if isinstance(error, Invalid) else str(error)
    document |= {"problem": f"Nothing was recorded. {said}", "reason": form.get("reason", "")}
    if isinstance(error, Invalid) and error.field == "reason":
        document["wrong_reason"] = error.reason
    return visit.page("request", document, session.person, visit.refusal(error, session.person).status_code)


def _asked(token: str) -> str:
    """Return the id of a token's request: 404 for an invalid token, before the body is read.

    Raises:
        LinkInvalid: the token is forged, damaged or expired.
        Refused: the token names no request.
    """
    asked = keyring().request_of(token)
    try:
        group, version, name, attempt = parse_request_id(asked)
    except Invalid:
        raise LinkInvalid from None
    decisions.find_request(reading_context().ledger.view(group), version, name, attempt)
    return asked


def _requester_or_reader(visit: PageVisit, token: str) -> tuple[Session, str]:
    """Return the session and the request, for its requester and for readers; 403 for others, 404 without a request."""
    session = visit.visitor()
    try:
        asked = _asked(token)
    except PromotionError as error:
        visit.require_reader(session.person)
        raise http_app.Answered(visit.refusal(error, session.person)) from None
    group, version, _, _ = parse_request_id(asked)
    visit.require_reader(session.person, reading_context().ledger.view(group).version(version).package)
    return session, asked


def _asked_of(asked: str) -> dict[str, object]:
    """Return the request's group, version and environment by the field names that all log lines share."""
    group, version, name, _ = parse_request_id(asked)
    return {"model_package_group": group, "model_package_version": version, "environment": name}


def _log(what: str, session: Session, **extra: object) -> None:
    logger.info(what, extra={"subject": session.person.subject, **extra})
