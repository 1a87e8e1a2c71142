"""Back-channel logout: the identity provider notifies `sign_in`, without a browser, of ended sessions.

OpenID Connect Back-Channel Logout 1.0, sections 2.5 to 2.8: https://openid.net/specs/openid-connect-backchannel-1_0.html
"""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import Any

from aws_lambda_powertools.event_handler import Response

from lambdas.shared import http_app
from lambdas.shared.dependencies import count, ended_sessions, identity, logger, now
from lambdas.shared.http_app import Visit
from promotion import names
from promotion.errors import ProviderUnavailable, SignInFailed


def end_sessions(visit: Visit) -> Response[Any]:
    """End the sessions that a logout token names: 200, or 400 for an invalid token."""
    ended = ended_sessions()
    if ended is None:
        text = "There is nothing at this address."
        return visit.message(HTTPStatus.NOT_FOUND, "Not found", text, code="unknown")
    moment = now()
    try:
        logout = identity().logout(visit.form().get("logout_token", ""), now=moment)
        ended.end(token_id=logout.token_id, subject=logout.subject, sid=logout.sid, now=moment)
    except (ProviderUnavailable, SignInFailed) as error:
        logger.warning("back-channel logout refused", extra={"reason": str(error)})
        if isinstance(error, ProviderUnavailable):
            count(names.BROKEN_SIGN_INS_METRIC, 1)
        said = {"error": "invalid_request", "error_description": str(error)}
        return http_app.respond(HTTPStatus.BAD_REQUEST, http_app.JSON, json.dumps(said))
    logger.info("sessions ended by the identity provider", extra={"subject": logout.subject})
    return http_app.respond(HTTPStatus.OK, "text/plain; charset=utf-8", "")
