"""Signing in and out. This function alone makes sessions; its role can neither read nor write the ledger."""

from __future__ import annotations

import secrets as random
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

from aws_lambda_powertools.event_handler import APIGatewayHttpResolver, Response

from lambdas.shared import http_app
from lambdas.shared.dependencies import config, identity, logger, now, session_maker, sign_in_keys
from lambdas.shared.http_app import Visit
from promotion.config.loading import duration
from promotion.errors import ProviderUnavailable, SignInFailed
from promotion.links.sessions import Session
from promotion.links.tokens import safe_return

app = APIGatewayHttpResolver()
http_app.not_found(app)
READ = ("GET", "HEAD")


def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    return http_app.serve(app, event, context)


@http_app.route(app, "/login", *READ)
def login(visit: Visit) -> Response[Any]:
    """Off to the identity provider, remembering where to come back to."""
    back = safe_return((app.current_event.query_string_parameters or {}).get("return_to"))
    try:
        address, sign_in = identity().begin(back, now=now())
    except (ProviderUnavailable, SignInFailed) as error:
        return _not_signed_in(visit, error)
    remembered = http_app.cookie(http_app.sign_in_cookie_name(), sign_in_keys().sign_in_cookie(sign_in), 600)
    return http_app.redirect(address, HTTPStatus.FOUND, cookies=[remembered])


@http_app.route(app, "/callback", *READ)
def callback(visit: Visit) -> Response[Any]:
    """Back from the identity provider, with a code or an error."""
    query = app.current_event.query_string_parameters or {}
    sign_in = sign_in_keys().sign_in(visit.cookies.get(http_app.sign_in_cookie_name(), ""), now=now())
    if sign_in is None or not random.compare_digest(
        query.get("state", "").encode(errors="replace"), sign_in.state.encode()
    ):
        return _not_signed_in(visit, SignInFailed("This sign-in was not begun here, or took too long. Begin again."))
    if "code" not in query:
        reason = query.get("error_description") or query.get("error") or "no code came back"
        return _not_signed_in(visit, SignInFailed(f"The identity provider says: {reason[:300]}"), sign_in.return_to)
    try:
        person = identity().finish(query["code"], sign_in, now=now())
        session = Session(
            id=random.token_urlsafe(18), person=person, expires_at=now() + duration(config().identity.session_lifetime)
        )
        value = session_maker().cookie(session)
    except (ProviderUnavailable, SignInFailed, ValueError) as error:
        return _not_signed_in(visit, error, sign_in.return_to)
    logger.info("signed in", extra={"subject": person.subject, "groups": sorted(person.groups)})
    lifetime = int(duration(config().identity.session_lifetime).total_seconds())
    cookies = [
        http_app.cookie(http_app.session_cookie_name(), value, lifetime),
        http_app.expired_cookie(http_app.sign_in_cookie_name()),
    ]
    return http_app.redirect(sign_in.return_to, cookies=cookies)


@http_app.route(app, "/logout", "POST")
def logout(visit: Visit) -> Response[Any]:
    """The session ends in this browser."""
    session = visit.session()
    if session is not None:
        visit.check_origin(session, visit.form())
    answer = visit.message(HTTPStatus.OK, "Signed out", "You are signed out here.", link=("/login", "Sign in"))
    answer.cookies = [http_app.expired_cookie(http_app.session_cookie_name())]
    return answer


def _not_signed_in(visit: Visit, error: Exception, return_to: str = "/") -> Response[Any]:
    unavailable = isinstance(error, ProviderUnavailable)
    status = HTTPStatus.SERVICE_UNAVAILABLE if unavailable else HTTPStatus.FORBIDDEN
    logger.warning("sign-in failed", extra={"reason": str(error)})
    return visit.message(
        status,
        "Not signed in",
        str(error),
        link=(f"/login?return_to={quote(return_to, safe='/')}", "Try again"),
        code="sign_in_failed",
    )
